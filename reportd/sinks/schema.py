"""A report's columns, compiled for Arrow once per partner file.

Used by `reportd.sinks.records` and `reportd.sinks.delimited`, in whichever thread parses.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from reportd.sinks.columns import ColumnSpec
from reportd.sinks.plaintext import JSON_FIELD

COLUMNS_HASH = b"reportd.columns"
"""Metadata of a table's schema: a short hash of its columns, for receipts."""

PASSING_FIELD = b"reportd.passing"
"""Metadata of a field that tells when, or by which run, its row was downloaded."""
_PASSING = ("run", "downloaded_at")

_TYPES = {
    "string": pa.string(),
    "json": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """Columns in the order of declaration, with their Arrow types; a key of what is made of it."""

    columns: Mapping[str, ColumnSpec]
    arrow: pa.Schema

    @classmethod
    def compile(cls, columns: Mapping[str, ColumnSpec]) -> "Schema":
        """Compile columns that have no problems (`column_problems`)."""
        fields = [
            pa.field(name, arrow_type(spec), metadata=_marks(spec))
            for name, spec in columns.items()
        ]
        text = "\n".join(f"{item.name} {item.type}" for item in fields)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls(columns, pa.schema(fields, metadata={COLUMNS_HASH: digest.encode()}))


def _marks(spec: ColumnSpec) -> dict[bytes, bytes] | None:
    if spec.kind == "json":
        return {JSON_FIELD: b""}
    return {PASSING_FIELD: b""} if spec.request in _PASSING else None


def arrow_type(spec: ColumnSpec) -> pa.DataType:
    """Return the Arrow type of a column."""
    if spec.kind == "decimal":
        return pa.decimal128(*spec.precision_scale)
    return _TYPES[spec.kind]
