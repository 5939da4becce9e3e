"""How long to wait."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.partners.rules import MAX_WAIT_SECONDS, seconds_from, until_midnight
from tests.unit.partners.making import NOW


@pytest.mark.parametrize(
    ("value", "unit", "seconds"),
    [
        (30, "seconds", 30),
        (1.5, "seconds", 1.5),
        ("30", "seconds", 30),
        (" 30 ", "seconds", 30),
        ("40591s", "seconds", 40591),
        ("1.5s", "minutes", 1.5),
        ("250ms", "seconds", 0.25),
        ("2m", "seconds", 120),
        ("5", "minutes", 300),
        (1500, "milliseconds", 1.5),
        (int(NOW) + 60, "epoch", 60),
        (str(int(NOW) - 60), "epoch", 0),
        ("Sat, 22 Nov 2025 04:01:00 GMT", "seconds", 60),
        ("Sat, 22 Nov 2025 03:00:00 GMT", "seconds", 0),
        ("2025-11-22T04:02:00Z", "seconds", 120),
        ("2025-11-22T05:02:00+01:00", "seconds", 120),
        ([7, 8], "seconds", 7),
        (-5, "seconds", 0),
        (10**300, "seconds", MAX_WAIT_SECONDS),
        (None, "seconds", None),
        (True, "seconds", None),
        ("soon", "seconds", None),
        ("", "seconds", None),
        ([], "seconds", None),
        ({"a": 1}, "seconds", None),
        (float("nan"), "seconds", None),
        (float("inf"), "seconds", None),
        ("9" * 200, "seconds", None),
    ],
)
def test_waits(value: Any, unit: str, seconds: float | None) -> None:
    """Numbers, durations, dates; anything else says nothing."""
    assert seconds_from(value, NOW, unit) == seconds


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=2),
    ),
    st.sampled_from(["seconds", "minutes", "milliseconds", "epoch"]),
)
def test_a_wait_is_bounded_whatever_comes(value: Any, unit: str) -> None:
    """No answer can make a scope wait for ever, or crash the judge."""
    found = seconds_from(value, NOW, unit)

    assert found is None or 0 <= found <= MAX_WAIT_SECONDS


@pytest.mark.parametrize(
    ("zone", "seconds"),
    [
        ("UTC", 20 * 3600 + 60),
        ("America/Los_Angeles", 4 * 3600 + 60),
        ("Asia/Tokyo", 11 * 3600 + 60),
    ],
)
def test_midnight(zone: str, seconds: float) -> None:
    """A quota comes back at the zone's midnight, a minute later to be sure."""
    assert until_midnight(zone, NOW) == seconds


def test_midnight_when_clocks_change() -> None:
    """The night the clocks go back is an hour longer."""
    assert until_midnight("Europe/Zurich", 1_761_429_600.0) == 25 * 3600 + 60
