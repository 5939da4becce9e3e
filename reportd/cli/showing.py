"""Tables, times and foreign texts on a terminal. Used by the commands of ``reportctl``."""

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import rich.box
import rich.table
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderResult
from rich.progress import track
from rich.text import Text

from reportd.observer.screen import Screen, Table, controls_table
from reportd.observer.words import cell
from reportd.observer.words import duration as duration
from reportd.observer.words import instant as instant

T = TypeVar("T")

WORTH_A_BAR = 5_000
"""Fewer records are read before a bar is seen."""

ROWS_AT_ONCE = 1_000
PIPE_COLUMNS = 10_000
"""A pipe has no width: a line a row."""
_FRAME = 3
"""What a column takes beside its values."""


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = ""
) -> None:
    """Print a table; numbers stand right, texts from outside are made harmless.

    Without rows say ``empty``, if given: why there are none.
    """
    found = Table(tuple(columns), tuple(tuple(row) for row in rows))
    if empty and not found.rows:
        print(harmless(empty))
    else:
        console().print(_Drawn(found), crop=False)


def show_long_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str
) -> None:
    """Print a table that may be too long to be held: so many rows at a time."""
    left = iter(rows)
    first = list(islice(left, ROWS_AT_ONCE))
    show_table(columns, first, empty=empty)
    while more := list(islice(left, ROWS_AT_ONCE)):
        show_table(columns, more)


def show_controls(controls: Iterable[Mapping[str, Any]]) -> None:
    """Print what people have asked for: records of the topic ``control``."""
    found = controls_table(controls)
    show_table(found.columns, found.rows, empty="nothing is paused, slowed down or cancelled")


def show_screen(found: Screen) -> None:
    """Print a screen."""
    console().print(drawn(found), crop=False)


def console() -> Console:
    """Return where tables are printed."""
    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def drawn(found: Screen) -> Group:
    """Return a screen as rich draws it."""
    style = "" if found.is_ready else "bold red"
    return Group(
        Text(harmless(found.headline), style=style),
        *(Text(f"  {harmless(line)}", style="yellow", overflow="fold") for line in found.needed),
        *map(_Drawn, found.tables),
    )


class _Drawn:
    """A table in the room that there is; where not even its words have it, a line a value."""

    def __init__(self, found: Table) -> None:
        self._found = found
        self._rows = [[harmless(cell(value)) for value in row] for row in found.rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self._columns()
        room = options.max_width - _FRAME * len(columns) - 1
        least = [max(map(cell_len, " ".join(each).split()), default=1) for each in columns]
        whole = [max(map(cell_len, each)) for each in columns]
        if sum(least) > room:
            yield from self._lines()
        else:
            yield self._table(_shared(least, whole, room))

    def _columns(self) -> list[list[str]]:
        names = self._found.columns
        return [[name, *(row[index] for row in self._rows)] for index, name in enumerate(names)]

    def _table(self, widths: Sequence[int]) -> rich.table.Table:
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
        for index, (name, width) in enumerate(zip(self._found.columns, widths, strict=True)):
            values = [row[index] for row in self._found.rows]
            numbers = bool(values) and all(isinstance(one, int | float | None) for one in values)
            justify: JustifyMethod = "right" if numbers else "left"
            table.add_column(name, justify=justify, overflow="fold", width=width)
        for row in self._rows:
            table.add_row(*map(Text, row))
        return table

    def _lines(self) -> Iterator[Text]:
        wide = max(map(cell_len, self._found.columns))
        for row in self._rows:
            yield Text()
            for name, text in zip(self._found.columns, row, strict=True):
                if text:  # the terminal breaks it: what is copied is whole
                    yield Text(f"  {name:<{wide}}  {text}", no_wrap=True, overflow="ignore")
        yield Text()


def _shared(least: Sequence[int], whole: Sequence[int], room: int) -> list[int]:
    """Return how wide each column is: its words at least; the room left goes to the least needy."""
    widths = list(least)
    left = room - sum(least)
    for index in sorted(range(len(whole)), key=lambda index: whole[index] - least[index]):
        more = min(left, whole[index] - least[index])
        widths[index] += more
        left -= more
    return widths


def show_json(document: Any) -> None:
    """Print a document for programs."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def show_json_list(documents: Iterable[Any]) -> None:
    """Print a list for programs, of any length, as it comes."""
    before = "["
    for one in documents:
        print(
            f"{before}\n{textwrap.indent(json.dumps(one, indent=2, ensure_ascii=False), '  ')}",
            end="",
        )
        before = ","
    print("[]" if before == "[" else "\n]")


def watched(records: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield records with a progress bar beside them, where somebody may look at it."""
    if not sys.stderr.isatty() or total < WORTH_A_BAR:
        yield from records
        return
    yield from track(records, what, total=total, console=Console(stderr=True), transient=True)


def days(first: str, last: str) -> str:
    """Return a range of days in short."""
    return first if first == last else f"{first}..{last}"


def harmless(text: str) -> str:
    """Return ``text`` with everything escaped that a terminal might act upon."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
