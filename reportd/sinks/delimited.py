"""CSV answers become a table of the declared columns.

Used by ``partners.parse``, in whichever thread parses. Arrow's reader converts what needs no
options at once; the rest is read as text and goes through `reportd.sinks.convert`, and so does
everything when something does not convert, to find column and row.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from reportd.errors import UnexpectedAnswerError
from reportd.sinks.columns import UNSET_MARKERS, ColumnSpec
from reportd.sinks.context import Context
from reportd.sinks.convert import decimals, divided_from_whole, finite, from_text
from reportd.sinks.schema import Schema, arrow_type

_HEADER_BYTES = 256 * 1024
_PREAMBLE_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_PIECE_MOST_BYTES = 16 * 1024 * 1024
_BLOCK_BYTES = 4 * 1024 * 1024
_LONGEST_ROW_BYTES = 64 * 1024 * 1024
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_INVALID_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_AT_ONCE = ("int64", "float64", "decimal", "date")


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvOptions:
    """How a partner writes CSV. Empty lines are skipped, a byte order mark is obeyed."""

    delimiter: str = ","
    quote: str = '"'
    """Doubled within a quoted value; empty: nothing is ever quoted."""
    skip_lines: int = 0
    """Lines before the header (a preamble)."""
    header_starts: str = ""
    """Of the lines after those, the header is the first that starts so, quoted or not."""
    skip_footer_lines: int = 0
    """Lines behind the last row (a copyright, totals); empty ones do not count."""
    header: tuple[str, ...] = ()
    """The columns' names, for answers without a header line."""
    encoding: str = "utf-8"


def from_csv(data: bytes, options: CsvOptions, schema: Schema, context: Context) -> pa.Table:
    """Return the answer as a table; raises `UnexpectedAnswerError` with column and row.

    Rows are counted from the first one behind the header. A column that is not declared is
    ignored; one that is declared must be there unless it is ``optional``.
    """
    body = _with_line_feeds(_utf8(data, options.encoding))
    names, start = _header(body, options)
    end = _body_end(body, start, options.skip_footer_lines)
    return _rows(memoryview(body)[start:end], _reader(names, options, schema), context)


def csv_tables(
    chunks: Iterable[bytes], options: CsvOptions, schema: Schema, context: Context
) -> Iterator[pa.Table]:
    """Yield an answer that comes in pieces, UTF-8 without a mark, as tables of some of its rows.

    Raises as `from_csv` does.
    """
    source = iter(chunks)
    body = b""
    while len(body) < _PREAMBLE_BYTES and (chunk := next(source, b"")):
        body += chunk
    if b"\n" not in body:
        body, source = _with_line_feeds(body), map(_with_line_feeds, source)
    names, start = _header(body, options)
    reader = _reader(names, options, schema)
    before = 0
    for piece in _pieces(body[start:], source, options):
        try:
            table = _rows(memoryview(piece), reader, context)
        except UnexpectedAnswerError as error:
            raise behind(before, error) from error
        before += table.num_rows
        yield table


def behind(rows: int, error: UnexpectedAnswerError) -> UnexpectedAnswerError:
    """Return an error about rows that are counted anew behind others."""
    return UnexpectedAnswerError(f"behind row {rows}: {error}") if rows else error


def _pieces(body: bytes, source: Iterator[bytes], options: CsvOptions) -> Iterator[bytes]:
    """Yield whole rows, about a megabyte of them at a time; the last ones without the footer.

    As much stays behind, so that the footer is in the last piece.
    """
    start, wanted = 0, _PIECE_BYTES
    while True:
        if len(body) - start < wanted + _PIECE_BYTES:
            chunk = next(source, b"")
            if not chunk:
                break
            body = body[start:] + chunk
            start = 0
            continue
        end = _rows_end(body, start, start + wanted, options)
        if end > start:
            yield body[start:end]
            start, wanted = end, _PIECE_BYTES
        elif wanted >= _PIECE_MOST_BYTES:
            raise UnexpectedAnswerError(f"a row is longer than {_PIECE_MOST_BYTES} bytes")
        else:
            wanted *= 2
    last = _body_end(body, start, options.skip_footer_lines)
    yield body[start:last]


def _rows_end(body: bytes, start: int, most: int, options: CsvOptions) -> int:
    """Return where the last whole row of a stretch ends, which begins with a row."""
    if not options.quote:
        return max(body.rfind(b"\n", start, most) + 1, start)
    found = _whole_rows(options.delimiter, options.quote).match(body, start, most)
    return found.end() if found else start


@lru_cache(maxsize=64)
def _whole_rows(delimiter: str, quote: str) -> re.Pattern[bytes]:
    d, q = re.escape(delimiter.encode()), re.escape(quote.encode())
    quoted = rb"%b[^%b]*+(?:%b%b[^%b]*+)*+%b" % (q, q, q, q, q, q)
    value = rb"(?:%b[^%b\n]*+|(?!%b)[^%b\n]*+)" % (quoted, d, q, d)
    return re.compile(rb"(?:%b(?:%b%b)*+\n)*+" % (value, d, value))


def _rows(part: memoryview, reader: "_Reader", context: Context) -> pa.Table:
    if not bytes(part[:1024]).strip() and not bytes(part).strip():
        return reader.table(None, context)
    _refuse_open_quote(part, reader.options)
    try:
        found = reader.read_text(part) if _hexadecimal(part.obj) else reader.read(part)
    except _NotConvertedError:
        found = reader.read_text(part)
    return reader.table(found, context)


def _utf8(data: bytes, encoding: str) -> bytes:
    for mark, marked in _BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], marked
            break
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        return data
    try:
        return data.decode(encoding).encode()
    except (UnicodeError, LookupError) as error:
        raise UnexpectedAnswerError(f"not {encoding}: {type(error).__name__}") from error


def _with_line_feeds(body: bytes) -> bytes:
    """Return lines that end with a carriage return alone as all others end."""
    return body if b"\n" in body else body.replace(b"\r", b"\n")


def _header(body: bytes, options: CsvOptions) -> tuple[tuple[str, ...], int]:
    """Return the columns' names and where the rows begin."""
    start = 0
    for _ in range(options.skip_lines):
        start = body.find(b"\n", start) + 1
        if start == 0:
            raise UnexpectedAnswerError("no header: the answer ends before it")
    if options.header_starts:
        start = _header_line(body, start, options)
    if options.header:
        return options.header, start
    end = body.find(b"\n", start, start + _HEADER_BYTES)
    line = body[start:end].decode("utf-8", "surrogateescape").removesuffix("\r")
    if end > 0 and line.strip() and "\r" not in line and (options.quote or "\r") not in line:
        cells = tuple(cell.strip() for cell in line.split(options.delimiter))
        if any(cells):
            return cells, end + 1
    text = body[start : start + _HEADER_BYTES].decode("utf-8", "surrogateescape")
    lines = io.StringIO(text, newline="")
    reader = csv.reader(
        lines,
        delimiter=options.delimiter,
        quotechar=options.quote or None,
        quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
    )
    try:
        names = next((row for row in reader if any(cell.strip() for cell in row)), None)
    except csv.Error as error:
        raise UnexpectedAnswerError(f"no header: {error}") from error
    if names is None:
        raise UnexpectedAnswerError("no header: the answer is empty")
    begins = start + len(text[: lines.tell()].encode("utf-8", "surrogateescape"))
    return tuple(name.strip() for name in names), min(begins, len(body))


def _header_line(body: bytes, start: int, options: CsvOptions) -> int:
    name = options.header_starts.encode()
    quoted = b"%b%b%b" % (options.quote.encode(), name, options.quote.encode())
    while start < len(body):
        if body.startswith((name, quoted), start):
            return start
        start = body.find(b"\n", start) + 1 or len(body)
    raise UnexpectedAnswerError(f"no line begins with {options.header_starts!r}")


def _body_end(body: bytes, start: int, footer_lines: int) -> int:
    end = len(body)
    for _ in range(footer_lines):
        while end > start and body[end - 1 : end] in (b"\n", b"\r", b" "):
            end -= 1
        end = max(body.rfind(b"\n", start, end) + 1, start)
    return end


def _hexadecimal(body: Any) -> bool:
    """Say whether there may be a number like 0x10, which Arrow takes for 16; quick if not."""
    return any(letter in body and b"0" + letter in body for letter in (b"x", b"X"))


def _wanted(schema: Schema, names: Sequence[str]) -> dict[str, list[ColumnSpec]]:
    """Return the header's columns that are declared; raises when one is not there, or twice."""
    counts = Counter(names)
    wanted: dict[str, list[ColumnSpec]] = {}
    for name, spec in schema.columns.items():
        if spec.request is not None:
            continue
        header = spec.from_ or name
        if counts[header] > 1:
            raise UnexpectedAnswerError(
                f"column {name}: {header[:80]!r} stands twice in the header"
            )
        if counts[header] == 1:
            wanted.setdefault(header, []).append(spec)
        elif not spec.optional:
            raise UnexpectedAnswerError(f"column {name}: no {header[:80]!r} in the header")
    return wanted


def _type_at_once(specs: list[ColumnSpec]) -> pa.DataType | None:
    """Return what Arrow's reader makes of a column as it is declared; None: it reads the texts.

    Decimals that are whole numbers before their division are read as those.
    """
    spec = specs[0]
    plain = spec.thousands is None and spec.decimal_point == "." and not spec.percent
    as_written = plain and not spec.round and spec.format is None and spec.null is None
    if len(specs) > 1 or spec.kind not in _AT_ONCE or not as_written:
        return None
    if spec.divide is None:
        return arrow_type(spec)
    return pa.int64() if divided_from_whole(spec) else None


class _NotConvertedError(Exception):
    """A value does not convert: it is looked for in the texts."""


class _Reader:
    """Reads rows under one header, as texts or typed already where Arrow can; thread-safe."""

    def __init__(self, names: Sequence[str], options: CsvOptions, schema: Schema) -> None:
        self.options = options
        self._schema = schema
        self._wanted = _wanted(schema, names)
        # names that are not wanted may be empty or double: they get others
        self._names = [
            name if name in self._wanted else f"\x00{at}" for at, name in enumerate(names)
        ]
        quote = options.quote or False
        self._form = pa_csv.ParseOptions(
            delimiter=options.delimiter, quote_char=quote, newlines_in_values=bool(quote)
        )
        types = {header: _type_at_once(specs) for header, specs in self._wanted.items()}
        self._typed = self._conversion({name: kind or pa.string() for name, kind in types.items()})
        self._texts = self._conversion(dict.fromkeys(self._wanted, pa.string()))

    def _conversion(self, types: Mapping[str, pa.DataType]) -> pa_csv.ConvertOptions:
        return pa_csv.ConvertOptions(
            column_types=types,
            include_columns=list(types) or self._names[:1],
            null_values=list(UNSET_MARKERS),
            strings_can_be_null=False,
        )

    def read(self, part: memoryview) -> pa.Table:
        """Read typed where possible; raises `_NotConvertedError`."""
        try:
            return self._read(part, self._typed)
        except pa.ArrowException as error:
            raise _NotConvertedError from error

    def read_text(self, part: memoryview) -> pa.Table:
        """Read texts; raises `UnexpectedAnswerError` when it is not CSV."""
        try:
            return self._read(part, self._texts)
        except pa.ArrowException as error:
            raise UnexpectedAnswerError(f"not CSV: {str(error)[:120]!r}") from error

    def _read(self, part: memoryview, conversion: pa_csv.ConvertOptions) -> pa.Table:
        longest = min(len(part) + 1, _LONGEST_ROW_BYTES)
        for size in sorted({_BLOCK_BYTES, max(_BLOCK_BYTES, longest)}):
            try:
                return self._read_blocks(part, size, conversion)
            except pa.ArrowInvalid as error:
                if "straddling" not in str(error):
                    raise
        raise UnexpectedAnswerError(f"a row is longer than {_LONGEST_ROW_BYTES} bytes")

    def _read_blocks(
        self, part: memoryview, block_bytes: int, conversion: pa_csv.ConvertOptions
    ) -> pa.Table:
        blocks = pa_csv.ReadOptions(
            use_threads=False, column_names=self._names, block_size=block_bytes
        )
        try:
            # Not `read_csv`: even without threads that starts and ends one, for every answer
            with pa_csv.open_csv(pa.BufferReader(part), blocks, self._form, conversion) as reader:
                return reader.read_all()
        except pa.ArrowInvalid as error:
            # a handler of invalid rows would be told the row, which need not be UTF-8
            row = _INVALID_ROW.search(str(error))
            if row is None:
                raise
            raise UnexpectedAnswerError(f"row {row[1]}: {row[3]} values, not {row[2]}") from error

    def table(self, found: pa.Table | None, context: Context) -> pa.Table:
        """Return what was read as the declared columns; None: no rows."""
        rows = 0 if found is None else found.num_rows
        read = {} if found is None else dict(zip(self._wanted, found.columns, strict=False))
        columns = []
        for name, spec in self._schema.columns.items():
            if spec.request is not None:
                columns.append(context.column(name, spec, rows))
                continue
            column = read.get(spec.from_ or name)
            if column is None:
                columns.append(pa.nulls(rows, arrow_type(spec)))
            else:
                columns.append(_declared(column, name, spec, context.zone))
        return pa.table(columns, schema=self._schema.arrow)


@lru_cache(maxsize=64)
def _reader(names: tuple[str, ...], options: CsvOptions, schema: Schema) -> _Reader:
    """Return the reader of a header: the answers of one report have the same, so it is kept."""
    return _Reader(names, options, schema)


def _refuse_open_quote(part: memoryview, options: CsvOptions) -> None:
    """Refuse an answer that ends within quotes: it was cut short.

    An odd number of quotes is the cheap sign; a lone one within an unquoted value is none.
    """
    quote = options.quote.encode()
    if not quote or bytes(part).count(quote) % 2 == 0:
        return
    text = io.TextIOWrapper(io.BytesIO(part), "utf-8", errors="replace", newline="")
    reader = csv.reader(text, delimiter=options.delimiter, quotechar=options.quote, strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise UnexpectedAnswerError("ends within a quoted value") from error


def _declared(column: pa.ChunkedArray, name: str, spec: ColumnSpec, zone: str) -> pa.ChunkedArray:
    """Return a column that was read, as texts or typed already, as it is declared."""
    if column.type == pa.string():
        return from_text(column, name, spec, zone)
    if column.type == pa.int64() and spec.kind == "decimal":
        return _decimals(column, name, spec, zone)
    if spec.kind == "float64":
        try:
            finite(column)
        except ValueError:
            return from_text(column.cast(pa.string()), name, spec, zone)
    return column


def _decimals(column: pa.ChunkedArray, name: str, spec: ColumnSpec, zone: str) -> pa.ChunkedArray:
    try:
        return decimals(column, spec)
    except pa.ArrowException:
        return from_text(column.cast(pa.string()), name, spec, zone)
