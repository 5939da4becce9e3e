"""What answers do to a limit that moves."""

import pytest

from reportd.limits.limiter import Limiter, LimitRule, Scope
from reportd.limits.moving import CREDIT_SECONDS, DECREASE, MovingBucket
from tests.unit.worker.making import at

SCOPE = Scope("account", "a")
RULE = LimitRule(per="account", calls=100, seconds=1.0, least=10)


def wanted(bucket: MovingBucket, now: float) -> None:
    """Let a call wait for it."""
    bucket.take(now)
    assert bucket.wait_seconds(now) > 0.0


def test_it_begins_at_the_least_and_searches() -> None:
    """A new owner knows nothing: from a tenth to the whole limit in less than a minute."""
    bucket = MovingBucket(100, 10, 1.0, 1.0, 0.0)
    rates = [bucket.rate]
    for second in range(1, 60):
        wanted(bucket, float(second))
        bucket.succeeded(float(second))
        rates.append(bucket.rate)

    assert rates[0] == 10.0
    assert rates == sorted(rates)
    assert rates[-1] == 100.0


def test_a_burst_of_refusals_is_one() -> None:
    """Calls that were granted before it went slower say nothing new; later ones do."""
    bucket = MovingBucket(100, 10, 1.0, 1.0, 0.0)
    for second in range(1, 40):
        wanted(bucket, float(second))
        bucket.succeeded(float(second))
    before = bucket.rate
    for granted in (39.5, 39.6, 39.7):
        bucket.refused(40.0, granted)
    assert bucket.rate == pytest.approx(before * DECREASE)

    bucket.refused(41.0, 40.5)
    assert bucket.rate == pytest.approx(before * DECREASE**2)
    for second in range(41, 141):
        bucket.refused(float(second + 1), float(second))
    assert bucket.rate == 10.0


def test_neither_errors_nor_idle_time_speed_it_up() -> None:
    """An hour of errors, or of nothing to do, does not count when a call succeeds again."""
    bucket = MovingBucket(100, 10, 1.0, 1.0, 0.0)
    for second in range(3600):
        wanted(bucket, float(second))
        bucket.failed(float(second))
    assert bucket.rate == 10.0

    bucket.succeeded(3599.5)
    assert 10.0 < bucket.rate < 10.5
    before = bucket.rate
    bucket.succeeded(7200.0)  # nobody has waited since
    assert bucket.rate == before
    wanted(bucket, 7200.0)
    bucket.succeeded(9000.0)
    assert bucket.rate <= before * (1 + 0.05 * CREDIT_SECONDS)


def test_the_limiter_tells_the_meters_that_move() -> None:
    """By the grant, and no other scope's."""
    limiter = Limiter([RULE])
    limiter.start(at(0.0))
    assert limiter.blocked([SCOPE], at(0.05)) is not None
    grant = limiter.take([SCOPE], at(1.0))
    other = limiter.take([Scope("account", "b")], at(1.0))
    meters = [one.charges[0].meter for one in (grant, other)]
    limiter.learn(grant, "ok", at(1.2))

    assert [isinstance(one, MovingBucket) and one.rate > 10 for one in meters] == [True, False]
    assert limiter.moves(SCOPE)
    assert not limiter.moves(Scope("partner", "acme"))
