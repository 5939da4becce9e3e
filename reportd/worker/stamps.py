"""When the offsets of a partition were written, to the second: a number or two each second. Pure.

Used by `reportd.worker.book`: the messages of what is parked are forgotten, their age is not.
"""

import bisect
from array import array

STEP_SECONDS = 1.0
_FORGET_FROM = 1024
"""So many at the front are forgotten at once."""


class Stamps:
    """Instants by offset, which do not go back: the broker dates what it takes."""

    __slots__ = ("_instants", "_offsets")

    def __init__(self) -> None:
        """Begin empty."""
        self._offsets = array("q")
        self._instants = array("d")

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._offsets)

    def note(self, offset: int, at: float) -> None:
        """Take an offset; one that is read again is known."""
        if self._offsets and (
            offset <= self._offsets[-1] or at < self._instants[-1] + STEP_SECONDS
        ):
            return
        self._offsets.append(offset)
        self._instants.append(at)

    def of(self, offset: int) -> float | None:
        """Return when an offset was written, at most a second too early; forget those before."""
        index = bisect.bisect_right(self._offsets, offset) - 1
        if index < 0:
            return None
        if index >= _FORGET_FROM:
            del self._offsets[:index], self._instants[:index]
            index = 0
        return self._instants[index]
