"""Reads an accounts table that is a local CSV file without Spark, by the rules of the enqueuer.

For ``reportctl check``: who writes the table sees what is wrong with it at once. What this refuses
`reportd.enqueue.spark_accounts` refuses, too; what only Spark can read is left to it.
"""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reportd.config.accounts import AccountsSource
from reportd.enqueue.accounts import (
    DOTS,
    FALSE,
    MAX_LENGTH,
    OPTIONAL,
    REQUIRED,
    TRUE,
    BadRow,
    Layout,
    describe,
    layout,
    name_of,
)
from reportd.enqueue.plan import unknown_zones
from reportd.errors import ConfigError
from reportd.model.account import Account

MAX_BYTES = 4 * 1024 * 1024
"""Some 80,000 accounts, 2 s and 180 MB; what is larger is better left to Spark."""

_DOTS = re.compile(DOTS)
_SPACE = " \t"
"""What does not count around a value. Spark takes control characters off one without quotes, too:
they are named here, nobody wants them."""
_LINES = "\u2028\u2029"


def is_plain(source: AccountsSource) -> bool:
    """Say whether the table is one local CSV file as spreadsheets write it, not too large."""
    path = Path(source.path or "")
    return (
        source.format == "csv"
        and dict(source.options) == {"header": "true"}
        and path.suffix == ".csv"
        and path.is_file()
        and path.stat().st_size <= MAX_BYTES
    )


def read_csv(source: AccountsSource, partners: Collection[str]) -> list[Account]:
    """Read and check a table that `is_plain`.

    Raises `ConfigError` naming row and column of everything that is wrong, `OSError` if it cannot
    be read.
    """
    known = sorted(partners)
    with Path(str(source.path)).open(encoding="utf-8-sig", errors="replace", newline="") as file:
        # each line by itself, as Spark does: a quote that is never closed ends with its line
        lines = (line.rstrip("\r\n") for line in file)
        filled = (line for line in lines if line.strip(_SPACE))
        found = _layout(source, _fields(next(filled, "")))
        rows = [_row(found, number, line) for number, line in enumerate(filled, 1)]
    if not rows:
        raise ConfigError(f"{name_of(source)}: the table is empty: it has no rows")
    if bad := list(_bad(found, rows, known)):
        raise describe(source, bad, len(bad), known)
    return [row.account(found) for row in rows]


def _fields(line: str) -> list[str]:
    """Return a line's values; spaces around them do not count."""
    return [each.strip(_SPACE) for each in next(csv.reader([line], skipinitialspace=True), [])]


def _layout(source: AccountsSource, header: Sequence[str]) -> "_Columns":
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        name = name_of(source)
        raise ConfigError(*(f"{name}: column {column!r}: stands twice" for column in twice))
    return _Columns(tuple(header), layout(source, dict.fromkeys(header, "string")))


@dataclass(frozen=True, slots=True)
class _Columns:
    """The header, and what of it is what."""

    header: Sequence[str]
    layout: Layout


@dataclass(frozen=True, slots=True)
class _Row:
    """One line."""

    number: int
    line: str
    """Of one that is broken."""
    values: dict[str, str] | None
    """By column; None: it has too few or too many."""

    def of(self, found: _Columns, name: str) -> str:
        """Return the value of partner, account ...; empty if the table has no such column."""
        return (self.values or {}).get(found.layout.known.get(name, ""), "")

    def account(self, found: _Columns) -> Account:
        """Return a row that is right."""
        values = self.values or {}
        return Account(
            partner=self.of(found, "partner"),
            account=self.of(found, "account"),
            timezone=self.of(found, "timezone") or "UTC",
            currency=self.of(found, "currency"),
            credential=self.of(found, "credential"),
            active=self.of(found, "active").lower() not in FALSE,
            attributes={name: values[name] for name in found.layout.attributes},
        )


def _row(found: _Columns, number: int, line: str) -> _Row:
    values = _fields(line)
    whole = len(values) == len(found.header)
    if not whole:
        return _Row(number, line, None)
    return _Row(number, "", dict(zip(found.header, values, strict=True)))


def _bad(found: _Columns, rows: Sequence[_Row], partners: Sequence[str]) -> Iterator[BadRow]:
    """Yield what is wrong, row by row."""
    wrong_zones = {*unknown_zones(row.of(found, "timezone") or "UTC" for row in rows)}
    names = Counter((row.of(found, "partner"), row.of(found, "account")) for row in rows)
    for row in rows:
        if row.values is None:
            yield BadRow(row.number, "", "", "corrupt", row.line)
            continue
        for name in (*REQUIRED, *OPTIONAL):
            value = row.of(found, name)
            rule = _rule(name, value, partners, wrong_zones)
            if rule:
                yield BadRow(row.number, "", found.layout.known[name], rule, value)
        for name in found.header:
            if rule := _text_rule(row.values[name]):
                yield BadRow(row.number, "", name, rule, row.values[name])
        partner, account = row.of(found, "partner"), row.of(found, "account")
        if account and names[partner, account] > 1:
            column = found.layout.known["account"]
            yield BadRow(row.number, "", column, "twice", f"{partner}/{account}")


def _rule(
    name: str, value: str, partners: Sequence[str], wrong_zones: Collection[str]
) -> str | None:
    """Return the rule that a value of a known column breaks."""
    if name in REQUIRED and not value:
        return "empty"
    if name == "partner" and value not in partners:
        return "partner"
    if name == "account" and _DOTS.search(value):
        return "dots"
    if name == "timezone" and value in wrong_zones:
        return "zone"
    if name == "active" and value and value.lower() not in {*TRUE, *FALSE}:
        return "active"
    return None


def _text_rule(value: str) -> str | None:
    """Return the rule that any value can break."""
    if len(value) > MAX_LENGTH:
        return "long"
    if any(unicodedata.category(each) == "Cc" or each in _LINES for each in value):
        return "control"
    return None
