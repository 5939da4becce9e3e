"""Tables of a report's rows: how they are made, and how they are cut into days.

Used by ``partners.parse`` and the worker's finishing thread.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from reportd.errors import UnexpectedAnswerError
from reportd.sinks.context import Context as Context
from reportd.sinks.delimited import CsvOptions as CsvOptions
from reportd.sinks.delimited import behind as behind
from reportd.sinks.delimited import csv_tables as csv_tables
from reportd.sinks.delimited import from_csv as from_csv
from reportd.sinks.records import from_lists as from_lists
from reportd.sinks.records import from_records as from_records
from reportd.sinks.schema import Schema as Schema

Table: TypeAlias = pa.Table
"""Rows of the declared columns, in the partner's order."""


def concat(tables: Sequence[Table]) -> Table:
    """Return the rows of several answers of one report (pages), in their order; copies none."""
    return pa.concat_tables(tables)


def split_days(table: Table, day_column: str | None, days: Sequence[date]) -> Mapping[date, Table]:
    """Return a table for every day asked for, in the rows' order; an empty day's is empty.

    Without a day column all rows belong to the one day asked for. Raises
    `UnexpectedAnswerError` for a row without a day, or with one that was not asked for.
    """
    empty = table.slice(0, 0)
    split = dict.fromkeys(days, empty)
    if day_column is None:
        if len(split) != 1:
            raise UnexpectedAnswerError("several days were asked for, but no column tells them")
        return dict.fromkeys(split, table)
    column = table.column(day_column)
    found: list[date | None] = pc.unique(column).to_pylist()
    for day in found:
        if day is None or day not in split:
            row = pc.index(column, pa.scalar(day, column.type)).as_py() if day else _null(column)
            what = "no day" if day is None else f"{day.isoformat()} was not asked for"
            raise UnexpectedAnswerError(f"column {day_column}, row {row + 1}: {what}")
    return split | _rows_by_day(table, day_column, [day for day in found if day is not None])


def _null(column: pa.ChunkedArray) -> int:
    return int(pc.index(pc.is_null(column), pa.scalar(value=True)).as_py())


def _rows_by_day(table: Table, column_name: str, found: Sequence[date]) -> dict[date, Table]:
    """Cut where the day changes, copying nothing if each day's rows lie together already."""
    if len(found) == 1:
        return {found[0]: table}
    column = table.column(column_name)
    runs = pc.run_end_encode(column)
    if sum(len(chunk.values) for chunk in runs.chunks) > len(found):
        table = table.take(pc.sort_indices(column))  # stable: the rows' order within a day stays
        runs = pc.run_end_encode(table.column(column_name).combine_chunks())
        runs = pa.chunked_array([runs])
    cut, begin, before = {}, 0, 0
    for chunk in runs.chunks:
        for day, end in zip(chunk.values.to_pylist(), chunk.run_ends.to_pylist(), strict=True):
            cut[day] = table.slice(begin, before + end - begin)
            begin = before + end
        before = begin
    return cut
