"""Replacing the children one at a time, after a reload. Decides; the supervisor does.

Each step empties one seat (drain, stop), fills it with the new child, and waits for its first
heartbeat before the next step. A new child that dies before it beats fails the rollout, and the
supervisor goes `back` with the specs of before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from reportd.supervisor.child import ChildSpec
from reportd.supervisor.seat import SeatState


class Turn(Enum):
    """What the supervisor does next for a rollout."""

    WAIT = auto()
    STOP = auto()
    """Ask the step's child to stop."""
    FILL = auto()
    """The seat is empty: put the step's new child there, or drop the seat."""
    DONE = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """One seat: whom to put there; None: nobody any more."""

    name: str
    spec: ChildSpec | None


class Rollout:
    """The way from what runs to what is wanted."""

    def __init__(self, steps: Sequence[Step], before: Mapping[str, ChildSpec]) -> None:
        """Take the steps as they come; `forward` plans them."""
        self._steps = list(steps)
        self._before = dict(before)
        self._at = 0
        self._filled = False

    @classmethod
    def forward(cls, running: Mapping[str, ChildSpec], wanted: Sequence[ChildSpec]) -> Self:
        """Plan a reload: replaced and new ones first, surplus ones next, the ``last`` last."""
        names = {spec.name for spec in wanted}
        steps = [Step(spec.name, spec) for spec in wanted if not spec.last]
        steps += [Step(name, None) for name in running if name not in names]
        steps += [Step(spec.name, spec) for spec in wanted if spec.last]
        return cls(steps, running)

    def back(self) -> "Rollout":
        """Plan the way back from the step that failed."""
        touched = self._steps[: self._at + 1]
        steps = [Step(step.name, self._before.get(step.name)) for step in touched]
        return Rollout(steps, self._before)

    @property
    def step(self) -> Step:
        """The step under way."""
        return self._steps[self._at]

    def tries(self, name: str) -> bool:
        """Return whether ``name`` is a new child that has yet to beat."""
        return self._filled and self._at < len(self._steps) and self.step.name == name

    def turn(self, states: Mapping[str, SeatState]) -> Turn:
        """Say what to do, by where the seats stand."""
        if self._filled and states[self.step.name] is SeatState.RUNNING:
            self.skip()
        if self._at >= len(self._steps):
            return Turn.DONE
        state = states.get(self.step.name, SeatState.EMPTY)
        if self._filled:
            return Turn.WAIT if state is SeatState.STARTING else Turn.FAILED
        if state is SeatState.EMPTY:
            return Turn.FILL
        return Turn.WAIT if state is SeatState.STOPPING else Turn.STOP

    def filled(self) -> None:
        """Note that the step's seat was filled, or dropped."""
        if self.step.spec is None:
            self.skip()
        else:
            self._filled = True

    def skip(self) -> None:
        """Go on to the next step."""
        self._at += 1
        self._filled = False
