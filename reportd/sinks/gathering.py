"""A request's rows by day, gathered from the tables that its answers are read into.

Used by ``partners.parse`` and the worker's finishing thread. As long as they are few they stay in
memory; more are put away, day by day, in a file without a name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeAlias

import pyarrow as pa

from reportd.errors import UnexpectedAnswerError
from reportd.model.content import Scratch
from reportd.sinks.delimited import behind
from reportd.sinks.table import concat, split_days

HELD_BYTES = 16 * 1024 * 1024
"""So many bytes of Arrow's memory are held before they are put away."""

PART_BYTES = 8 * 1024 * 1024
PART_ROWS = 128 * 1024


@dataclass(slots=True)
class Shelved:
    """The rows of one day in a scratch file; read as often as there are formats."""

    schema: pa.Schema
    _file: Scratch
    num_rows: int = 0
    _places: list[tuple[int, int]] = field(default_factory=list)

    def put(self, table: pa.Table) -> None:
        """Add rows. Raises OSError."""
        out = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(out, self.schema, options=options) as writer:
            writer.write_table(table.combine_chunks())
        data = out.getvalue()
        self._places.append((len(self._file), len(data)))
        self._file.append(memoryview(data))
        self.num_rows += table.num_rows

    def parts(self) -> Iterator[pa.Table]:
        """Yield the rows in their order, about `PART_BYTES` or `PART_ROWS` at a time."""
        held: list[pa.Table] = []
        size = rows = 0
        for offset, length in self._places:
            with pa.ipc.open_stream(self._file.read_at(offset, length)) as reader:
                table = reader.read_all()
            if held and (size + table.nbytes > PART_BYTES or rows + table.num_rows > PART_ROWS):
                yield concat(held)
                held, size, rows = [], 0, 0
            held.append(table)
            size += table.nbytes
            rows += table.num_rows
        if held:
            yield concat(held)


Rows: TypeAlias = pa.Table | Shelved
"""What becomes one day's files."""


def table_of(rows: Rows) -> pa.Table:
    """Return rows in memory, however many there are."""
    return rows if isinstance(rows, pa.Table) else concat(list(rows.parts()))


def first_rows(rows: Rows, most: int) -> list[dict[str, Any]]:
    """Return the first rows as Python's own values, for people."""
    table = rows if isinstance(rows, pa.Table) else next(rows.parts(), rows.schema.empty_table())
    found: list[dict[str, Any]] = table.slice(0, most).to_pylist()
    return found


class Gathering:
    """Takes tables in the answers' order; used within one thread."""

    def __init__(self, day_column: str | None, days: Sequence[date]) -> None:
        """Take how days are told apart, and which were asked for."""
        self._day_column = day_column
        self._days = days
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._rows = 0
        """How many are put away."""
        self._file: Scratch | None = None
        self._shelved: dict[date, Shelved] = {}

    def add(self, table: pa.Table) -> None:
        """Take some rows; raises `UnexpectedAnswerError` for a day that was not asked for."""
        if self._held:  # one alone need not be counted: most requests have no other
            self._held_bytes += self._held[-1].nbytes
            if self._held_bytes > HELD_BYTES:
                self._put_away()
        self._held.append(table)

    def by_day(self) -> Mapping[date, Rows]:
        """Return the rows of every day asked for; raises `UnexpectedAnswerError`."""
        if self._file is None:
            return split_days(concat(self._held), self._day_column, self._days)
        if self._held:
            self._put_away()
        empty = next(iter(self._shelved.values())).schema.empty_table()
        return {day: self._shelved.get(day, empty) for day in self._days}

    def _put_away(self) -> None:
        table = concat(self._held)
        try:
            split = split_days(table, self._day_column, self._days)
        except UnexpectedAnswerError as error:
            raise behind(self._rows, error) from error
        if self._file is None:
            self._file = Scratch()
        for day, rows in split.items():
            if rows.num_rows:
                if day not in self._shelved:
                    self._shelved[day] = Shelved(table.schema, self._file)
                self._shelved[day].put(rows)
        self._rows += table.num_rows
        self._held, self._held_bytes = [], 0
        pa.default_memory_pool().release_unused()
