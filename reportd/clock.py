"""Time, injected.

Deciding code never reads a clock: it is handed ``now``. Doing code is handed a `Clock`.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from; all in seconds."""

    def wall(self) -> float:
        """Return seconds since the epoch, for what people and messages say."""
        ...

    def monotonic(self) -> float:
        """Return seconds for durations; stands still while the VM is suspended."""
        ...

    def boottime(self) -> float:
        """Return seconds for leases; goes on while the VM is suspended (CLOCK_BOOTTIME)."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall(self) -> float:
        """Return CLOCK_REALTIME."""
        return time.time()

    def monotonic(self) -> float:
        """Return CLOCK_MONOTONIC."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
