"""How much of a limit was used while there was demand; pure, from the calls seen."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import Limit

Span = tuple[float, float]
"""From, until; monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls let in, and how many the limit would have let in, while there was demand."""

    used: float
    allowed: float

    @property
    def share(self) -> float:
        """Return the share of the limit used; 1.0 if there was never any demand."""
        return self.used / self.allowed if self.allowed else 1.0


def limit_usage(
    limit: Limit, calls: Sequence[SeenCall], excluded: Iterable[Span] = (), least_calls: int = 10
) -> Usage:
    """Measure one limit of one partner over that partner's calls.

    Demand is certain from a scope's first call until the last call that asked something new:
    until then something unasked was waiting. Scopes with fewer calls than ``least_calls`` say
    nothing. ``excluded`` are stretches that do not count (nobody was running).
    """
    away = list(excluded)
    by_scope: dict[str, list[SeenCall]] = defaultdict(list)
    for call in calls:
        by_scope["" if limit.per == "partner" else call.account].append(call)
    used = allowed = 0.0
    for found in by_scope.values():
        span = _demand(found)
        if span is None:
            continue
        counted = sum(1 for call in found if call.charged and span[0] < call.at <= span[1])
        if counted < least_calls:
            continue
        used += counted
        allowed += (span[1] - span[0] - _overlap(span, away)) * limit.calls / limit.seconds
    return Usage(used, allowed)


def _demand(calls: Sequence[SeenCall]) -> Span | None:
    asked: set[tuple[str, str, str, str, str]] = set()
    times = []
    for call in calls:
        if call.charged and call.page == 1 and call.question not in asked:
            asked.add(call.question)
            times.append(call.at)
    return (times[0], times[-1]) if times else None


def _overlap(span: Span, away: list[Span]) -> float:
    return sum(max(0.0, min(span[1], until) - max(span[0], start)) for start, until in away)
