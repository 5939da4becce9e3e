"""Limits that move: a partner refuses calls although what it states is kept."""

import pytest

from reportd.demo.simulator.config import Limit
from tests.simulation.scale.day import Day, Job, Played
from tests.simulation.scale.fleet import Tenure
from tests.simulation.scale.kinds import Kind

SECONDS = 600.0
FIRST_SECONDS = 60.0


def played(hidden: int, least: int = 5) -> Played:
    """Play ten minutes of a partner that allows fewer calls a second than the 100 it states."""
    kind = Kind(
        "hidden",
        Limit(per="account", calls=hidden, burst=2),
        partitions=1,
        accounts=1,
        skew=0.0,
        says=f'per = "account", calls = 100, least = {least}, meter = "bucket"',
    )
    counts = {"hidden-1": round(hidden * SECONDS)}
    tenures = [Tenure(0.0, SECONDS, crashed=True)]
    return Day(Job(kind=kind, index=0, counts=counts, tenures=tenures, seed=1)).play()


@pytest.mark.parametrize("hidden", [7, 20, 60])
def test_a_hidden_limit_is_found_and_used(hidden: int) -> None:
    """After a minute: nine tenths of it or more, with fewer than one call in a hundred refused."""
    day = played(hidden)
    later = [at for at in day.called_at if at > FIRST_SECONDS]
    refused = [at for at in day.over_at if at > FIRST_SECONDS]
    used = (len(later) - len(refused)) / (hidden * (SECONDS - FIRST_SECONDS))
    print(f"{used:.1%} of it used, {len(refused) / len(later):.2%} of the calls refused")

    assert used >= 0.9
    assert len(refused) < len(later) / 100
