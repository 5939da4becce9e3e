"""Says in the topic ``runs`` that dead letters of runs are sent again, so that those are looked at.

Used by ``reportctl dead replay``: once before the first is sent, once when all are. What is killed
in between is noticed by the first.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reportd.broker.admin import Admin
from reportd.broker.letters import DeadLetter
from reportd.broker.message import Part
from reportd.broker.producer import Producer
from reportd.errors import InvalidMessageError
from reportd.model.run import Mending, RunId, mending_key

CONFIRM_SECONDS = 30.0


@dataclass(slots=True)
class _Sent:
    record: Mending
    ends: dict[str, dict[int, int]] = field(default_factory=dict)


class Mendings:
    """The records of one replay, by run; letters of no run are passed over."""

    def __init__(self, admin: Admin, producer: Producer, topic: str, at: float) -> None:
        """Write to ``topic``."""
        self._admin = admin
        self._producer = producer
        self._topic = topic
        self._at = at
        self._sent: dict[str, _Sent] = {}

    def begin(self, letters: Iterable[tuple[DeadLetter, Part]]) -> None:
        """Say where letters will lie; raises `BrokerError`."""
        parts: dict[str, set[Part]] = {}
        for letter, part in letters:
            if _is_run(letter.run):
                parts.setdefault(letter.run, set()).add(part)
        ends = self._admin.end_offsets({part for each in parts.values() for part in each})
        for run, each in parts.items():
            starts = {part: ends[part] for part in sorted(each)}
            record = Mending(run=run, name=uuid.uuid4().hex, at=self._at, topics=_by_topic(starts))
            self._sent[run] = _Sent(record)
            self._write(record)

    def sent(self, letter: DeadLetter, part: Part, offset: int) -> None:
        """Note where one lies."""
        if (sent := self._sent.get(letter.run)) is not None:
            parts = sent.ends.setdefault(part[0], {})
            parts[part[1]] = max(parts.get(part[1], 0), offset + 1)

    def end(self) -> None:
        """Say that all lie there; raises `BrokerError`."""
        for sent in self._sent.values():
            self._write(sent.record.model_copy(update={"ends": sent.ends}))

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
