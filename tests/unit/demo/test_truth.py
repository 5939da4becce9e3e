"""What the simulated partners know."""

from datetime import date, timedelta
from decimal import Decimal

from reportd.demo.truth import Truth

DAYS = [date(2026, 1, 1) + timedelta(days=number) for number in range(200)]


def test_rows_are_the_same_every_time() -> None:
    """Two truths of one seed agree, and another seed does not."""
    asked = ("acme", "campaigns", "7", DAYS[0])
    assert Truth(seed=1).rows(*asked) == Truth(seed=1).rows(*asked)
    assert Truth(seed=1).rows(*asked) != Truth(seed=2).rows(*asked)


def test_some_days_are_empty_and_the_others_have_at_most_the_most() -> None:
    """About a tenth of the account-days has no rows; none has more than the maximum."""
    counts = [len(Truth().rows("acme", "campaigns", "7", day)) for day in DAYS]
    assert 5 <= counts.count(0) <= 40
    assert max(counts) == 6


def test_campaigns_of_a_day_are_distinct() -> None:
    """No row of a day equals another: a doubled row is always seen."""
    for day in DAYS:
        rows = Truth().rows("acme", "campaigns", "7", day)
        assert len({row.campaign_id for row in rows}) == len(rows)


def test_final_values_are_exact() -> None:
    """Micros become a decimal without a rounding, days become dates."""
    truth = Truth(empty_share=0.0)
    row = truth.rows("acme", "campaigns", "7", DAYS[0])[0]
    value = truth.values("acme", "campaigns", "7", DAYS[0])[0]
    assert value[0] == DAYS[0]
    assert value[5] * 1_000_000 == Decimal(row.cost_micros)
    assert value[1:5] == (row.campaign_id, row.name, row.impressions, row.clicks)
