"""Shares of a limit that is divided: in sum never more than the limit, by the partner's meter."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.errors import ConfigError
from reportd.limits.limiter import Limiter, LimitRule, MeterName, Now, Scope

PARTNER = Scope("partner", "acme")


def at(seconds: float) -> Now:
    """Return an instant."""
    return Now(seconds, 1_000_000.0 + seconds, seconds)


def calls_of(rule: LimitRule, holders: int, seconds: float, busy: int) -> list[float]:
    """Let so many of the holders call whenever they may; return when calls started."""
    limiters = []
    for holder in range(holders):
        limiter = Limiter([rule])
        limiter.start(at(holder * 0.037 - 100.0), None, holders)
        limiters.append(limiter)
    made, now = [], 0.0
    while now < seconds:
        for limiter in limiters[:busy]:
            while limiter.blocked([PARTNER], at(now)) is None:
                limiter.take([PARTNER], at(now))
                made.append(now)
        now += 0.013
    return made


@pytest.mark.parametrize("meter", ["sliding", "fixed", "bucket"])
@given(calls=st.integers(12, 60), holders=st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_shares_never_exceed_the_limit_in_sum(meter: MeterName, calls: int, holders: int) -> None:
    """All holders at their share: no window holds more than the limit, wherever it begins."""
    burst = 12.0
    rule = LimitRule(per="partner", calls=calls, seconds=1.0, meter=meter, burst=burst, divide=True)
    made = calls_of(rule, holders, 4.0, holders)

    if meter == "bucket":
        arrival = 0.0
        for one in made:
            assert arrival - one <= (burst - 1) / calls + 1e-6
            arrival = max(arrival, one) + 1.0 / calls
    elif meter == "fixed":
        windows: dict[int, int] = defaultdict(int)
        for one in made:
            windows[int(1_000_000.0 + one)] += 1
        assert max(windows.values(), default=0) <= calls
    else:
        for one in made:
            assert sum(1 for other in made if one <= other < one + 1.0 - 1e-6) <= calls


@pytest.mark.parametrize("meter", ["sliding", "bucket"])
def test_all_but_a_few_calls_of_a_window_are_used(meter: MeterName) -> None:
    """A window of N calls and V holders: at least N - V of them are used while all have work."""
    rule = LimitRule(per="partner", calls=199, seconds=1.0, meter=meter, burst=20.0, divide=True)
    made = calls_of(rule, 10, 5.0, 10)

    assert len(made) >= (199 - 10) * 4.9


@pytest.mark.parametrize("meter", ["sliding", "bucket"])
def test_nobody_has_a_share_of_nothing(meter: MeterName) -> None:
    """Topics that were grown beyond what a limit can be divided into are refused."""
    rule = LimitRule(per="partner", calls=9, seconds=1.0, meter=meter, burst=9, divide=True)

    with pytest.raises(ConfigError, match="cannot be divided into 10 partitions"):
        rule.share_of(10)


def test_a_limit_that_is_not_divided_is_everybodys_own() -> None:
    """Shares are of limits that say so."""
    rule = LimitRule(per="partner", calls=30, seconds=1.0)

    assert rule.share_of(12) is rule
