"""When work will be done, as far as limits say it."""

from collections.abc import Sequence

import pytest

from reportd.limits.limiter import LimitRule
from reportd.worker.forecast import MOST_SECONDS, THREADS, TIME, Forecast, Work, forecast
from tests.unit.worker.making import Rules, at, request

SECOND = LimitRule(per="account", calls=10, seconds=1.0)
DAY_SECONDS = 86_400.0


def played(
    *limits: LimitRule, works: Sequence[Work], threads: int = 16, call_seconds: float = 0.2
) -> Forecast:
    """Play some work under some limits, from midnight on."""
    return forecast(Rules("acme", limits), works, at(0.0), threads, call_seconds)


def test_the_account_with_the_most_to_do_decides() -> None:
    """Each has its own limit; its calls wait for that."""
    works = [Work(request("a"), 600), Work(request("b"), 60), Work(request("c"), 0)]
    found = played(SECOND, works=works)

    assert found.calls == 660
    assert found.seconds == pytest.approx(60.0, abs=1.0)
    assert (found.binds, found.unfinished) == ("account", 0)


def test_requests_of_several_calls_take_as_many() -> None:
    """Create, poll, download: each counts."""
    found = played(SECOND, works=[Work(request("a"), 100, calls=3)])

    assert found.calls == 300
    assert found.seconds == pytest.approx(30.0, abs=1.5)


def test_the_limit_that_binds_is_named() -> None:
    """That of all accounts together, where it is the tighter one."""
    both = [SECOND, LimitRule(per="partner", calls=15, seconds=1.0)]
    found = played(*both, works=[Work(request(name), 300) for name in "abc"])

    assert found.seconds == pytest.approx(60.0, abs=1.5)
    assert found.binds == "partner"


def test_without_a_limit_the_worker_binds() -> None:
    """Half of its threads are one account's, 200 ms a call."""
    found = played(works=[Work(request("a"), 400), Work(request("b"), 400)])

    assert found.seconds == pytest.approx(800 * 0.2 / 16, abs=1.0)
    assert found.binds == THREADS


def test_a_quota_takes_days() -> None:
    """What is beyond it waits for the next midnight, twice."""
    quota = LimitRule(per="account", calls=100, seconds=DAY_SECONDS, meter="day", margin_seconds=60)
    found = played(quota, works=[Work(request("a"), 250)])

    assert found.calls == 250
    assert DAY_SECONDS < found.seconds < 2.5 * DAY_SECONDS
    assert found.binds == "account"


def test_what_takes_for_ever_ends() -> None:
    """One call a day: two months are looked ahead, no more."""
    found = played(
        LimitRule(per="account", calls=1, seconds=DAY_SECONDS), works=[Work(request("a"), 1000)]
    )

    assert found.seconds == MOST_SECONDS
    assert found.unfinished > 900


def test_calls_at_once() -> None:
    """Ten places, a fifth of a second each."""
    rule = LimitRule(per="account", calls=10, seconds=1.0, meter="concurrent")
    found = played(rule, works=[Work(request("a"), 500)], threads=64)

    assert found.seconds == pytest.approx(1.0 + 500 * 0.2 / 10, abs=0.5)


def test_what_may_not_start_yet_waits() -> None:
    """An hour: then it goes on, beside what came later."""
    works = [
        Work(request("a"), 50, wait_seconds=3600.0),
        Work(request("b"), 50),
        Work(request("a"), 50, wait_seconds=3601.0),
    ]
    found = played(SECOND, works=works)

    assert found.calls == 150
    assert found.seconds == pytest.approx(3610.0, abs=1.0)
    assert (found.binds, found.unfinished) == (TIME, 0)
