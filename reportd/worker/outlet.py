"""What the engine knows of the output: how much is on its way there, and what it did not take.

Used by the engine in the worker's loop; pure. What is kept here is done again, in order, after a
wait that grows while the output is away.
"""

from typing import NamedTuple

from reportd.limits.limiter import Now
from reportd.worker.actions import Action, LookAt
from reportd.worker.entry import Entry
from reportd.worker.partition import Partition
from reportd.worker.settings import EngineSettings

PATIENCE_SECONDS = 120.0
"""A mount that hangs says nothing: after so long with no answer stored, it is called away."""


class Kept(NamedTuple):
    """One action that is to be done again."""

    partition: Partition
    entry: Entry
    action: Action


class Outlet:
    """Counts answers that are being stored; keeps what was refused, or met a closed fence."""

    def __init__(self, settings: EngineSettings) -> None:
        """Begin with an output that works."""
        self._settings = settings
        self._kept: list[Kept] = []
        self._again_at = 0.0
        self._wait_seconds = settings.stall_first_seconds
        self._progress_at = 0.0
        self._takes_files = True  # a full disk still shows what is there: a look proves nothing
        self.reason = ""
        """Why it does not take files; empty: it does."""
        self.storing_count = 0
        """Answers that are being stored."""

    def storing(self, now: Now) -> None:
        """Count an answer that is to be stored; the clock runs while none of them is done."""
        if not self.storing_count:
            self._progress_at = now.mono
        self.storing_count += 1

    def over(self, now: Now) -> None:
        """Count an answer that is not being stored any more, whether it is or not."""
        self._progress_at = now.mono
        self.storing_count -= 1

    def stored(self) -> None:
        """Take note that it works: it has taken a file."""
        self._takes_files = True
        self._works()

    def looked(self) -> None:
        """Take note that it shows what is there: if only looks had failed, it works."""
        if self._takes_files:
            self._works()

    def _works(self) -> None:
        self.reason = ""
        self._wait_seconds = self._settings.stall_first_seconds

    def refused(self, one: Kept, reason: str, now: Now) -> None:
        """Keep what it did not take, or did not show; nothing new starts until it does."""
        self._takes_files = self._takes_files and isinstance(one.action, LookAt)
        self.reason = reason
        self._keep(one, self._wait_seconds, now)

    def fenced(self, one: Kept, now: Now) -> None:
        """Keep what met a closed fence: that says nothing of the output."""
        self._keep(one, self._settings.stall_first_seconds, now)

    def _keep(self, one: Kept, seconds: float, now: Now) -> None:
        if not self._kept:
            self._again_at = now.mono + seconds
        self._kept.append(one)

    def drop(self, partition: Partition) -> None:
        """Forget what was kept of a partition: it is its next owner's."""
        self._kept = [one for one in self._kept if one.partition is not partition]

    def dropped(self) -> None:
        """Take note that partitions are gone: with nothing kept, nothing is known against it."""
        self._takes_files = all(isinstance(one.action, LookAt) for one in self._kept)
        if not self._kept:
            self.stored()

    def next_wake(self) -> float:
        """Return the monotonic time at which `due` has something."""
        return self._again_at if self._kept else float("inf")

    def due(self, now: Now) -> list[Kept]:
        """Return what is to be done again now, and forget it; the next wait is longer."""
        if now.mono < self.next_wake():
            return []
        kept, self._kept = self._kept, []
        self._wait_seconds = min(2 * self._wait_seconds, self._settings.stall_most_seconds)
        return [one for one in kept if one.partition.is_alive]

    def trouble(self, now: Now) -> str:
        """Return why it takes no files, or that it keeps one waiting; empty: it works."""
        waited = now.mono - self._progress_at
        if not self.reason and self.storing_count and waited > PATIENCE_SECONDS:
            return f"an answer has waited for the output for {waited:.0f} s"
        return self.reason
