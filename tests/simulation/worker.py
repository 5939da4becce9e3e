"""A worker process around the real engine: its hands are simulated, its decisions are not."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

from reportd.broker.commits import SentCommits
from reportd.broker.keys import partition_of
from reportd.errors import FencedError, OutputError
from reportd.limits.limiter import Now
from reportd.model.content import whole
from reportd.model.ledger import answers_of, parse_ledger_record
from reportd.partners.verdict import Outcome, Verdict
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from reportd.worker.actions import (
    Action,
    Commit,
    Finish,
    Forward,
    LookAt,
    Pause,
    Read,
    Release,
    Restore,
    Spool,
    StartCall,
    Sweep,
    WriteDead,
    WriteEnd,
    WriteGrant,
    WriteStep,
)
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.fence import Fence
from reportd.worker.ledger import LedgerImage
from reportd.worker.loop import IDLE_WAIT_SECONDS
from reportd.worker.partition import Looked, Misfit, RestoredTopic, parse_metadata
from reportd.worker.settings import EngineSettings
from tests.simulation.broker import Broker, Key, Part
from tests.simulation.partner import Partner, SimRules
from tests.simulation.store import Crash, MemoryStore
from tests.simulation.world import World

HEARTBEAT_SECONDS = 0.5
DRAIN_SECONDS = 5.0
FETCH = 20
BUSY_FETCH_SECONDS = 0.02
IDLE_FETCH_SECONDS = 0.3
CONTROL: Part = ("control", 0)
TEMPLATE = PathTemplate("{partner}/{report}/date={date}/{account}.{ext}")


class Worker:
    """One member id: its processes come and go, its name stays."""

    def __init__(
        self,
        name: str,
        world: World,
        broker: Broker,
        store: MemoryStore,
        partners: Mapping[str, Partner],
        settings: EngineSettings,
        crash_share: float,
        log: list[str],
    ) -> None:
        """Do nothing before `start`."""
        self.name = name
        self._world = world
        self._broker = broker
        self._store = store
        self._partners = partners
        self._settings = settings
        self.crash_share = crash_share
        self._log = log
        self.strikes: dict[str, int] = {}
        self.thawed: list[float] = []
        """When it went on after a stop."""
        self.clocks: list[tuple[float, float]] = [(0.0, 0.0)]
        """By how much its wall clock was ahead, since when."""
        self.turns = Counter[int]()
        """How often its loop turned, by virtual second."""
        self.process: Process | None = None
        self.is_reloaded = False
        """Whether its processes start with the configuration of after the reload."""
        self.on_crash: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Fork a process."""
        self.process = Process(self, self._world, self._broker, self._store, self._partners)
        self._log.append(f"{self._world.time:9.3f} {self.name} starts")
        self.clocks.append((self._world.time, 0.0))
        self.process.join()

    def crash(self, why: str) -> None:
        """Kill the process; what it had in hand gets a strike."""
        process = self.process
        if process is None:
            return
        self._log.append(f"{self._world.time:9.3f} {self.name} dies: {why}")
        process.is_alive = False
        for request in process.in_hand:
            self.strikes[request] = self.strikes.get(request, 0) + 1
        self.process = None
        self._broker.silent(self.name, process)
        self.on_crash()

    def freeze(self, seconds: float) -> None:
        """Stop the process for a while (SIGSTOP), then let it go on."""
        process = self.process
        if process is None or process.is_frozen:
            return
        self._log.append(f"{self._world.time:9.3f} {self.name} freezes for {seconds:.1f} s")
        process.is_frozen = True
        self._broker.silent(self.name, process)
        self._world.plan(seconds, process.thaw)

    def set_clock(self, seconds: float) -> None:
        """Set the wall clock of the VM so far ahead; a restart sets it right."""
        if self.process is not None:
            self._log.append(f"{self._world.time:9.3f} {self.name} is {seconds:.1f} s ahead")
            self.process.clock_ahead_seconds = seconds
            self.clocks.append((self._world.time, seconds))

    def ahead_seconds(self, at: float) -> float:
        """Return by how much its wall clock was ahead then."""
        return next(ahead for since, ahead in reversed(self.clocks) if since <= at)

    @property
    def settings(self) -> EngineSettings:
        """The numbers its engines run with."""
        return self._settings


@dataclass(eq=False)
class Drain:
    """Partitions that are being given away; a second rebalance may begin before it is over."""

    keys: list[Key]
    done: Callable[[], None]
    deadline: float


class Process:
    """One life of a worker."""

    def __init__(
        self,
        worker: Worker,
        world: World,
        broker: Broker,
        store: MemoryStore,
        partners: Mapping[str, Partner],
    ) -> None:
        """Make an engine that knows nothing but its strikes."""
        self._worker = worker
        self._world = world
        self._broker = broker
        self._store = store
        self._partners = partners
        self.is_alive = True
        self.is_frozen = False
        self.in_hand: set[str] = set()
        self._deferred: deque[Callable[[], None]] = deque()
        self._commits = SentCommits()
        self._fence = Fence(broker.session_seconds, HEARTBEAT_SECONDS)
        self.engine = Engine(
            rules={name: self._rules_of(partner) for name, partner in partners.items()},
            settings=worker.settings,
            fence=self._fence,
            random=world.random,
            strikes=dict(worker.strikes),
        )
        self._publisher = Publisher(store, TEMPLATE)
        self._readers: dict[Part, int] = {}
        self._numbers: dict[Part, int] = {}
        self._reader_number = 0
        self._owned: set[Key] = set()
        self._wake_at = float("inf")
        self._wake_number = 0
        self._heard_at = 0.0
        self._sends_at = 0.0
        self._jobs: deque[Finish | Spool | Sweep] = deque()
        self._is_storing = False
        self._unconfirmed = Counter[Part]()
        self._settles_at: defaultdict[Part, float] = defaultdict(float)
        self._drains: list[Drain] = []
        self.clock_ahead_seconds = 0.0
        """By how much its wall clock was set since it started."""

    def _rules_of(self, partner: Partner) -> SimRules:
        if partner.later is None or not self._worker.is_reloaded:
            return SimRules(partner.plan)
        is_over = self._world.time >= partner.settled_at
        return SimRules(partner.later, None if is_over else partner.plan)

    # --- life ------------------------------------------------------------------------------

    @property
    def responds(self) -> bool:
        """Whether the coordinator hears from it."""
        return self.is_alive and not self.is_frozen

    def join(self) -> None:
        """Become a member; the group's answer takes a moment."""
        self._after(self._delay(), lambda: self._broker.join(self._worker.name, self))

    def thaw(self) -> None:
        """Go on after a stop: first with what had piled up, then with what the group says."""
        if not self.is_alive:
            return
        self.is_frozen = False
        self._worker.thawed.append(self._world.time)
        while self._deferred and self.responds:
            self._happen(self._deferred.popleft())
        if self.responds and not self._broker.is_member(self._worker.name, self):
            # it learns so by the answer to its next heartbeat
            heard = self._world.random.uniform(0.001, HEARTBEAT_SECONDS)
            self._after(heard, self._lost_and_rejoin)

    def _lost_and_rejoin(self) -> None:
        self.lost()
        self._broker.join(self._worker.name, self)

    def assigned(self, keys: list[Key]) -> None:
        """Take partitions from the group."""

        def take() -> None:
            for partner, index in keys:
                self._owned.add((partner, index))
                self.engine.assigned(partner, index)

        self._from_group(take)

    def revoke(self, keys: list[Key], done: Callable[[], None]) -> None:
        """Drain, commit and drop partitions, as `Loop.on_revoke` does."""

        def begin() -> None:
            self.engine.revoking(keys)
            drain = Drain(keys, done, self._world.time + DRAIN_SECONDS)
            self._drains.append(drain)
            self._check_drained(drain)

        self._from_group(begin)

    def _from_group(self, do: Callable[[], None]) -> None:
        """Hear from the coordinator, in the order in which it speaks."""
        self._heard_at = max(self._heard_at, self._world.time + self._delay())
        self._after(self._heard_at - self._world.time, do)

    def lost(self) -> None:
        """Drop everything at once."""
        self._fence.close()
        self.engine.drop(sorted(self._owned))
        self._owned.clear()
        self._readers.clear()
        self._drains.clear()

    def _check_drained(self, drain: Drain) -> None:
        if drain not in self._drains:
            return
        keys = drain.keys
        partitions = [p for p in self.engine.partitions() if (p.partner, p.index) in keys]
        if not self.engine.is_drained(partitions) and self._world.time < drain.deadline:
            self._after(0.05, lambda: self._check_drained(drain))
            return
        self._drains.remove(drain)
        commit = self.engine.offsets_of(partitions)
        self._broker.commit(self._worker.name, self, commit.offsets)
        self.engine.drop(keys)
        self._owned.difference_update(keys)
        for partner, index in keys:
            for kind in ("requests", "backfill"):
                self._readers.pop((f"{kind}.{partner}", index), None)
        self._world.plan(self._delay(), drain.done)

    # --- time ------------------------------------------------------------------------------

    def _now(self) -> Now:
        now = self._world.now()
        return now._replace(wall=now.wall + self.clock_ahead_seconds)

    def _delay(self) -> float:
        return self._world.random.uniform(0.001, 0.02)

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        """Plan something in this process: dropped if it is dead then, deferred if stopped."""

        def fire() -> None:
            if not self.is_alive:
                return
            if self.is_frozen:
                self._deferred.append(do)
            else:
                self._happen(do)

        self._world.plan(seconds, fire)

    def _happen(self, do: Callable[[], None]) -> None:
        try:
            self._store.before_each = self._maybe_crash
            do()
            self._pump()
        except Crash as crash:
            self._worker.crash(f"at {crash}")
        finally:
            self._store.before_each = lambda _operation: None

    def _maybe_crash(self, where: str) -> None:
        if self._world.random.random() < self._worker.crash_share:
            raise Crash(where)

    def _pump(self) -> None:
        self._worker.turns[int(self._world.time)] += 1
        self.engine.step(self._now())
        while actions := self.engine.take_actions():
            for action in actions:
                self._maybe_crash(type(action).__name__)
                self._do(action)
        wake = max(self.engine.next_wake(self._now()), self._world.time + 0.001)
        wake = min(wake, self._world.time + IDLE_WAIT_SECONDS)
        if not self._world.time < self._wake_at <= wake:
            self._wake_at = wake
            self._wake_number += 1
            number = self._wake_number
            self._after(wake - self._world.time, lambda: self._woken(number))

    def _woken(self, number: int) -> None:
        if number == self._wake_number:
            self._wake_at = float("inf")

    # --- hands -----------------------------------------------------------------------------

    def _do(self, action: Action) -> None:
        match action:
            case StartCall(entry):
                self.in_hand.add(entry.request.id)
                self._after(self._delay(), lambda: self._call(entry))
            case LookAt():
                self._after(self._delay(), lambda: self._look(action))
            case Finish() | Spool() | Sweep():
                self._jobs.append(action)
                self._next_job()
            case WriteEnd(entry, end):
                self._produce(
                    self._ledger_of(entry),
                    entry.message.key,
                    end.to_json(),
                    lambda at: self.engine.end_confirmed(entry, end, at, self._now()),
                )
            case WriteStep(entry, step):
                self._produce(
                    self._ledger_of(entry),
                    entry.message.key,
                    step.to_json(),
                    lambda at: self.engine.step_confirmed(entry, step, at, self._now()),
                )
            case WriteGrant(partition, grant):
                self._produce(
                    (f"ledger.{partition.partner}", partition.index),
                    None,
                    grant.record.to_json(),
                    lambda at: self.engine.granted(partition, grant, at, self._now()),
                )
            case WriteDead(entry, headers):
                self._produce(
                    ("dead", 0),
                    entry.message.key,
                    entry.message.value,
                    lambda _at: self.engine.dead_confirmed(entry),
                    tuple(headers.items()),
                )
            case Forward():
                self._forward(action)
            case Release(request_id):
                self.in_hand.discard(request_id)
            case _:
                self._do_with_group(action)

    def _do_with_group(self, action: Action) -> None:
        match action:
            case Restore(partner, index):
                self._after(self._delay() * 3, lambda: self._restore(partner, index))
            case Read(at, offset):
                self._readers[at] = offset
                self._reader_number += 1
                self._numbers[at] = number = self._reader_number
                self._after(self._delay(), lambda: self._fetch(at, number))
            case Pause(at):
                self._readers.pop(at, None)
            case Commit(offsets):
                self._commit(offsets)

    def _call(self, entry: Entry) -> None:
        now = self._now()
        late = now.mono - entry.granted_at > self._worker.settings.grant_seconds
        if late or not entry.alive() or not self._fence.is_open(now.boot):
            self.engine.not_sent(entry, now)
            return
        partner = self._partners[entry.request.partner]
        sent_at = now.mono
        if not partner.has_token():
            verdict = Verdict(
                outcome=Outcome.THROTTLED, wait_seconds=0.25, scope="credential", unsent=True
            )
            self.engine.answered(entry, verdict, b"", sent_at, now)
            return
        answer = partner.begin(entry, self._worker.name, sent_at)

        latency_seconds = partner.latency_seconds()
        partner.under_way(entry.request, sent_at, latency_seconds)

        def arrive() -> None:
            verdict, body = answer()
            self._after(
                latency_seconds,
                lambda: self.engine.answered(entry, verdict, body, sent_at, self._now()),
            )

        self._world.plan(self._delay() / 4, arrive)

    def _guard(self, entry: Entry) -> Callable[[], None]:
        def guard() -> None:
            if not entry.alive() or not self._fence.is_open(self._now().boot):
                raise FencedError("closed")

        return guard

    def _look(self, action: LookAt) -> None:
        entry, request = action.entry, action.entry.request
        try:
            found = self._publisher.look(
                request, self._publisher.targets(request), self._guard(entry), replay=entry.replay
            )
        except OutputError as error:
            self.engine.not_stored(entry, action, str(error), self._now())
            return
        except FencedError:
            self.engine.fenced(entry, action, self._now())
            return
        files = [step.file for step in entry.steps if step.file]
        looked = Looked(spool_fits=all(file in self._store.spooled for file in files))
        if found.kind == "mine":
            looked = Looked(files=found.published.files)
        elif found.kind == "newer":
            looked = Looked(newer_run=found.published.run)
        self.engine.looked(entry, looked, self._now())

    def _next_job(self) -> None:
        if self._jobs and not self._is_storing:
            self._is_storing = True
            job = self._jobs.popleft()
            self._after(self._delay() / 2, lambda: self._store_job(job))

    def _store_job(self, job: Finish | Spool | Sweep) -> None:
        self._is_storing = False
        if not isinstance(job, Sweep):
            self._store_entry(job, job.entry)
        self._next_job()

    def _store_entry(self, job: Finish | Spool, entry: Entry) -> None:
        now = self._now()
        try:
            if isinstance(job, Spool):
                self._guard(entry)()
                file = f"{entry.request.id}-{entry.replay}.{entry.generation}.{len(entry.steps)}"
                self._store.spool(file, whole(job.body))
                self.engine.spooled(entry, file, len(job.body), "-", now)
                return
            self._publish(job, entry)
        except FencedError:
            self.engine.fenced(entry, job, now)
        except OutputError as error:
            self.engine.not_stored(entry, job, str(error), now)

    def _publish(self, job: Finish, entry: Entry) -> None:
        now, request = self._now(), entry.request
        partner = self._partners[request.partner]
        if request.account in partner.plan.killers:
            raise Crash("parsing a killer")
        bodies = [self._store.spooled[step.file] for step in answers_of(entry.steps)]
        tables = partner.tables(request, [whole(body) for body in (*bodies, job.body) if body])
        if tables is None:
            self.engine.unparsable(entry, Misfit("not data"), now)
            return
        published = self._publisher.publish(
            request,
            self._publisher.targets(request),
            tables,
            self._guard(entry),
            replay=entry.replay,
        )
        newer = published.run if published.all_superseded else ""
        self.engine.published(entry, published.files, newer, now)

    # --- the broker ------------------------------------------------------------------------

    def _ledger_of(self, entry: Entry) -> Part:
        return f"ledger.{entry.request.partner}", entry.message.partition

    def _produce(
        self,
        part: Part,
        key: bytes | None,
        value: bytes,
        done: Callable[[int], None],
        headers: Any = (),
    ) -> None:
        def stand() -> None:
            offset = self._broker.append(part, key, value, headers)
            whose = part[0].partition(".")[2], part[1]
            if not self._broker.owns(self._worker.name, self, whose):
                self._broker.late.add((part, offset))
            # One producer's records of a partition are confirmed in their order
            settles_at = max(self._settles_at[part] + 1e-6, self._world.time + self._delay())
            self._settles_at[part] = settles_at
            self._after(settles_at - self._world.time, lambda: settled(offset))

        def settled(offset: int) -> None:
            self._unconfirmed[part] -= 1
            done(offset)

        self._unconfirmed[part] += 1
        # in the client's queue it dies with the process; on the wire it does not
        slow = self._world.random.random() < 0.1
        queued = self._world.random.uniform(0.1, 2.0) if slow else self._delay()
        self._sends_at = max(self._sends_at, self._world.time + queued)
        self._after(
            self._sends_at - self._world.time, lambda: self._world.plan(self._delay() / 4, stand)
        )

    def _forward(self, action: Forward) -> None:
        message = action.message
        partner = message.topic.partition(".")[2]
        index = partition_of(action.key.encode(), self._partners[partner].plan.partitions)
        self._produce(
            (message.topic, index),
            action.key.encode(),
            message.value,
            lambda _at: self.engine.forwarded(message),
            (("forwards", str(action.times).encode()),),
        )

    def _commit(self, offsets: Mapping[Part, tuple[int, str]]) -> None:
        sent = dict(offsets)
        parts = [TopicPartition(*part, offset) for part, (offset, _) in sent.items()]
        self._commits.sent(parts)

        def answered(results: list[tuple[str, int, str | None]]) -> None:
            if self._commits.answered(parts):
                self.engine.committed(results)

        def arrive() -> None:
            results = self._broker.commit(self._worker.name, self, sent)
            self._after(self._delay(), lambda: answered(results))

        self._world.plan(self._delay(), arrive)

    def _restore(self, partner: str, index: int) -> None:
        if self._unconfirmed[f"ledger.{partner}", index]:  # of an earlier life of the partition
            self._after(0.05, lambda: self._restore(partner, index))
            return
        topics, firsts = [], []
        for kind in ("requests", "backfill"):
            topic = f"{kind}.{partner}"
            commit = self._broker.commits.get((topic, index))
            start = commit[0] if commit is not None else 0
            topics.append(RestoredTopic(topic, start, len(self._broker.log((topic, index)))))
            needed = parse_metadata(commit[1])[0] if commit is not None else None
            firsts.append(needed if needed is not None else 0)
        image = LedgerImage()
        log = self._broker.log((f"ledger.{partner}", index))
        for message in log[min(firsts) :]:
            if message is not None:
                image.apply(message.offset, parse_ledger_record(message.value))
        image.next_position = len(log)
        controls = self._broker.log(CONTROL)
        told = [message for message in controls if message is not None]
        self.engine.controlled(CONTROL, told, len(controls), self._world.now())
        self.engine.restored(
            partner,
            index,
            topics=topics,
            image=image,
            partition_count=self._partners[partner].plan.partitions,
            now=self._now(),
        )

    def _await(self, at: Part, number: int, seconds: float) -> None:
        """Read on in a while; where nothing is to be read by then, the loop does not turn."""

        def glance() -> None:
            position = self._readers.get(at)
            if not self.is_alive or position is None or self._numbers[at] != number:
                return
            if position == len(self._broker.log(at)):
                self._await(at, number, IDLE_FETCH_SECONDS)
            else:
                self._after(0.0, lambda: self._fetch(at, number))

        self._world.plan(seconds, glance)

    def _fetch(self, at: Part, number: int) -> None:
        position = self._readers.get(at)
        if position is None or self._numbers[at] != number:
            return
        log = self._broker.log(at)
        taken = 0
        while taken < FETCH and self._readers.get(at) == position and position < len(log):
            message = log[position]
            position += 1
            self._readers[at] = position
            taken += 1
            if message is not None:
                self.engine.message(message, self._now())
        self._await(at, number, BUSY_FETCH_SECONDS)
