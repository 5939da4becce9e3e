"""Which offsets of one topic's partition are open: what to commit, what is parked.

Used by the engine in the worker's loop, one book for ``requests.P[i]`` and one for
``backfill.P[i]``. Pure; not thread-safe.
"""

import bisect
from collections import deque
from typing import NamedTuple, TypeAlias


class Paused(NamedTuple):
    """Why an offset is parked: somebody paused this scope; and of which run its request is."""

    scope: str
    run: str


ParkKey: TypeAlias = str | Paused
"""What parked offsets wait for: room for the account of that name, or the end of a pause."""


class OffsetBook:
    """Offsets finish out of order; the commit is the first unfinished one.

    An offset that is never delivered (a transaction marker, a gap) counts as finished.
    """

    def __init__(self, start: int) -> None:
        """Begin at the committed offset, or at the low watermark where there is none."""
        self.position = start
        """The next offset never delivered before."""
        self.cursor = start
        """The next offset that reading goes on from; behind ``position`` while parked ones are
        read again."""
        self.committed = start
        """The last offset whose commit was accepted."""
        self._open: set[int] = set()
        self._order: deque[int] = deque()
        self._parked: dict[ParkKey, deque[int]] = {}
        self._parked_offsets: dict[int, ParkKey] = {}

    def deliver(self, offset: int) -> bool:
        """Take note of a message; True if it is new, or a parked one that is read again."""
        self.cursor = offset + 1
        if offset in self._parked_offsets:
            return True
        if offset < self.position:
            return False
        self.position = offset + 1
        self._open.add(offset)
        self._order.append(offset)
        return True

    def close(self, offset: int) -> None:
        """Count an offset as finished; its end is confirmed in the ledger."""
        self._open.discard(offset)

    def commit_position(self) -> int:
        """Return the first unfinished offset."""
        while self._order and self._order[0] not in self._open:
            self._order.popleft()
        return self._order[0] if self._order else self.position

    def is_open(self, offset: int) -> bool:
        """Say whether an offset was delivered and is unfinished."""
        return offset in self._open

    @property
    def open_count(self) -> int:
        """How many delivered offsets are unfinished, parked ones among them."""
        return len(self._open)

    @property
    def parked_count(self) -> int:
        """How many offsets are parked: known to be open, their messages forgotten."""
        return len(self._parked_offsets)

    @property
    def paused_count(self) -> int:
        """How many of the parked ones are because of a pause."""
        return sum(n for key, n in self.parked_counts().items() if isinstance(key, Paused))

    def park(self, offset: int, key: ParkKey) -> None:
        """Forget a message but not its offset: it is read again when there is room for it."""
        if self._parked_offsets.get(offset) == key:
            return
        self.unpark(offset)
        self._parked_offsets[offset] = key
        queue = self._parked.setdefault(key, deque())
        if queue and offset < queue[-1]:
            bisect.insort(queue, offset)
        else:
            queue.append(offset)

    def unpark(self, offset: int) -> bool:
        """Take a parked offset that is read again; False if it was not parked."""
        key = self._parked_offsets.pop(offset, None)
        if key is None:
            return False
        queue = self._parked[key]
        if queue[0] == offset:
            queue.popleft()
        else:
            queue.remove(offset)
        if not queue:
            del self._parked[key]
        return True

    def is_parked(self, offset: int) -> bool:
        """Say whether an offset is parked."""
        return offset in self._parked_offsets

    def parked_first(self) -> dict[ParkKey, int]:
        """Return the first parked offset of each kind."""
        return {key: queue[0] for key, queue in self._parked.items()}

    def parked_counts(self) -> dict[ParkKey, int]:
        """Return how many offsets of each kind are parked."""
        return {key: len(queue) for key, queue in self._parked.items()}
