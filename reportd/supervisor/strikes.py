"""Crash strikes: how often a request was in hand when its worker died uncleanly.

Kept by the supervisor, because it outlives its workers, and handed to each new worker at the
fork: a request with one strike runs alone, one with three becomes a dead letter.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

MAX_REQUESTS = 10_000


class Strikes:
    """Strikes by request id; the least recently struck are forgotten first."""

    def __init__(self, limit: int = MAX_REQUESTS) -> None:
        """Remember at most ``limit`` requests."""
        self._limit = limit
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, requests: Iterable[str]) -> None:
        """Give each request one more strike."""
        for request in sorted(requests):
            self._counts[request] = self._counts.pop(request, 0) + 1
        while len(self._counts) > self._limit:
            self._counts.popitem(last=False)

    def counts(self) -> Mapping[str, int]:
        """Return the strikes as they stand, read-only."""
        return MappingProxyType(self._counts)

    def __len__(self) -> int:
        """Return how many requests have strikes."""
        return len(self._counts)
