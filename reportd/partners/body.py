"""One answer's body, opened as far as somebody asks: unpacked, sniffed, parsed.

Made and used within one thread. What is small is parsed at once; of what is not (more than
`IN_MEMORY_BYTES` when unpacked) rows come some at a time, and the document is what stands beside
them.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from reportd.errors import NoRoomError, UnexpectedAnswerError
from reportd.model.content import Content, head_of
from reportd.partners.answer_spec import WHOLE_MOST_MIB, ListsSpec, rows_in_pieces
from reportd.partners.lists import Listed, listed, listed_rows
from reportd.partners.picking import Parts, Pick, PickError, looks_at_rows
from reportd.partners.report_spec import ReportSpec
from reportd.partners.streaming import RowArrays, json_lines
from reportd.partners.unfolding import unfolded
from reportd.partners.unpacking import BrokenAnswerError as BrokenAnswerError
from reportd.partners.unpacking import Part, unpack

TEXT_BYTES = 4096
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_ENDS_BYTES = 256
_UNSET: Any = object()
_ONE_AT_A_TIME = threading.Lock()


class Body:
    """A body and what the report says about its form."""

    __slots__ = ("_document", "_parts", "_raw", "_report")

    def __init__(self, raw: Content, report: ReportSpec) -> None:
        self._raw = raw
        self._report = report
        self._parts: Any = _UNSET
        self._document: Any = _UNSET

    def parts(self) -> list[Part]:
        """Return the files in it, unpacked, as UTF-8: one, if it is no ZIP with several.

        Raises `UnexpectedAnswerError`, and `NoRoomError` where a file is needed.
        """
        if self._parts is _UNSET:
            report = self._report
            limit = report.max_answer_bytes
            self._parts = unpack(self._raw, report.members, report.encoding, limit)
        return self._parts  # type: ignore[no-any-return]

    def text(self) -> str:
        """Return the beginning, as text, whatever it is; never raises."""
        return self.head(TEXT_BYTES).decode("utf-8", "replace")

    def head(self, size: int) -> bytes:
        """Return the first bytes, unpacked if that is possible; never raises."""
        try:
            return self.parts()[0].head(size)
        except (UnexpectedAnswerError, NoRoomError):
            return head_of(self._raw, size)

    def document(self) -> Any:
        """Return the parsed JSON (JSON lines: the list of them), whatever the report's format.

        Of a large one it is what stands beside the rows, of large JSON lines the first ones; of a
        ZIP its first file. Raises `UnexpectedAnswerError`.
        """
        if self._document is _UNSET:
            self._document = self._parse(self.parts()[0])
        return self._document

    def pick(self, pick: Pick) -> Any:
        """Return what an expression finds in the document; raises `PickError`.

        Raises `UnexpectedAnswerError`, too where it looks at rows that memory cannot hold. Of large
        documents that are parsed for that, memory holds one at a time, whoever judges answers.
        """
        part = self.parts()[0]
        if part.data is None and self._report.format != "jsonl":
            path = self._streamed()
            if path is None or looks_at_rows(pick, path[0]):
                data = _held(part, f"{pick.text[:200]!r} looks at its rows")
                with _ONE_AT_A_TIME:
                    return pick(_json(data))
        return pick(self.document())

    def _parse(self, part: Part) -> Any:
        if self._report.format == "jsonl":
            return next(json_lines(part.chunks()), []) if part.data is None else _lines(part)
        if part.data is None and (path := self._streamed()) is not None:
            return RowArrays(path[0]).skim(part.chunks())
        return _json(_held(part, "all of it is looked at"))

    def check(self) -> None:
        """Look whether this can be data at all, without parsing it.

        Raises `BrokenAnswerError` for markup, nothing, or half of it.
        """
        for part in self.parts():
            head, tail = _ends(part)
            if _MARKUP.match(head):
                raise BrokenAnswerError("HTML or XML instead of data")
            if self._report.format == "json":
                _check_brackets(head, tail)
            elif self._report.format == "csv" and not (self._report.csv.header or tail):
                raise BrokenAnswerError("an empty body")

    def rows(self, pick: Pick) -> list[Any]:
        """Return the records that the report's ``rows`` picks; raises `UnexpectedAnswerError`.

        All of them: of what may be large, ask for `batches`.
        """
        return [row for batch in self.batches(pick) for row in batch]

    def batches(self, pick: Pick) -> Iterator[list[Any]]:
        """Yield the records that the report's ``rows`` picks; raises `UnexpectedAnswerError`."""
        for number, part in enumerate(self.parts()):
            if self._report.format == "jsonl":
                for lines in json_lines(part.chunks()):
                    yield [self._picked(pick, line) for line in lines]
            elif part.data is None and (path := self._streamed()) is not None:
                arrays = RowArrays(path[0])
                for piece in arrays.pieces(part.chunks()):
                    yield self._list(path[1], piece)
                yield self._list(pick, arrays.beside())
            else:
                document = self._parse(part) if number else self.document()
                yield self._list(pick, document)

    def records(self, pick: Pick, unfold: Sequence[Pick]) -> Iterator[list[Any]]:
        """Yield what columns are made of: the rows, or what the lists within them hold.

        Raises `UnexpectedAnswerError`.
        """
        for batch in self.batches(pick):
            yield unfolded(batch, unfold)

    def _streamed(self) -> tuple[Parts, Pick] | None:
        """Return where rows can be cut out of a large document; None: it is parsed at once."""
        report = self._report
        return rows_in_pieces(report.rows, report.lists) if report.format == "json" else None

    def _list(self, pick: Pick, document: Any) -> list[Any]:
        found = self._picked(pick, document)
        if not isinstance(found, list):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise UnexpectedAnswerError(f"rows: {what} at {self._report.rows!r}, wanted a list")
        return found

    def _picked(self, pick: Pick, document: Any) -> Any:
        try:
            return pick(document)
        except PickError as error:
            raise UnexpectedAnswerError(f"rows: {error}") from None

    def listed(self, pick: Pick) -> Iterator[Listed]:
        """Yield what each part lists, by column; raises `UnexpectedAnswerError`.

        Of a large one some rows at a time.
        """
        spec = self._report.lists or ListsSpec(by="column")
        for number, part in enumerate(self.parts()):
            document = self._parse(part) if number else self.document()
            if part.data is None and (path := self._streamed()) is not None:
                arrays = RowArrays(path[0])
                for piece in arrays.pieces(part.chunks()):
                    yield listed_rows(self._list(path[1], piece), document, spec)
            yield listed(document, pick, spec)

    def row_count(self, pick: Pick) -> int:
        """Return how many rows there are; for CSV, where a row may span lines, at least that."""
        if self._report.lists is not None:
            return sum(one.rows for one in self.listed(pick))
        if self._report.format != "csv":
            return sum(len(batch) for batch in self.batches(pick))
        unlike = self._report.csv.footer_lines + (0 if self._report.csv.header else 1)
        return sum(max(0, _line_count(part) - unlike) for part in self.parts())


def _ends(part: Part) -> tuple[bytes, bytes]:
    """Return a part's beginning and end without the space around it; reads all of a large one."""
    if part.data is not None:
        data = part.data
        head = data[:_ENDS_BYTES].lstrip() or data.lstrip()
        return head[:_ENDS_BYTES], (data[-_ENDS_BYTES:].rstrip() or data.rstrip())[-1:]
    head = tail = b""
    for chunk in part.chunks():
        if len(head) < _ENDS_BYTES:
            head = (head + chunk[: 2 * _ENDS_BYTES]).lstrip()
        tail = chunk[-_ENDS_BYTES:].rstrip()[-1:] or chunk.rstrip()[-1:] or tail
    return head[:_ENDS_BYTES], tail


def _check_brackets(head: bytes, tail: bytes) -> None:
    if not head:
        raise BrokenAnswerError("an empty body")
    if head[:1] not in b"{[":
        raise UnexpectedAnswerError("not JSON")
    if tail != (b"}" if head[:1] == b"{" else b"]"):
        raise BrokenAnswerError("JSON that is cut short")


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise UnexpectedAnswerError(f"not JSON: {str(error)[:200]}") from None


def _held(part: Part, why: str) -> bytes:
    """Return all of a part, as long as memory may hold what is parsed of it."""
    if part.data is not None:
        return part.data
    data = bytearray()
    for chunk in part.chunks():
        data += chunk
        if len(data) > WHOLE_MOST_MIB * 1024 * 1024:
            raise UnexpectedAnswerError(
                f"an answer of more than {WHOLE_MOST_MIB} MiB, and {why}: ask for less at once"
            )
    return bytes(data)


def _lines(part: Part) -> list[Any]:
    return [line for lines in json_lines(part.chunks()) for line in lines]


def _line_count(part: Part) -> int:
    rest = b""
    count = 0
    for chunk in part.chunks():
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        count += sum(1 for line in lines if line.strip())
    return count + bool(rest.strip())
