"""An answer becomes one Parquet file of the declared columns: pyarrow, typed by its reader."""

from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

_MICROS = pa.scalar(Decimal("0.000001"), pa.decimal128(7, 6))
_COST = pa.decimal128(18, 6)
_FIELDS = {
    "date": pa.date32(),
    "campaign_id": pa.string(),
    "name": pa.string(),
    "impressions": pa.int64(),
    "clicks": pa.int64(),
    "cost_micros": pa.int64(),
    "ctr": pa.float64(),
}
_NAMES = ("date", "account", "campaign_id", "name", "impressions", "clicks", "cost", "ctr")
_SCHEMA = pa.schema(
    [(name, {**_FIELDS, "account": pa.string(), "cost": _COST}[name]) for name in _NAMES]
)
_READ = pa_csv.ReadOptions(use_threads=False, block_size=4 * 1024 * 1024)
_CONVERT = pa_csv.ConvertOptions(
    column_types=_FIELDS,
    include_columns=list(_FIELDS),
    null_values=["--", ""],
    strings_can_be_null=False,
)
_JSON_SCHEMA = pa.schema(list(_FIELDS.items()))


def table_of(body: bytes, form: str, account: str) -> pa.Table:
    """Parse one answer into the declared columns; raises pyarrow's errors."""
    if form == "csv":
        found = pa_csv.read_csv(pa.BufferReader(body), _READ, convert_options=_CONVERT)
    else:
        found = _from_json(orjson.loads(body)["data"])
    cost = pc.multiply(pc.cast(found["cost_micros"], pa.decimal128(19, 0)), _MICROS).cast(_COST)
    columns = {name: found[name] for name in found.column_names}
    columns["account"] = pa.repeat(pa.scalar(account, pa.string()), len(found))
    columns["cost"] = cost
    return pa.table([columns[name] for name in _NAMES], schema=_SCHEMA)


def _from_json(rows: list[dict[str, object]]) -> pa.Table:
    columns = {}
    for name, kind in _FIELDS.items():
        values = [row[name] for row in rows]
        if name == "date":
            columns[name] = pa.array(values, pa.string()).cast(kind)
        else:
            columns[name] = pa.array(values, kind)
    return pa.table(columns, schema=_JSON_SCHEMA)


def write(table: pa.Table, path: Path, *, lean: bool) -> None:
    """Write beside the final name and rename: a reader sees the whole file; no fsync."""
    options = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    temp = path.with_suffix(".tmp")
    try:
        pq.write_table(table, temp, compression="snappy", **(options if lean else {}))
    except FileNotFoundError:
        temp.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, temp, compression="snappy", **(options if lean else {}))
    temp.rename(path)
