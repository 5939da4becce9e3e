"""What is written reads back, in every format, and is the same bytes every time."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.sinks import formats
from reportd.sinks.formats import FORMATS, encode
from reportd.sinks.schema import Schema
from reportd.sinks.table import CsvOptions, from_csv, from_records
from tests.unit.sinks.making import a_context, a_schema

SCHEMA = a_schema(
    {
        "text": "string",
        "whole": "int64",
        "ratio": "float64",
        "flag": "bool",
        "day": "date",
        "at": "timestamp",
        "cost": "decimal(18,6)",
        "tiny": "decimal(38,12)",
        "nested": "json",
    }
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TIMES = st.integers(0, 2**52).map(lambda us: EPOCH + timedelta(microseconds=us))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | TEXTS,
            "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
            "ratio": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "flag": st.none() | st.booleans(),
            "day": st.none() | st.dates(date(1970, 1, 1), date(2100, 1, 1)),
            "at": st.none() | TIMES,
            "cost": st.none() | st.decimals(-(10**11), 10**11, places=6),
            "tiny": st.none() | st.decimals(-1, 1, places=12),
            "nested": st.none() | TEXTS.map(lambda text: orjson.dumps([text]).decode()),
        }
    ),
    max_size=5,
)


def table_of(rows: list[dict[str, Any]], schema: Schema = SCHEMA) -> pa.Table:
    """Return rows as a table of the schema."""
    return pa.Table.from_pylist(rows, schema=schema.arrow)


def file_of(table: pa.Table, file_format: str) -> bytes:
    """Return the whole file."""
    return b"".join(bytes(chunk) for chunk in encode(table, file_format, b"{}"))


def unpacked(data: bytes, file_format: str) -> bytes:
    """Return the text within."""
    if file_format.endswith(".gz"):
        return gzip.decompress(data)
    if file_format.endswith(".zst"):
        return bytes(pa.CompressedInputStream(pa.BufferReader(data), "zstd").read())
    return data


@given(ROWS)
def test_parquet_reads_back(rows: list[dict[str, Any]]) -> None:
    """Rows, types and all."""
    table = pq.read_table(io.BytesIO(file_of(table_of(rows), "parquet")))

    assert table.to_pylist() == rows
    assert table.schema.types == SCHEMA.arrow.types


@given(ROWS)
@pytest.mark.parametrize("file_format", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_json_lines_read_back(file_format: str, rows: list[dict[str, Any]]) -> None:
    """One object a row; numbers with all their digits, nested values as themselves."""
    lines = unpacked(file_of(table_of(rows), file_format), file_format).decode().split("\n")
    assert lines.pop() == ""

    found = [json.loads(line, parse_float=Decimal) for line in lines]

    assert [list(row) for row in found] == [SCHEMA.arrow.names] * len(rows)
    for row, expected in zip(found, rows, strict=True):
        for name in ("text", "whole", "flag", "cost", "tiny"):
            assert row[name] == expected[name]
        assert (None if row["ratio"] is None else float(row["ratio"])) == expected["ratio"]
        assert row["day"] == (expected["day"] and expected["day"].isoformat())
        assert (row["at"] and datetime.fromisoformat(row["at"])) == expected["at"]
        assert row["nested"] == (expected["nested"] and json.loads(expected["nested"]))


@given(ROWS)
@pytest.mark.parametrize("file_format", ["csv", "csv.gz", "csv.zst"])
def test_csv_reads_back(file_format: str, rows: list[dict[str, Any]]) -> None:
    """A header; no value is empty and unquoted; decimals are plain."""
    text = unpacked(file_of(table_of(rows), file_format), file_format).decode()
    header, *found = csv.reader(io.StringIO(text, newline=""), strict=True)

    assert header == SCHEMA.arrow.names
    for row, expected in zip(found, rows, strict=True):
        one = dict(zip(header, row, strict=True))
        assert one["text"] == (expected["text"] or "")
        assert one["whole"] == ("" if expected["whole"] is None else str(expected["whole"]))
        for name, places in (("cost", 6), ("tiny", 12)):
            value = expected[name]
            assert one[name] == ("" if value is None else f"{value:.{places}f}")
        assert (datetime.fromisoformat(one["at"]) if one["at"] else None) == expected["at"]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("rows", [0, 1, 40_000])
def test_the_same_rows_are_the_same_bytes(file_format: str, rows: int) -> None:
    """No time of writing, no order of threads: run again, nothing changes."""
    table = table_of([{"text": "a", "whole": 1, "at": datetime.now(UTC)}] * rows)

    assert file_of(table, file_format) == file_of(table.slice(0), file_format)


def test_what_csv_and_json_lines_look_like() -> None:
    """Analysts' programs are written against this."""
    at = datetime(2026, 11, 21, 9, tzinfo=UTC)
    row = {
        "text": 'a "b"',
        "whole": 1,
        "ratio": 0.5,
        "flag": True,
        "day": at.date(),
        "at": at + timedelta(microseconds=5),
        "cost": Decimal("1.5"),
        "tiny": Decimal("1e-12"),
        "nested": '{"a":[1]}',
    }
    nothing = dict.fromkeys(row)

    assert file_of(table_of([row, nothing]), "csv").decode().splitlines() == [
        '"text","whole","ratio","flag","day","at","cost","tiny","nested"',
        '"a ""b""",1,0.5,true,2026-11-21,"2026-11-21T09:00:00.000005Z",'
        '1.500000,"0.000000000001","{""a"":[1]}"',
        ",,,,,,,,",
    ]
    assert file_of(table_of([row, nothing]), "jsonl").decode().splitlines() == [
        '{"text":"a \\"b\\"","whole":1,"ratio":0.5,"flag":true,"day":"2026-11-21",'
        '"at":"2026-11-21T09:00:00.000005Z","cost":1.500000,"tiny":0.000000000001,'
        '"nested":{"a":[1]}}',
        '{"text":null,"whole":null,"ratio":null,"flag":null,"day":null,"at":null,"cost":null,'
        '"tiny":null,"nested":null}',
    ]


def test_json_of_a_csv_answer_stays_on_its_line() -> None:
    """A document that the partner has written over several lines is one line of JSON lines."""
    answer = b'id,doc\n1,"{""a"":\r\n [1,\n""b\\n""]}"\n'
    table = from_csv(answer, CsvOptions(), a_schema({"id": "int64", "doc": "json"}), a_context())

    (line,) = b"".join(map(bytes, encode(table, "jsonl", b""))).splitlines()

    assert orjson.loads(line) == {"id": 1, "doc": {"a": [1, "b\n"]}}


def test_an_empty_table_is_a_file_with_its_columns() -> None:
    """In the formats that have columns without rows."""
    empty = table_of([])

    assert pq.read_table(io.BytesIO(file_of(empty, "parquet"))).schema.names == SCHEMA.arrow.names
    assert file_of(empty, "csv").startswith(b'"text","whole"')
    assert file_of(empty, "jsonl") == b""


def test_small_files_are_lean_and_large_ones_dense() -> None:
    """Setting up a dictionary costs more than a small file's data; a large one shrinks by it."""
    small, large = (
        pq.read_metadata(
            io.BytesIO(file_of(table_of([{"text": "a", "whole": 7}] * rows), "parquet"))
        )
        for rows in (100, 300_000)
    )
    column, dense = small.row_group(0).column(0), large.row_group(0).column(0)

    assert (column.compression, dense.compression) == ("SNAPPY", "ZSTD")
    assert (column.has_dictionary_page, dense.has_dictionary_page) == (False, True)
    assert large.num_row_groups > 1
    assert large.num_rows == 300_000


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_large_file_comes_in_pieces(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that fills memory once must not fill it twice."""
    monkeypatch.setattr(formats, "ROW_GROUP_ROWS", 10_000)
    monkeypatch.setattr(formats, "BATCH_ROWS", 10_000)
    names = pa.array([str(number) for number in range(100_000)])
    table = pa.table({"a": names, "b": names})

    sizes = [len(chunk) for chunk in encode(table, file_format, b"{}")]

    assert max(sizes) <= max(64 * 1024, sum(sizes) / 4)


def test_records_reach_every_format() -> None:
    """From an answer to a file: what parse makes is what encode takes."""
    table = from_records([{"x": "1.5"}], a_schema({"x": "decimal(5,2)"}), a_context())

    for file_format in FORMATS:
        assert unpacked(file_of(table, file_format), file_format)
