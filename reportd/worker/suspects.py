"""Requests that were in hand when a worker died: they run alone, and three times at most.

Used by the engine in the worker's loop. Pure.
"""

from collections.abc import Callable, Mapping

from reportd.limits.limiter import Now
from reportd.worker.entry import Entry
from reportd.worker.partition import Partition

STRIKES_MOST = 3
"""After so many unclean deaths with it in hand a request is a dead letter."""


def stays(partition: Partition) -> bool:
    """Say whether a partition is not about to be given away."""
    return not partition.is_closing


class Suspects:
    """Who must run alone, and whose turn it is: the suspects' or everybody else's."""

    def __init__(
        self,
        strikes: Mapping[str, int],
        alone_seconds: float,
        takes_calls: Callable[[Partition], bool] = stays,
    ) -> None:
        """Take the strikes that the supervisor counted; ``takes_calls`` says who has a turn."""
        self._strikes = strikes
        self._takes_calls = takes_calls
        self._alone_seconds = alone_seconds
        self._waiting: list[tuple[Partition, Entry]] = []
        self._since: float | None = None
        self._others_until = float("-inf")
        self.alone: Entry | None = None
        """The suspect that has the worker for itself now."""

    def strikes_of(self, request_id: str) -> int:
        """Return how many workers died with this request in hand."""
        return self._strikes.get(request_id, 0)

    def add(self, partition: Partition, entry: Entry) -> None:
        """Let a suspect wait for its turn: a URL in hand first, then those with few strikes."""
        self._waiting.append((partition, entry))
        self._waiting.sort(key=lambda pair: (not pair[1].volatile, pair[1].strikes))

    def drop(self, partition: Partition) -> None:
        """Forget the suspects of a partition that was lost."""
        self._waiting = [pair for pair in self._waiting if pair[0] is not partition]
        if self.alone is not None and not self.alone.alive():
            self.alone = None

    def over(self, entry: Entry) -> None:
        """Take note that a suspect ended, or waits for something again."""
        if self.alone is entry:
            self.alone = None

    def holds_others_back(self, now: Now) -> bool:
        """Say whether nobody else may start now: a suspect runs, or is about to."""
        if self.alone is not None:
            return True
        if now.mono < self._others_until or self._first(now) is None:
            self._since = None
            return False
        if self._since is None:
            self._since = now.mono
        elif now.mono - self._since > self._alone_seconds:
            self._since = None
            self._others_until = now.mono + self._alone_seconds
            return False
        return True

    def next(self, now: Now) -> tuple[Partition, Entry] | None:
        """Take the suspect that runs now, its limits charged; only while nothing else does."""
        index = self._first(now)
        if index is None:
            return None
        partition, entry = self._waiting.pop(index)
        entry.grant = partition.limiter.take(entry.scopes, now)
        entry.granted_at = now.mono
        self.alone = entry
        return partition, entry

    def waiting(self) -> list[Entry]:
        """Return those that wait for their turn."""
        return [entry for _, entry in self._waiting]

    def take_all(self, partition: Partition) -> list[Entry]:
        """Take those of a partition that wait for their turn."""
        found = [entry for of, entry in self._waiting if of is partition]
        self._waiting = [pair for pair in self._waiting if pair[0] is not partition]
        return found

    def _first(self, now: Now) -> int | None:
        for index, (partition, entry) in enumerate(self._waiting):
            if (
                self._takes_calls(partition)
                and partition.circuits.lets_through(entry.request, now.mono)
                and partition.limiter.blocked(entry.scopes, now) is None
            ):
                return index
        return None
