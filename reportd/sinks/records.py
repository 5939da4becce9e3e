"""JSON records become a table of the declared columns.

Used by ``partners.parse``, in whichever thread parses. Works column by column: values that have
the declared type already go to Arrow in one call, others (numbers as texts, say) go through
`reportd.sinks.convert`.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import jmespath
import orjson
import pyarrow as pa
from jmespath.exceptions import JMESPathError

from reportd.errors import UnexpectedAnswerError
from reportd.sinks.columns import ColumnSpec
from reportd.sinks.context import Context
from reportd.sinks.convert import decimals, finite, from_text
from reportd.sinks.schema import Schema, arrow_type

_MISSING = object()
_JSON: Mapping[type, str] = {dict: "object", list: "list"}

_TEXT = {str, type(None)}

_EXACT = ("string", "int64", "decimal")
_INEXACT = 2.0**63
"""From here on whole numbers of JSON are read as floats: ids lose their last digits."""

_AT_ONCE: Mapping[str, frozenset[type]] = {
    "string": frozenset({str}),
    "int64": frozenset({int}),
    "float64": frozenset({int, float}),
    "bool": frozenset({bool}),
    "decimal": frozenset({int}),
    "date": frozenset({str}),
}
"""Which Python types Arrow takes as they are, exactly; a date is tried, it may be a marker."""


def from_records(records: Sequence[Any], schema: Schema, context: Context) -> pa.Table:
    """Return the records as a table; raises `UnexpectedAnswerError` with column and row.

    A key that is not declared is ignored. One that is declared must be in every record unless
    the column is ``optional``; null is no value. What a JMESPath beyond plain names and indexes
    does not find counts as missing.
    """
    columns = []
    for name, spec in schema.columns.items():
        if spec.request is not None:
            columns.append(context.column(name, spec, len(records)))
            continue
        values = _values(records, name, spec)
        columns.append(_array(values, name, spec, context.zone))
    return pa.table(columns, schema=schema.arrow)


def from_lists(
    names: Sequence[str],
    values: Sequence[Sequence[Any]],
    rows: int,
    schema: Schema,
    context: Context,
) -> pa.Table:
    """Return values that stand in a list for each name as a table; raises as `from_records`.

    A column's ``from`` is one of the names, as it is.
    """
    columns = []
    for name, spec in schema.columns.items():
        if spec.request is not None:
            columns.append(context.column(name, spec, rows))
            continue
        wanted = spec.from_ or name
        count = list(names).count(wanted)
        if count > 1:
            raise UnexpectedAnswerError(f"column {name}: {wanted[:80]!r} stands twice")
        if count:
            found = list(values[names.index(wanted)])
            columns.append(_array(found, name, spec, context.zone))
        elif spec.optional:
            columns.append(pa.nulls(rows, arrow_type(spec)))
        else:
            raise UnexpectedAnswerError(f"column {name}: no {wanted[:80]!r} among the names")
    return pa.table(columns, schema=schema.arrow)


Path = tuple[str | int, ...]


@lru_cache(maxsize=8192)
def _path(expression: str) -> tuple[Path | None, Any]:
    """Return the plain path that an expression is, or None and the compiled expression."""
    compiled = jmespath.compile(expression)
    return _plain_path(compiled.parsed), compiled


def _plain_path(node: Mapping[str, Any]) -> Path | None:
    kind = node["type"]
    if kind == "identity":  # what an index at the beginning is of
        return ()
    if kind in ("field", "index"):
        return (node["value"],)
    if kind not in ("subexpression", "index_expression"):
        return None
    path: list[str | int] = []
    for child in node["children"]:
        part = _plain_path(child)
        if part is None:
            return None
        path += part
    return tuple(path)


def _values(records: Sequence[Any], name: str, spec: ColumnSpec) -> list[Any]:
    """Return the column's values as JSON gave them; missing ones are None or an error."""
    path, compiled = ((name,), None) if spec.from_ is None else _path(spec.from_)
    if path is not None and not spec.optional:
        try:
            values: Iterable[Any] = records
            for key in path:
                values = [value[key] for value in values]
            return list(values)
        except (KeyError, IndexError, TypeError):
            pass  # below, one by one, to see which it was
    found = []
    wanted = list if path and isinstance(path[0], int) else dict
    for row, record in enumerate(records):
        if not isinstance(record, wanted):
            raise UnexpectedAnswerError(f"row {row + 1}: not a JSON {_JSON[wanted]}")
        value = _walk(record, path) if path is not None else _search(compiled, record, name, row)
        if value is _MISSING and not spec.optional:
            raise UnexpectedAnswerError(f"column {name}, row {row + 1}: missing in the answer")
        found.append(None if value is _MISSING else value)
    return found


def _walk(value: Any, path: Path) -> Any:
    for key in path:
        if isinstance(key, str):
            value = value.get(key, _MISSING) if isinstance(value, dict) else _MISSING
        else:
            inside = isinstance(value, list) and -len(value) <= key < len(value)
            value = value[key] if inside else _MISSING
        if value is _MISSING:
            return _MISSING
    return value


def _search(compiled: Any, record: Any, name: str, row: int) -> Any:
    try:
        value = compiled.search(record)
    except (JMESPathError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        what = type(error).__name__
        raise UnexpectedAnswerError(f"column {name}, row {row + 1}: {what} in its from") from error
    return _MISSING if value is None else value


def _array(values: list[Any], name: str, spec: ColumnSpec, zone: str) -> pa.ChunkedArray:
    kinds = set(map(type, values)) - {type(None)}
    as_written = spec.format is None and not (spec.null and str in kinds)
    if as_written and kinds <= _AT_ONCE.get(spec.kind, frozenset()):
        try:
            if spec.kind == "decimal":
                return decimals(pa.chunked_array([pa.array(values, pa.int64())]), spec)
            if spec.kind == "date":
                return pa.chunked_array([pa.array(values, pa.string())]).cast(pa.date32())
            whole = pa.chunked_array([pa.array(values, arrow_type(spec))])
            return finite(whole) if float in kinds else whole
        except (pa.ArrowException, OverflowError, ValueError):
            pass  # one of them is out of range: below, as a text, with its row
    try:
        texts = pa.array(_texts(values, name, spec), pa.string())
    except (pa.ArrowException, UnicodeError) as error:
        raise UnexpectedAnswerError(f"column {name}: not UTF-8") from error
    return from_text(pa.chunked_array([texts]), name, spec, zone)


def _texts(values: list[Any], name: str, spec: ColumnSpec) -> list[str | None]:
    """Write every value as a text, a float with all the digits it was read with."""
    if spec.kind == "json":
        try:
            return [None if value is None else orjson.dumps(value).decode() for value in values]
        except orjson.JSONEncodeError as error:  # what a function of JMESPath has made
            raise UnexpectedAnswerError(f"column {name}: not JSON: {error}") from error
    if set(map(type, values)) <= _TEXT:
        return values
    texts: list[str | None] = []
    for row, value in enumerate(values):
        kind = type(value)
        if kind is str or value is None:
            texts.append(value)
        elif kind is bool:
            texts.append("true" if value else "false")
        elif kind is float and spec.kind in _EXACT and abs(value) >= _INEXACT:
            raise UnexpectedAnswerError(
                f"column {name}, row {row + 1}: {value!r} has lost digits: declare float64"
            )
        elif kind is float and spec.kind == "int64" and value.is_integer():
            texts.append(str(int(value)))
        elif kind in (int, float, Decimal):
            texts.append(str(value))
        else:
            what = "an object" if isinstance(value, dict) else "a list"
            raise UnexpectedAnswerError(f"column {name}, row {row + 1}: {what}, not {spec.type}")
    return texts
