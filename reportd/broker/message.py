"""A record as it was read. Values only; any process."""

from dataclasses import dataclass, field
from typing import TypeAlias

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE
from confluent_kafka import Message as KafkaMessage

Part: TypeAlias = tuple[str, int]
"""A partition: topic and number."""

Headers: TypeAlias = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One record. A missing value (a tombstone) is ``b""``, a missing key None."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes = field(repr=False)
    headers: Headers = ()
    timestamp: float = 0.0
    """Epoch seconds; 0 if the record has none."""

    @property
    def part(self) -> Part:
        """The partition it lies in."""
        return self.topic, self.partition

    def header(self, name: str) -> bytes | None:
        """Return the last header of that name, as Kafka's own clients do."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


def from_kafka(message: KafkaMessage) -> Message:
    """Copy what the library read; a record's headers may be anything, never a reason to fail."""
    kind, milliseconds = message.timestamp()
    known = kind != TIMESTAMP_NOT_AVAILABLE and milliseconds > 0
    return Message(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value() or b"",
        _headers(message),
        milliseconds / 1000 if known else 0.0,
    )


def _headers(message: KafkaMessage) -> Headers:
    try:
        headers = message.headers()
    except UnicodeDecodeError:
        return ()
    if not headers:
        return ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, _bytes(value)) for name, value in pairs)


def _bytes(value: bytes | str | None) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else value
