"""The file formats: a table becomes the bytes of one file, and a Parquet footer is read back.

Used by `reportd.sinks.publish` in a worker's finishing thread. Deterministic: the same table
and footer give the same bytes. Small Parquet files are lean (snappy, no dictionary, no
statistics: setting those up costs more than the data), from a megabyte on they are zstd with
both. CSV is RFC 4180 but for its line ends, a line feed each; JSON lines is UTF-8.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from reportd.sinks.gathering import Rows
from reportd.sinks.plaintext import json_lines, plain_columns
from reportd.sinks.receipts import FOOTER_KEY, Receipt

FORMATS = ("parquet", "csv", "csv.gz", "csv.zst", "jsonl", "jsonl.gz", "jsonl.zst")
"""What a request may ask for; each is its file's ending too."""

LARGE_BYTES = 1024 * 1024
"""From here on (in memory) Parquet is compressed well instead of written quickly."""

ROW_GROUP_ROWS = 128 * 1024
BATCH_ROWS = 16 * 1024
_GZIP_LEVEL = 6
_PARQUET_END = b"PAR1"
_LEAN: Mapping[str, Any] = {
    "compression": "snappy",
    "use_dictionary": False,
    "write_statistics": False,
    "store_schema": False,
}
_DENSE: Mapping[str, Any] = {"compression": "zstd", "use_dictionary": True, "store_schema": False}

Chunk = bytes | memoryview


def encode(rows: Rows, file_format: str, footer: bytes) -> Iterator[Chunk]:
    """Yield the file's bytes, never more than a row group of them at once.

    ``footer`` is the receipt for the Parquet footer; other formats do not hold one.
    """
    kind, _, compression = file_format.partition(".")
    if kind == "parquet":
        return _parquet(rows, footer)
    plain = _ENCODERS[kind](rows)
    return _COMPRESSORS[compression](plain)


class _Chunks(io.RawIOBase):
    """What Arrow writes to, drained after every row group."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def drain(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _parquet(rows: Rows, footer: bytes) -> Iterator[Chunk]:
    if isinstance(rows, pa.Table) and _is_small(rows):
        return _lean_parquet(rows, footer)
    return _large_parquet(rows, footer)


def _is_small(table: pa.Table) -> bool:
    """Say whether its rows are; counted where its buffers (columns share some) do not tell."""
    at_most: int = table.get_total_buffer_size() * table.num_columns
    return at_most < LARGE_BYTES or int(table.nbytes) < LARGE_BYTES


def _lean_parquet(table: pa.Table, footer: bytes) -> Iterator[Chunk]:
    out = pa.BufferOutputStream()
    with pq.ParquetWriter(out, table.schema, **_LEAN) as writer:
        writer.write_table(table, ROW_GROUP_ROWS)
        writer.add_key_value_metadata({FOOTER_KEY: footer})
    yield memoryview(out.getvalue())


def _large_parquet(rows: Rows, footer: bytes) -> Iterator[Chunk]:
    out = _Chunks()
    with pq.ParquetWriter(out, rows.schema, **_DENSE) as writer:
        for part in _slices(rows, ROW_GROUP_ROWS):
            writer.write_table(part)
            yield out.drain()
        writer.add_key_value_metadata({FOOTER_KEY: footer})
    yield out.drain()


def _slices(rows: Rows, most: int) -> Iterator[pa.Table]:
    for table in [rows] if isinstance(rows, pa.Table) else rows.parts():
        for start in range(0, max(table.num_rows, 1), most):
            yield table.slice(start, most)


def _csv(rows: Rows) -> Iterator[Chunk]:
    for number, part in enumerate(_slices(rows, BATCH_ROWS)):
        out = pa.BufferOutputStream()
        options = pa_csv.WriteOptions(include_header=number == 0, batch_size=BATCH_ROWS)
        pa_csv.write_csv(plain_columns(part), out, options)
        yield memoryview(out.getvalue())


def _jsonl(rows: Rows) -> Iterator[Chunk]:
    for part in _slices(rows, BATCH_ROWS):
        yield json_lines(part)


def _as_is(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    return chunks


def _gzip(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)  # 31: gzip's frame, its time is 0
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()


def _zstd(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    out = _Chunks()
    with pa.CompressedOutputStream(pa.PythonFile(out, mode="w"), "zstd") as packer:
        for chunk in chunks:
            packer.write(chunk)
            yield out.drain()
    yield out.drain()


_ENCODERS: dict[str, Callable[[Rows], Iterator[Chunk]]] = {"csv": _csv, "jsonl": _jsonl}
_COMPRESSORS: dict[str, Callable[[Iterator[Chunk]], Iterator[Chunk]]] = {
    "": _as_is,
    "gz": _gzip,
    "zst": _zstd,
}


class Readable(Protocol):
    """What a footer is read from."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place; return it, from the beginning."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return the bytes from there on."""
        ...


def read_footer(file: Readable) -> Receipt | None:
    """Return the receipt in a Parquet file's footer, or None: no receipt, or not whole.

    Whole: the footer parses, its rows are the receipt's, and the columns end where it begins.
    """
    try:
        size = file.seek(0, io.SEEK_END)
        if size < 12:
            return None
        file.seek(size - 8)
        length, magic = struct.unpack("<I4s", file.read(8))
        if magic != _PARQUET_END or length > size - 12:
            return None
        file.seek(size - 8 - length)
        tail = file.read(length + 8)
        meta = pq.read_metadata(pa.BufferReader(_PARQUET_END + tail))
    except (pa.ArrowException, struct.error):
        return None
    receipt = Receipt.from_json((meta.metadata or {}).get(FOOTER_KEY, b""))
    if receipt is None or receipt.rows != meta.num_rows:
        return None
    return receipt if _data_end(meta) == size - 8 - length else None


def _data_end(meta: Any) -> int:
    """Return where the last column chunk ends, as the footer says."""
    groups = meta.num_row_groups
    if groups == 0 or meta.num_rows == 0:  # a row group without rows has no page, at offset 0
        return len(_PARQUET_END)
    last = meta.row_group(groups - 1)
    chunk = last.column(last.num_columns - 1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return int(start + chunk.total_compressed_size)
