"""What Kafka says, read from outside: the requests of a run, the ledgers as they grow, the dead.

Used by the demo and by the system tests, in their own process; nothing here joins the group.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from reportd.broker.message import Message
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.config.settings import KafkaSettings
from reportd.model.ledger import End, Step, parse_ledger_record
from reportd.model.request import Request


@dataclass(frozen=True, slots=True)
class Written:
    """A ledger record and when it was durable."""

    record: End | Step
    at: float
    """Epoch seconds, by the broker, to the millisecond."""


@dataclass(slots=True)
class Ledgers:
    """All ledgers of some partners; `KafkaBooks.follow` adds what is new."""

    ends: dict[str, list[Written]] = field(default_factory=lambda: defaultdict(list))
    """By request id, in the order of the ledger: the first counts."""
    steps: dict[str, list[Written]] = field(default_factory=lambda: defaultdict(list))
    by_partner: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How many ids of each partner have ended."""
    positions: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, partner: str, message: Message) -> None:
        """Take one record in."""
        record = parse_ledger_record(message.value)
        if isinstance(record, End):
            if record.id not in self.ends:
                self.by_partner[partner] += 1
            self.ends[record.id].append(Written(record, message.timestamp))
        elif isinstance(record, Step):
            self.steps[record.id].append(Written(record, message.timestamp))

    def counts(self, state: str) -> int:
        """Return how many requests ended in a state."""
        return sum(1 for found in self.ends.values() if _state(found[0]) == state)


def _state(written: Written) -> str:
    return written.record.state if isinstance(written.record, End) else ""


class KafkaBooks:
    """Reads the topics of some partners. One thread."""

    def __init__(self, servers: str, prefix: str, partners: Iterable[str]) -> None:
        self._topics = Topics(prefix)
        self._partners = tuple(partners)
        settings = client_settings(KafkaSettings(servers=servers, prefix=prefix))
        self._reader = PartitionReader(settings, group=f"{prefix}-audit")
        self._partitions: dict[str, int] = {}

    def close(self) -> None:
        """Close the client."""
        self._reader.close()

    def requests(self) -> dict[str, Request]:
        """Return every valid request of the partners' topics by id; copies count once."""
        found = {}
        for partner in self._partners:
            for topic in (self._topics.requests(partner), self._topics.backfill(partner)):
                for message in self._reader.read_all(topic):
                    request = Request.from_json(message.value)
                    found[request.id] = request
        return found

    def requests_written(self) -> dict[str, int]:
        """Return how many messages each partner's requests topic has."""
        found = {}
        for partner in self._partners:
            topic = self._topics.requests(partner)
            marks = [self._reader.watermarks((topic, n)) for n in range(self._count(topic))]
            found[partner] = sum(high for _, high in marks)
        return found

    def follow(self, ledgers: Ledgers) -> None:
        """Add what the ledgers have gained since the last time."""
        for partner in self._partners:
            topic = self._topics.ledger(partner)
            for number in range(self._count(topic)):
                part = (topic, number)
                low, high = self._reader.watermarks(part)
                start = ledgers.positions.get(part, low)
                for message in self._reader.read(part, start, high):
                    ledgers.add(partner, message)
                ledgers.positions[part] = max(start, high)

    def dead(self) -> list[Message]:
        """Return every dead letter."""
        return list(self._reader.read_all(self._topics.dead))

    def _count(self, topic: str) -> int:
        if topic not in self._partitions:
            self._partitions[topic] = self._reader.partitions(topic)
        return self._partitions[topic]
