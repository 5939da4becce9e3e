"""Quotas of a day: small grants, recorded before use; what was granted is never granted twice."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.limits.limiter import Limiter, LimitRule, Now, Scope, ToRecord
from reportd.model.ledger import Grant

ACCOUNT = Scope("account", "1")
NOON = datetime(2026, 3, 7, 12, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()
"""The day before the clocks go forward there."""
DAY = LimitRule(
    per="account", calls=100, seconds=86_400.0, meter="day", zone="America/Los_Angeles",
    margin_seconds=60.0,
)  # fmt: skip
ROLLING = LimitRule(
    per="account", calls=100, seconds=86_400.0, meter="rolling", margin_seconds=60.0
)


def at(wall: float) -> Now:
    """Return an instant by the wall clock."""
    return Now(wall, wall, wall)


class Owner:
    """A worker's limiter, its ledger, and the clock that both see."""

    def __init__(self, rule: LimitRule, wall: float = NOON, ledger: Sequence[Grant] = ()) -> None:
        """Begin with what an earlier owner has recorded."""
        self.limiter = Limiter([rule])
        self.limiter.start(at(wall))
        self.ledger = list(ledger)
        for record in self.ledger:
            self.limiter.recorded(record)
        self.wall = wall
        self.sent: list[float] = []
        self.unconfirmed: list[ToRecord] = []

    def record(self, *, confirmed: bool = True) -> None:
        """Write the grants that are wanted into the ledger."""
        for grant in self.limiter.to_record(at(self.wall)):
            self.ledger.append(grant.record)
            if confirmed:
                grant.quota.granted(grant.asked)
            else:
                self.unconfirmed.append(grant)

    def call(self) -> bool:
        """Make a call, if it may start now or as soon as a grant is recorded."""
        if self.limiter.blocked([ACCOUNT], at(self.wall)) is not None:
            self.record()
        if self.limiter.blocked([ACCOUNT], at(self.wall)) is not None:
            return False
        self.limiter.take([ACCOUNT], at(self.wall))
        self.sent.append(self.wall)
        return True

    def spend(self) -> int:
        """Make all the calls that may start now; return how many."""
        count = 0
        while self.call():
            count += 1
        return count


@pytest.mark.parametrize("rule", [DAY, ROLLING], ids=["day", "rolling"])
def test_nothing_is_used_before_its_grant_stands(rule: LimitRule) -> None:
    """A call waits for the record; then it goes."""
    owner = Owner(rule)
    assert owner.limiter.blocked([ACCOUNT], at(NOON)) is not None
    owner.record(confirmed=False)
    assert owner.limiter.blocked([ACCOUNT], at(NOON)) is not None

    [grant] = owner.unconfirmed
    grant.quota.granted(grant.asked)
    assert owner.limiter.blocked([ACCOUNT], at(NOON)) is None


@pytest.mark.parametrize("rule", [DAY, ROLLING], ids=["day", "rolling"])
def test_a_quota_is_used_to_the_last_call(rule: LimitRule) -> None:
    """No call is left over, and none too many is made; then it waits as quota."""
    owner = Owner(rule)

    assert owner.spend() == 100
    blocked = owner.limiter.blocked([ACCOUNT], at(NOON))
    assert blocked is not None
    assert blocked.is_quota


@pytest.mark.parametrize("rule", [DAY, ROLLING], ids=["day", "rolling"])
@given(crashes=st.lists(st.integers(0, 60), max_size=12))
@settings(max_examples=25, deadline=None)
def test_a_crash_loses_one_grant_at_most(rule: LimitRule, crashes: list[int]) -> None:
    """However often: nothing is used twice, and a crash costs one grant of the quota at most."""
    ledger: list[Grant] = []
    made = 0
    for calls in crashes:
        owner = Owner(rule, ledger=ledger)
        made += sum(owner.call() for _ in range(calls))
        ledger = owner.ledger
    made += Owner(rule, ledger=ledger).spend()

    assert 100 - len(crashes) <= made <= 100


def test_a_day_ends_at_its_zones_midnight_with_a_margin_on_both_sides() -> None:
    """Also on the day that has 23 hours; what was not used is not carried over."""
    owner = Owner(DAY)
    owner.spend()
    left = next(iter(owner.limiter.quotas_left(at(NOON))))
    assert left == (ACCOUNT, 0.0, NOON + 12 * 3600 + 60)

    owner.wall = NOON + 12 * 3600 + 59
    assert owner.spend() == 0
    owner.wall += 2
    assert owner.spend() == 100
    owner.wall = NOON + (12 + 23) * 3600 - 59
    assert owner.spend() == 0
    owner.wall += 120
    assert owner.spend() == 100


def test_a_wall_clock_set_forward_opens_no_day_early() -> None:
    """An hour before midnight the clock is set two hours on: the day goes on until it is over."""
    owner = Owner(DAY, NOON + 11 * 3600)
    owner.spend()
    ahead = Now(owner.wall + 1.0, owner.wall + 7_200.0, owner.wall + 1.0)

    blocked = owner.limiter.blocked([ACCOUNT], ahead)
    assert blocked is not None
    assert blocked.is_quota


def test_a_wall_clock_set_back_makes_no_day_longer() -> None:
    """Two hours back in the evening: after midnight nothing of the day before is used any more."""
    owner = Owner(DAY, NOON)
    owner.call()
    midnight = NOON + 12 * 3600
    set_back = Now(midnight + 1800.0, midnight - 5400.0, midnight + 1800.0)

    assert owner.limiter.blocked([ACCOUNT], set_back) is not None
    (grant,) = owner.limiter.to_record(set_back)
    assert grant.record.window != owner.ledger[0].window


@given(st.lists(st.floats(1.0, 20_000.0), min_size=20, max_size=60), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_no_rolling_window_is_exceeded(pauses: list[float], crashes: int) -> None:
    """Wherever a window of 24 hours begins, and whoever owns the limit: 100 calls at most."""
    owner, sent = Owner(ROLLING), []
    for number, pause in enumerate(pauses):
        owner.wall += pause
        for _ in range(number % 40):
            owner.call()
        sent += owner.sent
        if number % 5 < crashes:
            owner = Owner(ROLLING, owner.wall, owner.ledger)
        else:
            owner.sent = []

    for start in sent:
        assert sum(1 for one in sent if start <= one < start + 86_400.0) <= 100


def test_a_rolling_window_is_used_while_there_is_work() -> None:
    """Over days of work without end at least 99 % of what the partner allows is used."""
    rule = LimitRule(per="account", calls=10_000, seconds=86_400.0, meter="rolling",
                     margin_seconds=60.0)  # fmt: skip
    owner = Owner(rule)
    by_day = Counter[int]()
    for minute in range(6 * 1440):
        owner.wall = NOON + minute * 60.0
        for _ in range(40):
            if not owner.call():
                break
            by_day[minute // 1440] += 1

    assert sum(by_day.values()) >= 0.99 * 6 * 10_000
    assert len(owner.ledger) < 20_000


def test_what_is_given_back_is_used_again() -> None:
    """A call that was not sent costs nothing of the day."""
    owner = Owner(DAY)
    for _ in range(300):
        owner.record()
        if owner.limiter.blocked([ACCOUNT], at(NOON)) is not None:
            owner.record()
        grant = owner.limiter.take([ACCOUNT], at(NOON))
        owner.limiter.give_back(grant)

    assert owner.spend() == 100


def test_tokens_are_counted_by_what_calls_cost() -> None:
    """A day's tokens: charged before with the most, corrected by the answer."""
    rule = LimitRule(per="account", calls=1_000, seconds=86_400.0, meter="day", cost=50.0, number=3)
    limiter = Limiter([rule])
    limiter.start(at(NOON))
    calls = spent = 0
    while True:
        if limiter.blocked([ACCOUNT], at(NOON)) is not None:
            for grant in limiter.to_record(at(NOON)):
                grant.quota.granted(grant.asked)
        if limiter.blocked([ACCOUNT], at(NOON)) is not None:
            break
        taken = limiter.take([ACCOUNT], at(NOON))
        limiter.answered(taken, costs=[(3, 10.0)])
        calls, spent = calls + 1, spent + 10

    assert 1_000 - 50 < spent <= 1_000


def test_grants_of_a_limit_that_is_gone_are_passed_over() -> None:
    """A partner file changes: what cannot be counted any more keeps nothing in the ledger."""
    limiter = Limiter([DAY])
    limiter.start(at(NOON))
    for scope, window in (("partner acme", "day UTC 5"), ("account 1", "rolling 9 x"), ("", "")):
        assert limiter.recorded(Grant(scope=scope, window=window, units=1, at=NOON)) is None
