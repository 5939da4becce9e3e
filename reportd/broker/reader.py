"""Reading partitions from one position to another, outside the group. Any process, any one thread.

It has the group's name, so it sees the group's commits; it never joins. Workers restore ledgers
with it, enqueuer and tools read runs, control, dead letters.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from reportd.broker.errors import (
    OffsetOutOfRangeError,
    is_out_of_range,
    translate,
    translate_exception,
)
from reportd.broker.library_log import LibraryLog, error_callback
from reportd.broker.message import Message, Part, from_kafka
from reportd.broker.settings import ClientSettings
from reportd.errors import BrokerError

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_AGAIN_SECONDS = 0.1
COORDINATOR_MOVES = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError._WAIT_COORD,
    }
)
_LEADER_MOVES = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)
PREFETCH_MESSAGES = 10_000


class Committed(NamedTuple):
    """A group's commit of one partition; ``offset`` None: there is none."""

    offset: int | None
    metadata: str


class PartitionReader:
    """Commits, watermarks and records, read to a known end."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        group: str,
        timeout_seconds: float = 30.0,
        prefetch_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        """Make the client; ``timeout_seconds`` bounds every call to the broker."""
        self._timeout_seconds = timeout_seconds
        self._fatal: BrokerError | None = None
        self._consumer = Consumer(
            {
                **settings,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "allow.auto.create.topics": False,
                "isolation.level": "read_committed",
                "queued.min.messages": PREFETCH_MESSAGES,
                "queued.max.messages.kbytes": max(1, prefetch_bytes // 1024),
                # By default 500: it ends a wait for one partition before it fetches from the next
                "fetch.wait.max.ms": 20,
                "fetch.queue.backoff.ms": 20,
                "error_cb": error_callback(self._note_fatal),
            },
            logger=LibraryLog(),
        )

    def committed(self, parts: Iterable[Part]) -> dict[Part, Committed]:
        """Return the group's commits; raises `BrokerError`."""
        asked = [TopicPartition(*part) for part in parts]
        if not asked:
            return {}
        found = self._until_led(
            "committed",
            COORDINATOR_MOVES,
            lambda left: self._consumer.committed(asked, timeout=left),
        )
        answer = {}
        for part in found:
            if part.error:
                raise translate(part.error, f"committed {part.topic}[{part.partition}]")
            offset = part.offset if part.offset >= 0 else None
            answer[part.topic, part.partition] = Committed(offset, part.metadata or "")
        return answer

    def watermarks(self, part: Part) -> tuple[int, int]:
        """Return the first offset kept and the end (last stable offset + 1, fresh)."""
        return self._until_led(
            f"watermarks {part[0]}[{part[1]}]",
            _LEADER_MOVES,
            lambda left: self._consumer.get_watermark_offsets(TopicPartition(*part), timeout=left),
        )

    def partitions(self, topic: str) -> int:
        """Return a topic's partition count; raises `BrokerError` if it is not there."""
        found = self._call(
            f"metadata of {topic}",
            lambda: self._consumer.list_topics(topic, timeout=self._timeout_seconds),
        ).topics[topic]
        if found.error is not None:
            raise translate(found.error, f"topic {topic}")
        return len(found.partitions)

    def read(
        self, part: Part, start: int, end: int, *, timeout_seconds: float | None = None
    ) -> Iterator[Message]:
        """Yield the records of [start, end), in order; offsets without a record are passed over.

        Raises `OffsetOutOfRangeError` if ``start`` is not kept, `BrokerError` when nothing has
        come for ``timeout_seconds`` (what a caller does between two records is not counted). One
        at a time: a new `read` ends the one before.
        """
        if start >= end:
            return
        patience = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        at = [TopicPartition(*part, start)]
        self._call("assign", lambda: self._consumer.assign(at))
        position = start
        last = time.monotonic()
        while position < end:
            found = self._call("read", lambda: self._consumer.poll(0.5))
            if self._fatal is not None:
                raise self._fatal
            reached = self._reached(found, part)
            if reached > position:
                position = reached
                if found is not None and found.error() is None and reached <= end:
                    yield from_kafka(found)
                last = time.monotonic()
            elif time.monotonic() - last > patience:
                raise BrokerError(
                    f"reading {part[0]}[{part[1]}] stands still at {position}, before {end}"
                )
        self._call("unassign", self._consumer.unassign)

    def read_all(self, topic: str, *, timeout_seconds: float | None = None) -> Iterator[Message]:
        """Yield all that a topic holds now, partition by partition."""
        for number in range(self.partitions(topic)):
            low, high = self.watermarks((topic, number))
            yield from self.read((topic, number), low, high, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _until_led(self, what: str, moves: frozenset[int], action: Callable[[float], T]) -> T:
        """Ask until a coordinator or leader answers: they move, and are made when first needed."""
        deadline = time.monotonic() + self._timeout_seconds
        pause = threading.Event()
        while True:
            left = deadline - time.monotonic()
            try:
                return action(max(0.1, left))
            except KafkaException as error:
                if left <= 0 or error.args[0].code() not in moves:
                    raise translate_exception(error, what) from error
            pause.wait(LOOK_AGAIN_SECONDS)

    def _reached(self, found: KafkaMessage | None, part: Part) -> int:
        """Return the position after a record, or where an end-of-partition event stands."""
        if found is None or (found.topic(), found.partition()) != part:
            return -1
        error = found.error()
        offset = found.offset()
        if error is None:
            return (offset or 0) + 1
        if error.code() == KafkaError._PARTITION_EOF:
            return offset or 0
        if is_out_of_range(error):
            raise OffsetOutOfRangeError(*part, error.str())
        if error.retriable():
            logger.warning(
                "reader: %s", error.str(), extra={"action": "broker_error", "error": error.name()}
            )
            return -1
        raise translate(error, f"reading {part[0]}[{part[1]}]")

    def _note_fatal(self, error: KafkaError) -> None:
        self._fatal = self._fatal or translate(error, "reader")

    def _call(self, what: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except KafkaException as error:
            raise translate_exception(error, what) from error
