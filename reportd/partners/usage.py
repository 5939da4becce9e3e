"""How much of its limits a partner says is used: a scope slows down before it is refused.

Read off good answers too. Pure and thread-safe; used by `reportd.partners.flow`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reportd.partners.body import Body
from reportd.partners.rule_spec import UsageSpec
from reportd.partners.verdict import Pace
from reportd.partners.waits import Source, Waiting, compile_source, compile_waiting, flat
from reportd.transport.exchange import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One compiled rule."""

    spec: UsageSpec
    share: Source | None
    left: Source | None
    waiting: Waiting

    def pace(self, answer: Answer, body: Body, scope: str, now_wall: float) -> Pace | None:
        """Return what waits for how long; None: there is room, or the answer does not say.

        ``scope``: what waits where the rule does not say.
        """
        excess = self._excess(answer, body)
        if excess is None:
            return None
        seconds = self.waiting.told(answer, body, now_wall)
        if not seconds and self.spec.pace_seconds is not None:
            seconds = self.spec.pace_seconds * excess
        elif not seconds:
            seconds = self.waiting.written(now_wall)
        return Pace(self.spec.scope or scope, seconds) if seconds else None

    def _excess(self, answer: Answer, body: Body) -> float | None:
        """Return how far it is beyond the mark, up to 1 at the end; None: it is not."""
        spec = self.spec
        if self.share is not None:
            used = _largest(self.share(answer, body))
            if used is None or used < spec.above:
                return None
            return min(1.0, (used - spec.above) / (spec.full - spec.above))
        left = None if self.left is None else _smallest(self.left(answer, body))
        if left is None or left > spec.below:
            return None
        return min(1.0, (spec.below - left) / spec.below) if spec.below else 1.0


def compile_usage(spec: UsageSpec) -> Usage:
    """Compile one checked rule."""
    return Usage(
        spec=spec,
        share=compile_source(spec.used) if spec.used else None,
        left=compile_source(spec.left) if spec.left else None,
        waiting=compile_waiting(spec),
    )


def paces(
    rules: Iterable[Usage], answer: Answer, body: Body, scope: str, now_wall: float
) -> tuple[Pace, ...]:
    """Return all that an answer slows down."""
    found = (rule.pace(answer, body, scope, now_wall) for rule in rules)
    return tuple(pace for pace in found if pace is not None)


def cost_of(source: Source, answer: Answer, body: Body) -> float | None:
    """Return what an answer says that its call did cost; None: it does not say."""
    cost = _largest(source(answer, body))
    return cost if cost is not None and cost >= 0.0 else None


def _largest(value: Any) -> float | None:
    return max(_numbers(value), default=None)


def _smallest(value: Any) -> float | None:
    return min(_numbers(value), default=None)


def _numbers(value: Any) -> Iterable[float]:
    for one in flat(value):
        if isinstance(one, bool) or not isinstance(one, int | float | str):
            continue
        try:
            number = float(str(one).strip().removesuffix("%"))
        except ValueError:
            continue
        if math.isfinite(number):
            yield number
