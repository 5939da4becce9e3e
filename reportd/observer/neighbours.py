"""The other VMs of the group: who is alive, and whether this one may run beside them. Pure.

Used by the check before the start, which waits until it is sure, and by the observer, which keeps
looking. A record alone proves nothing (its VM may have died a second later): a VM counts as alive
for a refusal only when its record was seen to move on, by this machine's own clock.

Before it looks, a starting VM writes that it does. Of clones that start in the same moment the
topic's order says who was first: the others see its record before their own and are refused, it
passes over theirs. Otherwise each would end the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from reportd.model.vm import Vm

HEARTBEAT_SECONDS = 10.0
"""How often each VM writes its record."""
LIVE_SECONDS = 3.5 * HEARTBEAT_SECONDS
"""A VM whose record has not moved for this long is not counted as alive."""
FRESH_SECONDS = 60.0
"""A record older than this by the wall clock is a dead VM's; clocks may differ by half of it."""

IsRunning = Callable[[int, int], bool]
"""Whether the process with this pid and start time runs on this machine."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A living VM and, in one line, why this one must not run beside it."""

    vm: Vm
    reason: str


@dataclass(slots=True)
class _Sighting:
    vm: Vm
    moved_at: float
    """Monotonic seconds when the record last moved on (or was first seen)."""
    moves: bool = False
    is_later: bool = False
    """It began to start after this one: it is the one to be refused."""


class Neighbours:
    """What this VM has seen of the topic ``vms``. Times: ``now`` monotonic, ``wall`` epoch."""

    def __init__(self, me: Vm, is_running: IsRunning) -> None:
        """Look at others as ``me``."""
        self._me = me
        self._is_running = is_running
        self._seen: dict[str, _Sighting] = {}
        self._said_so = False
        """Whether this one's own record was seen."""

    def see(self, vm: Vm, now: float) -> None:
        """Take one record, in the topic's order; those of one reading have the same ``now``."""
        if vm.incarnation == self._me.incarnation:
            self._said_so = True
            return
        if vm.gone:
            self._seen.pop(vm.incarnation, None)
            return
        known = self._seen.get(vm.incarnation)
        if known is None:
            self._forget_before(vm)
            is_later = vm.starting and self._said_so
            self._seen[vm.incarnation] = _Sighting(vm, now, is_later=is_later)
        elif vm.at > known.vm.at:
            # What is read in one go is history, however far it moves: a VM that lost its power
            # has left as many records as one that lives
            moves = known.moves or now > known.moved_at
            is_later = vm.starting and known.is_later
            self._seen[vm.incarnation] = _Sighting(vm, now, moves=moves, is_later=is_later)

    def live(self, now: float, wall: float) -> list[Vm]:
        """Return the VMs that seem to run, by machine id."""
        return [sighting.vm for sighting in self._alive(now, wall) if not sighting.vm.starting]

    def _rivals(self, now: float, wall: float) -> list[Vm]:
        """Return the VMs that seem alive and do not have to give way to this one."""
        return [sighting.vm for sighting in self._alive(now, wall) if not sighting.is_later]

    def _alive(self, now: float, wall: float) -> list[_Sighting]:
        found = [
            sighting
            for sighting in self._seen.values()
            if now - sighting.moved_at < LIVE_SECONDS
            and (sighting.moves or abs(wall - sighting.vm.at) < FRESH_SECONDS)
            and not self._is_dead(sighting.vm)
        ]
        return sorted(found, key=lambda sighting: sighting.vm.machine)

    def doubts(self, now: float, wall: float) -> list[Vm]:
        """Return who would forbid this VM to run, if alive; wait up to `LIVE_SECONDS` for it."""
        rivals = self._rivals(now, wall)
        return [vm for vm in rivals if self._conflict(vm) and not self._proven(vm)]

    def refusals(self, now: float, wall: float) -> list[Refusal]:
        """Return why this VM must not run beside those that are certainly alive."""
        return [
            Refusal(vm, conflict)
            for vm in self._rivals(now, wall)
            if self._proven(vm) and (conflict := self._conflict(vm))
        ]

    def yields(self, vm: Vm) -> bool:
        """Return whether of two that conflict this one has to go: the one that came later."""
        mine = (self._me.started_at, self._me.incarnation)
        return mine > (vm.started_at, vm.incarnation)

    def agree(self, now: float, wall: float) -> bool:
        """Return whether all living VMs run this one's configuration."""
        return all(vm.config == self._me.config for vm in self.live(now, wall))

    def _forget_before(self, vm: Vm) -> None:
        """Forget another machine's earlier lives; with this one's own id they may be a twin's."""
        if vm.machine != self._me.machine:
            before = [k for k, found in self._seen.items() if found.vm.machine == vm.machine]
            for incarnation in before:
                del self._seen[incarnation]

    def _proven(self, vm: Vm) -> bool:
        return self._is_here(vm) or self._seen[vm.incarnation].moves

    def _is_dead(self, vm: Vm) -> bool:
        return self._is_here(vm) and not self._is_running(vm.pid, vm.pid_started)

    def _is_here(self, vm: Vm) -> bool:
        me = self._me
        is_known = bool(me.boot and me.namespace)
        return is_known and (vm.boot, vm.namespace) == (me.boot, me.namespace)

    def _conflict(self, vm: Vm) -> str:
        if vm.machine == self._me.machine:
            return self._twin(vm)
        if not (vm.shared and self._me.shared):
            who = "this VM" if not self._me.shared else f"VM {vm.machine}"
            return (
                f"a second VM on an output that is not shared: VM {vm.machine} is alive and "
                f"{who} has output.shared = false; stop one, or use an output that both see and "
                "set output.shared = true on both"
            )
        if vm.store != self._me.store:
            return (
                f"VM {vm.machine} is alive and writes to another output (store {vm.store}, here "
                f"{self._me.store}): mount the same folder on both"
            )
        return ""

    def _twin(self, vm: Vm) -> str:
        if self._is_here(vm):
            return (
                f"reportd already runs here with machine id {vm.machine} (pid {vm.pid}): stop it, "
                "or set another workers.machine_id"
            )
        return (
            f"another live VM has the machine id {vm.machine} (a cloned image?): set "
            "workers.machine_id, or make a new /etc/machine-id with systemd-machine-id-setup"
        )
