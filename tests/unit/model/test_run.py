"""Runs: names and order."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.errors import InvalidMessageError
from reportd.model.run import RunId

slots = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


@given(slots, st.integers(0, 999_999))
@settings(max_examples=60, deadline=None)
def test_a_name_reads_back(slot: datetime, revision: int) -> None:
    """What a run is called names it."""
    run = RunId("daily", slot.replace(microsecond=0), revision)

    assert RunId.parse(str(run)) == run


def test_runs_are_ordered_by_slot_then_revision() -> None:
    """The schedule's name does not count: a later slot is newer, then a higher revision."""
    names = [
        "zeta/2026-11-21T04:00Z#9",
        "alpha/2026-11-22T04:00Z#1",
        "zeta/2026-11-22T04:00Z#2",
        "beta/2026-11-22T04:00Z#10",
        "alpha/2026-11-22T04:00:01Z#0",
    ]
    orders = [RunId.parse(name).order for name in names]

    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "daily",
        "daily/2026-11-22#1",
        "daily/2026-11-22T04:00#1",
        "daily/2026-11-22T04:00Z",
        "daily/2026-13-22T04:00Z#1",
        "daily/2026-11-22T04:00Z#-1",
        "daily/2026-11-22T04:00Z#1\n",
        "Daily/2026-11-22T04:00Z#1",
        "a/b/2026-11-22T04:00Z#1",
    ],
)
def test_what_is_no_run_is_refused(name: str) -> None:
    """A run of another form would have no order."""
    with pytest.raises(InvalidMessageError, match="run: "):
        RunId.parse(name)
