"""Keeps back what is paused and ends what is cancelled. Used by the engine; pure.

A call under way is finished: its answer is published, or recorded as a step, and only then the
request is put aside, or ends. What was never called leaves memory and is read again after the
pause.
"""

from typing import Protocol

from reportd.limits.limiter import Now
from reportd.model.control import Control
from reportd.worker.book import ParkKey
from reportd.worker.controls import Controls
from reportd.worker.endings import Endings
from reportd.worker.entry import Entry, State
from reportd.worker.partition import Partition
from reportd.worker.scheduler import WAITING
from reportd.worker.suspects import Suspects


class Ready(Protocol):
    """Lets a request wait for its next turn."""

    def __call__(
        self, partition: Partition, entry: Entry, now: Now, *, first: bool = False
    ) -> None:
        """Put it into its line; ``first``: before its account's others."""
        ...


class Restraint:
    """What the controls mean for the requests in memory."""

    def __init__(
        self, controls: Controls, endings: Endings, suspects: Suspects, ready: Ready
    ) -> None:
        """Share the engine's parts."""
        self._controls = controls
        self._endings = endings
        self._suspects = suspects
        self._ready = ready

    def keeps(self, partition: Partition, entry: Entry, now: Now) -> bool:
        """End or put aside a request that would be called next; False: it may be."""
        cancelled = self._cancels(entry)
        if cancelled is not None:
            self._end(partition, entry, cancelled, now)
            return True
        paused = self._controls.pauses(entry.request)
        if paused is not None:
            self._put_aside(partition, entry, paused)
        return paused is not None

    def settle(self, partition: Partition, entry: Entry, now: Now) -> None:
        """End a cancelled request that waits for anything: it is not waited for."""
        if entry.state in WAITING and (cancelled := self._cancels(entry)) is not None:
            self._end(partition, entry, cancelled, now)

    def look(self, partition: Partition, now: Now) -> None:
        """Go through a partition: something else is asked for than before."""
        rules = partition.rules
        ready = [*partition.scheduler.take_all(), *self._suspects.take_all(partition)]
        partition.limiter.also(self._controls.rules(partition.limiter.own))
        for entry in partition.entries.values():
            entry.scopes = self._controls.scopes_of(entry.request, rules.scopes_of(entry.request))
        for entry in ready:
            self._ready(partition, entry, now)
        for entry in list(partition.paused):
            del partition.paused[entry]
            self._ready(partition, entry, now, first=True)
        for entry in list(partition.entries.values()):
            self.settle(partition, entry, now)

    def _cancels(self, entry: Entry) -> Control | None:
        return self._controls.cancels(entry.request, entry.replay, entry.message.timestamp)

    def _end(self, partition: Partition, entry: Entry, control: Control, now: Now) -> None:
        words = (f"by {control.who}" if control.who else "", control.reason)
        self._endings.end(partition, entry, "cancelled", now, reason=": ".join(filter(None, words)))

    @staticmethod
    def _put_aside(partition: Partition, entry: Entry, paused: ParkKey) -> None:
        entry.state = State.PAUSED
        if not leave(partition, entry, paused):
            partition.paused[entry] = None


def leave(partition: Partition, entry: Entry, why: ParkKey) -> bool:
    """Let a request that was never called wait in Kafka; False: it was, and stays in memory."""
    if entry.calls or entry.steps or entry.generation or entry.strikes or entry.copies:
        return False
    partition.entries.pop(entry.identity, None)
    partition.window_bytes -= len(entry.message.value)
    partition.books[entry.message.topic].park(entry.message.offset, why)
    return True
