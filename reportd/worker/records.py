"""Produces what the engine wants written, and tells it when it stands. Used by the loop."""

import functools
import logging
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from reportd.broker.errors import RecordTooLargeError
from reportd.broker.letters import CUT
from reportd.broker.message import Message
from reportd.broker.producer import Producer
from reportd.broker.topics import Topics
from reportd.errors import BrokerError
from reportd.limits.limiter import Now
from reportd.model.ledger import End, Step
from reportd.worker.actions import Forward, WriteDead, WriteEnd, WriteGrant, WriteStep
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.events import Events

DEAD_CUT_BYTES = 64 * 1024
"""So much of a message that is too large to be copied stands in its dead letter."""

logger = logging.getLogger(__name__)

Record = WriteEnd | WriteStep | WriteGrant | WriteDead | Forward
Done = int | BrokerError


class RecordTally(Protocol):
    """Who counts what has been written."""

    def ended(self, entry: Entry, end: End) -> None:
        """Count a confirmed end."""
        ...

    def forwarded(self, partner: str) -> None:
        """Count a forwarded message."""
        ...


class Records:
    """One producer's records; their confirmations come as events, in the loop's thread."""

    def __init__(
        self,
        *,
        producer: Producer,
        topics: Topics,
        engine: Engine,
        events: Events,
        tally: RecordTally,
    ) -> None:
        """Take the worker's one producer."""
        self._producer = producer
        self._topics = topics
        self._engine = engine
        self._events = events
        self._tally = tally
        self._unconfirmed: Counter[tuple[str, int]] = Counter()

    def write(self, record: Record) -> None:
        """Produce one record."""
        match record:
            case WriteEnd(entry, end):
                done = functools.partial(self._end_confirmed, entry, end)
                self._of_entry(entry, end.to_json(), done)
            case WriteStep(entry, step):
                done = functools.partial(self._step_confirmed, entry, step)
                self._of_entry(entry, step.to_json(), done)
            case WriteGrant(partition, grant):
                done = functools.partial(self._engine.granted, partition, grant)
                part = partition.partner, partition.index
                self._to_ledger(part, None, grant.record.to_json(), done)
            case WriteDead():
                self._to_dead(record)
            case Forward():
                self._forward(record)

    def waiting(self) -> int:
        """Return how many records are not confirmed yet."""
        return len(self._producer)

    def is_settled(self, partner: str, index: int) -> bool:
        """Say whether nothing for this ledger partition is under way: its end can be read."""
        return not self._unconfirmed[partner, index]

    def flush(self, timeout_seconds: float) -> int:
        """Wait for confirmations; return how many are still missing."""
        return self._producer.flush(timeout_seconds)

    def _event(self, done: Callable[[int, Now], None]) -> Callable[[Done], None]:
        def came(result: Done) -> None:
            self._events.put(functools.partial(_confirmed, done, result))

        return came

    def _of_entry(self, entry: Entry, value: bytes, done: Callable[[int, Now], None]) -> None:
        part = entry.request.partner, entry.message.partition
        self._to_ledger(part, entry.message.key, value, done)

    def _to_ledger(
        self,
        part: tuple[str, int],
        key: bytes | None,
        value: bytes,
        done: Callable[[int, Now], None],
    ) -> None:
        def settled(position: int, now: Now) -> None:
            self._unconfirmed[part] -= 1
            done(position, now)

        self._unconfirmed[part] += 1
        self._producer.send(
            self._topics.ledger(part[0]),
            value,
            key=key,
            partition=part[1],
            on_done=self._event(settled),
        )

    def _to_dead(self, record: WriteDead) -> None:
        try:
            self._send_dead(record, functools.partial(self._dead_came, record))
        except RecordTooLargeError:
            self._to_dead_cut(record)

    def _dead_came(self, record: WriteDead, result: Done) -> None:
        if isinstance(result, RecordTooLargeError):  # the topic's bound is another than it should
            self._events.put(lambda _now: self._to_dead_cut(record))
        else:
            self._dead_event(record)(result)

    def _to_dead_cut(self, record: WriteDead) -> None:
        """Write the beginning of what is too large for ``dead``: small packed, large unpacked.

        The whole of it stays where it came from.
        """
        size = len(record.entry.message.value)
        cut = WriteDead(record.entry, {**record.headers, CUT: str(size).encode()})
        self._send_dead(cut, self._dead_event(record), DEAD_CUT_BYTES)

    def _send_dead(
        self, record: WriteDead, on_done: Callable[[Done], None], most_bytes: int | None = None
    ) -> None:
        message = record.entry.message
        self._producer.send(
            self._topics.dead,
            message.value[:most_bytes],
            key=None if message.key is None else message.key[:most_bytes],
            headers=tuple(record.headers.items()),
            on_done=on_done,
        )

    def _dead_event(self, record: WriteDead) -> Callable[[Done], None]:
        return self._event(functools.partial(self._dead_confirmed, record.entry))

    def _forward(self, record: Forward) -> None:
        message = record.message
        kept = tuple((name, value) for name, value in message.headers if name != "forwards")
        came = functools.partial(self._forward_came, message)
        try:
            self._producer.send(
                message.topic,
                message.value,
                key=record.key.encode(),
                headers=(*kept, ("forwards", str(record.times).encode())),
                on_done=came,
            )
        except RecordTooLargeError as error:
            came(error)

    def _forward_came(self, message: Message, result: Done) -> None:
        if isinstance(result, RecordTooLargeError):  # it was as large as may be, and has grown
            self._events.put(functools.partial(self._engine.not_forwarded, message))
        else:
            self._event(functools.partial(self._forwarded, message))(result)

    def _end_confirmed(self, entry: Entry, end: End, position: int, now: Now) -> None:
        self._tally.ended(entry, end)
        _log_end(entry, end)
        self._engine.end_confirmed(entry, end, position, now)

    def _step_confirmed(self, entry: Entry, step: Step, position: int, now: Now) -> None:
        self._engine.step_confirmed(entry, step, position, now)

    def _dead_confirmed(self, entry: Entry, _position: int, _now: Now) -> None:
        self._engine.dead_confirmed(entry)

    def _forwarded(self, message: Message, _position: int, _now: Now) -> None:
        parsed = self._topics.parse(message.topic)
        self._tally.forwarded(parsed[1] if parsed else "")
        self._engine.forwarded(message)


def _log_end(entry: Entry, end: End) -> None:
    """Say how a request ended: at level debug, but for those that somebody has to look at."""
    level = logging.WARNING if end.state == "dead" else logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    logger.log(
        level,
        "%s%s",
        end.state,
        f": {end.reason}" if end.reason else "",
        extra={"action": f"request_{end.state}", **entry.request.log_fields()},
    )


def _confirmed(done: Callable[[int, Now], None], result: Done, now: Now) -> None:
    if isinstance(result, BrokerError):
        raise result
    done(result, now)
