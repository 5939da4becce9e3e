"""The partner's own meters."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.demo.simulator.config import Limit
from reportd.demo.simulator.meters import Gate, make_meter

TIMES = st.lists(st.integers(0, 4000), min_size=1, max_size=120).map(
    lambda found: [number / 1000 + 100 for number in sorted(found)]
)


def let_in(limit: Limit, times: Sequence[float], offset: float = 0.0) -> list[float]:
    meter = make_meter(limit, offset)
    found = []
    for now in times:
        meter.saw(now)
        if not meter.wait(now):
            meter.charge(now)
            found.append(now)
    return found


@given(TIMES)
def test_a_sliding_window_never_lets_in_more_than_its_calls(times: list[float]) -> None:
    """In any stretch of a second there are at most five calls, and a refused one did not fit."""
    limit = Limit(per="partner", calls=5, meter="sliding")
    found = let_in(limit, times)
    for start in found:
        assert sum(1 for at in found if start <= at < start + 1.0 - 1e-6) <= 5


@given(TIMES)
def test_a_bucket_never_lets_in_more_than_its_burst_and_rate(times: list[float]) -> None:
    """Between any two calls the bucket gave its burst and what dripped since, no more."""
    found = let_in(Limit(per="partner", calls=10, meter="bucket", burst=3), times)
    for first, start in enumerate(found):
        for last in range(first, len(found)):
            assert last - first + 1 <= 3 + (found[last] - start) * 10 + 1e-6


@given(TIMES)
def test_a_fixed_window_counts_from_its_own_start(times: list[float]) -> None:
    """Each window of the partner's clock has at most five calls."""
    found = let_in(Limit(per="partner", calls=5, meter="fixed", phase_seconds=0.25), times, 0.5)
    windows = [int((at + 0.5 - 0.25) // 1.0) for at in found]
    assert max(windows.count(window) for window in windows) <= 5


@pytest.mark.parametrize("meter", ["bucket", "fixed", "sliding"])
def test_the_wait_told_is_long_enough_and_not_longer(meter: str) -> None:
    """After exactly the wait that it told, a meter lets the next call in; just before it not."""
    limit = Limit(per="partner", calls=4, meter=meter)  # type: ignore[arg-type]
    gate = Gate((limit,))
    now = 100.2
    for _ in range(4):
        assert gate.admit({"partner": ""}, now) == 0.0
    wait = gate.admit({"partner": ""}, now)
    assert wait > 0.0
    assert gate.admit({"partner": ""}, now + wait - 0.001) > 0.0
    assert gate.admit({"partner": ""}, now + wait + 1e-6) == 0.0


def test_a_call_that_one_limit_refuses_is_charged_to_none() -> None:
    """The partner's limit is not used by calls that the account's limit refused."""
    limits = (
        Limit(per="partner", calls=3, meter="sliding"),
        Limit(per="account", calls=1, meter="sliding"),
    )
    gate = Gate(limits)
    admitted = [gate.admit({"partner": "", "account": "1"}, 100.0) == 0.0 for _ in range(5)]
    others = [gate.admit({"partner": "", "account": name}, 100.0) == 0.0 for name in "234"]
    assert admitted == [True, False, False, False, False]
    assert others == [True, True, False]
    assert gate.refused == [1, 4]


def test_the_peak_shows_who_asked_too_much() -> None:
    """Refused calls count in the peak, so that a limit exceeded shows."""
    gate = Gate((Limit(per="account", calls=2, meter="sliding"),))
    for _ in range(3):
        gate.admit({"account": "1"}, 100.0)
    gate.admit({"account": "2"}, 100.0)
    assert gate.peak(0) == 3.0
    assert gate.scopes(0) == 2


def test_a_limit_may_count_refused_calls_too() -> None:
    """Where refused calls count, a client that hammers never gets in."""
    gate = Gate((Limit(per="partner", calls=1, meter="sliding", counts_refused=True),))
    assert gate.admit({"partner": ""}, 100.0) == 0.0
    assert gate.admit({"partner": ""}, 100.9) > 0.0
    assert gate.admit({"partner": ""}, 101.5) > 0.0
    assert gate.admit({"partner": ""}, 102.6) == 0.0
