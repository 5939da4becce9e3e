"""What to read: a window of requests, never the topic.

Messages are admitted to memory while there is room; behind an account that is blocked they are
*parked*: the offset is kept, the message is forgotten, and read again when the account's line
gets short. Used by the engine; pure.
"""

from collections import deque
from collections.abc import Iterator
from math import ceil, inf

from reportd.limits.limiter import Now
from reportd.model.request import Request
from reportd.worker.actions import Action, Pause, Read
from reportd.worker.book import Later, OffsetBook, Paused, Refused
from reportd.worker.controls import Controls
from reportd.worker.partition import Partition
from reportd.worker.settings import EngineSettings

LINE_LEAST = 8
"""Up to a window an account keeps at least so many requests in memory, if it has them."""

READ_THROUGH = 1_000
"""What lies closer is reached by reading on: a new start throws away what was fetched."""

REREAD_BELOW = 4
"""An account with parked messages and fewer than this in memory is read again."""

LATER_SECONDS = 60.0
"""What waits for a time in Kafka is read again at a multiple of this: few times, many requests."""

KIND_SPANS = 7
"""What each kind of parked ones costs, an account's or a minute's, in stretches of 130 bytes."""

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
        return partition.waiting_of(account) < self._line_most(partition)

    def waits(self, partition: Partition, request: Request, now: Now) -> Later | Refused | None:
        """Say for what a request waits in Kafka, its days or its credential; None: in memory.

        Requests that only wait never fill the window: nothing else would be read.
        """
        if self.has_room(partition):
            return None
        if request.not_before is not None and request.not_before > now.wall:
            at = int(ceil(request.not_before / LATER_SECONDS) * LATER_SECONDS)
            return self._controls.later(request, at)
        if partition.circuits.keeps_away(request.credential, now.mono):
            return self._controls.refused(request)
        return None

    def has_room(self, partition: Partition) -> bool:
        """Say whether half of the window is free, for whatever comes."""
        return self._total(partition) < self._settings.window_requests // 2

    def _line_most(self, partition: Partition) -> float:
        """Return how many requests an account may have waiting in memory.

        Few beyond a window, one beyond one and a half: accounts that are blocked, however many
        requests they have, leave room for some thousands of others.
        """
        settings, total = self._settings, self._total(partition)
        if partition.window_bytes >= settings.window_bytes or total >= 2 * settings.window_requests:
            return 0
        if self.has_room(partition):
            return inf
        if total >= settings.window_requests * 3 // 2:
            return 1
        if total >= settings.window_requests:
            return REREAD_BELOW
        lines = max(1, partition.scheduler.lines_count())
        return max(LINE_LEAST, settings.window_requests // (2 * lines))

    @staticmethod
    def _total(partition: Partition) -> int:
        return len(partition.entries) - len(partition.paused)

    def steer(self, partition: Partition, now: Now, *, stopped: bool) -> None:
        """Decide for each book whether to read on, to read parked messages again, or to pause."""
        for topic, book in partition.books.items():
            wants = not stopped and self._wants_more(partition, book)
            moved = False
            if book.cursor < book.position:
                ahead = None if stopped else self._parked_ahead(partition, book, now)
                if ahead is not None and ahead < book.cursor + READ_THROUGH:
                    continue
                book.cursor = book.position if ahead is None else ahead
                moved, wants = True, wants or ahead is not None
            target = None if stopped else self._parked_target(partition, book, now)
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
        total = self._total(partition)
        if partition.window_bytes >= settings.window_bytes:
            return False
        parked = book.parked_spans + KIND_SPANS * book.kinds_count
        has_place = parked < settings.parked_most and book.length < settings.ahead_most
        if self.has_room(partition):
            return has_place
        if total >= 2 * settings.window_requests or not has_place:
            return False
        lines = partition.scheduler.lines_count()
        if partition.circuits.outage.is_open and lines < OUTAGE_LINES:
            return True  # it may be these accounts alone: others are looked for
        enough = 2 * settings.threads
        return partition.scheduler.startable_count(enough) < enough

    def _parked_ahead(self, partition: Partition, book: OffsetBook, now: Now) -> int | None:
        """Return the next parked offset that there is room for."""
        found = self._readable(partition, book, LINE_LEAST, now)
        return min((first for first in found if first >= book.cursor), default=None)

    def _parked_target(self, partition: Partition, book: OffsetBook, now: Now) -> int | None:
        return min(self._readable(partition, book, REREAD_BELOW, now), default=None)

    def _readable(
        self, partition: Partition, book: OffsetBook, below: int, now: Now
    ) -> Iterator[int]:
        """Yield the first offsets of what may be read again.

        Of accounts with fewer than ``below`` in memory; after a pause, when its time has come, or
        its credential works, to see whose it is.
        """
        if not book.parked_count:
            return
        most = min(below, self._line_most(partition))
        for key, first in book.parked_first():
            if isinstance(key, str):
                if partition.waiting_of(key) < most:
                    yield first
            elif isinstance(key, Paused):
                if not self._controls.keeps(key):
                    yield first
            elif self._controls.has_cancelled(key.run):
                yield first
            elif isinstance(key, Refused):
                if not partition.circuits.keeps_away(key.credential, now.mono):
                    yield first
            elif key.at <= now.wall:
                yield first
