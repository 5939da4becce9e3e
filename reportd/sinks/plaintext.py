"""Columns as people and other programs read them in CSV and JSON lines.

Used by `reportd.sinks.formats`. Vectorised: no Python object per cell, but for decimals of more
than six places (Arrow writes those in scientific notation).
"""

import pyarrow as pa
import pyarrow.compute as pc

JSON_FIELD = b"reportd.json"
"""Metadata of a field whose texts are JSON already."""

_PLAIN_SCALE = 6


def _text(text: str) -> pa.Scalar:
    """Return a scalar; without the type Arrow takes long to find it out."""
    return pa.scalar(text, pa.string())


def _decimal_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write decimals without an exponent, with all their places."""
    if column.type.scale <= _PLAIN_SCALE:
        return pc.cast(column, pa.string())
    texts = [None if value is None else f"{value:f}" for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def plain_columns(table: pa.Table) -> pa.Table:
    """Return the table as CSV shows it; only columns that Arrow writes oddly are converted."""
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale > _PLAIN_SCALE:
            column = _decimal_text(table.column(index))
            table = table.set_column(index, field.name, column)
        elif pa.types.is_timestamp(field.type):
            column = _timestamp_text(table.column(index))
            table = table.set_column(index, field.name, column)
    return table


def _timestamp_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write ISO 8601 in UTC, microseconds and all: ``2026-11-22T04:00:00.000000Z``."""
    return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")


def _quoted(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts as JSON strings."""
    text = pc.replace_substring(column, "\\", "\\\\")
    text = pc.replace_substring(text, '"', '\\"')
    if pc.any(pc.match_substring_regex(text, "[\x01-\x1f]|\\x00")).as_py():
        for code in range(0x20):
            text = pc.replace_substring(text, chr(code), f"\\u{code:04x}")
    return pc.binary_join_element_wise(_text('"'), text, _text('"'), _text(""))


def _json_text(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    kind = field.type
    if pa.types.is_string(kind):
        raw = field.metadata is not None and JSON_FIELD in field.metadata
        return column if raw else _quoted(column)
    if pa.types.is_decimal(kind):
        return _decimal_text(column)
    if pa.types.is_timestamp(kind):
        return _quoted(_timestamp_text(column))
    text = pc.cast(column, pa.string())
    return _quoted(text) if pa.types.is_date(kind) else text


def json_lines(table: pa.Table) -> bytes:
    """Return one JSON object a row. Decimals and int64 are numbers with all their digits."""
    if table.num_rows == 0:
        return b""
    parts: list[pa.ChunkedArray | pa.Scalar] = []
    for index, field in enumerate(table.schema):
        name = field.name.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(_text(f'{"," if index else "{"}"{name}":'))
        parts.append(pc.fill_null(_json_text(table.column(index), field), _text("null")))
    lines = pc.binary_join_element_wise(*parts, _text("}\n"), _text(""))
    return _joined(lines)


def _joined(lines: pa.ChunkedArray) -> bytes:
    """Return the lines' own buffer: they lie one behind the other already."""
    out = []
    for chunk in lines.chunks:
        if len(chunk):
            lists = pa.ListArray.from_arrays(pa.array([0, len(chunk)], pa.int32()), chunk)
            out.append(pc.binary_join(lists, _text(""))[0].as_buffer().to_pybytes())
    return b"".join(out)
