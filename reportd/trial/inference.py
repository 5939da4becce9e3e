"""What the values of an answer look like, beside what a partner file declares. Pure.

For people who write a partner file, and never for a worker: types that are inferred from one
answer disagree with the next one's.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from reportd.config.problems import did_you_mean
from reportd.config.toml import toml_key, toml_value
from reportd.partners.unfolding import ABOVE
from reportd.sinks.columns import NUMBERS, UNSET_MARKERS, ColumnSpec

DELIMITERS = ",;\t|"
EXAMPLE_CHARS = 40
UNDECLARED_MOST = 100
_MICROS_LEAST = 10_000
_OPTIONS = ("percent", "thousands", "decimal_point", "format")
_EPOCHS = {10: "epoch", 13: "epoch_ms"}
"""By how many digits an instant of our years has."""
_LISTED = "lists of objects"

_WHOLE = re.compile(r"[+-]?\d{1,18}")
_REAL = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_COMMA = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?")
"""As much of Europe writes numbers."""
_DOTTED = re.compile(r"[+-]?(?:[1-9]\d{0,2}(?:\.\d{3})+|\d{1,3})")
_COMMA_PERCENT = re.compile(r",(?:\d{1,2}|\d{4,})\s*%")
_DOTS = "dots: decimals, or thousands?"
_PERCENT = re.compile(r"<?\s*[+-]?[\d.,]+\s*%")
_DAY_SHAPES = (
    (re.compile(r"(?:0?[1-9]|1[0-2])/\d{1,2}/\d{4}"), "%m/%d/%Y"),
    (re.compile(r"\d{1,2}/(?:0?[1-9]|1[0-2])/\d{4}"), "%d/%m/%Y"),
    (re.compile(r"\d{4}/\d{1,2}/\d{1,2}"), "%Y/%m/%d"),
    (re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}"), "%d.%m.%Y"),
)
"""The first one that all values fit is suggested."""
_COMPACT_DAY = re.compile(r"20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_INSTANT = re.compile(r".{10}.\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
_ID = re.compile(r"(?:^|_|\.)ids?$|Ids?$|ID$")
_MONEY = re.compile(
    r"cost|spend|spent|revenue|amount|budget|bid|cpc|cpm|price|value", re.IGNORECASE
)
_MICRO = re.compile(r"micro", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Seen:
    """The values of one field in the records that were looked at."""

    kind: str
    """``int64``, ``date`` ...; empty: there was no value at all."""
    example: str
    note: str = ""
    """What a declaration should know: micros, percent signs, thousands separators."""
    options: Mapping[str, Any] | None = None
    """The options of a column that would read them."""
    count: int = 0
    """In how many records there was a value."""
    present: int = 0
    """In how many records there was at least the field."""

    def declaration(self, name: str, source: str) -> str:
        """Return a line for ``[reports.NAME.columns]``."""
        options = dict(self.options or {"type": self.kind or "string"})
        if source != name:
            options = {"from": source, **options}
        value = options["type"] if list(options) == ["type"] else options
        return f"{toml_key(name)} = {toml_value(value)}"


def look(name: str, values: Sequence[Any]) -> Seen:
    """Return what a field's values look like, of the records that have it."""
    texts = [value for value in values if not _is_unset(value)]
    example = _example(texts[0]) if texts else ""
    kind, note, options = _kind(name, texts)
    return Seen(kind, example, note, options, len(texts), len(values))


def _is_unset(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip() in UNSET_MARKERS)


def _example(value: Any) -> str:
    text = value if isinstance(value, str) else toml_value(value) if _plain(value) else str(value)
    return text if len(text) <= EXAMPLE_CHARS else text[: EXAMPLE_CHARS - 1] + "…"


def _is_listed(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | float)


Kind = tuple[str, str, Mapping[str, Any] | None]


def _kind(name: str, values: Sequence[Any]) -> Kind:
    if not values:
        return "", "no value seen", None
    if all(isinstance(value, bool) for value in values):
        return "bool", "", None
    if any(isinstance(value, dict | list) for value in values):
        return "json", _LISTED if all(map(_is_listed, values)) else "", None
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return _whole(name, [int(value) for value in values])
    if all(_plain(value) and not isinstance(value, bool) for value in values):
        return _real(name)
    if all(isinstance(value, str) for value in values):
        return _texts(name, [value.strip() for value in values])
    return "string", "values of several kinds", None


def _whole(name: str, numbers: Sequence[int]) -> Kind:
    if _ID.search(name):
        return "string", "an id", None
    if _MICRO.search(name) or (
        _MONEY.search(name) and max(abs(number) for number in numbers) >= _MICROS_LEAST
    ):
        return (
            "int64",
            "looks like int64 micros",
            {"type": "decimal(18,6)", "divide": 1_000_000},
        )
    return "int64", "", None


def _real(name: str) -> Kind:
    if _MONEY.search(name):
        return "float64", "looks like money", {"type": "decimal(18,6)", "round": True}
    return "float64", "", None


def _texts(name: str, texts: Sequence[str]) -> Kind:
    def every(fits: Callable[[str], object]) -> bool:
        return all(fits(text) for text in texts)

    if every(_is_day):
        return "date", "", None
    if every(_COMPACT_DAY.fullmatch):
        return "date", "days like 20261122", {"type": "date", "format": "%Y%m%d"}
    for shape, written in _DAY_SHAPES:
        if every(shape.fullmatch):
            return "date", f"days like {written}", {"type": "date", "format": written}
    if every(_is_instant):
        return "timestamp", "", None
    if every(lambda text: text.lower() in ("true", "false")):
        return "bool", "", None
    return _written_numbers(name, texts) or ("string", "", None)


def _written_numbers(name: str, texts: Sequence[str]) -> Kind | None:
    def every(fits: Callable[[str], object]) -> bool:
        return all(fits(text) for text in texts)

    if every(_WHOLE.fullmatch):
        return _whole(name, [int(text) for text in texts])
    if every(_DOTTED.fullmatch):
        return "float64", _DOTS, {"type": "int64", "thousands": ".", "decimal_point": ","}
    if every(_REAL.fullmatch):
        return _real(name)
    if every(_PERCENT.fullmatch):
        point = {"decimal_point": ","} if any(map(_COMMA_PERCENT.search, texts)) else {}
        return "float64", "percent signs", {"type": "float64", "percent": True, **point}
    if every(lambda text: _GROUPED.fullmatch(text) or _REAL.fullmatch(text)):
        kind = "float64" if any("." in text for text in texts) else "int64"
        return kind, "thousands separators", {"type": kind, "thousands": ","}
    if every(_COMMA.fullmatch):
        dotted = {"thousands": "."} if any("." in text for text in texts) else {}
        return "float64", "a decimal comma", {"type": "float64", **dotted, "decimal_point": ","}
    return None


def _is_day(text: str) -> bool:
    if len(text) != 10:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_instant(text: str) -> bool:
    if len(text) < 16 or text[4:5] != "-":
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _instant_format(example: str) -> str:
    """Return how an instant is written that `_is_instant`."""
    found = _INSTANT.match(example)
    seconds, fraction, zone = found.groups() if found else ("", "", "")
    parts = ("%Y-%m-%d", example[10:11], "%H:%M")
    more = (seconds and ":%S", fraction and ".%f", zone and "%z")
    return "".join((*parts, *(part or "" for part in more)))


@dataclass(frozen=True, slots=True)
class Compared:
    """One column, declared and seen."""

    name: str
    source: str
    """Where its values come from, as the file says."""
    declared: str
    seen: Seen | None
    """None: it comes from the request."""
    suggestion: str
    """What should perhaps be changed; empty: it fits."""


def compare(
    columns: Mapping[str, ColumnSpec], found: Mapping[str, Seen], records: int
) -> Iterator[Compared]:
    """Yield every declared column beside what was seen of it.

    ``found`` holds the fields by their place (``from``); ``records`` is how many were looked at.
    """
    for name, spec in columns.items():
        declared = spec.type or spec.kind
        if spec.request is not None:
            yield Compared(name, f"request: {spec.request}", declared, None, "")
            continue
        source = spec.from_ or name
        seen = found.get(source)
        if seen is None:
            seen = Seen("", "")
        yield Compared(name, source, declared, seen, _suggestion(name, spec, seen, found, records))


def _suggestion(
    name: str, spec: ColumnSpec, seen: Seen, found: Mapping[str, Seen], records: int
) -> str:
    if not records:
        return ""
    if not seen.present and spec.optional:
        return ""
    if not seen.present:
        hint = did_you_mean(spec.from_ or name, found)
        near = f"; {hint}" if hint.startswith("did you") else ""
        return f"no record has it{near}"
    if not seen.count:
        return ""
    if seen.present < records and not spec.optional:
        return f"absent in {records - seen.present} of {records}: optional = true"
    return _type_suggestion(name, spec, seen)


def _type_suggestion(name: str, spec: ColumnSpec, seen: Seen) -> str:
    kind = spec.kind
    counted = _EPOCHS.get(len(seen.example)) if seen.kind == "int64" else None
    if kind in ("date", "timestamp") and counted:
        since = replace(seen, options={"type": kind, "format": counted})
        line = since.declaration(name, spec.from_ or name)
        return "" if spec.format == counted else f"counted from 1970 on: {line}"
    if spec.divide is None and seen.note == "looks like int64 micros" and kind != "string":
        return f"{seen.note}: {seen.declaration(name, spec.from_ or name)}"
    if kind == "float64" and seen.note == "looks like money":
        return "money: a decimal loses no cent"
    wrong = {
        "int64": {"float64", "string", "date", "timestamp", "json", "bool"},
        "float64": {"string", "date", "timestamp", "json", "bool"},
        "decimal": {"string", "date", "timestamp", "json", "bool"},
        "date": {"float64", "string", "json", "bool"},
        "timestamp": {"float64", "string", "json", "bool"},
        "bool": {"int64", "float64", "date", "timestamp", "json", "string"},
    }
    if kind == "date" and seen.kind == "timestamp" and not spec.format:
        day = Seen("date", "", options={"type": "date", "format": _instant_format(seen.example)})
        return f"an instant; its day, as it is written: {day.declaration(name, spec.from_ or name)}"
    if kind in ("date", "timestamp") and seen.kind == "string" and not spec.format:
        return 'not ISO 8601; say how it is written, as format = "%d %b %Y"'
    if seen.note == _DOTS and spec.thousands:
        return ""
    if seen.note == _DOTS and kind in NUMBERS:
        return f"{_DOTS} where 1.234 is 1234: {seen.declaration(name, spec.from_ or name)}"
    if seen.kind in wrong.get(kind, ()) and seen.note != "an id" and not spec.format:
        return f"looks like {seen.kind}: {seen.declaration(name, spec.from_ or name)}"
    if any(_lacks(spec, seen, option) for option in _OPTIONS):
        options = {**(seen.options or {}), "type": spec.type}
        line = replace(seen, options=options).declaration(name, spec.from_ or name)
        return f"{seen.note}: {line}"
    if kind == "string" and seen.kind in ("date", "timestamp", "float64", "bool") and not seen.note:
        return f"all are {seen.kind}"
    return ""


def _lacks(spec: ColumnSpec, seen: Seen, option: str) -> bool:
    wanted, given = (seen.options or {}).get(option), getattr(spec, option)
    is_given = given != "." if option == "decimal_point" else bool(given)
    return spec.kind != "string" and bool(wanted) and not is_given


def undeclared(columns: Mapping[str, ColumnSpec], found: Mapping[str, Seen]) -> Iterator[str]:
    """Yield a declaration for each field that was seen and that no column takes."""
    taken = {spec.from_ or name for name, spec in columns.items() if spec.request is None}
    count = 0
    for source, seen in found.items():
        if source in taken or any(_within(other, source) for other in taken):
            continue
        if seen.note == _LISTED and source.startswith(f"{ABOVE}."):
            continue  # what was unfolded
        count += 1
        if count > UNDECLARED_MOST:
            return
        line = seen.declaration(_column_name(source), source)
        if seen.note == _LISTED:
            line += f"    # or unfold = {toml_value(source)}: its elements are the records"
        yield line


def other_delimiter(found: Mapping[str, Seen]) -> str:
    """Return what seems to stand between a CSV's values, where its header is but one field."""
    if len(found) != 1:
        return ""
    header = next(iter(found))
    most = max(DELIMITERS, key=header.count)
    return most if most in header else ""


def _within(declared: str, source: str) -> bool:
    """Return whether a declared place is within or around a field: parts of it are taken."""
    return declared.startswith((source + ".", source + "[")) or source.startswith(declared + ".")


def _column_name(source: str) -> str:
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", source.replace('"', ""))
    text = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:63]
    return text if text[:1].isalpha() else f"c_{text}"[:63]


def place_within(above: str, key: str) -> str:
    """Return the JMESPath of a key within a place; ``above``: empty at the top."""
    part = key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) else f'"{key}"'
    return f"{above}.{part}" if above else part


def fields_of(records: Sequence[Any]) -> dict[str, Seen]:
    """Return the fields of JSON records by their place: inner tables' ones as ``a.b``."""
    values: dict[str, list[Any]] = {}
    for record in records:
        if isinstance(record, Mapping):
            _gather(record, "", values)
        elif isinstance(record, list):
            for number, value in enumerate(record):
                values.setdefault(f"[{number}]", []).append(value)
    return {place: look(place, found) for place, found in values.items()}


def _gather(record: Mapping[str, Any], above: str, values: dict[str, list[Any]]) -> None:
    for key, value in record.items():
        place = place_within(above, key)
        if isinstance(value, Mapping) and value:
            _gather(value, place, values)
        else:
            values.setdefault(place, []).append(value)
