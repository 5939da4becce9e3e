"""From one page to the next: by number, by cursor, by URL. Pure and thread-safe.

A cursor stands in step records, so it holds no secret. Its keys: ``page``, ``cursor`` or ``url``,
and ``calls``, how many pages there were before it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus, urljoin, urlsplit, urlunsplit

from reportd.errors import UnexpectedAnswerError
from reportd.partners.body import Body
from reportd.partners.call_spec import NextSpec
from reportd.partners.picking import Pick, PickError, compile_pick
from reportd.partners.verdict import Cursor
from reportd.transport.exchange import Answer, Call
from reportd.transport.guard import refusal

MAX_CURSOR_CHARS = 8192
_LINK = re.compile(r"<([^<>]{1,8000})>([^<>]{0,500})")
_REL_NEXT = re.compile(r""";\s*rel\s*=\s*(?:"[^"]*\bnext\b[^"]*"|next\b)""", re.IGNORECASE)
_TOKEN_NAMES = frozenset({"access_token", "api_key", "apikey"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pager:
    """The compiled ``next`` of a report."""

    spec: NextSpec
    rows: Pick
    cursor: Pick | None
    url: Pick | None
    more: Pick | None
    pages: Pick | None
    total: Pick | None

    def parameters(self, cursor: Cursor) -> list[tuple[str, str]]:
        """Return the query parameters that ask for a cursor's page."""
        found = []
        value = self._value(cursor)
        if value is not None and self.spec.query is not None:
            found.append((self.spec.query, value))
        if self.spec.size_query is not None:
            found.append((self.spec.size_query, str(self.spec.size)))
        return found

    def into_json(self, cursor: Cursor, document: Any) -> None:
        """Set the key of the JSON body that asks for a cursor's page."""
        value = self._value(cursor)
        if value is None or self.spec.json_ is None:
            return
        *above, last = self.spec.json_.split(".")
        for key in above:
            inner = document.get(key)
            if not isinstance(inner, dict):
                inner = document[key] = {}
            document = inner
        document[last] = int(value) if self.spec.page is not None else value

    def _value(self, cursor: Cursor) -> str | None:
        if self.spec.page is not None:
            return cursor.get("page", str(self.spec.page))
        return cursor.get("cursor")

    def next(
        self, cursor: Cursor, call: Call, answer: Answer, body: Body, secrets: Collection[str]
    ) -> Cursor | None:
        """Return the next page's cursor, None after the last; raises `UnexpectedAnswerError`."""
        if self.more is not None and not _picked(self.more, body, "more"):
            return None
        if self.spec.page is not None:
            following = self._next_page(cursor, body)
        elif self.cursor is not None:
            following = _cursor_text(_picked(self.cursor, body, "cursor"), cursor)
        else:
            following = self._next_url(call, answer, body, secrets)
        if following is None:
            return None
        calls = _number(cursor.get("calls", "0")) + 1
        if calls >= self.spec.max_pages:
            raise UnexpectedAnswerError(f"more than {self.spec.max_pages} pages")
        return {**following, "calls": str(calls)}

    def _next_page(self, cursor: Cursor, body: Body) -> Cursor | None:
        first, step = self.spec.page or 0, self.spec.step
        page = _number(cursor.get("page", str(first)))
        done = (page - first) // step + 1
        if self.pages is not None and done >= _number(_picked(self.pages, body, "pages")):
            return None
        if self.total is not None:
            wanted = _number(_picked(self.total, body, "total"))
            if done * (self.spec.size or 1) >= wanted:
                return None
        elif self.pages is None and self.more is None:
            rows = body.row_count(self.rows)
            if rows < (self.spec.size or 1):
                return None
        return {"page": str(page + step)}

    def _next_url(
        self, call: Call, answer: Answer, body: Body, secrets: Collection[str]
    ) -> Cursor | None:
        if self.url is None:
            target: Any = _link(answer.headers.get("link", ""))
        else:
            target = _picked(self.url, body, "url")
        if target is None or target == "":
            return None
        if not isinstance(target, str) or len(target) > MAX_CURSOR_CHARS:
            raise UnexpectedAnswerError("next.url: not a URL")
        try:
            url = without_secrets(urljoin(call.url, target), call, secrets)
        except ValueError:
            raise UnexpectedAnswerError("next.url: not a URL") from None
        refused = refusal(url, call.hosts, allow_private=call.allow_private)
        if refused:
            raise UnexpectedAnswerError(f"next.url: {refused}")
        if url == call.url:
            raise UnexpectedAnswerError("next.url: the same page again")
        return {"url": url}


def compile_pager(spec: NextSpec, rows: Pick) -> Pager:
    """Compile the ``next`` of a checked partner file."""

    def pick(text: str | None) -> Pick | None:
        return compile_pick(text) if text else None

    by_header = (spec.url or "").startswith("header:")
    return Pager(
        spec=spec,
        rows=rows,
        cursor=pick(spec.cursor),
        url=None if by_header else pick(spec.url),
        more=pick(spec.more),
        pages=pick(spec.pages),
        total=pick(spec.total),
    )


def without_secrets(url: str, call: Call, secrets: Collection[str]) -> str:
    """Return a URL without the query parameters that hold secrets: they are added when sending."""
    parts = urlsplit(url)
    hidden = {name for name, _ in call.secret_query}
    if secrets:
        hidden |= _TOKEN_NAMES
    kept = []
    for part in parts.query.split("&"):
        name, _, value = part.partition("=")
        if unquote_plus(name) in hidden or unquote_plus(value) in secrets:
            continue
        kept.append(part)
    return urlunsplit(parts._replace(query="&".join(kept), fragment=""))


def _link(header: str) -> str | None:
    for found in _LINK.finditer(header[: 4 * MAX_CURSOR_CHARS]):
        if _REL_NEXT.search(found[2]):
            return found[1]
    return None


def _picked(pick: Pick, body: Body, name: str) -> Any:
    try:
        return body.pick(pick)
    except PickError as error:
        raise UnexpectedAnswerError(f"next.{name}: {error}") from None


def _cursor_text(value: Any, cursor: Cursor) -> Cursor | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnexpectedAnswerError(f"next.cursor: a {type(value).__name__}")
    text = str(value)
    if len(text) > MAX_CURSOR_CHARS:
        raise UnexpectedAnswerError("next.cursor: too long")
    if text == cursor.get("cursor"):
        raise UnexpectedAnswerError("next.cursor: the same page again")
    return {"cursor": text}


def _number(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise UnexpectedAnswerError("next: a count that is no whole number")
