"""What becomes of a message: ended already, forwarded, poison, parked, or an open request.

Used by the engine in the worker's loop. Pure.
"""

from collections import deque
from dataclasses import replace

from reportd.broker.keys import partition_of
from reportd.broker.message import Message
from reportd.errors import InvalidMessageError
from reportd.limits.limiter import Now
from reportd.model.ledger import POISONED
from reportd.model.request import Request
from reportd.model.run import order_of
from reportd.worker.actions import Action, Forward, LookAt
from reportd.worker.controls import Controls
from reportd.worker.endings import Endings
from reportd.worker.entry import Entry, State
from reportd.worker.ledger import POISON
from reportd.worker.partition import Partition
from reportd.worker.reading import Reading
from reportd.worker.scheduler import RECHECK_SECONDS
from reportd.worker.suspects import STRIKES_MOST, Suspects

DAY_SECONDS = 86_400.0
RUN_AHEAD_SECONDS = 7 * DAY_SECONDS
WAIT_MOST_SECONDS = 400 * DAY_SECONDS

FORWARDS_MOST = 3
"""A message forwarded so often stays where it is: the partition count must be changing."""


class Intake:
    """Takes messages, whatever they hold; everything in a topic is hostile."""

    def __init__(
        self,
        out: deque[Action],
        reading: Reading,
        suspects: Suspects,
        endings: Endings,
        controls: Controls,
    ) -> None:
        """Share the engine's outbox and parts."""
        self._out = out
        self._reading = reading
        self._suspects = suspects
        self._endings = endings
        self._controls = controls

    def take(self, partition: Partition, message: Message, partition_count: int, now: Now) -> None:
        """Take one message that the partition's book has not seen, or had parked."""
        replay = _replay_of(message)
        try:
            request = Request.from_json(message.value)
            if request.partner != partition.partner:
                raise InvalidMessageError("partner: not the one of this topic")
        except InvalidMessageError as error:
            self._poison(partition, message, None, str(error), now)
            return
        try:
            partition.rules.check(request)
            _check_times(request, message.timestamp)
        except InvalidMessageError as error:
            self._poison(partition, message, request, str(error), now)
            return
        key = partition.rules.key_of(request)
        times = _forwards_of(message)
        is_elsewhere = partition_of(key.encode(), partition_count) != partition.index
        if is_elsewhere and times < FORWARDS_MOST:
            partition.books[message.topic].unpark(message.offset)
            self._out.append(Forward(message, key, times + 1))
            return
        self._admit(partition, message, request, replay, now)

    def _admit(
        self, partition: Partition, message: Message, request: Request, replay: int, now: Now
    ) -> None:
        book = partition.books[message.topic]
        identity = (request.id, replay)
        known = partition.image.end_of(identity)
        if known is not None:
            book.unpark(message.offset)
            if known.state == "result":
                partition.circuits.evidence(request).had_succeeded(request.account)
            same = (known.topic, known.offset) == (message.topic, message.offset)
            if known.dead is not None and same:
                entry = self._entry(partition, message, request, replay)
                entry.state = State.ENDING
                self._endings.write_dead(partition, entry, known.dead, known.position)
            else:
                self._endings.close(partition, message, known)
            return
        twin = partition.entries.get(identity)
        if twin is not None:
            if twin.message.offset != message.offset or twin.message.topic != message.topic:
                book.unpark(message.offset)
                twin.copies.append(replace(message, key=None, value=b"", headers=()))
            return
        is_cancelled = self._controls.cancels(request, replay, message.timestamp) is not None
        if not is_cancelled:
            why = self._controls.pauses(request) or self._reading.waits(partition, request, now)
            if why is not None:
                book.park(message.offset, why)
                return
        if not self._reading.admits(partition, request.account):
            book.park(message.offset, request.account)
            return
        book.unpark(message.offset)
        entry = self._entry(partition, message, request, replay)
        if entry.strikes >= STRIKES_MOST:
            reason = f"{entry.strikes} workers died with it in hand"
            self._endings.end(partition, entry, "dead", now, reason=f"crash: {reason}")
            return
        entry.steps = [step for _, step in partition.image.steps_of(identity)]
        entry.generation = partition.image.attempt_of(identity)
        early = request.not_before is not None and request.not_before > now.wall
        if early and not is_cancelled:
            self.schedule(partition, entry, now)
        else:
            partition.looking[request.account] += 1
            self._out.append(LookAt(entry))

    def _entry(
        self, partition: Partition, message: Message, request: Request, replay: int
    ) -> Entry:
        entry = Entry(
            message=message,
            request=request,
            replay=replay,
            alive=partition.alive,
            scopes=self._controls.scopes_of(request, partition.rules.scopes_of(request)),
            strikes=self._suspects.strikes_of(request.id),
        )
        partition.entries[entry.identity] = entry
        partition.window_bytes += len(message.value)
        return entry

    def give_up(self, partition: Partition, message: Message, now: Now) -> None:
        """End a message that lies in the wrong partition and cannot be sent to the right one."""
        reason = "key: of another partition, and too large to be sent there"
        self._poison(partition, message, Request.from_json(message.value), reason, now)

    def _poison(
        self,
        partition: Partition,
        message: Message,
        refused: Request | None,
        reason: str,
        now: Now,
    ) -> None:
        """End what cannot be worked on, under the name of its place.

        A later message with the id of what was ``refused`` may be right. But its run waits for it.
        """
        replay = _replay_of(message)
        place = f"{message.topic}-{message.partition}-{message.offset}"
        identity = (f"{POISON}{place}", replay)
        known = partition.image.end_of(identity)
        if identity in partition.entries:
            return
        partition.books[message.topic].unpark(message.offset)
        request = (
            Request.unreadable(identity[0], partition.partner)
            if refused is None
            else refused.model_copy(update={"id": identity[0]})
        )
        entry = self._entry(partition, message, request, replay)
        if known is not None and known.dead is not None:
            entry.state = State.ENDING
            self._endings.write_dead(partition, entry, known.dead, known.position)
        else:
            self._endings.end(
                partition,
                entry,
                "dead",
                now,
                reason=f"{POISONED}: {reason}",
                stands_for=None if refused is None else refused.id,
            )

    def schedule(self, partition: Partition, entry: Entry, now: Now) -> None:
        """Let a request wait until its days are over; the wall clock decides."""
        wait = min((entry.request.not_before or 0.0) - now.wall, RECHECK_SECONDS)
        partition.scheduler.add_later(entry, State.SCHEDULED, now.mono + max(wait, 0.0))


def _check_times(request: Request, written_at: float) -> None:
    """Refuse what would be newer than every other run, or stay open, for ever.

    Judged by when the broker took the message (epoch seconds; 0.0: unknown), not by this VM's
    clock, which may be wrong. Raises `InvalidMessageError`.
    """
    if not written_at:
        return
    if order_of(request.run).slot > written_at + RUN_AHEAD_SECONDS:
        raise InvalidMessageError("run: its slot was more than 7 days ahead")
    if (request.not_before or 0.0) > written_at + WAIT_MOST_SECONDS:
        raise InvalidMessageError("not_before: more than 400 days ahead")


def _replay_of(message: Message) -> int:
    value = message.header("replay") if message.headers else None
    return int(value) if value is not None and value.isdigit() and len(value) < 7 else 0


def _forwards_of(message: Message) -> int:
    """Return how often; what is no number says that somebody else wrote it: it stays here."""
    value = message.header("forwards") if message.headers else None
    if value is None:
        return 0
    return int(value) if value.isdigit() and len(value) < 4 else FORWARDS_MOST
