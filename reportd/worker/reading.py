"""What to read: a window of requests, never the topic.

Messages are admitted to memory while there is room; behind an account that is blocked they are
*parked*: the offset is kept, the message is forgotten, and read again when the account's line
gets short. Used by the engine; pure.
"""

from collections import deque

from reportd.worker.actions import Action, Pause, Read
from reportd.worker.book import OffsetBook, ParkKey, Paused
from reportd.worker.controls import Controls
from reportd.worker.partition import Partition
from reportd.worker.settings import EngineSettings

LINE_LEAST = 8
"""An account keeps at least so many requests in memory, if it has them."""

READ_THROUGH = 1_000
"""What lies closer is reached by reading on: a new start throws away what was fetched."""

REREAD_BELOW = 4
"""An account with parked messages and fewer than this in memory is read again."""

OUTAGE_LINES = 256
"""An outage of so many accounts is one: the backlog is not read just to be parked."""


class Reading:
    """Admission and the position of each book's reader."""

    def __init__(self, settings: EngineSettings, controls: Controls, out: deque[Action]) -> None:
        """Share the engine's outbox, and what people ask for."""
        self._settings = settings
        self._controls = controls
        self._out = out

    def admits(self, partition: Partition, account: str) -> bool:
        """Say whether a message of this account may be kept in memory."""
        total = len(partition.entries) - len(partition.paused)
        if total < self._settings.window_requests // 2:
            return partition.window_bytes < self._settings.window_bytes
        lines = max(1, partition.scheduler.lines_count())
        most = max(LINE_LEAST, self._settings.window_requests // (2 * lines))
        return (
            partition.waiting_of(account) < most
            and total < 2 * self._settings.window_requests
            and partition.window_bytes < self._settings.window_bytes
        )

    def steer(self, partition: Partition, *, stopped: bool) -> None:
        """Decide for each book whether to read on, to read parked messages again, or to pause."""
        for topic, book in partition.books.items():
            wants = not stopped and self._wants_more(partition, book)
            moved = False
            if book.cursor < book.position:
                ahead = None if stopped else self._parked_ahead(partition, book)
                if ahead is not None and ahead < book.cursor + READ_THROUGH:
                    continue
                book.cursor = book.position if ahead is None else ahead
                moved, wants = True, wants or ahead is not None
            target = None if stopped else self._parked_target(partition, book)
            if target is not None:
                book.cursor = target
                moved = wants = True
            if wants and (moved or topic not in partition.reading):
                partition.reading.add(topic)
                self._out.append(Read((topic, partition.index), book.cursor))
            elif not wants and topic in partition.reading:
                partition.reading.discard(topic)
                self._out.append(Pause((topic, partition.index)))

    def _wants_more(self, partition: Partition, book: OffsetBook) -> bool:
        settings = self._settings
        total = len(partition.entries) - len(partition.paused)
        if partition.window_bytes >= settings.window_bytes:
            return False
        has_place = book.parked_spans < settings.parked_most and book.length < settings.ahead_most
        if total < settings.window_requests // 2:
            return has_place
        if total >= 2 * settings.window_requests or not has_place:
            return False
        lines = partition.scheduler.lines_count()
        if partition.circuits.outage.is_open and lines < OUTAGE_LINES:
            return True  # it may be these accounts alone: others are looked for
        enough = 2 * settings.threads
        return partition.scheduler.startable_count(enough) < enough

    def _parked_ahead(self, partition: Partition, book: OffsetBook) -> int | None:
        """Return the next parked offset that there is room for."""
        ahead = (
            first
            for key, first in book.parked_first().items()
            if first >= book.cursor and self._has_room(partition, key, LINE_LEAST)
        )
        return min(ahead, default=None)

    def _parked_target(self, partition: Partition, book: OffsetBook) -> int | None:
        if not book.parked_count:
            return None
        targets = [
            first
            for key, first in book.parked_first().items()
            if self._has_room(partition, key, REREAD_BELOW)
        ]
        return min(targets, default=None)

    def _has_room(self, partition: Partition, key: ParkKey, below: int) -> bool:
        """Say whether what is parked may be read again; after a pause, to see whose it is."""
        if isinstance(key, Paused):
            return not self._controls.keeps(key)
        return partition.waiting_of(key) < below and self.admits(partition, key)
