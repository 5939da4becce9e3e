"""A large answer's records, some at a time: out of a JSON array, or lines.

Pure. Regular expressions find where records end (brackets outside of texts, at C's speed), and
every piece is parsed by orjson: what is no JSON is found as surely as in one go.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from reportd.errors import UnexpectedAnswerError
from reportd.partners.picking import ELEMENTS, VALUES, Parts
from reportd.partners.unpacking import BrokenAnswerError

PIECE_BYTES = 1024 * 1024
"""About so much text becomes Python's objects at a time."""

RECORD_MOST_BYTES = 8 * 1024 * 1024
"""The longest record, or line: parsed, and what lists within it hold unfolded, memory has room."""

BESIDE_MOST_BYTES = 8 * 1024 * 1024
"""The longest rest of a document: all but its rows."""

LEVELS_MOST = 16
"""How deep a record may be nested."""

_DEPTH_MOST = 1024
_KEY_MOST_BYTES = 4096
_NO_BRACKET = rb'[^"\[\]{}]*+'
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SKIP = rb"%b(?:%b%b)*+" % (_NO_BRACKET, _TEXT, _NO_BRACKET)


def _container(levels: int) -> bytes:
    inner = rb'[^"\[\]{}]++|' + _TEXT
    if levels > 1:
        inner += b"|" + _container(levels - 1)
    return rb"[\[{](?:%b)*+[\]}]" % inner


_BRACKET = re.compile(rb"%b([\[\]{}])" % _SKIP, re.DOTALL)
_RECORDS = re.compile(rb"(?:%b%b)*+" % (_SKIP, _container(LEVELS_MOST)), re.DOTALL)
_KEY = re.compile(rb'("(?:[^"\\]|\\.)*+")\s*+:\s*+$', re.DOTALL)


class RowArrays:
    """Takes the rows out of a document that comes in pieces.

    At the end `beside` is what is left of the document: the rows' arrays are empty there.
    """

    def __init__(self, path: Parts) -> None:
        """Take the way to the arrays."""
        self._path = [None if part == ELEMENTS else part for part in path]
        self._beside = bytearray()
        self._text = b""
        self._taken = 0
        """Up to here the text is in a piece, or beside."""
        self._scanned = 0
        self._keys: list[str | None] = []
        """For every bracket that is open: the key it stands at; None in an array."""
        self._in_rows = False
        self._arrays = 0
        self._first = True
        self._wanted_bytes = 0

    def pieces(self, chunks: Iterable[bytes]) -> Iterator[list[Any]]:
        """Yield rows in lists; raises `UnexpectedAnswerError`."""
        for text in self._texts(chunks):
            yield _parsed(text)

    def skim(self, chunks: Iterable[bytes]) -> Any:
        """Return the document without its rows, which are not parsed: they may be no JSON.

        Raises `UnexpectedAnswerError`.
        """
        for _text in self._texts(chunks):
            pass
        return self.beside()

    def _texts(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the rows as texts of JSON, each a list of some."""
        for chunk in chunks:
            for start in range(0, len(chunk), PIECE_BYTES):
                self._text += chunk[start : start + PIECE_BYTES]
                if len(self._text) >= self._wanted_bytes:
                    yield from self._advance()
        yield from self._advance()
        if self._keys:
            raise BrokenAnswerError(
                f"JSON that is cut short, or a record of more than {LEVELS_MOST} levels"
            )
        self._set_aside(len(self._text))

    def beside(self) -> Any:
        """Return the document without its rows; raises `UnexpectedAnswerError`."""
        document = _parsed(bytes(self._beside))
        if _lists_at(document, self._path) != self._arrays:
            raise UnexpectedAnswerError("not JSON: a key above the rows stands twice")
        return document

    def _advance(self) -> Iterator[bytes]:
        while True:
            if self._in_rows:
                yield from self._records()
            bracket = self._bracket()
            if bracket is None:
                break
            if bracket == b"]" and self._in_rows:
                yield from self._last_records()
        if not self._in_rows:
            self._set_aside(self._scanned)
        self._text = self._text[self._taken :]
        self._scanned -= self._taken
        self._taken = 0
        size = len(self._text)
        if size > RECORD_MOST_BYTES:
            raise UnexpectedAnswerError(
                f"a record of more than {RECORD_MOST_BYTES} bytes, or {LEVELS_MOST} levels"
            )
        # A long record that is not whole is looked at again when there is twice as much of it
        self._wanted_bytes = min(2 * size, RECORD_MOST_BYTES + 1) if size > PIECE_BYTES else 0

    def _records(self) -> Iterator[bytes]:
        """Take all the rows that are whole."""
        found = _RECORDS.match(self._text, self._taken)
        self._scanned = found.end() if found else self._taken
        if self._scanned > self._taken:
            yield self._piece(self._scanned)

    def _last_records(self) -> Iterator[bytes]:
        """Take what stands before the bracket that ends the rows: nothing, mostly."""
        self._in_rows = False
        end = self._scanned - 1
        if self._text[self._taken : end].strip():
            yield self._piece(end)

    def _bracket(self) -> bytes | None:
        """Go behind the next bracket and return it; None: more text is needed."""
        found = _BRACKET.match(self._text, self._scanned)
        if found is None:
            return None
        end, bracket = found.end(), found[1]
        if bracket in b"{[":
            if self._in_rows:
                return None  # a row that is not whole yet
            self._open(bracket, end)
        elif self._keys:
            self._keys.pop()
        else:
            raise UnexpectedAnswerError("not JSON: a bracket too many")
        self._scanned = end
        return bracket

    def _open(self, bracket: bytes, end: int) -> None:
        begin = max(self._scanned, end - 1 - _KEY_MOST_BYTES)
        before = _KEY.search(self._text[begin : end - 1])
        self._keys.append(None if before is None else str(_parsed(before[1])))
        if len(self._keys) > _DEPTH_MOST:
            raise UnexpectedAnswerError("not JSON: too many levels")
        if bracket == b"[" and self._is_at_rows():
            self._set_aside(end)
            self._in_rows = self._first = True
            self._arrays += 1

    def _is_at_rows(self) -> bool:
        if len(self._keys) != len(self._path) + 1:
            return False
        return all(
            key == part or (part == VALUES and key is not None)
            for key, part in zip(self._keys[1:], self._path, strict=True)
        )

    def _piece(self, end: int) -> bytes:
        text = self._text[self._taken : end]
        self._taken = end
        if not self._first:
            text = text.lstrip()
            if not text.startswith(b","):
                raise UnexpectedAnswerError("not JSON: no comma between rows")
            text = text[1:]
            if not text.strip():
                raise UnexpectedAnswerError("not JSON: a comma too many")
        self._first = False
        return b"[%b]" % text

    def _set_aside(self, end: int) -> None:
        self._beside += self._text[self._taken : end]
        self._taken = end
        if len(self._beside) > BESIDE_MOST_BYTES:
            raise UnexpectedAnswerError(f"more than {BESIDE_MOST_BYTES} bytes beside the rows")


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise UnexpectedAnswerError(f"not JSON: {str(error)[:200]}") from None


def _lists_at(document: Any, path: Iterable[str | None]) -> int:
    found = [document]
    for key in path:
        if key is None:
            found = [inner for one in found if isinstance(one, list) for inner in one]
        elif key == VALUES:
            found = [inner for one in found if isinstance(one, dict) for inner in one.values()]
        else:
            found = [one[key] for one in found if isinstance(one, dict) and key in one]
    return sum(isinstance(one, list) for one in found)


def json_lines(chunks: Iterable[bytes]) -> Iterator[list[Any]]:
    """Yield the lines' documents in lists; empty lines are none. Raises `UnexpectedAnswerError`."""
    number = 0
    for text in _lines(chunks):
        found = []
        lines = text.split(b"\n")
        last = len(lines) - 1
        for at, line in enumerate(lines):
            number += at < last or bool(line)
            if not line or line.isspace():
                continue
            try:
                found.append(orjson.loads(line))
            except (orjson.JSONDecodeError, RecursionError) as error:
                if at == last and number > 1:
                    raise BrokenAnswerError("JSON lines that are cut short") from None
                what = str(error)[:200]
                raise UnexpectedAnswerError(f"line {number}: not JSON: {what}") from None
        yield found


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield texts that end with a line's end, but for the last."""
    rest: list[bytes] = []
    size = 0
    for whole in chunks:
        for start in range(0, len(whole), PIECE_BYTES):
            chunk = whole[start : start + PIECE_BYTES]
            end = chunk.rfind(b"\n") + 1
            if end:
                yield b"".join(rest) + chunk[:end]
                rest, size = [], 0
            rest.append(chunk[end:])
            size += len(chunk) - end
            if size > RECORD_MOST_BYTES:
                raise UnexpectedAnswerError(f"a line of more than {RECORD_MOST_BYTES} bytes")
    if size:
        yield b"".join(rest)
