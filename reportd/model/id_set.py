"""Many requests' ids, in little memory. Any process."""

from array import array

_EMPTY = 0
_FULL = 0.6


def number_of(request_id: str) -> int:
    """Return what an id is known by: its first 16 hex digits."""
    return int(request_id[:16], 16)


class IdSet:
    """A set of requests by the first 64 bits of their ids: a million takes 16 MB."""

    def __init__(self, slots: int = 1024) -> None:
        """Begin empty; ``slots`` is a power of two."""
        self._table = array("Q", bytes(8 * slots))
        self._mask = slots - 1
        self._has_zero = False
        self._stored = 0
        self._mark = 0

    @property
    def hash(self) -> str:
        """The XOR of all that is in it, as `reportd.model.run.Manifest.ids_hash` writes it."""
        return f"{self._mark:016x}"

    def __len__(self) -> int:
        """Return how many there are."""
        return self._stored + self._has_zero

    def add(self, number: int) -> bool:
        """Add one; say whether it is new."""
        if number == _EMPTY:
            is_new, self._has_zero = not self._has_zero, True
            return is_new
        at = self._place(number)
        if self._table[at] == number:
            return False
        self._table[at] = number
        self._stored += 1
        self._mark ^= number
        if self._stored > _FULL * len(self._table):
            self._grow()
        return True

    def _place(self, number: int) -> int:
        at = number & self._mask
        while self._table[at] not in {_EMPTY, number}:
            at = (at + 1) & self._mask
        return at

    def _grow(self) -> None:
        before = self._table
        self._table = array("Q", bytes(2 * 8 * len(before)))
        self._mask = len(self._table) - 1
        for number in before:
            if number != _EMPTY:
                self._table[self._place(number)] = number
