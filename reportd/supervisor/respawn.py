"""When a child that died is started again. Pure: times are handed in.

Used by the supervisor, one `Respawn` a slot. One death is answered at once (a killed worker must
read again within a second); a child that keeps dying young waits longer each time.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RespawnPolicy:
    """How patient the supervisor is."""

    calm_seconds: float = 30.0
    """A child that lived this long is not in a crash loop: its death starts a new count."""
    base_seconds: float = 1.0
    """The wait after the second early death in a row; it doubles with each further one."""
    max_seconds: float = 60.0
    """The longest wait."""


class Respawn:
    """The deaths of one slot's children."""

    def __init__(self, policy: RespawnPolicy) -> None:
        """Start with a clean record."""
        self._policy = policy
        self._started_at = 0.0
        self._early_deaths = 0

    def started(self, now: float) -> None:
        """Note that a child was started (monotonic seconds)."""
        self._started_at = now

    def died(self, now: float) -> float:
        """Note a death nobody asked for; return when the next child may start."""
        if now - self._started_at >= self._policy.calm_seconds:
            self._early_deaths = 0
        self._early_deaths += 1
        return now + self._wait_seconds()

    def _wait_seconds(self) -> float:
        if self._early_deaths == 1:
            return 0.0
        doublings = min(self._early_deaths - 2, 30)
        return min(self._policy.max_seconds, self._policy.base_seconds * 2.0**doublings)
