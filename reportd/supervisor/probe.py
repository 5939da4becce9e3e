"""A short-lived child that looks at something (a configuration, the broker) and reports.

The supervisor opens no connection itself; it forks a probe, goes on turning, and reads the answer
off a board of the probe's own when the probe has ended.
"""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from reportd.board import Board
from reportd.errors import EXIT_UNAVAILABLE
from reportd.supervisor.child import ChildContext, ChildSpec, fork_child

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a probe found."""

    status: int
    """0: good; 78: the configuration is wrong; 75: something outside is away; else a bug."""
    reason: str = ""
    """One problem a line; empty if all is well."""
    report: Report
    """What the probe's function returned."""


class Probe:
    """One probe under way. The caller reaps all children and says so with `ended`."""

    def __init__(self, look: Callable[[], Report], deadline: float) -> None:
        """Fork it; it is killed at ``deadline`` (the clock of `overdue`'s ``now``)."""
        self._slot = Board(1).slot(0)
        self._deadline = deadline
        self._killed = False

        def run(context: ChildContext) -> int:
            context.slot.publish(orjson.dumps(look()))
            return 0

        spec = ChildSpec(name="probe", title="check", slot_index=0, run=run)
        self.pid = fork_child(spec, self._slot, {})

    def kill_overdue(self, now: float) -> None:
        """Kill it if its time is over; `ended` follows as for any other death."""
        if now >= self._deadline and not self._killed:
            self.kill()

    def kill(self) -> None:
        """Kill it now."""
        self._killed = True
        os.kill(self.pid, signal.SIGKILL)

    def ended(self, wait_status: int) -> Finding:
        """Return what it found; ``wait_status`` as ``os.waitpid`` told it."""
        if self._killed:
            return Finding(status=EXIT_UNAVAILABLE, reason="the check took too long", report={})
        code = os.waitstatus_to_exitcode(wait_status)
        _, reason = self._slot.halted() or (0, "")
        if code == 0:
            return Finding(status=0, report=orjson.loads(self._slot.read() or b"{}"))
        if code < 0:
            reason = f"the check was killed by {signal.Signals(-code).name}"
        return Finding(status=abs(code), reason=reason or f"the check ended with {code}", report={})
