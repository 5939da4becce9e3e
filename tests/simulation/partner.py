"""A partner that limits, fails, lies and is slow, and remembers every call it got."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from reportd.errors import InvalidMessageError
from reportd.limits.limiter import LimitRule, Scope
from reportd.model.request import Request
from reportd.partners.verdict import Outcome, Pace, Verdict
from reportd.worker.entry import Entry
from reportd.worker.partition import RetryRules
from tests.simulation.world import World


@dataclass(frozen=True, kw_only=True)
class PartnerPlan:
    """How one partner is and behaves."""

    name: str
    partitions: int
    limits: tuple[LimitRule, ...]
    """As the worker keeps them."""
    strict: tuple[LimitRule, ...]
    """As the partner counts them."""
    key: str
    """``account`` or ``partner``."""
    pages: int = 1
    transient_share: float = 0.0
    lie_share: float = 0.0
    """Answers that do not parse."""
    slow_share: float = 0.0
    bad_accounts: frozenset[str] = frozenset()
    """Always 404."""
    killers: frozenset[str] = frozenset()
    """Accounts whose answers kill the worker that parses them."""
    outages: tuple[tuple[float, float], ...] = ()
    """Spans of virtual seconds in which every call fails."""
    outage_kind: Outcome = Outcome.TRANSIENT
    tokenless_share: float = 0.0
    """Calls that are not sent since somebody else fetches their token."""
    busy_share: float = 0.0
    """Good answers that say that the account's limit is nearly spent."""
    kind: str = ""
    """Of a partner that makes reports: how they are read; see `tests.simulation.making`."""
    most_days: int = 400
    """A report of more is too big."""
    making_seconds: float = 0.0
    """How long a report takes at most."""


@dataclass(frozen=True)
class Sent:
    """One call as it left a worker."""

    at: float
    worker: str
    request: Request
    replay: int
    page: int
    """Which step record makes its answer durable."""
    generation: int
    report: str = ""
    """Which report is polled or read, where one is made first."""


def days_table(account: str, day: date, pages: Sequence[int]) -> pa.Table:
    """Return the rows that came for an account and day: one for each page."""
    return pa.table(
        {"account": [account] * len(pages), "day": [day.isoformat()] * len(pages), "page": pages}
    )


@dataclass
class Partner:
    """The partner's side: its plan and its book."""

    plan: PartnerPlan
    world: World
    calls: list[Sent] = field(default_factory=list)

    def begin(self, entry: Entry, worker: str, at: float) -> Callable[[], tuple[Verdict, bytes]]:
        """Take note of a call; return what answers it once it has arrived."""
        page = int(entry.cursor.get("page", "1"))
        self.calls.append(Sent(at, worker, entry.request, entry.replay, page, entry.generation))
        return lambda: self.verdict(entry.request, page)

    def has_token(self) -> bool:
        """Say whether a call's token is at hand."""
        share = self.plan.tokenless_share
        return not share or self.world.random.random() >= share

    def tables(self, request: Request, bodies: list[bytes]) -> dict[date, pa.Table] | None:
        """Return what the answers come to; None: they are no data."""
        pages = self.plan.pages
        if any(body == b"<html>" for body in bodies) or len(bodies) != pages:
            return None
        return {day: days_table(request.account, day, range(pages)) for day in request.days()}

    def answer(self, request: Request, page: int) -> tuple[Outcome, str]:
        """Judge a call that has arrived."""
        random, plan = self.world.random, self.plan
        if any(start <= self.world.time < end for start, end in plan.outages):
            return plan.outage_kind, "the partner is down"
        if request.account in plan.bad_accounts:
            return Outcome.PERMANENT, "HTTP 404"
        if random.random() < plan.transient_share:
            return Outcome.TRANSIENT, "HTTP 500"
        return Outcome.OK, ""

    def verdict(self, request: Request, page: int) -> tuple[Verdict, bytes]:
        """Return the verdict and the body of a call."""
        outcome, reason = self.answer(request, page)
        if outcome is not Outcome.OK:
            return Verdict(outcome=outcome, reason=reason), b""
        last = page >= self.plan.pages
        cursor = None if last else {"page": str(page + 1)}
        body = f"{request.account} {page}".encode()
        if self.world.random.random() < self.plan.lie_share:
            body = b"<html>"
        busy = self.plan.busy_share and self.world.random.random() < self.plan.busy_share
        paces = (Pace("account", 2.0),) if busy else ()
        return Verdict(outcome=Outcome.OK, next_cursor=cursor, paces=paces), body

    def latency_seconds(self) -> float:
        """Return how long this call takes there and back."""
        random = self.world.random
        if random.random() < self.plan.slow_share:
            return random.uniform(2.0, 20.0)
        return random.uniform(0.02, 0.3)

    def exceeded(self) -> list[str]:
        """Check every window of every limit by the partner's own meter."""
        found = []
        for rule in self.plan.strict:
            by_scope: dict[str, list[float]] = defaultdict(list)
            for call in self.calls:
                value = self.plan.name if rule.per == "partner" else call.request.account
                by_scope[value].append(call.at)
            for value, times in by_scope.items():
                times.sort()
                found += _exceeded(rule, value, times)
        return found


def _exceeded(rule: LimitRule, value: str, times: Sequence[float]) -> list[str]:
    where = f"{rule.meter} {rule.calls}/{rule.seconds:g} s of {rule.per} {value}"
    if rule.meter == "sliding":
        for first, last in zip(times, times[rule.calls :], strict=False):
            if last - first < rule.seconds - 1e-6:
                return [f"{where}: {rule.calls + 1} calls in {last - first:.3f} s at {first:.3f}"]
    elif rule.meter == "fixed":
        windows: dict[int, int] = defaultdict(int)
        for at in times:
            windows[int(at // rule.seconds)] += 1
        return [f"{where}: {n} calls in window {w}" for w, n in windows.items() if n > rule.calls]
    else:
        interval = rule.seconds / rule.calls
        arrival = 0.0
        for at in times:
            if arrival - at > (rule.burst - 1) * interval + 1e-6:
                return [f"{where}: too early at {at:.3f}"]
            arrival = max(arrival, at) + interval
    return []


class SimRules:
    """A plan as the engine sees it."""

    def __init__(self, plan: PartnerPlan) -> None:
        """Take the plan."""
        self._plan = plan
        self.name = plan.name
        self.limits = plan.limits
        self.retry = RetryRules(
            attempts=10,
            base_seconds=0.5,
            max_seconds=20.0,
            hold_seconds=10.0,
            give_up_seconds=400.0,
        )

    def check(self, request: Request) -> None:
        """Refuse what the topic was not made for."""
        if request.report != "daily":
            raise InvalidMessageError("report: unknown")

    def key_of(self, request: Request) -> str:
        """Return the message key."""
        return request.account if self._plan.key == "account" else self.name

    def scopes_of(self, request: Request) -> tuple[Scope, ...]:
        """Return the scopes."""
        return Scope("partner", self.name), Scope("account", request.account)
