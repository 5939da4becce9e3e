"""How a partner counts: bucket, fixed window, sliding window. Plain arithmetic, no clock, no sleep.

Owned by `reportd.limits.limiter`, in the worker that owns the key. Every meter starts with its
whole burst (or window) spent: what an earlier owner sent just before is not known.
"""

from collections import deque
from typing import Protocol


class Meter(Protocol):
    """One limit of one scope. ``now`` is in the meter's own time base, in seconds."""

    wall: bool
    """Whether ``now`` is the wall clock's (windows aligned to it) or the monotonic one's."""

    def wait_seconds(self, now: float) -> float:
        """Return how long a call must wait; 0.0: it may start now."""
        ...

    def take(self, now: float) -> None:
        """Charge one call that starts now; only after `wait_seconds` returned 0.0."""
        ...

    def give_back(self, taken_at: float) -> None:
        """Undo the charge made at ``taken_at``: the call was never sent."""
        ...

    def sent(self, taken_at: float, sent_at: float) -> None:
        """Correct a charge: the call of ``taken_at`` left at ``sent_at``."""
        ...

    def share(self, now: float) -> float:
        """Return which part of the limit is in use, 0 to 1."""
        ...


class Bucket:
    """Generic cell rate algorithm: ``calls`` per ``seconds`` evenly, ``burst`` at once.

    The state is the theoretical arrival time of the next call (ITU-T I.371).
    """

    wall = False

    def __init__(self, calls: float, seconds: float, burst: float, now: float) -> None:
        """Start with the whole burst spent."""
        self._interval_seconds = seconds / calls
        self._tolerance_seconds = (max(burst, 1.0) - 1.0) * self._interval_seconds
        self._arrival = now + self._interval_seconds + self._tolerance_seconds
        self._taken_at = float("-inf")

    def wait_seconds(self, now: float) -> float:
        """Return how far the theoretical arrival lies beyond the tolerance."""
        return max(0.0, self._arrival - self._tolerance_seconds - now)

    def take(self, now: float) -> None:
        """Move the theoretical arrival on by one interval."""
        self._arrival = max(self._arrival, now) + self._interval_seconds
        self._taken_at = now

    def give_back(self, taken_at: float) -> None:
        """Move it back by one interval, unless a later call stands on it: then it is wasted."""
        if taken_at == self._taken_at:
            self._arrival -= self._interval_seconds

    def sent(self, taken_at: float, sent_at: float) -> None:
        """Do nothing: a call that left late is what the burst is for."""

    def share(self, now: float) -> float:
        """Return the spent part of the burst."""
        spent = self._arrival - now
        return min(1.0, max(0.0, spent / (self._tolerance_seconds + self._interval_seconds)))


class SlidingWindow:
    """At most ``calls`` in any ``seconds``, strictly. A call occupies its place a margin longer.

    The margin covers what lies between sending here and counting there: calls that left
    ``seconds`` apart may arrive closer together.
    """

    wall = False

    def __init__(self, calls: int, seconds: float, margin_seconds: float, now: float) -> None:
        """Start with a full window."""
        self._calls = calls
        self._seconds = seconds + margin_seconds
        self._taken: deque[float] = deque([now] * calls, maxlen=calls)

    def wait_seconds(self, now: float) -> float:
        """Return how long the oldest of the last ``calls`` still occupies its place."""
        if len(self._taken) < self._calls:
            return 0.0
        return max(0.0, self._taken[0] + self._seconds - now)

    def take(self, now: float) -> None:
        """Remember the call; the oldest drops out."""
        self._taken.append(now)

    def give_back(self, taken_at: float) -> None:
        """Forget the call; its place is free as if it had been over long ago."""
        try:
            self._taken.remove(taken_at)
        except ValueError:
            return

    def sent(self, taken_at: float, sent_at: float) -> None:
        """Count the call from when it left, not from when it was allowed to."""
        try:
            self._taken[self._taken.index(taken_at)] = sent_at
        except ValueError:
            return

    def share(self, now: float) -> float:
        """Return the occupied part of the window."""
        start = now - self._seconds
        return sum(1 for taken in self._taken if taken > start) / self._calls


class FixedWindow:
    """At most ``calls`` in each window of ``seconds`` aligned to the wall clock.

    Nothing starts within the margin of a window's edges, so that a call counts in the window it
    was charged to. A wall clock that goes back by less than a window opens none twice; one that
    goes back further was wrong before: what it says now is taken for true, that window for spent.
    """

    wall = True

    def __init__(self, calls: int, seconds: float, margin_seconds: float, now: float) -> None:
        """Start with the current window spent."""
        self._calls = calls
        self._seconds = seconds
        self._margin_seconds = min(margin_seconds, seconds / 4)
        self._window = int(now // seconds)
        self._used = calls

    def wait_seconds(self, now: float) -> float:
        """Return how long until the open part of a window with room."""
        window = int(now // self._seconds)
        into = now - window * self._seconds
        if window < self._window - 1:
            self._window, self._used = window, self._calls
        if window > self._window or (window == self._window and self._used < self._calls):
            if into < self._margin_seconds:
                return self._margin_seconds - into
            if into <= self._seconds - self._margin_seconds:
                return 0.0
            return self._seconds - into + self._margin_seconds
        start = (self._window + 1) * self._seconds + self._margin_seconds
        return min(start - now, 2 * self._seconds)

    def take(self, now: float) -> None:
        """Count the call in its window."""
        window = int(now // self._seconds)
        if window > self._window:
            self._window, self._used = window, 0
        self._used += 1

    def give_back(self, taken_at: float) -> None:
        """Uncount the call if its window is still the current one."""
        if int(taken_at // self._seconds) == self._window and self._used > 0:
            self._used -= 1

    def sent(self, taken_at: float, sent_at: float) -> None:
        """Do nothing: the margin at the window's end is for that."""

    def share(self, now: float) -> float:
        """Return the used part of the current window."""
        return self._used / self._calls if int(now // self._seconds) <= self._window else 0.0
