"""Which offsets of one topic's partition are open: what to commit, what is parked.

Used by the engine in the worker's loop, one book for ``requests.P[i]`` and one for
``backfill.P[i]``. Pure; not thread-safe.
"""

from collections import deque


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
        self._parked: dict[str, deque[int]] = {}
        self._parked_offsets: set[int] = set()

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

    def park(self, offset: int, account: str) -> None:
        """Forget a message but not its offset: it is read again when its account has room."""
        if offset not in self._parked_offsets:
            self._parked_offsets.add(offset)
            self._parked.setdefault(account, deque()).append(offset)

    def unpark(self, offset: int, account: str) -> bool:
        """Take a parked offset that is read again; False if it was not parked."""
        if offset not in self._parked_offsets:
            return False
        self._parked_offsets.discard(offset)
        queue = self._parked[account]
        if queue[0] == offset:
            queue.popleft()
        else:
            queue.remove(offset)
        if not queue:
            del self._parked[account]
        return True

    def is_parked(self, offset: int) -> bool:
        """Say whether an offset is parked."""
        return offset in self._parked_offsets

    def parked_accounts(self) -> dict[str, int]:
        """Return each account's first parked offset."""
        return {account: queue[0] for account, queue in self._parked.items()}
