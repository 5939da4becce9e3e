"""Reads what the broker knows of a new partition: commits, watermarks, the ledger from R on.

In a thread of its own with a client of its own, outside every callback; tried again until it
works or the partition is lost.
"""

import functools
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from reportd.broker.message import Message, Part
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import Topics
from reportd.errors import EXIT_CONFIG, BrokerError, Halt, InvalidMessageError
from reportd.limits.limiter import Now
from reportd.model.ledger import parse_ledger_record
from reportd.worker.actions import Restore
from reportd.worker.engine import Engine
from reportd.worker.events import Events, ending
from reportd.worker.ledger import LedgerImage
from reportd.worker.partition import RestoredTopic, parse_metadata

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ControlsRead:
    """The topic of controls, read to its end."""

    part: Part
    messages: tuple[Message, ...]
    end: int


@dataclass(frozen=True, slots=True)
class Restored:
    """All there is to know before the first call."""

    topics: tuple[RestoredTopic, ...]
    image: LedgerImage
    partition_count: int
    controls: ControlsRead


def read_partition(
    reader: PartitionReader, topics: Topics, partner: str, index: int, store_id: str
) -> Restored:
    """Read one partition's commits and ledger.

    Raises `BrokerError`, and `Halt` (78) when the commits belong to another store.
    """
    names = [topics.requests(partner), topics.backfill(partner)]
    committed = reader.committed((name, index) for name in names)
    found = []
    first_needed: list[int] = []
    for name in names:
        low, high = reader.watermarks((name, index))
        commit = committed[(name, index)]
        needed, store = parse_metadata(commit.metadata)
        if store and store != store_id:
            raise Halt(
                EXIT_CONFIG,
                f"the group's commits of {name}[{index}] belong to the store {store}, this "
                f"output is {store_id}: mount the right one, or use another kafka.prefix",
            )
        if commit.offset is not None and commit.offset < low:
            logger.error(
                "%s[%d]: messages %d to %d were deleted before they were read; their requests "
                "are lost, enqueue them again",
                name,
                index,
                commit.offset,
                low - 1,
                extra={"action": "messages_lost", "topic": name},
            )
        start = low if commit.offset is None else max(low, commit.offset)
        found.append(RestoredTopic(name, start, high))
        if needed is not None:
            first_needed.append(needed)
        elif start < high or commit.offset is not None:
            first_needed.append(0)
    image = read_ledger(reader, topics.ledger(partner), index, min(first_needed, default=None))
    count = reader.partitions(names[0])
    return Restored(tuple(found), image, count, _read_controls(reader, (topics.control, 0)))


def _read_controls(reader: PartitionReader, part: Part) -> ControlsRead:
    low, high = reader.watermarks(part)
    return ControlsRead(part, tuple(reader.read(part, low, high)), high)


def read_ledger(reader: PartitionReader, topic: str, index: int, first: int | None) -> LedgerImage:
    """Return what a ledger says from a position on; None: from its end. Raises `BrokerError`."""
    low, high = reader.watermarks((topic, index))
    image = LedgerImage()
    start = high if first is None else min(max(low, first), high)
    for message in reader.read((topic, index), start, high):
        try:
            image.apply(message.offset, parse_ledger_record(message.value))
        except InvalidMessageError as error:
            logger.warning(
                "%s[%d]@%d is not a ledger record, passed over: %s",
                topic,
                index,
                message.offset,
                error,
                extra={"action": "ledger_record_invalid", "topic": topic},
            )
    image.next_position = high
    return image


class Restorer:
    """The thread; one reader for all that is to be restored at a time."""

    def __init__(
        self,
        *,
        make_reader: Callable[[], PartitionReader],
        topics: Topics,
        store_id: str,
        engine: Engine,
        events: Events,
        is_wanted: Callable[[str, int], bool],
    ) -> None:
        """Start the thread with its first partition."""
        self._make_reader = make_reader
        self._topics = topics
        self._store_id = store_id
        self._engine = engine
        self._events = events
        self._is_wanted = is_wanted
        self._queue: queue.SimpleQueue[Restore | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def add(self, restore: Restore) -> None:
        """Read a partition as soon as those before it are read."""
        if self._thread is None:
            run = self._events.guarded(self._run)
            self._thread = threading.Thread(target=run, name="restore", daemon=True)
            self._thread.start()
        self._queue.put(restore)

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped.set()
        self._queue.put(None)

    def _run(self) -> None:
        while (restore := self._queue.get()) is not None:
            reader = self._make_reader()
            try:
                while restore is not None:
                    self._restore(reader, restore)
                    try:
                        restore = self._queue.get(timeout=RETRY_SECONDS)
                    except queue.Empty:
                        break
            finally:
                reader.close()
            if restore is None:
                return

    def _restore(self, reader: PartitionReader, restore: Restore) -> None:
        partner, index = restore.partner, restore.partition
        while not self._stopped.is_set() and self._is_wanted(partner, index):
            try:
                found = read_partition(reader, self._topics, partner, index, self._store_id)
            except BrokerError as error:
                logger.warning(
                    "restoring %s[%d] failed, trying again: %s",
                    partner,
                    index,
                    error,
                    extra={"action": "restore_failed", "partner": partner},
                )
                self._stopped.wait(RETRY_SECONDS)
                continue
            except Halt as halt:
                self._events.put(ending(halt))
            else:
                self._events.put(functools.partial(self._restored, partner, index, found))
            return

    def _restored(self, partner: str, index: int, found: Restored, now: Now) -> None:
        controls = found.controls
        self._engine.controlled(controls.part, controls.messages, controls.end, now)
        self._engine.restored(
            partner,
            index,
            topics=found.topics,
            image=found.image,
            partition_count=found.partition_count,
            now=now,
        )
