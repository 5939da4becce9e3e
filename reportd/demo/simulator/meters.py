"""How partners count: bucket, fixed window, strict sliding window. Pure; handed ``now``.

Each meter also remembers the most it has ever seen, refused calls included, so that a client that
asks too much shows as a peak above the limit.
"""

from collections import deque
from math import floor
from typing import Protocol

from reportd.demo.simulator.config import Limit

_EPSILON = 1e-9


class PartnerMeter(Protocol):
    """One scope of one limit."""

    peak: float
    """The most calls seen at once in the meter's own terms, refused ones included."""

    def wait(self, now: float) -> float:
        """Return how long a call must wait, in seconds; 0.0: it fits."""
        ...

    def charge(self, now: float) -> None:
        """Count a call."""
        ...

    def saw(self, now: float) -> None:
        """Note that a call came, whether it fits or not (for the peak alone)."""
        ...


class BucketMeter:
    """GCRA: ``burst`` calls at once, then one every ``seconds / calls``."""

    def __init__(self, limit: Limit) -> None:
        self._interval = limit.seconds / limit.calls
        self._tolerance = self._interval * ((limit.burst or limit.calls) - 1)
        self._full_at = 0.0
        self._seen_full_at = 0.0
        self.peak = 0.0

    def wait(self, now: float) -> float:
        """See `PartnerMeter.wait`."""
        missing = self._full_at - self._tolerance - now
        return missing if missing > _EPSILON else 0.0

    def charge(self, now: float) -> None:
        """See `PartnerMeter.charge`."""
        self._full_at = max(self._full_at, now) + self._interval

    def saw(self, now: float) -> None:
        """See `PartnerMeter.saw`."""
        self._seen_full_at = max(self._seen_full_at, now) + self._interval
        self.peak = max(self.peak, (self._seen_full_at - now) / self._interval)


class FixedMeter:
    """So many calls in each window; the next one starts empty."""

    def __init__(self, limit: Limit, epoch_offset_seconds: float) -> None:
        self._limit = limit
        self._shift = epoch_offset_seconds - limit.phase_seconds
        self._window = -1
        self._seen_window = -1
        self._count = 0
        self._seen = 0
        self.peak = 0.0

    def _at(self, now: float) -> int:
        return floor((now + self._shift) / self._limit.seconds)

    def wait(self, now: float) -> float:
        """See `PartnerMeter.wait`."""
        window = self._at(now)
        if window != self._window:
            self._window, self._count = window, 0
        if self._count < self._limit.calls:
            return 0.0
        return max(_EPSILON, (window + 1) * self._limit.seconds - self._shift - now)

    def charge(self, now: float) -> None:
        """See `PartnerMeter.charge`."""
        if (window := self._at(now)) != self._window:
            self._window, self._count = window, 0
        self._count += 1

    def saw(self, now: float) -> None:
        """See `PartnerMeter.saw`."""
        if (window := self._at(now)) != self._seen_window:
            self._seen_window, self._seen = window, 0
        self._seen += 1
        self.peak = max(self.peak, float(self._seen))


class SlidingMeter:
    """So many calls in *any* stretch of ``seconds``: strict."""

    def __init__(self, limit: Limit) -> None:
        self._calls = limit.calls
        self._seconds = limit.seconds
        self._charged: deque[float] = deque()
        self._came: deque[float] = deque()
        self.peak = 0.0

    def wait(self, now: float) -> float:
        """See `PartnerMeter.wait`."""
        self._forget(self._charged, now)
        if len(self._charged) < self._calls:
            return 0.0
        return max(_EPSILON, self._charged[-self._calls] + self._seconds - now)

    def charge(self, now: float) -> None:
        """See `PartnerMeter.charge`."""
        self._charged.append(now)

    def saw(self, now: float) -> None:
        """See `PartnerMeter.saw`."""
        self._forget(self._came, now)
        self._came.append(now)
        self.peak = max(self.peak, float(len(self._came)))

    def _forget(self, times: deque[float], now: float) -> None:
        while times and times[0] <= now - self._seconds:
            times.popleft()


def make_meter(limit: Limit, epoch_offset_seconds: float = 0.0) -> PartnerMeter:
    """Return a fresh meter; ``epoch_offset_seconds`` is wall clock minus the meter's clock."""
    if limit.meter == "bucket":
        return BucketMeter(limit)
    if limit.meter == "fixed":
        return FixedMeter(limit, epoch_offset_seconds)
    return SlidingMeter(limit)


class Gate:
    """All limits of one partner: a call fits every one of them, or none is charged."""

    def __init__(self, limits: tuple[Limit, ...], epoch_offset_seconds: float = 0.0) -> None:
        self.limits = limits
        self.refused = [0] * len(limits)
        """Calls that each limit refused."""
        self._offset = epoch_offset_seconds
        self._scopes: list[dict[str, PartnerMeter]] = [{} for _ in limits]

    def admit(self, scopes: dict[str, str], now: float) -> float:
        """Count a call of these scopes (``per`` -> value); return 0.0, or the seconds to wait."""
        meters = [self._meter(index, scopes) for index in range(len(self.limits))]
        longest = 0.0
        for index, meter in enumerate(meters):
            meter.saw(now)
            if wait := meter.wait(now):
                self.refused[index] += 1
                longest = max(longest, wait)
        for limit, meter in zip(self.limits, meters, strict=True):
            if not longest or limit.counts_refused:
                meter.charge(now)
        return longest

    def peak(self, index: int) -> float:
        """Return the most calls that any scope of a limit has seen at once."""
        return max((meter.peak for meter in self._scopes[index].values()), default=0.0)

    def scopes(self, index: int) -> int:
        """Return how many scopes a limit has seen."""
        return len(self._scopes[index])

    def _meter(self, index: int, scopes: dict[str, str]) -> PartnerMeter:
        limit = self.limits[index]
        value = scopes[limit.per]
        meter = self._scopes[index].get(value)
        if meter is None:
            meter = self._scopes[index][value] = make_meter(limit, self._offset)
        return meter
