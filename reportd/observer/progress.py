"""How fast requests end, and when the open ones will be done. Pure; one object per observer."""

from collections import deque

WINDOW_SECONDS = 900.0
"""So long that a VM that dies, and its partitions wait for a session, is a twentieth of it."""
SHORTEST_SECONDS = 5.0
"""A rate over less says nothing."""


class Progress:
    """What ended, per partner, over the last minutes. Times are monotonic seconds."""

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        """Look back ``window_seconds``."""
        self._window_seconds = window_seconds
        self._last: dict[tuple[str, str], float] = {}
        self._totals: dict[str, float] = {}
        self._samples: dict[str, deque[tuple[float, float]]] = {}

    def note(self, partner: str, source: str, value: float) -> None:
        """Take one source's running count of ends (a counter, a committed offset).

        A source seen for the first time only sets its start; one that went back started anew.
        """
        before = self._last.get((partner, source))
        self._last[partner, source] = value
        gained = 0.0 if before is None else value - before if value >= before else value
        self._totals[partner] = self._totals.get(partner, 0.0) + gained

    def forget(self, partner: str, source: str) -> None:
        """Forget a source that another one counts from here on."""
        self._last.pop((partner, source), None)

    def tick(self, partner: str, now: float, remaining: int) -> None:
        """Take a sample; while nothing remains the clock of the rate stands still."""
        samples = self._samples.setdefault(partner, deque())
        if remaining == 0:
            samples.clear()
        samples.append((now, self._totals.get(partner, 0.0)))
        while samples[0][0] < now - self._window_seconds:
            samples.popleft()

    def rate(self, partner: str) -> float | None:
        """Return ends a second over the window; None before there is enough to tell."""
        samples = self._samples.get(partner)
        if not samples or samples[-1][0] - samples[0][0] < SHORTEST_SECONDS:
            return None
        (first_at, first), (last_at, last) = samples[0], samples[-1]
        return (last - first) / (last_at - first_at)

    def eta_seconds(
        self, partner: str, remaining: int, slowest_seconds: float = 0.0
    ) -> float | None:
        """Return the seconds until ``remaining`` are done; None if that cannot be told.

        Not before the account with the most to do, which takes ``slowest_seconds`` at its limit:
        the rate of all of them says little of the one that goes on when the others are done.
        """
        if remaining == 0:
            return 0.0
        rate = self.rate(partner)
        return max(remaining / rate, slowest_seconds) if rate else None
