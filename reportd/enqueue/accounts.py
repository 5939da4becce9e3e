"""The accounts table: what it must look like, and what to say when it does not.

Pure; `reportd.enqueue.spark_accounts` reads it and finds the rows that break these rules.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import available_timezones

from reportd.config.accounts import AccountsSource
from reportd.config.problems import did_you_mean
from reportd.config.secrets import Secret
from reportd.errors import ConfigError

REQUIRED = ("partner", "account")
OPTIONAL = ("timezone", "currency", "credential", "active")
MAX_LENGTH = 1024
MAX_ATTRIBUTES = 64
SHOWN = 20
"""How many bad rows are named; the others are counted."""

TRUE = ("true", "t", "yes", "y", "1")
FALSE = ("false", "f", "no", "n", "0")

CONTROL = r"[\p{Cc}\u2028\u2029]"
"""What no value may hold, as Java's regular expressions say it."""

DOTS = r"(^|[/\\])\.\.?($|[/\\])"
"""What no account may hold: workers refuse it, since it would leave its place in a URL."""

CORRUPT = "_corrupt_record"
"""The column into which Spark puts a row of a text file that does not parse."""

_ATTRIBUTE = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,63}$")
_TAKEN = frozenset({"id"})
"""Names that templates use for an account's own fields."""

_CSV = {
    "encoding": "UTF-8",
    # A quote in a quoted field is doubled, as everybody but Spark writes it
    "quote": '"',
    "escape": '"',
    "ignoreLeadingWhiteSpace": "true",
    "ignoreTrailingWhiteSpace": "true",
}


def name_of(source: AccountsSource) -> str:
    """Return how messages call the table."""
    return source.path or source.table or f"the {source.format} table"


def reader_options(source: AccountsSource) -> dict[str, str]:
    """Return what Spark's reader is told, secrets included: not to be shown."""
    given = {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in source.options.items()
    }
    return {**_CSV, **given} if source.format == "csv" else given


def without_secrets(source: AccountsSource, text: str) -> str:
    """Return what Spark says with the table's secrets made unreadable."""
    for value in source.options.values():
        if isinstance(value, Secret):
            text = text.replace(value.reveal(), "***")
    return text


def check_present(source: AccountsSource) -> None:
    """Raise `ConfigError` if the table is a local file that is not there."""
    path = source.path
    if path is None or "://" in path or any(c in path for c in "*?[{"):
        return
    if not Path(path).exists():
        raise ConfigError(f"{path}: there is no such accounts table; create it or name another")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which of the table's columns is what; names as the table writes them."""

    known: Mapping[str, str]
    """partner, account, ... -> the column's own name."""
    attributes: Sequence[str]


def layout(source: AccountsSource, columns: Mapping[str, str]) -> Layout:
    """Sort the columns (name -> Spark's type) out; raises `ConfigError` with all that is wrong."""
    if not columns:
        raise ConfigError(f"{name_of(source)}: the table is empty: it has no columns")
    known: dict[str, str] = {}
    attributes: list[str] = []
    problems: list[str] = []
    for column, kind in columns.items():
        name = column.strip().lower()
        if name in known:
            problems.append(f"column {column!r}: stands twice")
        elif name in {*REQUIRED, *OPTIONAL}:
            known[name] = column
            problems += _kind_problems(name, column, kind)
        elif not _ATTRIBUTE.match(column) or name in _TAKEN:
            problems.append(
                f"column {column[:80]!r}: no name for an attribute; use a letter, then letters,"
                " digits and _" + (", and not 'id'" if name in _TAKEN else "")
            )
        elif kind.startswith(("array", "map", "struct", "binary", "variant")):
            problems.append(f"column {column!r}: is of type {kind[:40]}; an attribute is one value")
        else:
            attributes.append(column)
    if len(attributes) > MAX_ATTRIBUTES:
        problems.append(f"has {len(attributes)} further columns; at most {MAX_ATTRIBUTES}")
    for name in REQUIRED:
        if name not in known:
            hint = did_you_mean(name, columns)
            problems.append(f"column {name!r}: is missing; {hint}")
    if problems:
        raise ConfigError(*(f"{name_of(source)}: {problem}" for problem in problems))
    return Layout(known, attributes)


def _kind_problems(name: str, column: str, kind: str) -> list[str]:
    whole = kind in {"string", "tinyint", "smallint", "int", "bigint"} or kind.startswith("varchar")
    whole = whole or (kind.startswith("decimal") and kind.endswith(",0)"))
    whole = whole or (name == "active" and kind == "boolean")
    # A table whose every value is null has no type
    return [] if whole or kind == "void" else [f"column {column!r}: is of type {kind}; give text"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that breaks a rule."""

    row: int
    """Its number in its file, from 1; a header does not count."""
    file: str
    column: str
    rule: str
    value: str | None = None


def describe(
    source: AccountsSource, bad: Sequence[BadRow], total: int, partners: Sequence[str]
) -> ConfigError:
    """Return the error that names every bad row, at most `SHOWN` of them."""
    name = name_of(source)
    lines = []
    for each in bad[:SHOWN]:
        place = f"{name}: " + (f"{each.file}: " if each.file else "") + f"row {each.row}: "
        column = f"column {each.column!r}: " if each.column else ""
        lines.append(place + column + _what(each, partners))
    if total > len(lines):
        lines.append(f"{name}: and {total - len(lines)} more")
    return ConfigError(*lines)


def _what(bad: BadRow, partners: Sequence[str]) -> str:
    shown = repr((bad.value or "")[:80])
    match bad.rule:
        case "empty":
            return "is empty; every row needs it"
        case "long":
            return f"is longer than {MAX_LENGTH} characters"
        case "control":
            return f"{shown} has a control character"
        case "dots":
            return f"{shown} has a '.' or '..' segment"
        case "partner":
            return f"unknown partner {shown}; {did_you_mean(bad.value or '', partners)}"
        case "zone":
            hint = did_you_mean(bad.value or "", available_timezones())
            hint = hint if hint.startswith("did") else "write one like Europe/Zurich"
            return f"unknown time zone {shown}; {hint}"
        case "active":
            return f"{shown} is neither true nor false"
        case "twice":
            return f"account {shown} stands in the table more than once"
        case _:
            return f"does not parse, or has a field too many or too few: {shown}"
