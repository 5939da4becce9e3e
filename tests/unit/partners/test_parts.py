"""Parts of a request that is too big: together they are the whole, in order, once."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.partners.parts import Parts, cut

FIRST = date(2025, 11, 1)


def walk(parts: Parts | None, values: int = 0) -> list[tuple[date, date, int]]:
    """Return first day, last day and value of every part."""
    found = []
    while parts is not None:
        found.append((parts.first, parts.until, parts.value))
        parts = parts.following(values)
    return found


@given(st.integers(1, 400), st.integers(1, 400))
def test_parts_are_the_whole(length: int, days: int) -> None:
    """Every day is in exactly one part, none is longer than asked."""
    last = FIRST + timedelta(days=length - 1)
    found = walk(cut(FIRST, last, days) or Parts(FIRST, last, length))

    covered = [a + timedelta(days=n) for a, b, _ in found for n in range((b - a).days + 1)]
    assert [FIRST + timedelta(days=n) for n in range(length)] == covered
    assert all((b - a).days < days for a, b, _ in found)


@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 30))
def test_they_are_read_as_they_are_written(length: int, days: int, value: int) -> None:
    """A cursor holds them as one short text."""
    parts = Parts(FIRST, FIRST + timedelta(days=length - 1), days, value)

    assert Parts.parse(str(parts)) == parts
    assert len(str(parts)) < 40


def test_halving_ends_with_values_then_with_nothing() -> None:
    """Seven days, four, two, one, then the values of a day; then it is as small as can be."""
    parts: Parts | None = Parts(FIRST, FIRST + timedelta(days=6), 7)
    sizes = []
    while parts is not None:
        sizes.append(parts.days)
        smallest, parts = parts, parts.smaller(2)

    assert sizes == [7, 4, 2, 1, 0]
    assert [(a.day, b.day, v) for a, b, v in walk(smallest, 2)][:3] == [
        (1, 1, 0),
        (1, 1, 1),
        (2, 2, 0),
    ]
    assert Parts(FIRST, FIRST, 1).smaller(0) is None


def test_what_was_done_is_not_done_again() -> None:
    """Halving within later parts keeps those before."""
    parts = Parts(FIRST, FIRST + timedelta(days=6), 4).following(0)

    assert parts is not None
    assert parts.smaller(0) == Parts(FIRST + timedelta(days=4), FIRST + timedelta(days=6), 2)


@pytest.mark.parametrize("text", ["", "2025-11-01", "2025-11-01..2025-11-02", "x..y/1", "a/b#c"])
def test_other_texts_are_none(text: str) -> None:
    """What a foreign record holds does not pass."""
    with pytest.raises(ValueError, match="not the parts"):
        Parts.parse(text)
