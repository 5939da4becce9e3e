"""What nobody needs any more goes: old records of owned partitions, left-over staging.

Nothing unread expires in Kafka (``retention.ms=-1``): the owner of a partition trims with
DeleteRecords what is finished and old enough. In a thread of its own, once an hour.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reportd.broker.admin import Admin
from reportd.broker.message import Part
from reportd.broker.topics import Topics
from reportd.errors import BrokerError, OutputError
from reportd.sinks.spool import Spool
from reportd.sinks.store import Store, stage_key
from reportd.worker.events import Events
from reportd.worker.partition import Partition

logger = logging.getLogger(__name__)

DAY_SECONDS = 86_400.0
KEEP_SECONDS: Mapping[str, float] = {
    "requests": 14 * DAY_SECONDS,
    "backfill": 30 * DAY_SECONDS,
    "ledger": 90 * DAY_SECONDS,
}
LEFT_OVER_SECONDS = 14 * DAY_SECONDS
"""Temp and spool files of no open request of ours go after this time; until then a request that
was not read again yet may still need them."""

EVERY_SECONDS = 3600.0
FIRST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Tidy:
    """What may go: everything of a partition before an offset, if it is older than its topic."""

    finished: Mapping[Part, int]
    kept_seconds: Mapping[Part, float]
    open_keys: frozenset[str]
    """Staging keys of open requests: theirs stays."""


def what_may_go(partitions: list[Partition], topics: Topics) -> Tidy:
    """Return what the owned, restored partitions say is finished. Called in the loop."""
    finished: dict[Part, int] = {}
    kept: dict[Part, float] = {}
    for partition in partitions:
        if not partition.is_active:
            continue
        for topic, book in partition.books.items():
            parsed = topics.parse(topic)
            finished[(topic, partition.index)] = book.committed
            kept[(topic, partition.index)] = KEEP_SECONDS[parsed[0] if parsed else "ledger"]
        ledger = (topics.ledger(partition.partner), partition.index)
        finished[ledger] = partition.image.first_needed()
        kept[ledger] = KEEP_SECONDS["ledger"]
    open_keys = frozenset(
        stage_key(*identity) for partition in partitions for identity in partition.entries
    )
    return Tidy(finished, kept, open_keys)


def trim(admin: Admin, tidy: Tidy, now_wall: float) -> dict[Part, int]:
    """Delete old finished records; return the new first offset of what was trimmed.

    Raises `BrokerError`.
    """
    times = {part: now_wall - tidy.kept_seconds[part] for part in tidy.finished}
    young = admin.offsets_for_times(times)
    begins = admin.begin_offsets(tidy.finished)
    before = {}
    for part, finished in tidy.finished.items():
        first_young = young[part]
        offset = finished if first_young is None else min(finished, first_young)
        if offset > begins[part]:
            before[part] = offset
    return admin.delete_records(before)


class Tidier:
    """The thread; started with its first job."""

    def __init__(
        self,
        make_admin: Callable[[], Admin],
        store: Store,
        spool: Spool,
        wall: Callable[[], float],
        events: Events,
    ) -> None:
        """Make a client for each job, and only then."""
        self._events = events
        self._make_admin = make_admin
        self._store = store
        self._spool = spool
        self._wall = wall
        self._queue: queue.SimpleQueue[Tidy | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, tidy: Tidy) -> None:
        """Tidy up soon."""
        if self._thread is None:
            run = self._events.guarded(self._run)
            self._thread = threading.Thread(target=run, name="tidying", daemon=True)
            self._thread.start()
        self._queue.put(tidy)

    def stop(self) -> None:
        """Let the thread end."""
        self._queue.put(None)

    def _run(self) -> None:
        while (tidy := self._queue.get()) is not None:
            self.tidy(tidy)

    def tidy(self, tidy: Tidy) -> None:
        """Trim and sweep; what cannot be done now is done in an hour."""
        now = self._wall()
        try:
            is_open = tidy.open_keys.__contains__
            swept = self._store.sweep(LEFT_OVER_SECONDS, now, is_open)
            swept += self._spool.sweep(LEFT_OVER_SECONDS, now, is_open)
            admin = self._make_admin()
            try:
                trimmed = trim(admin, tidy, now)
            finally:
                admin.close()
        except (BrokerError, OutputError) as error:
            logger.warning("tidying up has to wait: %s", error, extra={"action": "tidy_failed"})
            return
        if swept or trimmed:
            logger.info(
                "removed %d left-over files, trimmed %d partitions",
                swept,
                len(trimmed),
                extra={"action": "tidied"},
            )
