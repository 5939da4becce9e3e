"""What the supervisor is to run, and who tells it: the seam to ``daemon``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from reportd.supervisor.child import ChildSpec
from reportd.supervisor.probe import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The children to run and how patient to be with them."""

    children: Sequence[ChildSpec]
    drain_seconds: float
    heartbeat_limit_seconds: float
    accepted: Callable[[], None] = lambda: None
    """Called when this is what runs now: of a reload once all of its children have beaten."""


class Source(Protocol):
    """Where plans come from; asked at the start and at each reload."""

    def check(self) -> Report:
        """Look whether the configuration on disk can run. Runs in a probe: it may connect.

        Raises `ConfigError` with all problems, `UnavailableError`, or `Halt`.
        """
        ...

    def plan(self, report: Report) -> Plan:
        """Make the plan from the configuration on disk and the probe's report.

        Runs in the supervisor: no connection, no thread. Raises `ConfigError`.
        """
        ...
