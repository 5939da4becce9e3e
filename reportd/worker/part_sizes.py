"""How many days of a report an account is asked for at once, where all of them were too big. Pure.

Known to a partition's worker alone: a restart, or a move of the partition, forgets it, which costs
one refused call.
"""

from typing import NamedTuple

GROW_SECONDS = 86400.0
"""How long a size that worked is kept before twice as much is tried."""
GROW_MOST_SECONDS = 16 * GROW_SECONDS
"""Each size that was tried in vain doubles that, up to this: a refused call in 16 days, at last."""
DAYS_MOST = 400
"""What would be asked for at once anyway; see `ReportSpec.max_days`."""


class _Size(NamedTuple):
    days: int
    """0: a single day is split."""
    since: float
    grow_seconds: float

    def at(self, now: float) -> int:
        times = min(int((now - self.since) / self.grow_seconds), 16)
        if not self.days:
            return 1 << (times - 1) if times else 0
        return self.days << times


class PartSizes:
    """By report and account; ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        """Know nothing: all days are asked for at once."""
        self._known: dict[tuple[str, str], _Size] = {}

    def refused(self, report: str, account: str, days: int, now: float) -> None:
        """Ask for no more than so many days from here on: more was too big."""
        known = self._known.get((report, account))
        wait = GROW_SECONDS
        if known is not None:
            grown = now - known.since >= known.grow_seconds
            wait = min(known.grow_seconds * 2, GROW_MOST_SECONDS) if grown else known.grow_seconds
        self._known[(report, account)] = _Size(days, now, wait)

    def of(self, report: str, account: str, now: float) -> int | None:
        """Return how many days to ask for at once; None: as many as there are."""
        known = self._known.get((report, account))
        if known is None:
            return None
        days = known.at(now)
        if days < DAYS_MOST:
            return days
        del self._known[(report, account)]
        return None
