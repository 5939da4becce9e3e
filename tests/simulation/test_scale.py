"""A small day of the scale simulation, and that it notices what it is there for."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from reportd.demo.simulator.config import Limit
from reportd.limits.meters import Bucket
from reportd.worker.fence import Fence
from tests.simulation.scale.__main__ import DAY_SECONDS, broken, run
from tests.simulation.scale.fleet import MOST_VMS, fleet
from tests.simulation.scale.kinds import KINDS

SLOW = (
    replace(KINDS[0], limit=Limit(per="account", calls=5, seconds=10, meter="fixed")),
    replace(KINDS[1], limit=Limit(per="account", calls=3, seconds=60, burst=2), accounts=99),
)
"""The same day with limits that a few thousand requests are enough for."""
REQUESTS = 6_000


def test_a_small_day_keeps_its_promises() -> None:
    """Limits kept and used, nothing asked twice, the ETA right, while VMs come and go."""
    rows, words = run(REQUESTS, 1, 1, SLOW)

    assert broken(rows) == [], words
    assert all(row.long_accounts for row in rows)
    assert all(row.calls >= row.requests > 0 for row in rows)


def test_a_new_owner_with_a_full_burst_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The partner's meter counts across owners."""
    made = Bucket.__init__

    def full(self: Bucket, calls: float, seconds: float, burst: float, now: float) -> None:
        made(self, calls, seconds, 10 * burst, now - 1e6)

    monkeypatch.setattr(Bucket, "__init__", full)
    rows, words = run(REQUESTS, 1, 1, SLOW)

    assert rows[1].over > 0, words


def test_an_owner_who_idles_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time without calls is not the whole limit."""
    is_open = Fence.is_open
    monkeypatch.setattr(
        Fence, "is_open", lambda self, boot: is_open(self, boot) and boot % 120 < 60
    )
    rows, _ = run(REQUESTS, 1, 1, SLOW)

    assert any("of a limit used" in what for what in broken(rows))


def test_one_account_whose_limit_is_not_used_is_noticed() -> None:
    """Many that are used to the full make up for none."""
    rows, _ = run(REQUESTS, 1, 1, SLOW)

    assert broken([replace(rows[1], share_least=0.989, share=0.999)]) == [
        "wide: 98.90% of a limit used"
    ]


def test_a_fleet_lives() -> None:
    """VMs join, leave and die; every partition has one owner at a time."""
    played = fleet(50, DAY_SECONDS, Random(1))

    assert 1 <= played.vms_least < played.vms_most <= MOST_VMS
    assert set(played.events) == {"joins", "leaves", "dies", "worker killed"}
    for tenures in played.tenures:
        for before, after in pairwise(tenures):
            assert before.start < before.end < after.start
