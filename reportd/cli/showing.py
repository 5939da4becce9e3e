"""Tables, times and foreign texts on a terminal. Used by the commands of ``reportctl``."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

CONTROL_WORDS = {"pause": "paused", "slow": "slowed down", "cancel": "cancelled"}

PIPE_COLUMNS = 200
"""A pipe has no width: wide enough for a line a row."""


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; numbers stand right, texts from outside are made harmless."""
    table = Table(box=rich.box.SIMPLE_HEAD)
    found = [list(row) for row in rows]
    for index, name in enumerate(columns):
        numbers = all(isinstance(row[index], int | float | None) for row in found)
        table.add_column(name, justify="right" if found and numbers else "left", overflow="fold")
    for row in found:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


def show_controls(controls: Iterable[Mapping[str, Any]]) -> None:
    """Print what people have asked for: records of the topic ``control``."""
    show_table(
        ("scope", "", "to", "since", "until", "who", "reason"),
        (
            (
                one["scope"],
                CONTROL_WORDS.get(one["action"], one["action"]),
                f"{one['rate']:.0%}" if one["action"] == "slow" else "",
                instant(one["at"]),
                instant(one["until"]),
                one["who"],
                one["reason"],
            )
            for one in controls
        ),
    )


def show_json(document: Any) -> None:
    """Print a document for programs."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def harmless(text: str) -> str:
    """Return ``text`` with everything escaped that a terminal might act upon."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def instant(seconds: float | None) -> str:
    """Return an instant (epoch seconds) in local time."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Return a duration as people say it: ``3 d 4 h``, ``2 h 5 min``, ``40 s``."""
    if seconds is None:
        return ""
    left = round(seconds)
    parts = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if isinstance(value, float) else harmless(str(value))
