"""Rows are cut into days: all asked for, each whole, in the partner's order."""

from datetime import date, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import UnexpectedAnswerError
from reportd.sinks.table import Table, concat, split_days

FIRST = date(2026, 11, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(4)]


def table_of(days: list[date | None]) -> Table:
    """Return a table with a row a day, numbered."""
    numbers = pa.array(range(len(days)), pa.int64())
    return pa.table({"day": pa.array(days, pa.date32()), "number": numbers})


@given(st.lists(st.lists(st.sampled_from(DAYS), max_size=12), min_size=1, max_size=3))
def test_every_row_is_in_its_day_in_order(pages: list[list[date]]) -> None:
    """However the partner mixed them, over however many pages; an empty day is empty."""
    table = concat([table_of(list(days)) for days in pages])
    rows = [(row["day"], row["number"]) for row in table.to_pylist()]

    split = split_days(table, "day", DAYS)

    assert list(split) == DAYS
    for day, part in split.items():
        assert part.schema == table.schema
        assert part.column("number").to_pylist() == [number for at, number in rows if at == day]


def test_without_a_day_column_all_rows_are_the_one_days() -> None:
    """A report that does not name its day is asked for by day."""
    table = table_of([None, FIRST])

    assert split_days(table, None, [FIRST]) == {FIRST: table}
    with pytest.raises(UnexpectedAnswerError, match="no column tells"):
        split_days(table, None, DAYS)


def test_a_day_that_was_not_asked_for_is_an_error() -> None:
    """It would replace a file that is none of this request's."""
    with pytest.raises(UnexpectedAnswerError, match="column day, row 2: 2026-11-04 was not asked"):
        split_days(table_of([FIRST, DAYS[3]]), "day", DAYS[:3])


def test_a_row_without_a_day_is_an_error() -> None:
    """It belongs to no file."""
    with pytest.raises(UnexpectedAnswerError, match="column day, row 3: no day"):
        split_days(table_of([FIRST, FIRST, None]), "day", DAYS)
