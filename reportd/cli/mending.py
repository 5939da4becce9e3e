"""Says in the topic ``runs`` that dead letters of runs are sent again, so that those are looked at.

Used by ``reportctl dead replay``: once before the first is sent, once when all are. What is killed
in between is noticed by the first.
"""

import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol

from reportd.broker.letters import DeadLetter
from reportd.broker.message import Part
from reportd.clock import Clock
from reportd.errors import InvalidMessageError
from reportd.model.run import Mending, RunId, mending_key
from reportd.observer.runs import SETTLED_SECONDS

CONFIRM_SECONDS = 30.0
LONG_SECONDS = SETTLED_SECONDS / 2
"""A replay that took longer may have been taken for one that was killed, and seen to as that."""


class Ends(Protocol):
    """What is asked of `reportd.broker.admin.Admin`."""

    def end_offsets(self, parts: Iterable[Part]) -> Mapping[Part, int]: ...  # noqa: D102  # see there


class Writer(Protocol):
    """What is asked of `reportd.broker.producer.Producer`."""

    def write(  # noqa: D102  # see there
        self, topic: str, value: bytes, *, key: bytes, timeout_seconds: float
    ) -> None: ...


@dataclass(slots=True)
class _Sent:
    record: Mending
    ends: dict[str, dict[int, int]] = field(default_factory=dict)


class Mendings:
    """The records of one replay, by run; letters of no run are passed over."""

    def __init__(self, admin: Ends, producer: Writer, topic: str, clock: Clock) -> None:
        """Write to ``topic``."""
        self._admin = admin
        self._producer = producer
        self._topic = topic
        self._clock = clock
        self._sent: dict[str, _Sent] = {}

    def begin(self, parts_of: Mapping[str, Set[Part]]) -> None:
        """Say where the letters of each run will lie; raises `BrokerError`."""
        known = {run: parts for run, parts in parts_of.items() if _is_run(run)}
        ends = self._admin.end_offsets({part for each in known.values() for part in each})
        for run, each in known.items():
            starts = {part: ends[part] for part in sorted(each)}
            sent = _Sent(self._named(run, _by_topic(starts)))
            self._sent[run] = sent
            self._write(sent.record)

    def sent(self, letter: DeadLetter, part: Part, offset: int) -> None:
        """Note where one lies."""
        if (sent := self._sent.get(letter.run)) is not None:
            parts = sent.ends.setdefault(part[0], {})
            parts[part[1]] = max(parts.get(part[1], 0), offset + 1)

    def end(self) -> None:
        """Say that all lie there; raises `BrokerError`.

        After a long time as a mending of its own: what counts once does not count again.
        """
        for run, sent in self._sent.items():
            record = sent.record
            if self._clock.wall() - record.at > LONG_SECONDS:
                record = self._named(run, record.topics)
            self._write(record.model_copy(update={"ends": sent.ends}))

    def _named(self, run: str, topics: dict[str, dict[int, int]]) -> Mending:
        return Mending(run=run, name=uuid.uuid4().hex, at=self._clock.wall(), topics=topics)

    def _write(self, record: Mending) -> None:
        self._producer.write(
            self._topic,
            record.to_json(),
            key=mending_key(record).encode(),
            timeout_seconds=CONFIRM_SECONDS,
        )


def _is_run(text: str) -> bool:
    try:
        RunId.parse(text)
    except InvalidMessageError:
        return False
    return True


def _by_topic(offsets: Mapping[Part, int]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for (topic, number), offset in offsets.items():
        found.setdefault(topic, {})[number] = offset
    return found
