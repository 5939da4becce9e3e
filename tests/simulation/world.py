"""Virtual time: a heap of things to happen, and the one source of randomness."""

import heapq
from collections.abc import Callable
from random import Random

from reportd.limits.limiter import Now

MIDNIGHT_SECONDS = 44.0
"""When a day ends in ``Etc/GMT+4``; windows of 1, 2 or 4 s begin together on both clocks."""
WALL_AT_START = 1_763_784_000.0 - MIDNIGHT_SECONDS
"""2025-11-22T04:00:00Z, but for what is left of the day there."""


class World:
    """Runs what was planned, in the order of virtual time; equal seeds give equal runs."""

    def __init__(self, seed: int) -> None:
        """Begin at second 0."""
        self.random = Random(seed)
        self.time = 0.0
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def now(self) -> Now:
        """Return the instant on all clocks."""
        return Now(self.time, WALL_AT_START + self.time, self.time)

    def plan(self, delay_seconds: float, do: Callable[[], None]) -> None:
        """Let something happen later."""
        self._number += 1
        heapq.heappush(self._planned, (self.time + delay_seconds, self._number, do))

    def run_until(self, is_over: Callable[[], bool], horizon_seconds: float) -> bool:
        """Run until ``is_over`` (looked at after each happening); False: the horizon came first."""
        while self._planned:
            at, _, do = heapq.heappop(self._planned)
            if at > horizon_seconds:
                return False
            self.time = max(self.time, at)
            do()
            if is_over():
                return True
        return False
