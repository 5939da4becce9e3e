"""All limits of one key's partition: a call takes from every one of its scopes, or from none.

Owned by one partition of one worker; made anew when the partition is assigned, so every meter
starts spent. Not thread-safe: the worker's loop alone uses it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from reportd.errors import ConfigError
from reportd.limits.meters import AtOnce, Bucket, FixedWindow, Meter, SlidingWindow
from reportd.limits.moving import MovingBucket
from reportd.limits.quotas import Asked, Days, Quota, Rolling, Span
from reportd.model import ledger

METERS_MOST = 10_000
"""With more it is looked which of them are at rest."""
REST_SECONDS = 60.0
STEP_SECONDS = 0.02
"""By so much a wall clock that is not set never differs from the one of the worker's start."""

MeterName = Literal["bucket", "fixed", "sliding", "concurrent", "day", "rolling"]
RECORDED = ("day", "rolling")
"""Meters whose use is recorded in the ledger, in grants, and survives a restart."""
Went = Literal["ok", "throttled", "failed"]
"""How a call went, as far as limits can learn of it."""
Costs = Sequence[tuple[int, float]]
"""What a call cost by the number of the limit in its file, where its answer says so."""


class Now(NamedTuple):
    """One instant on the clocks that deciding code needs; in seconds."""

    mono: float
    wall: float
    boot: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """One limit as the partner file states it, for every value of its scope."""

    per: str
    calls: int
    seconds: float
    meter: MeterName = "bucket"
    burst: float = 1.0
    margin_seconds: float = 0.0
    counts: Literal["calls", "errors"] = "calls"
    cost: float = 1.0
    """What a call is charged before its answer says more."""
    number: int = -1
    """Its place in the file, by which an answer's costs name it."""
    zone: str = "UTC"
    """Whose days are counted, by the meter ``day``."""
    divide: bool = False
    """Whether each partition has a share of it."""
    least: float | None = None
    """A bucket's lower bound, where the limit moves between it and ``calls``."""
    is_old: bool = False
    """Whether it is of the configuration before a reload: kept beside the new one for a while."""

    def share_of(self, partitions: int) -> "LimitRule":
        """Return what one of so many partitions may use; in sum they never exceed the limit.

        A window of N calls is cut into V whole parts: up to V - 1 calls of it are used by nobody. A
        bucket's rate can be cut exactly; its burst is cut, too, for all may come at once. Raises
        `ConfigError` where a share would be nothing: partner files are checked for that, but topics
        may have been grown since.
        """
        if not self.divide or partitions <= 1:
            return self
        if (self.burst if self.meter == "bucket" else self.calls) < partitions:
            raise ConfigError(
                f"a limit of {self.calls} in {self.seconds:g} s per {self.per} cannot be divided "
                f"into {partitions} partitions"
            )
        if self.meter == "bucket":
            seconds = self.seconds * partitions
            return replace(self, seconds=seconds, burst=self.burst / partitions)
        return replace(self, calls=self.calls // partitions)

    def meter_at(self, now: Now) -> Meter:
        """Return a new meter, spent; one of errors half: what came before is not known.

        Spent whole, every start would keep its scope from all calls for a window.
        """
        meter = self._spent_at(now)
        if self.counts == "errors":
            meter.give_back(now.wall if meter.wall else now.mono, self.calls - self.calls // 2)
        return meter

    def span(self) -> Span | None:
        """Return how a quota cuts time into windows; None: it is no quota."""
        if self.meter == "day":
            return Days(self.zone, self.margin_seconds)
        return Rolling(self.seconds, self.margin_seconds) if self.meter == "rolling" else None

    def _spent_at(self, now: Now) -> Meter:
        match self.meter:
            case "sliding":
                return SlidingWindow(self.calls, self.seconds, self.margin_seconds, now.mono)
            case "fixed":
                return FixedWindow(self.calls, self.seconds, self.margin_seconds, now.wall)
            case "concurrent":
                return AtOnce(self.calls, self.seconds, now.mono)
        if self.least is not None:
            return MovingBucket(self.calls, self.least, self.seconds, self.burst, now.mono)
        return Bucket(self.calls, self.seconds, self.burst, now.mono)


def joined(rules: Sequence[LimitRule], before: Sequence[LimitRule]) -> tuple[LimitRule, ...]:
    """Return the limits to keep while workers of the configuration before still run: both.

    Quotas of before are not kept: the ledger has all that was used, whatever the limit was.
    """
    known = {replace(rule, number=-1) for rule in rules}
    old = [replace(rule, number=-1) for rule in before if rule.meter not in RECORDED]
    return (*rules, *(replace(rule, is_old=True) for rule in old if rule not in known))


class Scope(NamedTuple):
    """Whom a limit counts: ``("account", "123")``, ``("partner", "acme")``."""

    per: str
    value: str


class Blocked(NamedTuple):
    """Why a call may not start: for how long, and which scope says so."""

    wait_seconds: float
    """inf: until a call of that scope is over."""
    scope: Scope
    is_quota: bool = False
    """Whether it waits for a reset: of a day's quota, or of what the partner calls one."""


class ToRecord(NamedTuple):
    """A grant to be recorded in the ledger before it is used."""

    quota: Quota
    asked: Asked
    scope: Scope
    record: ledger.Grant


class Use(NamedTuple):
    """How much one kind of limit is used."""

    scopes: int
    """How many are in use."""
    share: float
    """What the busiest one uses of its limit, 0 to 1."""
    busiest: str = ""


class QuotaLeft(NamedTuple):
    """What is left of one scope's quota, and when (epoch seconds) there is more."""

    scope: Scope
    calls: float
    resets_at: float


class Charge(NamedTuple):
    """What one call took from one meter."""

    meter: Meter
    rule: LimitRule


class Grant(NamedTuple):
    """What a call took, so that it can be given back unsent, and corrected when it is over."""

    charges: tuple[Charge, ...]
    at: Now


class Limiter:
    """Meters by scope, made when first met; and what partners said about slowing down."""

    def __init__(self, rules: Sequence[LimitRule]) -> None:
        """Take the partner's limits."""
        self._also: tuple[LimitRule, ...] = ()
        self._take_rules(rules)
        self._charges: dict[Scope, tuple[Charge, ...]] = {}
        self._blocked_until: dict[Scope, tuple[float, bool]] = {}
        self._quotas: dict[Quota, tuple[Scope, str]] = {}
        self._asking: list[Quota] = []
        self._recorded: dict[Scope, list[ledger.Grant]] = {}
        self._born: Now | None = None
        self._began: Now | None = None
        self._forget_at = METERS_MOST
        self._is_aligned = True
        """Whether it is known where windows by the clock lie."""
        self._odd_boot = float("inf")
        """When the wall clock was first seen to have been set."""
        self.frees_at_end = any(rule.meter == "concurrent" for rule in rules)
        """Whether a call that is over makes room for others."""

    def _take_rules(self, rules: Sequence[LimitRule]) -> None:
        self._own = tuple(rules)
        kept = [*self._own, *self._also]
        self._spans = {rule: rule.span() for rule in kept}
        self._rules = _by_kind(kept)

    def start(self, now: Now, process_began: Now | None = None, partitions: int = 1) -> None:
        """Remember when this owner began: scopes met later were last used before that.

        ``process_began``: since when its process has seen what the wall clock does.
        ``partitions``: how many have a share of the limits that are divided.
        """
        self._began = process_began or now
        self._born = self._sound(now)
        self._take_rules([rule.share_of(partitions) for rule in self._own])

    @property
    def own(self) -> Sequence[LimitRule]:
        """The partner's rules, as far as this partition has a share of them."""
        return self._own

    def also(self, rules: Sequence[LimitRule]) -> None:
        """Keep these rules beside the partner's own, in place of those of the last time.

        Their kinds of scopes are none of the partner's, and another rule has another kind.
        """
        self._also = tuple(rules)
        self._take_rules(self._own)
        self._charges = {key: one for key, one in self._charges.items() if key.per in self._rules}

    def recorded(self, record: ledger.Grant) -> float | None:
        """Take a grant that stands in the ledger; return until when (epoch) it counts.

        None: of no quota that there is now. Before any call.
        """
        per, _, value = record.scope.partition(" ")
        until = self._counts_until(per, record)
        if until is not None:
            self._recorded.setdefault(Scope(per, value), []).append(record)
        return until

    def _counts_until(self, per: str, record: ledger.Grant) -> float | None:
        label, _, number = record.window.rpartition(" ")
        for rule in self._rules.get(per, ()):
            span = self._spans[rule]
            if span is not None and span.label == label and number.isdigit():
                return span.numbered(int(number)).counts_until
        return None

    def to_record(self, now: Now) -> Iterator[ToRecord]:
        """Yield the grants that are wanted; each is used once `granted` says that it stands."""
        asking = self._asking[:]
        self._asking.clear()
        wall = self.wall(now)
        for quota in asking:
            scope, label = self._quotas[quota]
            for asked in quota.ask(wall):
                record = ledger.Grant(
                    scope=f"{scope.per} {scope.value}",
                    window=f"{label} {asked.number}",
                    units=asked.units,
                    at=now.wall,
                )
                yield ToRecord(quota, asked, scope, record)

    @property
    def wants_grants(self) -> bool:
        """Whether `to_record` has something."""
        return bool(self._asking)

    def quotas_left(self, now: Now) -> Iterator[QuotaLeft]:
        """Yield what is left of every quota that was met, and those that partners call spent."""
        wall = self.wall(now)
        for quota, (scope, _) in self._quotas.items():
            yield QuotaLeft(scope, quota.remaining(wall), quota.resets_at(wall))
        for scope, (until, is_quota) in self._blocked_until.items():
            if is_quota and until > now.mono:
                yield QuotaLeft(scope, 0.0, now.wall + until - now.mono)

    def settle(self) -> None:
        """Keep the new limits alone: the last worker of the configuration before is gone."""
        self._take_rules([rule for rule in self._own if not rule.is_old])
        self._charges = {
            scope: tuple(charge for charge in charges if not charge.rule.is_old)
            for scope, charges in self._charges.items()
        }

    def blocked(self, scopes: Iterable[Scope], now: Now) -> Blocked | None:
        """Return what keeps a call of these scopes from starting now: the longest wait."""
        worst: Blocked | None = None
        now = self._sound(now)
        rules, told = self._rules, self._blocked_until
        for scope in scopes:
            if scope.per not in rules and scope not in told:
                continue
            wait, is_quota = self._wait(scope, now)
            if wait > 0.0 and (worst is None or wait > worst.wait_seconds):
                worst = Blocked(wait, scope, is_quota)
        return worst

    def wall(self, now: Now) -> float:
        """Return the time of windows: epoch seconds by a clock that nobody has set."""
        return self._sound(now).wall

    def _sound(self, now: Now) -> Now:
        """Return the instant with a wall clock that nobody has set since the worker's start.

        Whether it was right before or is now, nobody knows. Days go on as they were; of windows
        too short for a margin it is not known any more where they lie.
        """
        began = self._began
        if began is None:
            return now
        wall = began.wall + now.boot - began.boot
        if not self._is_aligned or abs(now.wall - wall) <= STEP_SECONDS:
            self._odd_boot = float("inf")
        elif now.boot > self._odd_boot:  # once may be a stall between looks at two clocks
            self._slide(now)
        else:
            self._odd_boot = now.boot
        return now._replace(wall=wall)

    def _slide(self, now: Now) -> None:
        """Keep windows by the clock as sliding ones from here on: they hold wherever those lie."""
        self._is_aligned = False
        self._charges = {
            scope: tuple(
                charge._replace(meter=self._meter(charge.rule, scope, now))
                if isinstance(charge.meter, FixedWindow)
                else charge
                for charge in charges
            )
            for scope, charges in self._charges.items()
        }

    def take(self, scopes: Collection[Scope], now: Now) -> Grant:
        """Charge one call; only after `blocked` returned None for the same ``now``."""
        now = self._sound(now)
        charges: tuple[Charge, ...] = ()
        for scope in scopes:
            if scope.per in self._rules:
                charges += self._charges_of(scope, now)
        for meter, rule in charges:
            meter.take(now.wall if meter.wall else now.mono, rule.cost)
        return Grant(charges, now)

    def give_back(self, grant: Grant) -> None:
        """Undo a charge whose call was never sent."""
        for meter, rule in grant.charges:
            meter.give_back(grant.at.wall if meter.wall else grant.at.mono, rule.cost)

    def left_late(self, grant: Grant, late_seconds: float) -> Grant:
        """Charge a call to when it left, so much after the grant; return the grant of then."""
        for meter, rule in grant.charges:
            meter.left_late(grant.at.wall if meter.wall else grant.at.mono, rule.cost, late_seconds)
        at = grant.at
        return grant._replace(
            at=Now(at.mono + late_seconds, at.wall + late_seconds, at.boot + late_seconds)
        )

    def answered(
        self,
        grant: Grant,
        *,
        sent_at: float | None = None,
        is_error: bool = False,
        costs: Costs = (),
    ) -> None:
        """Correct a charge: when the call left (monotonic seconds; None: at once), what it cost.

        What only errors cost is given back, unless the answer was one.
        """
        told = dict(costs) if costs else None
        sent_at = grant.at.mono if sent_at is None else sent_at
        for meter, rule in grant.charges:
            taken_at = grant.at.wall if meter.wall else grant.at.mono
            if rule.counts == "calls":
                actual = told.get(rule.number, rule.cost) if told else rule.cost
                meter.settle(taken_at, rule.cost, sent_at, actual)
            elif not is_error:
                meter.give_back(taken_at)

    def learn(self, grant: Grant, went: Went, now: Now) -> None:
        """Take what an answer says of the limits that move."""
        for meter, _ in grant.charges:
            if isinstance(meter, MovingBucket):
                match went:
                    case "ok":
                        meter.succeeded(now.mono)
                    case "throttled":
                        meter.refused(now.mono, grant.at.mono)
                    case "failed":
                        meter.failed(now.mono)

    def moves(self, scope: Scope) -> bool:
        """Say whether a scope has a limit that moves: it goes slower by itself when refused."""
        return any(rule.least is not None for rule in self._rules.get(scope.per, ()))

    def block(self, scope: Scope, seconds: float, now: Now, *, is_quota: bool = False) -> None:
        """Let a scope wait as its partner said; a shorter wait never shortens a longer one."""
        told = (now.mono + seconds, is_quota)
        self._blocked_until[scope] = max(told, self._blocked_until.get(scope, told))

    def shares(self, now: Now) -> dict[str, Use]:
        """Return how much is used, by kind of scope."""
        found: dict[str, Use] = {}
        now = self._sound(now)
        for scope, charges in self._charges.items():
            count, share, busiest = found.get(scope.per, Use(0, 0.0, scope.value))
            for meter, _ in charges:
                this = meter.share(now.wall if meter.wall else now.mono)
                if this > share:
                    share, busiest = this, scope.value
            found[scope.per] = Use(count + 1, share, busiest)
        return found

    def _wait(self, scope: Scope, now: Now) -> tuple[float, bool]:
        """Return how long a scope must wait, and whether for the reset of a quota."""
        wait, is_quota = 0.0, False
        for meter, rule in self._charges_of(scope, now):
            this = meter.wait_seconds(now.wall if meter.wall else now.mono, rule.cost)
            if this > wait:
                wait, is_quota = this, isinstance(meter, Quota) and meter.is_spent
        told = self._blocked_until.get(scope) if self._blocked_until else None
        if told is not None:
            if told[0] > now.mono:
                wait, is_quota = max((wait, is_quota), (told[0] - now.mono, told[1]))
            else:
                del self._blocked_until[scope]
        return wait, is_quota

    def _charges_of(self, scope: Scope, now: Now) -> tuple[Charge, ...]:
        charges = self._charges.get(scope)
        if charges is None:
            rules = self._rules.get(scope.per)
            if rules is None:
                return ()
            if len(self._charges) >= self._forget_at:
                self._forget_rested(now)
            born = self._born or now
            charges = tuple(Charge(self._meter(rule, scope, born), rule) for rule in rules)
            self._charges[scope] = charges
        return charges

    def _meter(self, rule: LimitRule, scope: Scope, born: Now) -> Meter:
        span = self._spans[rule]
        if span is None:
            slides = rule.meter == "fixed" and not self._is_aligned
            return (replace(rule, meter="sliding") if slides else rule).meter_at(born)
        quota = Quota(rule.calls, span, rule.cost, self._asking.append)
        self._quotas[quota] = (scope, span.label)
        for record in self._recorded.get(scope, ()):
            label, _, number = record.window.rpartition(" ")
            if label == span.label:
                quota.recorded(int(number), record.units)
        return quota

    def _forget_rested(self, now: Now) -> None:
        """Forget meters that are as new ones would be: accounts may come without end.

        Only what has been at rest for a while: a call's sending may still be corrected.
        """
        mono, wall = now.mono - REST_SECONDS, now.wall - REST_SECONDS
        born = self._born or now

        def rested(meters: Iterable[Meter]) -> bool:
            return all(meter.share(wall if meter.wall else mono) == 0.0 for meter in meters)

        made = [rule for rules in self._rules.values() for rule in rules]
        recorded = any(rule.meter in RECORDED for rule in made)  # their meters alone know it
        if not recorded and rested(rule.meter_at(born) for rule in made):
            self._charges = {
                scope: charges
                for scope, charges in self._charges.items()
                if not rested(charge.meter for charge in charges)
            }
        self._forget_at = max(METERS_MOST, 2 * len(self._charges))


def _by_kind(rules: Iterable[LimitRule]) -> dict[str, list[LimitRule]]:
    found: dict[str, list[LimitRule]] = {}
    for rule in rules:
        found.setdefault(rule.per, []).append(rule)
    return found
