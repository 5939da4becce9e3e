"""Which rows say the same."""

from typing import Any

import pytest

from reportd.model.content import Scratch
from reportd.sinks.context import Context
from reportd.sinks.gathering import Shelved
from reportd.sinks.sameness import content_of
from reportd.sinks.table import Table, from_records
from tests.unit.sinks.making import NEWER_RUN, a_request, a_schema, a_table

COLUMNS: dict[str, Any] = {
    "name": "string",
    "clicks": "int64",
    "run": {"request": "run"},
    "at": {"request": "downloaded_at"},
    "account": {"request": "account"},
}
ROWS: list[dict[str, Any]] = [{"name": "a", "clicks": 1}, {"name": None, "clicks": 2}]


def rows(records: list[dict[str, Any]], at: float = 1.0, **request: Any) -> Table:
    """Return the rows of an answer."""
    return from_records(records, a_schema(COLUMNS), Context(a_request(**request), at))


def test_when_and_by_which_run_does_not_count() -> None:
    """The same answer, a day later, in another run."""
    assert content_of(rows(ROWS)) == content_of(rows(ROWS, at=90_000.0, run=NEWER_RUN))


@pytest.mark.parametrize(
    "other",
    [
        rows([{"name": "a", "clicks": 1}, {"name": "", "clicks": 2}, {"name": "c", "clicks": 3}]),
        rows([{"name": "a", "clicks": 1}, {"name": None, "clicks": 3}]),
        rows(ROWS[:1]),
        rows([]),
        rows(ROWS, account="2"),
        rows(ROWS).rename_columns(["other", "clicks", "run", "at", "account"]),
        from_records(ROWS, a_schema(COLUMNS | {"clicks": "float64"}), Context(a_request(), 1.0)),
    ],
    ids=["more", "value", "fewer", "none", "account", "names", "types"],
)
def test_everything_else_does(other: Table) -> None:
    """A value, a row, the account, a column's name or type."""
    assert content_of(other) != content_of(rows(ROWS))


def test_rows_that_are_put_away() -> None:
    """They are read back in parts, and are the same each time."""
    found = []
    for names in (["a", "b"], ["a", "b"], ["a", "c"]):
        shelved = Shelved(a_table().schema, Scratch())
        shelved.put(a_table(names))
        found.append(content_of(shelved))

    assert found[0] == found[1] != found[2]
