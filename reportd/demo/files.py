"""Final files, read back as anyone would read them, and the receipts beside them."""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from reportd.demo.truth import Values
from reportd.sinks.formats import FORMATS
from reportd.sinks.local import LocalStore

_OWN = "_reportd"
_DAY_COLUMNS = ("date", "day")


def final_files(root: Path) -> Iterator[str]:
    """Yield every file below an output root, relative to it, but for reportd's own."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] != _OWN:
            yield relative.as_posix()


def format_of(path: str) -> str:
    """Return a file's format by its name; empty: none that reportd writes."""
    found = [name for name in FORMATS if path.endswith(f".{name}")]
    return max(found, key=len, default="")


def read_values(path: Path) -> list[Values]:
    """Return the rows of a file of a demo report, whatever its format."""
    return [_values(record) for record in read_records(path)]


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet, CSV or JSON lines file (plain or gzip) as they stand in it."""
    kind = format_of(path.name)
    if kind == "parquet":
        # Not read_table: it hands each small file to other threads, which wait for a busy machine
        with pq.ParquetFile(path) as file:
            rows: list[dict[str, Any]] = file.read(use_threads=False).to_pylist()
        return rows
    data = path.read_bytes()
    if kind.endswith(".gz"):
        data = gzip.decompress(data)
    if kind.startswith("csv"):
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    return [orjson.loads(line) for line in data.splitlines()]


def _values(record: dict[str, Any]) -> Values:
    day = next(record[name] for name in _DAY_COLUMNS if name in record)
    ctr = record["ctr"]
    return (
        day if isinstance(day, date) else date.fromisoformat(day),
        record["campaign_id"],
        record["name"],
        int(record["impressions"]),
        int(record["clicks"]),
        Decimal(record["cost"]),
        None if ctr in (None, "") else float(ctr),
    )


def receipted(root: Path) -> Counter[str]:
    """Return how many final files have a receipt of each request id."""
    store = LocalStore(root)
    found: Counter[str] = Counter()
    for path in final_files(root):
        receipt = store.receipt_of(path, format_of(path))
        if receipt is not None:
            found[receipt.id] += 1
    return found
