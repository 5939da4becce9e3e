"""A seat: one named child, its lives one after the other, and what it is being asked just now.

Plain bookkeeping of the supervisor: `Seat` decides nothing about the others and does no I/O but
sending signals to its own living child.
"""

import os
import signal
from enum import StrEnum

from reportd.board import Slot
from reportd.supervisor.child import ChildSpec
from reportd.supervisor.inbox import LEAVE
from reportd.supervisor.respawn import Respawn, RespawnPolicy

ABORT_SECONDS = 5.0
"""What an aborted child gets to write its traces before it is killed."""


class SeatState(StrEnum):
    """Where a seat stands."""

    WAITING = "waiting"
    """Nobody is there; a child is forked when its time has come."""
    STARTING = "starting"
    """Forked, no heartbeat yet."""
    RUNNING = "running"
    STOPPING = "stopping"
    """Asked to drain and stop."""
    EMPTY = "empty"
    """Nobody is there and nobody is wanted."""


class Seat:
    """One named child. Times are monotonic seconds, heartbeats CLOCK_BOOTTIME."""

    def __init__(self, spec: ChildSpec, slot: Slot, policy: RespawnPolicy) -> None:
        """Start empty-handed: the first child is due at once."""
        self.spec = spec
        self.slot = slot
        self.state = SeatState.WAITING
        self.pid = 0
        self.restarts = 0
        self.last_exit = ""
        self.due_at = 0.0
        self.started_wall = 0.0
        self._respawn = Respawn(policy)
        self._started_boottime = 0.0
        self._stop_deadline = 0.0
        self._aborted_at: float | None = None
        self._killed = False
        self._comes_back = False

    @property
    def alive(self) -> bool:
        """Whether a process is there that was not reaped yet."""
        return self.pid != 0

    @property
    def name(self) -> str:
        """The child's name."""
        return self.spec.name

    def started(self, pid: int, now: float, boottime: float, wall: float) -> None:
        """Note that a child was forked."""
        self.pid = pid
        self.state = SeatState.STARTING
        self.started_wall = wall
        self._started_boottime = boottime
        self._aborted_at = None
        self._killed = False
        self._respawn.started(now)

    def look(self) -> None:
        """Take the first heartbeat for the start's success."""
        if self.state is SeatState.STARTING and self.slot.last_beat() is not None:
            self.state = SeatState.RUNNING

    def silent_seconds(self, boottime: float, awake_since: float) -> float:
        """Return how long the child has been silent while this process could have heard it."""
        beat = self.slot.last_beat() or 0.0
        return boottime - max(beat, self._started_boottime, awake_since)

    def ask_to_stop(self, deadline: float, *, for_good: bool = False) -> None:
        """Ask the child to drain; without one the seat is empty at once.

        ``for_good``: no other takes its place, so what it has is for others.
        """
        self._stop_deadline = deadline
        self._comes_back = False
        if not self.alive:
            self.state = SeatState.EMPTY
        elif self.state is not SeatState.STOPPING:
            self.state = SeatState.STOPPING
            os.kill(self.pid, LEAVE if for_good else signal.SIGTERM)

    def renew(self, deadline: float) -> None:
        """Ask the child to drain and to leave the group; another takes its place at once."""
        self.ask_to_stop(deadline, for_good=True)
        self._comes_back = self.alive

    def is_of_before(self, boottime: float) -> bool:
        """Return whether the living child runs, and started before an instant."""
        return self.state is SeatState.RUNNING and self._started_boottime < boottime

    def abort(self, now: float) -> None:
        """End a wedged child: traces of all its threads, then death."""
        self._aborted_at = now
        os.kill(self.pid, signal.SIGABRT)

    @property
    def aborted(self) -> bool:
        """Whether the living child was aborted."""
        return self._aborted_at is not None

    def overdue(self, now: float) -> bool:
        """Return whether the child had its time to end and did not."""
        if not self.alive or self._killed:
            return False
        if self._aborted_at is not None and now >= self._aborted_at + ABORT_SECONDS:
            return True
        return self.state is SeatState.STOPPING and now >= self._stop_deadline

    def kill(self) -> None:
        """End the child now."""
        self._killed = True
        os.kill(self.pid, signal.SIGKILL)

    def dump(self) -> None:
        """Let the child write its stacks."""
        os.kill(self.pid, signal.SIGUSR1)

    def died(self, now: float, how: str) -> None:
        """Note that the child was reaped; the next one is due, unless it was asked to stop."""
        asked = self.state is SeatState.STOPPING
        self.pid = 0
        self.last_exit = how
        self.slot.clear()
        if asked and self._comes_back:
            self.fill(self.spec)
            return
        if asked:
            self.state = SeatState.EMPTY
            return
        self.restarts += 1
        self.state = SeatState.WAITING
        self.due_at = self._respawn.died(now)

    @property
    def given_up_on(self) -> bool:
        """Whether the last child was killed for not draining in time: not the requests' fault."""
        return self._killed and not self.aborted

    def fill(self, spec: ChildSpec) -> None:
        """Want a child again, made by ``spec``, at once."""
        self.spec = spec
        self.state = SeatState.WAITING
        self.due_at = 0.0
