"""Rows by day, in memory or put away: the same rows in the same order."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import UnexpectedAnswerError
from reportd.sinks import gathering
from reportd.sinks.formats import FORMATS, encode
from reportd.sinks.gathering import Gathering, Shelved, first_rows, table_of
from reportd.sinks.table import from_records
from tests.unit.sinks.making import DAY, a_context, a_schema

SCHEMA = a_schema({"day": "date", "clicks": "int64"})
DAYS = [DAY + timedelta(days=number) for number in range(3)]


def rows(*of_days: int, first: int = 0) -> pa.Table:
    """Return a row for each number of a day, counted."""
    records = [
        {"day": DAYS[0].replace(day=DAYS[0].day + number).isoformat(), "clicks": first + at}
        for at, number in enumerate(of_days)
    ]
    return from_records(records, SCHEMA, a_context())


@contextmanager
def little_memory(held: int = 20, part: int = 100) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "HELD_BYTES", held)
        patch.setattr(gathering, "PART_BYTES", part)
        yield


def gathered(tables: list[pa.Table]) -> dict[date, gathering.Rows]:
    found = Gathering("day", DAYS)
    for table in tables:
        found.add(table)
    return dict(found.by_day())


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=6))
def test_put_away_or_not(of_days: list[list[int]]) -> None:
    """A day's rows are in the answers' order, whatever had to be put away in between."""
    tables = [rows(*some, first=100 * number) for number, some in enumerate(of_days)]

    expected = {day: table_of(found).to_pylist() for day, found in gathered(tables).items()}
    with little_memory():
        found = gathered(tables)

    assert {day: table_of(one).to_pylist() for day, one in found.items()} == expected
    assert {day: one.num_rows for day, one in found.items()} == {
        day: len(one) for day, one in expected.items()
    }
    assert all(table_of(one).schema.equals(SCHEMA.arrow, True) for one in found.values())


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format(file_format: str) -> None:
    """What was put away is written as what was not, and may be written again."""
    tables = [rows(0, 1, 0, first=3 * number) for number in range(50)]
    with little_memory():
        away = gathered(tables)[DAYS[0]]
        first, again = (b"".join(encode(away, file_format, b"{}")) for _ in range(2))

    assert isinstance(away, Shelved)
    assert first == again
    if file_format == "parquet":
        table = pq.read_table(pa.BufferReader(first))
        assert table.to_pylist() == table_of(away).to_pylist()
        assert pq.ParquetFile(pa.BufferReader(first)).num_row_groups > 1
    else:
        assert first == b"".join(encode(table_of(away), file_format, b"{}"))


def test_a_day_that_was_not_asked_for() -> None:
    """It is found while rows are put away, with its row."""
    foreign = from_records([{"day": "2020-01-01", "clicks": 1}], SCHEMA, a_context())

    with little_memory(), pytest.raises(UnexpectedAnswerError) as caught:
        gathered([rows(0, 1, 2), rows(0, 0, 0), foreign, rows(0)])

    assert str(caught.value) == "behind row 6: column day, row 1: 2020-01-01 was not asked for"


def test_a_report_without_days() -> None:
    """All rows are the one day's."""
    found = Gathering(None, DAYS[:1])
    with little_memory():
        for _ in range(5):
            found.add(rows(0, 1))
        ((day, shelved),) = found.by_day().items()

    assert (day, shelved.num_rows) == (DAYS[0], 10)


def test_the_first_rows_are_shown() -> None:
    """Whether a day's rows are in memory or put away, people see the first of them."""
    with little_memory():
        gathered = Gathering("day", DAYS)
        gathered.add(rows(0, 0, 0))
        gathered.add(rows())
        shelved = gathered.by_day()

    assert isinstance(shelved[DAYS[0]], Shelved)
    wanted = [{"day": DAYS[0], "clicks": 0}, {"day": DAYS[0], "clicks": 1}]
    assert wanted == first_rows(shelved[DAYS[0]], 2) == first_rows(rows(0, 0, 0), 2)
    assert [] == first_rows(shelved[DAYS[1]], 2)
