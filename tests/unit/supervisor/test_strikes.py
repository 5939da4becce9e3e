"""Crash strikes."""

import pytest

from reportd.supervisor.strikes import Strikes


def test_each_death_is_one_strike() -> None:
    """A request gets a strike for each death it was in hand at."""
    strikes = Strikes()
    strikes.add({"a", "b"})
    strikes.add({"a"})

    assert dict(strikes.counts()) == {"a": 2, "b": 1}


def test_the_least_recent_are_forgotten() -> None:
    """The table is bounded, and a new strike makes a request recent."""
    strikes = Strikes(limit=3)
    for requests in ({"a"}, {"b"}, {"c"}, {"a"}, {"d"}):
        strikes.add(requests)

    assert dict(strikes.counts()) == {"c": 1, "a": 2, "d": 1}


def test_counts_cannot_be_changed() -> None:
    """What children are handed is read-only."""
    with pytest.raises(TypeError):
        Strikes().counts()["a"] = 1  # type: ignore[index]  # that is the test
