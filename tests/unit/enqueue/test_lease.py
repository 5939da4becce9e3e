import threading

import pytest

from reportd.enqueue.lease import kept
from reportd.enqueue.runs import LEASE_SECONDS
from reportd.errors import BrokerError
from reportd.model.run import Claim

CLAIM = Claim(run="daily/2026-11-22T04:00Z#1", machine="vm", claimed_at=0, expires_at=LEASE_SECONDS)
SOON = 0.001


class SteppingClock:
    """Goes on by ``step`` seconds each time it is read."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def wall(self) -> float:
        self.now += self.step
        return self.now

    monotonic = boottime = wall


class Renewals:
    def __init__(self, failures: int = 0) -> None:
        self.claims: list[Claim] = []
        self.came = threading.Event()
        self._failures = failures

    def __call__(self, claim: Claim) -> None:
        if self._failures:
            self._failures -= 1
            raise BrokerError("away")
        self.claims.append(claim)
        self.came.set()


def test_claim_is_renewed_while_work_lasts() -> None:
    """A long run is not taken for a dead one; a broker away for a moment does no harm."""
    renewals = Renewals(failures=1)

    with kept(CLAIM, renewals, SteppingClock(1.0), SOON):
        assert renewals.came.wait(10)

    found = renewals.claims[0]
    assert LEASE_SECONDS == found.expires_at - found.claimed_at
    assert found.expires_at > CLAIM.expires_at


def test_nothing_is_written_after_the_work() -> None:
    """The manifest that follows is not hidden by a late renewal."""
    renewals = Renewals()
    with kept(CLAIM, renewals, SteppingClock(1.0), SOON):
        assert renewals.came.wait(10)
    count = len(renewals.claims)

    assert "lease" not in {thread.name for thread in threading.enumerate()}
    assert count == len(renewals.claims)


def test_failed_work_frees_the_claim() -> None:
    """The next enqueuer need not wait for the lease to end."""
    renewals = Renewals()
    clock = SteppingClock(1.0)

    with pytest.raises(ValueError, match="broken"), kept(CLAIM, renewals, clock, 1000.0):
        raise ValueError("broken")

    assert renewals.claims[-1].expires_at <= clock.now


def test_lost_lease_is_not_renewed() -> None:
    """Who slept through its lease leaves the run to whom has taken it."""
    renewals = Renewals()

    with kept(CLAIM, renewals, SteppingClock(LEASE_SECONDS), SOON):
        assert not renewals.came.wait(0.05)
