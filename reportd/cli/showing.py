"""Tables, times and foreign texts on a terminal. Used by the commands of ``reportctl``."""

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import rich.box
import rich.table
from rich.console import Console, Group, JustifyMethod
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
PIPE_COLUMNS = 200
"""A pipe has no width: wide enough for a line a row."""


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
        console().print(_drawn(found))


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
    console().print(drawn(found))


def console() -> Console:
    """Return where tables are printed."""
    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def drawn(found: Screen) -> Group:
    """Return a screen as rich draws it."""
    style = "" if found.is_ready else "bold red"
    return Group(
        Text(harmless(found.headline), style=style),
        *(Text(f"  {harmless(line)}", style="yellow", overflow="fold") for line in found.needed),
        *map(_drawn, found.tables),
    )


def _drawn(found: Table) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for index, name in enumerate(found.columns):
        numbers = all(isinstance(row[index], int | float | None) for row in found.rows)
        justify: JustifyMethod = "right" if found.rows and numbers else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for row in found.rows:
        table.add_row(*(Text(harmless(cell(value))) for value in row))
    return table


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
