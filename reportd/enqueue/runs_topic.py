"""What the enqueuer asks of the broker itself: the topic ``runs``, and where topics begin and end.

Used by `reportd.enqueue.job`, in the enqueuer's process; requests go through Spark.
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Protocol, Self

from reportd.broker.admin import Admin
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import Topics
from reportd.enqueue.runs import RunState, fold
from reportd.errors import InvalidMessageError
from reportd.model.run import Claim, Manifest, RunId, RunRecord, parse_run_record

logger = logging.getLogger(__name__)

CONFIRM_SECONDS = 30.0
ANSWER_SECONDS = 10.0
"""How long to wait for the broker: the timer starts the enqueuer again."""


class Cluster(Protocol):
    """What the job needs of the broker; raises `BrokerError`."""

    def missing(self, topics: Iterable[str]) -> list[str]:
        """Return which topics are not there."""
        ...

    def states(self) -> dict[RunId, RunState]:
        """Return the state of every run, as the topic has it now."""
        ...

    def write(self, key: str, record: Claim | Manifest) -> None:
        """Write a record and wait until it is confirmed. Any thread."""
        ...

    def begins(self, topics: Iterable[str]) -> dict[str, dict[int, int]]:
        """Return the first offset kept of each partition."""
        ...

    def ends(self, topics: Iterable[str]) -> dict[str, dict[int, int]]:
        """Return where the next record of each partition will lie."""
        ...

    def at(self, topics: Iterable[str], instant: float) -> dict[str, dict[int, int]]:
        """Return the first offset of each partition that is not older than an instant."""
        ...


class BrokerCluster:
    """The real one."""

    def __init__(self, settings: ClientSettings, topics: Topics, group: str) -> None:
        """Make the clients; they connect by themselves."""
        self._topics = topics
        self._admin = Admin(settings, timeout_seconds=ANSWER_SECONDS)
        self._reader = PartitionReader(settings, group=group, timeout_seconds=ANSWER_SECONDS)
        self._producer = Producer(settings)
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close what holds connections."""
        self._reader.close()

    def missing(self, topics: Iterable[str]) -> list[str]:
        """Return which topics are not there."""
        present = self._admin.topics()
        return [topic for topic in topics if topic not in present]

    def states(self) -> dict[RunId, RunState]:
        """Return the state of every run; records that are none are passed over, with a warning."""
        return fold(self._records())

    def _records(self) -> Iterable[RunRecord]:
        for message in self._reader.read_all(self._topics.runs):
            if not message.value:
                continue
            try:
                yield parse_run_record(message.value)
            except InvalidMessageError as error:
                logger.warning(
                    "%s[%d]@%d is no record of a run: %s",
                    message.topic,
                    message.partition,
                    message.offset,
                    error,
                    extra={"action": "run_record_invalid"},
                )

    def write(self, key: str, record: RunRecord) -> None:
        """Write a record and wait until it is confirmed."""
        with self._writing:
            self._producer.write(
                self._topics.runs,
                record.to_json(),
                key=key.encode(),
                timeout_seconds=CONFIRM_SECONDS,
            )

    def begins(self, topics: Iterable[str]) -> dict[str, dict[int, int]]:
        """Return the first offset kept of each partition."""
        return _by_topic(self._admin.begin_offsets(self._parts(topics)))

    def ends(self, topics: Iterable[str]) -> dict[str, dict[int, int]]:
        """Return where the next record of each partition will lie."""
        return _by_topic(self._admin.end_offsets(self._parts(topics)))

    def at(self, topics: Iterable[str], instant: float) -> dict[str, dict[int, int]]:
        """Return the first offset of each partition that is not older than an instant."""
        parts = self._parts(topics)
        ends = self._admin.end_offsets(parts)
        found = self._admin.offsets_for_times(dict.fromkeys(parts, instant))
        offsets = {part: found[part] for part in parts}
        return _by_topic({p: ends[p] if at is None else at for p, at in offsets.items()})

    def _parts(self, topics: Iterable[str]) -> list[tuple[str, int]]:
        counts = self._admin.topics()
        return [(topic, n) for topic in topics for n in range(counts.get(topic, 0))]


def _by_topic(offsets: Mapping[tuple[str, int], int]) -> dict[str, dict[int, int]]:
    answer: dict[str, dict[int, int]] = {}
    for (topic, number), offset in offsets.items():
        answer.setdefault(topic, {})[number] = offset
    return answer
