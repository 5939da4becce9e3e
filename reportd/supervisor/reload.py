"""A look at the configuration, and the change to it: at the start and at each SIGHUP.

Holds what the supervisor's loop has to remember from turn to turn: the probe under way, the
rollout under way, whether the last reload was good, and what was wrong with it.
"""

from reportd.clock import Clock
from reportd.supervisor.plan import Source
from reportd.supervisor.probe import Finding, Probe
from reportd.supervisor.rollout import Rollout

CHECK_SECONDS = 60.0
"""The time a check may take before it counts as "something outside is away"."""


class Reload:
    """The reload under way, if any, and how the last one went."""

    def __init__(self, source: Source, clock: Clock) -> None:
        """Nothing is under way."""
        self._source = source
        self._clock = clock
        self.probe: Probe | None = None
        self.rollout: Rollout | None = None
        self.is_way_back = False
        self.is_wanted_again = False
        self.ok = True
        self.at = 0.0
        self.problems: list[str] = []
        self.asked = 0
        self._covered = 0
        self._covered_before = 0

    @property
    def answered(self) -> int:
        """How many of the ``asked`` are over, whether done or refused."""
        return self._covered_before if self.under_way else self._covered

    @property
    def under_way(self) -> bool:
        """Whether a check or a rollout is under way."""
        return self.probe is not None or self.rollout is not None

    def ask(self) -> None:
        """Take the wish for a reload: it begins now, or follows the one under way."""
        self.asked += 1
        self.begin()

    def begin(self) -> None:
        """Start a check; if a reload is under way, another follows it."""
        if self.under_way:
            self.is_wanted_again = True
            return
        self.is_wanted_again = False
        self._covered_before, self._covered = self._covered, self.asked
        self.probe = Probe(self._source.check, self._clock.monotonic() + CHECK_SECONDS)

    def ended(self, pid: int, wait_status: int) -> Finding | None:
        """Take the probe's end, if ``pid`` is the probe."""
        if self.probe is None or self.probe.pid != pid:
            return None
        finding = self.probe.ended(wait_status)
        self.probe = None
        return finding

    def refused(self, reason: str) -> None:
        """Note that the configuration on disk was refused; what ran before runs on."""
        self.ok = False
        self.at = self._clock.wall()
        self.problems = reason.splitlines() or ["no reason was given"]

    def accepted(self) -> None:
        """Note that the configuration on disk is what runs now."""
        self.ok = True
        self.at = self._clock.wall()
        self.problems = []

    def cancel(self) -> None:
        """Forget what is under way: the daemon stops."""
        self.rollout = None
        self.is_wanted_again = False
        if self.probe is not None:
            self.probe.kill()
