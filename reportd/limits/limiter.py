"""All limits of one key's partition: a call takes from every one of its scopes, or from none.

Owned by one partition of one worker; made anew when the partition is assigned, so every meter
starts spent. Not thread-safe: the worker's loop alone uses it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from reportd.limits.meters import Bucket, FixedWindow, Meter, SlidingWindow

METERS_MOST = 10_000
"""With more it is looked which of them are at rest."""
REST_SECONDS = 60.0

MeterName = Literal["bucket", "fixed", "sliding"]


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

    def meter_at(self, now: Now) -> Meter:
        """Return a new meter, spent; one of errors half: what came before is not known.

        Spent whole, every start would keep its scope from all calls for a window.
        """
        meter = self._spent_at(now)
        if self.counts == "errors":
            for _ in range(self.calls - self.calls // 2):
                meter.give_back(now.wall if meter.wall else now.mono)
        return meter

    def _spent_at(self, now: Now) -> Meter:
        if self.meter == "sliding":
            return SlidingWindow(self.calls, self.seconds, self.margin_seconds, now.mono)
        if self.meter == "fixed":
            return FixedWindow(self.calls, self.seconds, self.margin_seconds, now.wall)
        return Bucket(self.calls, self.seconds, self.burst, now.mono)


class Scope(NamedTuple):
    """Whom a limit counts: ``("account", "123")``, ``("partner", "acme")``."""

    per: str
    value: str


class Blocked(NamedTuple):
    """Why a call may not start: for how long, and which scope says so."""

    wait_seconds: float
    scope: Scope


class Grant(NamedTuple):
    """What a call took, so that it can be given back unsent."""

    meters: tuple[Meter, ...]
    at: Now
    of_errors: tuple[Meter, ...] = ()
    """Those that keep their charge only if the partner answers with an error."""


class Limiter:
    """Meters by scope, made when first met; and what partners said about slowing down."""

    def __init__(self, rules: Sequence[LimitRule]) -> None:
        """Take the partner's limits."""
        self._own = tuple(rules)
        self._rules = _by_kind(rules)
        self._with_errors = {rule.per for rule in rules if rule.counts == "errors"}
        self._meters: dict[Scope, tuple[Meter, ...]] = {}
        self._blocked_until: dict[Scope, float] = {}
        self._born: Now | None = None
        self._forget_at = METERS_MOST

    def start(self, now: Now) -> None:
        """Remember when this owner began: scopes met later were last used before that."""
        self._born = now

    def also(self, rules: Sequence[LimitRule]) -> None:
        """Keep these rules beside the partner's own, in place of those of the last time.

        Their kinds of scopes are none of the partner's, and another rule has another kind.
        """
        self._rules = _by_kind([*self._own, *rules])
        self._meters = {key: one for key, one in self._meters.items() if key.per in self._rules}

    def blocked(self, scopes: Iterable[Scope], now: Now) -> Blocked | None:
        """Return what keeps a call of these scopes from starting now: the longest wait."""
        worst: Blocked | None = None
        for scope in scopes:
            wait = self._wait_seconds(scope, now)
            if wait > 0.0 and (worst is None or wait > worst.wait_seconds):
                worst = Blocked(wait, scope)
        return worst

    def take(self, scopes: Collection[Scope], now: Now) -> Grant:
        """Charge one call; only after `blocked` returned None for the same ``now``."""
        meters = tuple(meter for scope in scopes for meter in self._meters_of(scope, now))
        for meter in meters:
            meter.take(now.wall if meter.wall else now.mono)
        return Grant(meters, now, self._of_errors(scopes, now) if self._with_errors else ())

    def _of_errors(self, scopes: Collection[Scope], now: Now) -> tuple[Meter, ...]:
        return tuple(
            meter
            for scope in scopes
            if scope.per in self._with_errors
            for meter, rule in zip(self._meters_of(scope, now), self._rules[scope.per], strict=True)
            if rule.counts == "errors"
        )

    def give_back(self, grant: Grant) -> None:
        """Undo a charge whose call was never sent."""
        for meter in grant.meters:
            meter.give_back(grant.at.wall if meter.wall else grant.at.mono)

    def answered(self, grant: Grant, *, is_error: bool) -> None:
        """Give back what only errors cost, unless the answer was one."""
        if not is_error:
            for meter in grant.of_errors:
                meter.give_back(grant.at.wall if meter.wall else grant.at.mono)

    def sent(self, grant: Grant, sent_at: float) -> None:
        """Correct a charge by when its call really left, in monotonic seconds."""
        for meter in grant.meters:
            if not meter.wall and meter not in grant.of_errors:
                meter.sent(grant.at.mono, sent_at)

    def block(self, scope: Scope, seconds: float, now: Now) -> None:
        """Let a scope wait as its partner said; a shorter wait never shortens a longer one."""
        until = now.mono + seconds
        self._blocked_until[scope] = max(until, self._blocked_until.get(scope, until))

    def shares(self, now: Now) -> dict[str, tuple[int, float]]:
        """Return, per kind of scope, how many are in use and the largest used share."""
        found: dict[str, tuple[int, float]] = {}
        for scope, meters in self._meters.items():
            count, share = found.get(scope.per, (0, 0.0))
            for meter in meters:
                share = max(share, meter.share(now.wall if meter.wall else now.mono))
            found[scope.per] = (count + 1, share)
        return found

    def _wait_seconds(self, scope: Scope, now: Now) -> float:
        wait = 0.0
        for meter in self._meters_of(scope, now):
            wait = max(wait, meter.wait_seconds(now.wall if meter.wall else now.mono))
        until = self._blocked_until.get(scope)
        if until is not None:
            if until > now.mono:
                wait = max(wait, until - now.mono)
            else:
                del self._blocked_until[scope]
        return wait

    def _meters_of(self, scope: Scope, now: Now) -> tuple[Meter, ...]:
        meters = self._meters.get(scope)
        if meters is None:
            rules = self._rules.get(scope.per)
            if rules is None:
                return ()
            if len(self._meters) >= self._forget_at:
                self._forget_rested(now)
            born = self._born or now
            meters = tuple(rule.meter_at(born) for rule in rules)
            self._meters[scope] = meters
        return meters

    def _forget_rested(self, now: Now) -> None:
        """Forget meters that are as new ones would be: accounts may come without end.

        Only what has been at rest for a while: a call's sending may still be corrected.
        """
        mono, wall = now.mono - REST_SECONDS, now.wall - REST_SECONDS
        born = self._born or now

        def rested(meters: Iterable[Meter]) -> bool:
            return all(meter.share(wall if meter.wall else mono) == 0.0 for meter in meters)

        if rested(rule.meter_at(born) for rules in self._rules.values() for rule in rules):
            self._meters = {key: used for key, used in self._meters.items() if not rested(used)}
        self._forget_at = max(METERS_MOST, 2 * len(self._meters))


def _by_kind(rules: Iterable[LimitRule]) -> dict[str, list[LimitRule]]:
    found: dict[str, list[LimitRule]] = {}
    for rule in rules:
        found.setdefault(rule.per, []).append(rule)
    return found
