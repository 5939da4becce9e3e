"""One answer's body, opened as far as somebody asks: unzipped, sniffed, parsed.

Pure; made and used within one thread.
"""

import codecs
import re
from typing import Any

import orjson

from reportd.errors import UnexpectedAnswerError
from reportd.partners.picking import Pick, PickError
from reportd.partners.report_spec import ReportSpec
from reportd.transport.decoding import GZIP_MAGIC, CutShortError, inflate

TEXT_BYTES = 4096
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_UNSET: Any = object()


class BrokenAnswerError(UnexpectedAnswerError):
    """The answer is no data, or cut short: worth asking again."""


class Body:
    """A body and what the report says about its form."""

    __slots__ = ("_data", "_document", "_limit_bytes", "_raw", "_report")

    def __init__(self, raw: bytes, report: ReportSpec) -> None:
        self._raw = raw
        self._report = report
        self._limit_bytes = report.max_answer_mib * 1024 * 1024
        self._data: Any = _UNSET
        self._document: Any = _UNSET

    def data(self) -> bytes:
        """Return the body without gzip, BOM and foreign encoding: UTF-8.

        Raises `UnexpectedAnswerError`.
        """
        if self._data is _UNSET:
            self._data = self._open()
        return self._data  # type: ignore[no-any-return]

    def _open(self) -> bytes:
        data = self._raw
        if data.startswith(GZIP_MAGIC):
            try:
                data = inflate(data, self._limit_bytes)
            except CutShortError as error:
                raise BrokenAnswerError(str(error)) from None
            except ValueError as error:
                raise UnexpectedAnswerError(str(error)) from None
        encoding = self._report.encoding
        if encoding == "utf-8":
            return data.removeprefix(codecs.BOM_UTF8)
        try:
            text = data.decode(encoding)
        except (UnicodeError, LookupError):
            raise UnexpectedAnswerError(f"not {encoding} text") from None
        return text.removeprefix("\ufeff").encode("utf-8", "replace")

    def text(self) -> str:
        """Return the beginning, as text, whatever it is; never raises."""
        try:
            data = self.data()
        except UnexpectedAnswerError:
            data = self._raw
        return data[:TEXT_BYTES].decode("utf-8", "replace")

    def document(self) -> Any:
        """Return the parsed JSON (JSON lines: the list of them), whatever the report's format.

        Raises `UnexpectedAnswerError`.
        """
        if self._document is _UNSET:
            self._document = self._parse()
        return self._document

    def _parse(self) -> Any:
        data = self.data()
        if self._report.format == "jsonl":
            return _json_lines(data)
        try:
            return orjson.loads(data)
        except (orjson.JSONDecodeError, RecursionError) as error:
            raise UnexpectedAnswerError(f"not JSON: {str(error)[:200]}") from None

    def check(self) -> None:
        """Look whether this can be data at all, without parsing it.

        Raises `BrokenAnswerError` for markup, nothing, or half of it.
        """
        data = self.data()
        if _MARKUP.match(data[:256]):
            raise BrokenAnswerError("HTML or XML instead of data")
        if self._report.format == "json":
            _check_brackets(data)
        elif self._report.format == "csv" and not (self._report.csv.header or data.strip()):
            raise BrokenAnswerError("an empty body")

    def rows(self, pick: Pick) -> list[Any]:
        """Return the records that the report's ``rows`` picks; raises `UnexpectedAnswerError`."""
        document = self.document()
        try:
            if self._report.format == "jsonl":
                found: Any = [pick(line) for line in document]
            else:
                found = pick(document)
        except PickError as error:
            raise UnexpectedAnswerError(f"rows: {error}") from None
        if not isinstance(found, list):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise UnexpectedAnswerError(f"rows: {what} at {self._report.rows!r}, wanted a list")
        return found

    def row_count(self, pick: Pick) -> int:
        """Return how many rows there are; for CSV, where a row may span lines, at least that."""
        if self._report.format != "csv":
            return len(self.rows(pick))
        lines = sum(1 for line in self.data().splitlines() if line.strip())
        header = 0 if self._report.csv.header else 1
        return max(0, lines - header - self._report.csv.footer_lines)


def _check_brackets(data: bytes) -> None:
    head = (data[:64].lstrip() or data.lstrip())[:1]
    tail = (data[-64:].rstrip() or data.rstrip())[-1:]
    if not head:
        raise BrokenAnswerError("an empty body")
    if head not in b"{[":
        raise UnexpectedAnswerError("not JSON")
    if tail != (b"}" if head == b"{" else b"]"):
        raise BrokenAnswerError("JSON that is cut short")


def _json_lines(data: bytes) -> list[Any]:
    found = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(orjson.loads(line))
        except (orjson.JSONDecodeError, RecursionError) as error:
            if number == len(lines) and number > 1:
                raise BrokenAnswerError("JSON lines that are cut short") from None
            raise UnexpectedAnswerError(f"line {number}: not JSON: {str(error)[:200]}") from None
    return found
