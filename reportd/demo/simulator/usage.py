"""How much of a limit was used while there was demand; pure, from the calls seen."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from reportd.demo.simulator.book import Question, SeenCall
from reportd.demo.simulator.config import Limit
from reportd.demo.simulator.meters import FixedMeter, PartnerMeter, make_meter

Span = tuple[float, float]
"""From, until; monotonic seconds."""

RESTART_SECONDS = 3.0
"""How long a restart may take before an unused limit counts as unused."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls let in, and how many the limit would have let in, while there was demand."""

    used: float
    allowed: float

    @property
    def share(self) -> float:
        """Return the share of the limit used; 0.0 if too few calls came to tell."""
        return self.used / self.allowed if self.allowed else 0.0


def limit_usage(limit: Limit, calls: Sequence[SeenCall], stops: Sequence[Span] = ()) -> Usage:
    """Measure one limit of one partner over that partner's calls.

    Demand is certain from a scope's first call until the last call that asked something new:
    until then something unasked was waiting. ``stops`` are kills and when the killed was started
    again: from the kill until the scope's next call (`RESTART_SECONDS` after the start at most)
    nobody was there to use it. Neither counts the second after an account was told to slow down
    below its limit. Whole windows alone are measured: parts of one say nothing.
    """
    used = allowed = 0.0
    for found in _by_scope(limit, calls).values():
        span = _demand(found)
        if span is None:
            continue
        away = [*_stopped(found, stops), *(_told_to_wait(found) if limit.per == "account" else ())]
        offset = found[0].wall - found[0].at
        for start, until in _without(span, away):
            first = _next_window(limit, start + offset) - offset
            windows = math.floor((until - first) / limit.seconds)
            end = first + windows * limit.seconds
            used += sum(1 for call in found if call.charged and first <= call.at < end)
            allowed += max(0, windows) * limit.calls
    return Usage(used, allowed)


def _next_window(limit: Limit, wall: float) -> float:
    """Return where the first whole window after a time starts; for most meters: there."""
    if limit.meter != "fixed":
        return wall
    number = math.ceil((wall - limit.phase_seconds) / limit.seconds)
    return number * limit.seconds + limit.phase_seconds


def _stopped(calls: Sequence[SeenCall], stops: Sequence[Span]) -> Iterator[Span]:
    for killed, started in stops:
        latest = started + RESTART_SECONDS
        yield killed, min((call.at for call in calls if started < call.at < latest), default=latest)


def _demand(calls: Sequence[SeenCall]) -> Span | None:
    asked: set[Question] = set()
    times = []
    for call in calls:
        if call.charged and call.page == 1 and call.question not in asked:
            asked.add(call.question)
            times.append(call.at)
    return (times[0], times[-1]) if times else None


def exceeded(limit: Limit, calls: Sequence[SeenCall], slack_seconds: float) -> int:
    """Return how many calls came above a limit, beyond what a shift of ``slack_seconds`` explains.

    The partner's meter sees arrivals; the promise is about sending. A call that waited for up to
    the slack on its way (or in this machine's queue for a CPU) breaks no promise.
    """
    count = 0
    for found in _by_scope(limit, calls).values():
        meter = _with_slack(limit, found[0].wall - found[0].at, slack_seconds)
        for call in found:
            if not (call.charged or call.fault == "limit"):
                continue
            if meter.wait(call.at):
                count += 1
            else:
                meter.charge(call.at)
    return count


def _with_slack(limit: Limit, epoch_offset_seconds: float, slack_seconds: float) -> PartnerMeter:
    if limit.meter == "fixed":
        return _LateFixedMeter(limit, epoch_offset_seconds, slack_seconds)
    if limit.meter == "sliding":
        seconds = limit.seconds - min(slack_seconds, limit.seconds / 2)
        return make_meter(replace(limit, seconds=seconds))
    more = math.ceil(slack_seconds * limit.calls / limit.seconds)
    return make_meter(replace(limit, burst=(limit.burst or limit.calls) + more))


class _LateFixedMeter(FixedMeter):
    """Windows whose calls may arrive a while after their end: each is of the first with room."""

    def __init__(self, limit: Limit, epoch_offset_seconds: float, late_seconds: float) -> None:
        super().__init__(limit, epoch_offset_seconds)
        self._late_seconds = late_seconds
        self._counts = Counter[int]()

    def wait(self, now: float) -> float:
        """Return more than 0 where no window that the call may be of has room."""
        return 0.0 if self._room(now) is not None else 1.0

    def charge(self, now: float) -> None:
        """Count a call; only after `wait` returned 0.0."""
        self._counts[self._room(now) or 0] += 1

    def _room(self, now: float) -> int | None:
        windows = range(self._at(now - self._late_seconds), self._at(now) + 1)
        return next((one for one in windows if self._counts[one] < self._limit.calls), None)


def _by_scope(limit: Limit, calls: Sequence[SeenCall]) -> dict[str, list[SeenCall]]:
    found: dict[str, list[SeenCall]] = defaultdict(list)
    for call in calls:
        found["" if limit.per == "partner" else call.account].append(call)
    return found


def _told_to_wait(calls: Sequence[SeenCall]) -> Iterator[Span]:
    for call in calls:
        if call.fault == "throttle":
            yield call.at, call.at + 1.0


def _without(span: Span, away: Sequence[Span]) -> Iterator[Span]:
    """Yield the parts of a span that are in none of the others; they may overlap one another."""
    reached = span[0]
    for start, until in sorted(away):
        if start > reached:
            yield reached, min(start, span[1])
        reached = max(reached, until)
        if reached >= span[1]:
            return
    yield reached, span[1]
