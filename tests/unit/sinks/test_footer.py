"""A Parquet file's receipt is found again, whatever the file holds."""

import io
from dataclasses import replace

import pyarrow as pa
import pytest

from reportd.sinks.formats import encode, read_footer
from reportd.sinks.receipts import Receipt

RECEIPT = Receipt(
    id="a" * 32,
    replay=0,
    run="daily/2026-11-22T04:00Z#1",
    path="acme/stats/date=2026-11-21/1.parquet",
    day="2026-11-21",
    format="parquet",
    rows=0,
    columns="",
)


def file_of(rows: int) -> bytes:
    """Return a whole Parquet file of so many rows."""
    table = pa.table({"name": pa.array(["a"] * rows, pa.string())})
    receipt = replace(RECEIPT, rows=rows).to_json()
    return b"".join(bytes(chunk) for chunk in encode(table, "parquet", receipt))


@pytest.mark.parametrize("rows", [0, 1, 300_000])
def test_found(rows: int) -> None:
    """An empty day's file has its receipt too: or its request would be asked again."""
    assert read_footer(io.BytesIO(file_of(rows))) == replace(RECEIPT, rows=rows)


@pytest.mark.parametrize("rows", [0, 1, 300_000])
def test_cut(rows: int) -> None:
    """A file that was not written to its end has none."""
    data = file_of(rows)

    assert read_footer(io.BytesIO(data[:-1])) is None
    assert read_footer(io.BytesIO(data[:4] + data[5:])) is None


def test_another_number_of_rows() -> None:
    """A receipt that counts other rows than the file has is of another file."""
    table = pa.table({"name": pa.array(["a"], pa.string())})
    data = b"".join(bytes(one) for one in encode(table, "parquet", RECEIPT.to_json()))

    assert read_footer(io.BytesIO(data)) is None
