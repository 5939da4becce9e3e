"""A partner that limits, fails, lies and is slow, and remembers every call it got."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import pyarrow as pa

from reportd.errors import InvalidMessageError
from reportd.limits.limiter import LimitRule, Scope, joined
from reportd.model.request import Request
from reportd.partners.verdict import Outcome, Pace, Verdict
from reportd.worker.entry import Entry
from reportd.worker.partition import RetryRules
from tests.simulation.world import MIDNIGHT_SECONDS, World

COSTLY = 7
"""The number of a limit that counts costs."""
MOST_COST = 4


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
    refused_accounts: frozenset[str] = frozenset()
    """Whose credential, another one than the others', is refused ..."""
    refused: tuple[float, float] = (0.0, 0.0)
    """... from when to when; without end: nobody mends it."""
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

    @property
    def has_costs(self) -> bool:
        """Whether a limit counts more than calls."""
        return any(rule.number == COSTLY for rule in self.limits)

    def is_refused(self, account: str, at: float) -> bool:
        """Say whether the account's credential is refused then."""
        start, end = self.refused
        return account in self.refused_accounts and start <= at < end

    def is_unmended(self, account: str) -> bool:
        """Say whether a story ends while the account's credential is refused."""
        return account in self.refused_accounts and self.refused[1] == float("inf")

    @property
    def day(self) -> LimitRule | None:
        """The quota of a day, if there is one: a story may end with it spent."""
        return next((rule for rule in self.limits if rule.meter == "day"), None)


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
    cost: int = 1
    """What the limit with the number `COSTLY` counts it as."""


_DAYS = pa.schema([("account", pa.string()), ("day", pa.string()), ("page", pa.int64())])
"""Not to be found out anew for each: pyarrow looks for pandas to do so."""


def days_table(account: str, day: date, pages: Sequence[int]) -> pa.Table:
    """Return the rows that came for an account and day: one for each page."""
    columns = {
        "account": [account] * len(pages),
        "day": [day.isoformat()] * len(pages),
        "page": pages,
    }
    return pa.table(columns, schema=_DAYS)


@dataclass
class Partner:
    """The partner's side: its plan and its book."""

    plan: PartnerPlan
    world: World
    later: PartnerPlan | None = None
    """What it becomes with a reload, if it does."""
    settled_at: float = float("inf")
    """When the last worker of before the reload was gone."""
    calls: list[Sent] = field(default_factory=list)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    """Of each call: its account, from when to when it was under way."""

    def under_way(self, request: Request, at: float, seconds: float) -> None:
        """Take note of how long a call keeps the partner busy, whoever waits for it."""
        self.spans.append((request.account, at, at + seconds))

    def begin(self, entry: Entry, worker: str, at: float) -> Callable[[], tuple[Verdict, bytes]]:
        """Take note of a call; return what answers it once it has arrived."""
        page = int(entry.cursor.get("page", "1"))
        cost = self.world.random.randint(1, MOST_COST) if self.plan.has_costs else 1
        sent = Sent(at, worker, entry.request, entry.replay, page, entry.generation, cost=cost)
        self.calls.append(sent)
        return lambda: self._costing(cost, self.verdict(entry.request, page))

    def _costing(self, cost: int, answer: tuple[Verdict, bytes]) -> tuple[Verdict, bytes]:
        """Let an answer say what it cost."""
        verdict, body = answer
        said = self.plan.has_costs and verdict.outcome is Outcome.OK
        return (replace(verdict, costs=((COSTLY, float(cost)),)) if said else verdict), body

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
        fails = random.random() < plan.transient_share
        # whoever asks, whatever for; but who is refused for good could end no outage
        if fails and not plan.is_unmended(request.account):
            return Outcome.TRANSIENT, "HTTP 500"
        if plan.is_refused(request.account, self.world.time):
            return Outcome.AUTH, "HTTP 401"
        if request.account in plan.bad_accounts:
            return Outcome.PERMANENT, "HTTP 404"
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
        found = self._exceeded(self.plan.strict, float("-inf"), self.settled_at)
        if self.later is not None:
            found += self._exceeded(self.later.strict, self.settled_at, float("inf"))
        return found

    def _exceeded(self, strict: Sequence[LimitRule], start: float, end: float) -> list[str]:
        found = []
        calls = [call for call in self.calls if start <= call.at < end]
        for rule in strict:
            if rule.meter == "concurrent":
                found += self._too_many_at_once(rule)
                continue
            by_scope: dict[str, list[float]] = defaultdict(list)
            for call in calls:
                value = self.plan.name if rule.per == "partner" else call.request.account
                by_scope[value] += [call.at] * (call.cost if rule.number == COSTLY else 1)
            for value, times in by_scope.items():
                times.sort()
                found += _exceeded(rule, value, times)
        return found

    def _too_many_at_once(self, rule: LimitRule) -> list[str]:
        changes: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for account, start, end in self.spans:
            changes[account] += [(start, 1), (end, -1)]
        found = []
        for account, of in changes.items():
            count = 0
            for at, change in sorted(of):
                count += change
                if count > rule.calls:
                    found.append(f"{count} calls of {account} at once at {at:.3f}")
        return found[:1]


def _exceeded(rule: LimitRule, value: str, times: Sequence[float]) -> list[str]:
    where = f"{rule.meter} {rule.calls}/{rule.seconds:g} s of {rule.per} {value}"
    if rule.meter in ("sliding", "rolling"):
        for first, last in zip(times, times[rule.calls :], strict=False):
            if last - first < rule.seconds - 1e-6:
                return [f"{where}: {rule.calls + 1} calls in {last - first:.3f} s at {first:.3f}"]
    elif rule.meter in ("fixed", "day"):
        windows: dict[int, int] = defaultdict(int)
        after = MIDNIGHT_SECONDS if rule.meter == "day" else 0.0
        for at in times:
            windows[int((at - after) // rule.seconds)] += 1
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

    def __init__(self, plan: PartnerPlan, before: PartnerPlan | None = None) -> None:
        """Take the plan; ``before``: what other workers may still have."""
        self._plan = plan
        self.name = plan.name
        self.limits = joined(plan.limits, before.limits) if before else plan.limits
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
        return (
            Scope("partner", self.name),
            Scope("credential", request.credential),
            Scope("account", request.account),
        )
