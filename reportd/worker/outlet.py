"""What the engine knows of the output: how much is on its way there, and what it did not take.

Used by the engine in the worker's loop; pure. What is kept here is done again, in order, after a
wait that grows while the output is away. That is known for each partner by itself: a folder that
nobody may write to, or a prefix of a bucket, is one partner's, and stops no other.
"""

from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Stall:
    """What of one partner was refused, or met a closed fence."""

    wait_seconds: float
    kept: list[Kept] = field(default_factory=list)
    again_at: float = 0.0
    reason: str = ""
    takes_files: bool = True
    """A full disk still shows what is there: a look proves nothing."""


class Outlet:
    """Counts answers that are being stored; keeps what was refused, or met a closed fence."""

    def __init__(self, settings: EngineSettings) -> None:
        """Begin with an output that works."""
        self._settings = settings
        self._stalls: dict[str, _Stall] = {}
        self._progress_at = 0.0
        self.storing_count = 0
        """Answers that are being stored."""

    def stops(self, partner: str) -> bool:
        """Say whether nothing new of a partner may start: its files are not taken."""
        stall = self._stalls.get(partner)
        return stall is not None and bool(stall.reason)

    @property
    def reason(self) -> str:
        """Why it does not take files, of one partner at least; empty: it does."""
        return next((stall.reason for stall in self._stalls.values() if stall.reason), "")

    def storing(self, now: Now) -> None:
        """Count an answer that is to be stored; the clock runs while none of them is done."""
        if not self.storing_count:
            self._progress_at = now.mono
        self.storing_count += 1

    def over(self, now: Now) -> None:
        """Count an answer that is not being stored any more, whether it is or not."""
        self._progress_at = now.mono
        self.storing_count -= 1

    def stored(self, partner: str) -> None:
        """Take note that it works: it has taken a partner's file."""
        if (stall := self._stalls.get(partner)) is not None:
            stall.takes_files = True
            self._works(partner, stall)

    def looked(self, partner: str) -> None:
        """Take note that it shows what is there: if only looks had failed, it works."""
        stall = self._stalls.get(partner)
        if stall is not None and stall.takes_files:
            self._works(partner, stall)

    def _works(self, partner: str, stall: _Stall) -> None:
        stall.reason = ""
        stall.wait_seconds = self._settings.stall_first_seconds
        if not stall.kept:
            del self._stalls[partner]

    def refused(self, one: Kept, reason: str, now: Now) -> None:
        """Keep what it did not take, or did not show; nothing new of the partner starts then."""
        stall = self._stall_of(one)
        stall.takes_files = stall.takes_files and isinstance(one.action, LookAt)
        stall.reason = reason
        _keep(stall, one, stall.wait_seconds, now)

    def fenced(self, one: Kept, now: Now) -> None:
        """Keep what met a closed fence: that says nothing of the output."""
        _keep(self._stall_of(one), one, self._settings.stall_first_seconds, now)

    def _stall_of(self, one: Kept) -> _Stall:
        first = _Stall(self._settings.stall_first_seconds)
        return self._stalls.setdefault(one.partition.partner, first)

    def drop(self, partition: Partition) -> None:
        """Forget what was kept of a partition: it is its next owner's."""
        stall = self._stalls.get(partition.partner)
        if stall is None:
            return
        stall.kept = [one for one in stall.kept if one.partition is not partition]
        stall.takes_files = all(isinstance(one.action, LookAt) for one in stall.kept)
        if not stall.kept:  # nothing is known against it
            del self._stalls[partition.partner]

    def next_wake(self) -> float:
        """Return the monotonic time at which `due` has something."""
        waiting = (stall.again_at for stall in self._stalls.values() if stall.kept)
        return min(waiting, default=float("inf"))

    def due(self, now: Now) -> list[Kept]:
        """Return what is to be done again now, and forget it; the next wait is longer."""
        found: list[Kept] = []
        for stall in self._stalls.values():
            if stall.kept and now.mono >= stall.again_at:
                found += [one for one in stall.kept if one.partition.is_alive]
                stall.kept = []
                most = self._settings.stall_most_seconds
                stall.wait_seconds = min(2 * stall.wait_seconds, most)
        return found

    def trouble(self, now: Now) -> str:
        """Return why it takes no files, or that it keeps one waiting; empty: it works."""
        waited = now.mono - self._progress_at
        if not self.reason and self.storing_count and waited > PATIENCE_SECONDS:
            return f"an answer has waited for the output for {waited:.0f} s"
        return self.reason


def _keep(stall: _Stall, one: Kept, seconds: float, now: Now) -> None:
    if not stall.kept:
        stall.again_at = now.mono + seconds
    stall.kept.append(one)
