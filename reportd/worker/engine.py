"""The deciding core of one worker: events in, actions out.

It owns every request, limit and offset of the worker's partitions. `reportd.worker.loop` feeds it
from Kafka, the executor and the finishing thread and carries its actions out; the simulation does
the same on a virtual clock. No socket, sleep, thread or clock in it.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from reportd.broker.message import Message
from reportd.limits.limiter import Grant, Now, Scope, ToRecord, Went
from reportd.model.content import Content
from reportd.model.ledger import End, PublishedFile, Step
from reportd.partners.parts import cut
from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.actions import (
    Action,
    Commit,
    Finish,
    LookAt,
    Read,
    Release,
    Restore,
    Spool,
    StartCall,
    TopicPartition,
    WriteGrant,
    WriteStep,
)
from reportd.worker.circuits import Circuits
from reportd.worker.commits import Commits
from reportd.worker.controls import Controls
from reportd.worker.endings import Endings
from reportd.worker.entry import Entry, State
from reportd.worker.fence import Fence
from reportd.worker.intake import Intake
from reportd.worker.judge import DeadError, Judge, scope_of
from reportd.worker.ledger import KnownEnd, LedgerImage
from reportd.worker.outlet import Kept, Outlet
from reportd.worker.partition import Looked, Misfit, Partition, PartnerRules, RestoredTopic
from reportd.worker.reading import Reading
from reportd.worker.restraint import Restraint, leave
from reportd.worker.settings import EngineSettings
from reportd.worker.suspects import Suspects

STEER_SECONDS = 0.01
"""How often it is decided what to read."""

STEER_KINDS = 500
"""So many accounts with parked requests take 0.2 ms to look at; with more it is done seldomer."""

VOLATILE_SECONDS = 60.0
"""How old a picked URL may be when its call starts; an older one is asked for anew."""

SUSPECTS_SECONDS = 0.05
"""How often it is looked whether a suspect, or a probe, may go."""

PROBES_PART = 16
"""Which part of the window a refused credential keeps at least: its probes wait long between two
tries of one request."""

PROBE_SECONDS = 0.1
"""How often it is looked whether the probe of a credential is over."""

_GOES_ON = (Outcome.PENDING, Outcome.TOO_BIG)
"""Answers without rows that are no refusals."""

_WENT: Mapping[Outcome, Went] = {
    Outcome.OK: "ok",
    Outcome.PENDING: "ok",
    Outcome.TOO_BIG: "ok",
    Outcome.THROTTLED: "throttled",
}
"""What limits that move learn of an answer; all others say nothing of them."""


class Engine:
    """Decides for all partitions of one worker."""

    def __init__(
        self,
        *,
        rules: Mapping[str, PartnerRules],
        settings: EngineSettings,
        fence: Fence,
        random: Random,
        strikes: Mapping[str, int],
    ) -> None:
        """Begin without a partition."""
        self._rules = rules
        self._settings = settings
        self._fence = fence
        self._judge = Judge(random)
        self.outlet = Outlet(settings)
        self._suspects = Suspects(strikes, settings.alone_seconds, self._takes_calls)
        self._commits = Commits(settings, fence)
        self._out: deque[Action] = deque()
        self.controls = Controls()
        self._reading = Reading(settings, self.controls, self._out)
        self._endings = Endings(self._out, self._waits)
        self._intake = Intake(
            self._out, self._reading, self._suspects, self._endings, self.controls
        )
        self._restraint = Restraint(self.controls, self._endings, self._suspects, self._ready)
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._by_topic: dict[TopicPartition, Partition] = {}
        self._circuits: dict[str, Circuits] = {}
        self._turn: deque[Partition] = deque()
        self._partner_most = settings.threads
        self._in_flight_of: Counter[str] = Counter()
        self._steer_at = 0.0
        self._counts: dict[str, int] = {}
        self._began: Now | None = None
        self.in_flight = 0
        self.is_stopping = False

    # --- partitions ------------------------------------------------------------------------

    def partitions(self) -> list[Partition]:
        """Return the partitions that this worker has, restored or not."""
        return list(self._partitions.values())

    def assigned(self, partner: str, index: int) -> None:
        """Take a partition; nothing is called before it is restored."""
        self.drop([(partner, index)])
        rules = self._rules[partner]
        circuits = self._circuits.setdefault(partner, Circuits())
        partition = Partition(rules, index, circuits)
        self._partitions[(partner, index)] = partition
        self._out.append(Restore(partner, index))

    def restored(
        self,
        partner: str,
        index: int,
        *,
        topics: Sequence[RestoredTopic],
        image: LedgerImage,
        partition_count: int,
        now: Now,
    ) -> None:
        """Take what the broker knows of a partition, and begin to read it."""
        partition = self._partitions.get((partner, index))
        if partition is None or partition.is_active:
            return
        self._counts[partner] = partition_count
        partition.restored(
            topics,
            image,
            now,
            process_began=self._began or now,
            partition_count=partition_count,
        )
        self._restraint.look(partition, now)
        for topic in topics:
            self._by_topic[(topic.topic, index)] = partition
        self._turn.append(partition)
        self._steer_at = 0.0
        self._share_threads()
        self._commits.hurry()

    def revoking(self, keys: Iterable[tuple[str, int]]) -> list[Partition]:
        """Start nothing more for these partitions; return them, to be drained and dropped."""
        found = [self._partitions[key] for key in keys if key in self._partitions]
        for partition in found:
            partition.is_closing = True
        return found

    def offsets_of(self, partitions: Iterable[Partition]) -> Commit:
        """Return the last commit of partitions that are given away."""
        return Commit(self._commits.offsets(partitions, everything=True))

    def drop(self, keys: Iterable[tuple[str, int]]) -> None:
        """Forget partitions: they were given away or lost; late events of theirs are ignored."""
        for key in keys:
            partition = self._partitions.pop(key, None)
            if partition is None:
                continue
            partition.is_alive = False
            for topic in partition.books:
                self._by_topic.pop((topic, partition.index), None)
            if partition in self._turn:
                self._turn.remove(partition)
                self._share_threads()
            self._suspects.drop(partition)
            self._out.extend(Release(entry.request.id) for entry in partition.busy)
            self.outlet.drop(partition)

    def settle_limits(self) -> None:
        """Keep the new limits alone: no worker has those of before the reload any more."""
        for partition in self._partitions.values():
            partition.limiter.settle()
            partition.scheduler.look_again()

    def stop(self) -> None:
        """Start nothing more at all: the worker drains."""
        self.is_stopping = True
        self.revoking(list(self._partitions))

    def is_drained(self, partitions: Iterable[Partition]) -> bool:
        """Say whether nothing of these partitions is under way any more."""
        return not any(partition.busy for partition in partitions)

    def is_quiet(self) -> bool:
        """Say whether only a message or a rebalance can bring something to do."""
        return self.in_flight + self.outlet.storing_count == 0 and all(
            partition.is_active and not partition.entries for partition in self.partitions()
        )

    # --- what people ask for ---------------------------------------------------------------

    def controlled(
        self, part: TopicPartition, messages: Sequence[Message], end: int, now: Now
    ) -> None:
        """Take all that stands in the topic of controls before ``end``; read on from there."""
        self.controls.part = part
        self._out.append(Read(part, end))
        self._hear(messages, now)

    def _hear(self, messages: Sequence[Message], now: Now) -> None:
        if self.controls.hear(messages, now):
            self._obey(now)

    def _obey(self, now: Now) -> None:
        for partition in self._turn:
            self._restraint.look(partition, now)
        self._steer_at = 0.0

    # --- messages --------------------------------------------------------------------------

    def message(self, message: Message, now: Now) -> None:
        """Take one message of a topic, whatever it holds."""
        partition = self._by_topic.get(message.part)
        if partition is None:
            if message.part == self.controls.part:
                self._hear([message], now)
            return
        book = partition.books[message.topic]
        book.stamps.note(message.offset, message.timestamp)
        if not book.deliver(message.offset):
            return
        self._intake.take(partition, message, self._counts[partition.partner], now)

    def forwarded(self, message: Message) -> None:
        """Take note that a message stands in its own partition now; it is closed here."""
        partition = self._by_topic.get(message.part)
        if partition is not None:
            partition.books[message.topic].close(message.offset)

    def not_forwarded(self, message: Message, now: Now) -> None:
        """Give up a message that is too large for its own partition: with a key it has grown."""
        partition = self._by_topic.get(message.part)
        if partition is not None:
            self._intake.give_up(partition, message, now)

    def looked(self, entry: Entry, looked: Looked, now: Now) -> None:
        """Take what stands at the output for a request: finished, superseded, or to be done."""
        self.outlet.looked(entry.request.partner)
        partition = self._partition_of(entry)
        if partition is None:
            return
        partition.looked_up(entry.request.account)
        if looked.files:
            self._endings.end(partition, entry, "result", now, files=looked.files)
        elif looked.newer_run:
            self._endings.end(partition, entry, "superseded", now, reason=f"by {looked.newer_run}")
        else:
            if entry.steps and not looked.spool_fits:
                entry.start_over()
            elif entry.steps:
                entry.cursor = dict(entry.steps[-1].cursor)
                entry.calls = entry.steps[-1].calls
                for step in entry.steps:
                    entry.picked.update(step.picked)
            self._ready(partition, entry, now)

    # --- calls -----------------------------------------------------------------------------

    def step(self, now: Now) -> None:
        """Do what time asks for: ends of waits, commits, reading, and the next calls."""
        if self._began is None:
            self._began = now
        if now.wall >= self.controls.ends_at:
            self.controls.look(now)
            self._obey(now)
        for partition in self._turn:
            for entry in partition.scheduler.due(now):
                self._wake(partition, entry, now)
        if now.mono >= self._steer_at:
            kinds = self._parked_kinds()
            self._steer_at = now.mono + STEER_SECONDS * (1 + kinds // STEER_KINDS)
            for partition in self._turn:
                stopped = self.is_stopping or not self._takes_calls(partition)
                self._reading.steer(partition, now, stopped=stopped)
                partition.image.windows_over(partition.limiter.wall(now))
        self._do_again(now)
        commit = self._commits.due(self._partitions.values(), now)
        if commit is not None:
            self._out.append(commit)
        if self._may_start(now):
            self._start_calls(now)
            self._ask_for_grants(now)

    def take_actions(self) -> list[Action]:
        """Return what is to be done, in order, and forget it."""
        actions = list(self._out)
        self._out.clear()
        return actions

    def next_wake(self, now: Now) -> float:
        """Return the monotonic time at which `step` has something to do by itself."""
        wake = self._commits.next_wake()
        wake = min(wake, now.mono + max(0.0, self.controls.ends_at - now.wall))
        wake = min(wake, self.outlet.next_wake())
        may_start = self._may_start(now) and self.in_flight < self._settings.threads
        if may_start and self._suspects.alone is not None:
            may_start = False  # the end of its call wakes the loop
        elif may_start and self._suspects.waiting():
            wake = min(wake, now.mono + SUSPECTS_SECONDS)
            may_start = not self._suspects.holds_others_back(now)
        for partition in self._turn:
            wake = min(wake, partition.scheduler.next_due())
            may_here = may_start and self._takes_calls(partition)
            if may_here and self._in_flight_of[partition.partner] < self._partner_most:
                at = partition.scheduler.next_turn()
                if at <= now.mono and not partition.circuits.outage.lets_through(now.mono):
                    at = max(partition.circuits.outage.probe_at, now.mono + SUSPECTS_SECONDS)
                wake = min(wake, at)
        return wake

    def _may_start(self, now: Now) -> bool:
        return (
            not self.is_stopping
            and self._fence.is_open(now.boot)
            and self.outlet.storing_count < self._settings.finishing_most
        )

    def _takes_calls(self, partition: Partition) -> bool:
        """Say whether a call for it may start, as far as it stays here and its files are taken."""
        return not partition.is_closing and not self.outlet.stops(partition.partner)

    def _start_calls(self, now: Now) -> None:
        if self._suspects.holds_others_back(now):
            if self._suspects.alone is None and self.in_flight + self.outlet.storing_count == 0:
                found = self._suspects.next(now)
                if found is not None:
                    self._start(*found, now)
            return
        idle = 0
        while self.in_flight < self._settings.threads and idle < len(self._turn):
            partition = self._turn[0]
            self._turn.rotate(-1)
            entry = None
            if (
                self._takes_calls(partition)
                and partition.circuits.outage.lets_through(now.mono)
                and self._in_flight_of[partition.partner] < self._partner_most
            ):
                entry = self._next_of(partition, now)
            if entry is None:
                idle += 1
            else:
                idle = 0
                self._start(partition, entry, now)

    def _ask_for_grants(self, now: Now) -> None:
        """Record the grants that calls wait for; a closed fence lets none be asked for."""
        for partition in self._turn:
            if partition.limiter.wants_grants and self._takes_calls(partition):
                self._out.extend(
                    WriteGrant(partition, grant) for grant in partition.limiter.to_record(now)
                )

    def granted(self, partition: Partition, grant: ToRecord, position: int, now: Now) -> None:
        """Use a grant: it stands in the ledger."""
        if not partition.is_alive:
            return
        partition.image.confirmed(position)
        partition.image.counts(position, grant.asked.counts_until)
        grant.quota.granted(grant.asked)
        partition.scheduler.freed([grant.scope])

    def _parked_kinds(self) -> int:
        return sum(book.kinds_count for part in self._turn for book in part.books.values())

    def _share_threads(self) -> None:
        """Set how many calls one partner may have under way: a slow one leaves some threads."""
        alone = len({partition.partner for partition in self._turn}) <= 1
        threads = self._settings.threads
        self._partner_most = threads if alone else max(1, threads * 3 // 4)

    def _next_of(self, partition: Partition, now: Now) -> Entry | None:
        account_most = max(1, self._settings.threads // 2)
        while True:
            entry = partition.scheduler.next(now, account_most)
            if entry is None or partition.circuits.lets_through(entry.request, now.mono):
                return entry
            self._give_back(partition, entry)
            self._keep_in_line(partition, entry, now)

    def _keep_in_line(self, partition: Partition, entry: Entry, now: Now) -> None:
        """Let all of a refused credential wait where they are: its accounts' others stay in Kafka.

        Held one by one, they would fill the window.
        """
        name = entry.request.credential
        wait = max(partition.circuits.opens_at(entry.request) - now.mono, PROBE_SECONDS)
        partition.limiter.block(Scope("credential", name), wait, now)
        partition.scheduler.put_back(entry)
        if partition.circuits.is_refused(name) and not self._reading.has_room(partition):
            self._make_room(partition, name)

    def _make_room(self, partition: Partition, credential: str) -> None:
        """Let a refused credential's requests leave the window, but for as many as probes need.

        Once for each time that it is found to be refused: those that come after stay in Kafka.
        """
        opened_at = partition.circuits.credential(credential).opened_at
        if partition.made_room_at.get(credential) == opened_at:
            return
        partition.made_room_at[credential] = opened_at
        kept = 0
        for entry in partition.scheduler.take_all():
            if entry.request.credential == credential:
                why = self.controls.refused(entry.request)
                if kept >= self._settings.window_requests // PROBES_PART and leave(
                    partition, entry, why
                ):
                    continue
                kept += 1
            partition.scheduler.add(entry)

    def _start(self, partition: Partition, entry: Entry, now: Now) -> None:
        partition.circuits.started(entry.request)
        self._judge.started(partition, entry)
        entry.state = State.IN_FLIGHT
        if not entry.started_at:
            entry.started_at = now.wall
        if entry.volatile and now.mono - entry.volatile_at > VOLATILE_SECONDS:
            entry.volatile = {}
        if not entry.cursor:
            self._cut(partition, entry, now)
        self.in_flight += 1
        self._in_flight_of[partition.partner] += 1
        partition.busy[entry] = None
        self._out.append(StartCall(entry))

    def not_sent(self, entry: Entry, now: Now) -> None:
        """Take a call back that was not sent in time, or found the fence closed."""
        partition = self._call_over(entry)
        if partition is None:
            return
        partition.circuits.abandoned(entry.request)
        self._give_back(partition, entry)
        self._waits(partition, entry)
        self._ready(partition, entry, now, first=True)

    def left_late(self, entry: Entry, late_seconds: float) -> None:
        """Charge a call to when it left, so much after its grant; `answered` comes later."""
        partition = self._partition_of(entry)
        if partition is not None and entry.grant is not None:
            entry.grant = partition.limiter.left_late(entry.grant, late_seconds)

    def answered(
        self, entry: Entry, verdict: Verdict, body: Content, sent_at: float, now: Now
    ) -> None:
        """Take a judged answer to a call that left at ``sent_at`` (monotonic seconds)."""
        partition = self._call_over(entry)
        if verdict.unsent and partition is not None:
            self._give_back(partition, entry)
        entry.calls += 0 if verdict.unsent else 1
        grant, entry.grant = entry.grant, None
        if partition is None:
            return
        if grant is not None:
            self._settle(partition, entry, grant, verdict, sent_at, now)
        for pace in verdict.paces:
            partition.limiter.block(scope_of(entry, pace.scope), pace.wait_seconds, now)
        entry.is_renewed = verdict.is_renewed
        if verdict.outcome in _GOES_ON:
            self._goes_on(partition, entry, verdict, now)
            return
        if verdict.outcome is not Outcome.OK:
            self._refused(partition, entry, verdict, now)
            return
        if verdict.volatile:
            entry.volatile, entry.volatile_at = verdict.volatile, now.mono
        if verdict.next_cursor is not None and not (body and verdict.is_recorded):
            self._goes_on(partition, entry, verdict, now)
            return
        self._answered_well(partition, entry)
        entry.sent_at = sent_at
        entry.body = body
        self.outlet.storing(now)
        entry.state = State.FINISHING
        if verdict.next_cursor is None:
            self._out.append(Finish(entry, body))
        else:
            entry.following = verdict
            self._out.append(Spool(entry, body))

    def _refused(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        self._waits(partition, entry)
        if entry.is_renewed:
            partition.circuits.abandoned(entry.request)
            self._ready(partition, entry, now, first=True)
            return
        entry.volatile = {}
        if verdict.outcome is Outcome.FAILED:
            entry.start_over()
        try:
            self._judge.refused(partition, entry, verdict, now)
        except DeadError as dead:
            self._dead(partition, entry, dead, now)
        self._wait_on(partition, entry, now)

    def _goes_on(self, partition: Partition, entry: Entry, verdict: Verdict, now: Now) -> None:
        """Take an answer that holds no rows: wait, or write down where to go on, or do it."""
        if verdict.outcome is Outcome.OK and not verdict.is_recorded:
            # A fresh URL proves nothing yet: it is asked for again each time it does not work
            self._heard(partition, entry)
            entry.cursor = dict(verdict.next_cursor or {})
            self._waits(partition, entry)
            self._ready(partition, entry, now, first=True)
            return
        self._answered_well(partition, entry)
        if verdict.outcome is Outcome.PENDING:
            entry.cursor = dict(verdict.next_cursor or {})
            self._waits(partition, entry)
            self._judge.pending(partition, entry, verdict, now)
            self._wait_on(partition, entry, now)
            return
        if verdict.outcome is Outcome.TOO_BIG:
            report, account = entry.request.report, entry.request.account
            partition.part_sizes.refused(report, account, verdict.part_days, now.mono)
        entry.following = verdict
        entry.state = State.ENDING
        self._record(partition, entry, WriteStep(entry, entry.step_of(verdict)), now)

    def _record(self, partition: Partition, entry: Entry, action: WriteStep, now: Now) -> None:
        """Write a step without a file: nothing at the output looks at the fence for it."""
        if self._fence.is_open(now.boot):
            self._out.append(action)
        else:
            self.outlet.fenced(Kept(partition, entry, action), now)

    @staticmethod
    def _cut(partition: Partition, entry: Entry, now: Now) -> None:
        """Ask from the start for no more at once than what worked for the account before."""
        request = entry.request
        days = partition.part_sizes.of(request.report, request.account, now.mono)
        parts = None if days is None else cut(request.first_day, request.last_day, days)
        if parts is not None:
            entry.cursor = {"parts": str(parts)}

    def _answered_well(self, partition: Partition, entry: Entry) -> None:
        entry.attempts = 0
        # An answer that did not parse before, or a report that failed, proves nothing yet
        if not entry.unexpected and not entry.restarts:
            entry.holds = entry.proofs = 0
            entry.first_failed_at = entry.failing_since = None
        self._heard(partition, entry)

    def _heard(self, partition: Partition, entry: Entry) -> None:
        entry.told_to_wait = 0
        for scope in entry.scopes:
            partition.throttled_times.pop(scope, None)
        if partition.circuits.answered(entry.request):
            self._outage_over(partition.partner)

    def _proved(self, partition: Partition, entry: Entry, now: Now) -> None:
        """Take note that answers became files: what others are refused for is their own."""
        if partition.circuits.succeeded(entry.request, entry.sent_at):
            self._outage_over(partition.partner)
        for held in list(partition.held):
            if self._judge.is_alone(partition, held):
                del partition.held[held]
                partition.scheduler.add_later(held, State.HELD, now.mono)

    def _outage_over(self, partner: str) -> None:
        for partition in self._turn:
            if partition.partner == partner:
                for entry in partition.entries.values():
                    entry.attempts = 0

    # --- files and records -----------------------------------------------------------------

    def spooled(self, entry: Entry, file: str, size: int, checksum: str, now: Now) -> None:
        """Take note that an answer is durable; its step record goes into the ledger."""
        self.outlet.over(now)
        self.outlet.stored(entry.request.partner)
        if self._partition_of(entry) is None or entry.following is None:
            return
        entry.body = b""
        entry.state = State.ENDING
        step = entry.step_of(entry.following, file, size, checksum)
        self._out.append(WriteStep(entry, step))

    def step_confirmed(self, entry: Entry, step: Step, position: int, now: Now) -> None:
        """Go on with the next call: the last answer and where to go on are in the ledger."""
        partition = self._partition_of(entry)
        if partition is None:
            return
        partition.image.confirmed(position)
        book = partition.books[entry.message.topic]
        partition.image.need(position, book, entry.message.offset)
        entry.steps.append(step)
        entry.cursor = dict(step.cursor)
        entry.picked.update(step.picked)
        following, entry.following = entry.following, None
        self._waits(partition, entry)
        if following is not None and following.outcome is Outcome.OK and following.wait_seconds:
            self._judge.pending(partition, entry, following, now)
            self._wait_on(partition, entry, now)
        else:
            self._ready(partition, entry, now, first=True)

    def published(
        self, entry: Entry, files: tuple[PublishedFile, ...], newer_run: str, now: Now
    ) -> None:
        """Take note that a request's files stand; ``newer_run``: all of them were newer ones."""
        self.outlet.over(now)
        self.outlet.stored(entry.request.partner)
        partition = self._partition_of(entry)
        if partition is None:
            return
        entry.body = b""
        self._proved(partition, entry, now)
        if files or not newer_run:
            self._endings.end(partition, entry, "result", now, files=files)
        else:
            self._endings.end(partition, entry, "superseded", now, reason=f"by {newer_run}")

    def unparsable(self, entry: Entry, misfit: Misfit, now: Now) -> None:
        """Take note that the answers do not parse or break the declared columns."""
        self.outlet.over(now)
        self.outlet.stored(entry.request.partner)
        partition = self._partition_of(entry)
        if partition is None:
            return
        entry.sample = misfit.sample
        entry.answer = misfit.answer
        entry.body = b""
        entry.start_over()
        self._waits(partition, entry)
        try:
            self._judge.unexpected(partition, entry, misfit.reason, now)
        except DeadError as dead:
            self._dead(partition, entry, dead, now)
        self._wait_on(partition, entry, now)

    def not_stored(self, entry: Entry, action: Action, reason: str, now: Now) -> None:
        """Keep what the output did not take, or did not show; its partner starts nothing."""
        if not isinstance(action, LookAt):
            self.outlet.over(now)
        partition = self._partition_of(entry)
        if partition is not None:  # else its owner now will see: nobody here tries it again
            self.outlet.refused(Kept(partition, entry, action), reason, now)

    def fenced(self, entry: Entry, action: Action, now: Now) -> None:
        """Keep an answer that met a closed fence; it is published if the fence opens again."""
        if not isinstance(action, LookAt):
            self.outlet.over(now)
        partition = self._partition_of(entry)
        if partition is not None:
            self.outlet.fenced(Kept(partition, entry, action), now)

    def _do_again(self, now: Now) -> None:
        for partition, entry, action in self.outlet.due(now):
            if isinstance(action, WriteStep):
                self._record(partition, entry, action, now)
                continue
            if not isinstance(action, LookAt):
                self.outlet.storing(now)
            self._out.append(action)

    def end_confirmed(self, entry: Entry, end: End, position: int, now: Now) -> None:
        """Close what has ended: its end stands in the ledger."""
        partition = self._partition_of(entry)
        if partition is None:
            return
        known = KnownEnd.of(end, position)
        partition.image.ended(entry.identity, known)
        if end.state == "dead":
            self._endings.write_dead(partition, entry, end, position)
        else:
            self._endings.close_entry(partition, entry, known)

    def dead_confirmed(self, entry: Entry) -> None:
        """Close a dead letter: end and copy both stand."""
        partition = self._partition_of(entry)
        if partition is None:
            return
        known = partition.image.end_of(entry.identity)
        if known is not None:
            partition.image.copied(entry.identity)
            self._endings.close_entry(partition, entry, known)

    def committed(self, results: Iterable[tuple[str, int, str | None]]) -> None:
        """Take the broker's answer to the last commit: (topic, partition, error or None)."""
        for partition in self._commits.answered(self._by_topic, results):
            self._endings.sweep(partition)

    # --- inside ----------------------------------------------------------------------------

    def _partition_of(self, entry: Entry) -> Partition | None:
        if not entry.alive():
            return None
        return self._by_topic.get(entry.message.part)

    def _call_over(self, entry: Entry) -> Partition | None:
        self.in_flight -= 1
        self._in_flight_of[entry.request.partner] -= 1
        partition = self._partition_of(entry)
        if partition is None:  # it was lost meanwhile: a probe that nobody hears of is over, too
            self._circuits[entry.request.partner].abandoned(entry.request)
        elif not entry.strikes:  # suspects are none of the scheduler's
            partition.scheduler.call_over(entry)
        return partition

    def _give_back(self, partition: Partition, entry: Entry) -> None:
        if entry.grant is not None:
            partition.limiter.give_back(entry.grant)
            entry.grant = None
            partition.scheduler.freed(entry.scopes)

    @staticmethod
    def _settle(
        partition: Partition,
        entry: Entry,
        grant: Grant,
        verdict: Verdict,
        sent_at: float,
        now: Now,
    ) -> None:
        """Correct what a call was charged, now that it is over."""
        is_error = verdict.is_server_error
        partition.limiter.answered(grant, sent_at=sent_at, is_error=is_error, costs=verdict.costs)
        partition.limiter.learn(grant, _WENT.get(verdict.outcome, "failed"), now)
        if partition.limiter.frees_at_end:
            partition.scheduler.freed(entry.scopes)

    def _ready(self, partition: Partition, entry: Entry, now: Now, *, first: bool = False) -> None:
        if self._restraint.keeps(partition, entry, now):
            return
        if entry.strikes:
            entry.state = State.READY
            self._suspects.add(partition, entry)
        else:
            partition.scheduler.add(entry, first=first)

    def _wake(self, partition: Partition, entry: Entry, now: Now) -> None:
        partition.held.pop(entry, None)
        if entry.state is not State.SCHEDULED:
            first = entry.state in (State.LIMIT, State.PENDING)
            self._ready(partition, entry, now, first=first)
        elif (entry.request.not_before or 0.0) > now.wall:
            self._intake.schedule(partition, entry, now)
        else:
            entry.state = State.LOOKING
            partition.looking[entry.request.account] += 1
            self._out.append(LookAt(entry))

    def _wait_on(self, partition: Partition, entry: Entry, now: Now) -> None:
        """Take note of what waits from here on: others' successes wake what is held."""
        if entry.state is State.HELD:
            partition.held[entry] = None
        self._restraint.settle(partition, entry, now)

    def _waits(self, partition: Partition, entry: Entry) -> None:
        partition.busy.pop(entry, None)
        self._suspects.over(entry)
        self._out.append(Release(entry.request.id))

    def _dead(self, partition: Partition, entry: Entry, dead: DeadError, now: Now) -> None:
        self._endings.end(partition, entry, "dead", now, reason=f"{dead.error}: {dead.reason}")
