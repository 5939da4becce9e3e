"""How a partner counts: bucket, fixed, sliding window, at once. Arithmetic, no clock, no sleep.

Owned by `reportd.limits.limiter`, in the worker that owns the key. Every meter starts with its
whole burst (or window) spent: what an earlier owner sent just before is not known. A call costs 1
unless the limit says otherwise; daily quotas are `reportd.limits.quotas`.
"""

from collections import deque
from itertools import count
from typing import Protocol

TINY = 1e-9
"""Costs are sums of floats: so much too little room is room."""


class Meter(Protocol):
    """One limit of one scope. ``now`` is in the meter's own time base, in seconds."""

    wall: bool
    """Whether ``now`` is the wall clock's (windows aligned to it) or the monotonic one's."""

    def wait_seconds(self, now: float, cost: float = 1.0) -> float:
        """Return how long a call must wait; 0.0: it may start now; inf: until another is over."""
        ...

    def take(self, now: float, cost: float = 1.0) -> None:
        """Charge one call that starts now; only after `wait_seconds` returned 0.0."""
        ...

    def give_back(self, taken_at: float, cost: float = 1.0) -> None:
        """Undo the charge made at ``taken_at``: the call was never sent."""
        ...

    def left_late(self, taken_at: float, cost: float, late_seconds: float) -> None:
        """Charge a call to when it left, as soon as that is known: the next one may be due.

        From then on it is one that was taken at ``taken_at + late_seconds``.
        """
        ...

    def settle(self, taken_at: float, cost: float, sent_at: float, actual: float) -> None:
        """Correct a charge, the call being over: it left at ``sent_at`` and cost ``actual``.

        ``sent_at`` is monotonic, whatever the meter's time base.
        """
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

    def wait_seconds(self, now: float, cost: float = 1.0) -> float:
        """Return how far the theoretical arrival lies beyond the tolerance."""
        tolerance = self._tolerance_seconds
        if cost != 1.0:
            tolerance = max(0.0, tolerance - (cost - 1.0) * self._interval_seconds)
        return max(0.0, self._arrival - tolerance - now)

    def take(self, now: float, cost: float = 1.0) -> None:
        """Move the theoretical arrival on by one interval."""
        self._arrival = max(self._arrival, now) + cost * self._interval_seconds
        self._taken_at = now

    def give_back(self, taken_at: float, cost: float = 1.0) -> None:
        """Move it back by one interval, unless a later call stands on it: then it is wasted."""
        if taken_at == self._taken_at:
            self._arrival -= cost * self._interval_seconds

    def left_late(self, taken_at: float, cost: float, late_seconds: float) -> None:
        """Let the next one come an interval after it, unless a later call stands on it.

        As much as our burst is what is kept of the partner's for this, if there is one.
        """
        if taken_at == self._taken_at:
            self._taken_at = taken_at + late_seconds
            if late_seconds > self._tolerance_seconds:
                self._arrival = max(self._arrival, self._taken_at + cost * self._interval_seconds)

    def settle(self, taken_at: float, cost: float, sent_at: float, actual: float) -> None:
        """Move it by what the call cost more, or less."""
        if actual > cost:
            self._arrival += (actual - cost) * self._interval_seconds
        elif actual < cost:
            self.give_back(taken_at, cost - actual)

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

    def __init__(self, calls: float, seconds: float, margin_seconds: float, now: float) -> None:
        """Start with a full window."""
        self._calls = calls
        self._seconds = seconds + margin_seconds
        self._used = float(calls)
        self._taken: deque[list[float]] = deque([[now, self._used]])
        self._last = now

    def wait_seconds(self, now: float, cost: float = 1.0) -> float:
        """Return how long the oldest charges that are in the way still occupy their places."""
        taken, seconds = self._taken, self._seconds
        while taken and taken[0][0] + seconds <= now:
            self._used -= taken.popleft()[1]
        over = self._used + min(cost, self._calls) - self._calls
        if over <= TINY:
            return 0.0
        latest = now - seconds
        for at, spent in taken:
            latest = max(latest, at)  # one that left late keeps those behind it
            over -= spent
            if over <= TINY:
                break
        return latest + seconds - now

    def take(self, now: float, cost: float = 1.0) -> None:
        """Remember the call."""
        self._taken.append([now, cost])
        self._used += cost
        self._last = max(self._last, now)

    def give_back(self, taken_at: float, cost: float = 1.0) -> None:
        """Forget the call; its place is free as if it had been over long ago."""
        found = self._find(taken_at, cost)
        if found is not None:
            charge = self._taken[found]
            charge[1] -= cost
            self._used -= cost
            if charge[1] <= TINY:
                del self._taken[found]

    def left_late(self, taken_at: float, cost: float, late_seconds: float) -> None:
        """Let its place be free a window after it left."""
        self.settle(taken_at, cost, taken_at + late_seconds, cost)

    def settle(self, taken_at: float, cost: float, sent_at: float, actual: float) -> None:
        """Count the call from when it left, not from when it was allowed to, and at its cost."""
        found = self._find(taken_at, cost)
        if found is not None:
            charge = self._taken[found]
            charge[0] = sent_at
            charge[1] += actual - cost
            self._used += actual - cost
            self._last = max(self._last, sent_at)

    def _find(self, taken_at: float, cost: float) -> int | None:
        """Return where a charge lies: near the end, mostly."""
        for index, (at, spent) in zip(count(len(self._taken) - 1, -1), reversed(self._taken)):
            if at == taken_at and spent >= cost - TINY:
                return index
        return None

    def share(self, now: float) -> float:
        """Return the occupied part of the window."""
        if self._last + self._seconds <= now:
            return 0.0
        start = now - self._seconds
        return min(1.0, sum(spent for at, spent in self._taken if at > start) / self._calls)


class FixedWindow:
    """At most ``calls`` in each window of ``seconds`` aligned to the wall clock.

    Nothing starts within the margin of a window's edges, so that a call counts in the window it
    was charged to. Time does not go back: it is that of a clock that nobody has set.
    """

    wall = True

    def __init__(self, calls: float, seconds: float, margin_seconds: float, now: float) -> None:
        """Start with the current window spent."""
        self._calls = calls
        self._seconds = seconds
        self._margin_seconds = min(margin_seconds, seconds / 4)
        self._window = int(now // seconds)
        self._used = float(calls)

    def wait_seconds(self, now: float, cost: float = 1.0) -> float:
        """Return how long until the open part of a window with room."""
        window = int(now // self._seconds)
        into = now - window * self._seconds
        has_room = self._used + min(cost, self._calls) <= self._calls + TINY
        if window > self._window or (window == self._window and has_room):
            if into < self._margin_seconds:
                return self._margin_seconds - into
            if into <= self._seconds - self._margin_seconds:
                return 0.0
            return self._seconds - into + self._margin_seconds
        return (self._window + 1) * self._seconds + self._margin_seconds - now

    def take(self, now: float, cost: float = 1.0) -> None:
        """Count the call in its window."""
        window = int(now // self._seconds)
        if window > self._window:
            self._window, self._used = window, 0.0
        self._used += cost

    def give_back(self, taken_at: float, cost: float = 1.0) -> None:
        """Uncount the call if its window is still the current one."""
        if int(taken_at // self._seconds) == self._window:
            self._used = max(0.0, self._used - cost)

    def left_late(self, taken_at: float, cost: float, late_seconds: float) -> None:
        """Count it in the window that it left in, too; before that is the margin at the end."""
        if int((taken_at + late_seconds) // self._seconds) > int(taken_at // self._seconds):
            self.take(taken_at + late_seconds, cost)

    def settle(self, taken_at: float, cost: float, sent_at: float, actual: float) -> None:
        """Count what it cost."""
        if actual != cost:
            self.give_back(taken_at, cost - actual)

    def share(self, now: float) -> float:
        """Return the used part of the current window."""
        used = self._used if int(now // self._seconds) <= self._window else 0.0
        return min(1.0, used / self._calls)


class AtOnce:
    """At most ``calls`` under way at the same time, each from its start to its end.

    It lives in memory alone. For ``seconds`` after the start all places count as taken: so long
    may calls go on that an owner had under way when it died.
    """

    wall = False

    def __init__(self, calls: float, seconds: float, now: float) -> None:
        """Start with all places taken by an earlier owner's calls."""
        self._calls = calls
        self._from = now + seconds
        self._held = 0.0

    def wait_seconds(self, now: float, cost: float = 1.0) -> float:
        """Return inf where one must end first: nobody knows when."""
        if now < self._from:
            return self._from - now
        full = self._held + min(cost, self._calls) > self._calls + TINY
        return float("inf") if full else 0.0

    def take(self, now: float, cost: float = 1.0) -> None:
        """Occupy a place."""
        self._held += cost

    def give_back(self, taken_at: float, cost: float = 1.0) -> None:
        """Leave the place."""
        self._held -= cost

    def left_late(self, taken_at: float, cost: float, late_seconds: float) -> None:
        """Keep the place: it is held from the grant on."""

    def settle(self, taken_at: float, cost: float, sent_at: float, actual: float) -> None:
        """Leave the place: the call is over, whatever became of it."""
        self._held -= cost

    def share(self, now: float) -> float:
        """Return the occupied part."""
        return 1.0 if now < self._from else min(1.0, self._held / self._calls)
