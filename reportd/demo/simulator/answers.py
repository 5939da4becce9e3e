"""Complete HTTP answers of one partner: pages of rows in its format, and its ways to say no."""

import csv
import gzip
import io
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, timedelta
from zlib import crc32

import orjson

from reportd.demo.simulator.config import Partner
from reportd.demo.truth import FIELDS, Row

_REASONS = {
    200: "OK",
    202: "Accepted",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    425: "Too Early",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please wait</body></html>"
_CACHED_ANSWERS = 20_000


class BadQuestionError(Exception):
    """The call asks for something that no partner has."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one call asks for."""

    report: str
    account: str
    first: date
    last: date
    page: int
    """From 1 on."""
    call: str = ""
    """Of a report that is made first: ``create``, ``poll``, ``rows``, ``file``."""


def respond(status: int, body: bytes, content_type: str, *headers: tuple[str, str]) -> bytes:
    """Return a whole answer."""
    lines = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1") + body


def respond_json(status: int, value: object, *headers: tuple[str, str]) -> bytes:
    """Return a whole answer with a JSON body."""
    return respond(status, orjson.dumps(value), "application/json", *headers)


def cursor_of(asked: Asked, page: int) -> str:
    """Return the opaque cursor of another page of the same question."""
    text = f"{page}:{_seal(asked, page)}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def page_of(cursor: str, report: str, account: str, first: date, last: date) -> int:
    """Return a cursor's page; raises `BadQuestionError` if it is not of this question."""
    try:
        page, seal = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(":")
        fits = int(seal) == _seal(Asked(report, account, first, last, 1), int(page))
    except ValueError:
        fits = False
    if not fits:
        raise BadQuestionError("cursor")
    return int(page)


def _seal(asked: Asked, page: int) -> int:
    text = f"{asked.report}/{asked.account}/{asked.first}/{asked.last}/{page}"
    return crc32(text.encode())


class Answers:
    """One partner's answers; good ones are made once and kept (the newest 20,000)."""

    def __init__(self, partner: Partner, base_url: str) -> None:
        self._partner = partner
        self._base_url = base_url
        self._kept: OrderedDict[Asked, bytes] = OrderedDict()

    def good(self, asked: Asked) -> bytes:
        """Return the complete good answer."""
        answer = self._kept.get(asked)
        if answer is None:
            answer = self._kept[asked] = self._make(asked)
            if len(self._kept) > _CACHED_ANSWERS:
                self._kept.popitem(last=False)
        return answer

    def cut(self, asked: Asked) -> bytes:
        """Return the good answer with half its body, and a Content-Length that fits it."""
        head, _, body = self.good(asked).partition(b"\r\n\r\n")
        half = body[: len(body) // 2]
        old = b"Content-Length: %d\r\n" % len(body)
        head = (head + b"\r\n").replace(old, b"Content-Length: %d\r\n" % len(half))
        return head + b"\r\n" + half

    def truncated(self, asked: Asked) -> bytes:
        """Return the good answer's head and half its body: Content-Length says more."""
        head, _, body = self.good(asked).partition(b"\r\n\r\n")
        return head + b"\r\n\r\n" + body[: len(body) // 2]

    def can_break(self, asked: Asked) -> bool:
        """Return whether half of the body is less than the body."""
        return len(self.good(asked).partition(b"\r\n\r\n")[2]) > 1

    def slow_down(self, wait_seconds: float) -> bytes:
        """Return the partner's own way to say that it was asked too often."""
        kind = self._partner.slow_down
        if kind == "200-code":
            said = {"code": 40100, "message": "App reaches the QPS limit", "data": {}}
            return respond_json(200, said)
        if kind == "403-reason":
            error = {"code": 403, "errors": [{"reason": "userRateLimitExceeded"}]}
            return respond_json(403, {"error": error})
        told = (("Retry-After", str(max(1, math.ceil(wait_seconds)))),)
        return respond_json(429, {"error": "slow down"}, *(told if kind != "429" else ()))

    def html(self) -> bytes:
        """Return a page for people, with status 200."""
        return respond(200, _HTML, "text/html; charset=utf-8")

    def _make(self, asked: Asked) -> bytes:
        rows = self._rows(asked)
        size = self._partner.page_rows
        paged = self._partner.paging != "none"
        pages = max(1, math.ceil(len(rows) / size)) if paged else 1
        shown = rows[(asked.page - 1) * size : asked.page * size] if paged else rows
        following = asked.page + 1 if asked.page < pages else None
        headers: list[tuple[str, str]] = []
        if following:
            headers.append(("X-Next-Page", str(following)))
            headers.append(("X-Next-Cursor", cursor_of(asked, following)))
        body, kind = self._encode(asked, shown, pages, following)
        if self._partner.gzip != "none":
            body = gzip.compress(body, 1, mtime=0)
        if self._partner.gzip == "encoding":
            headers.append(("Content-Encoding", "gzip"))
        elif self._partner.gzip == "file":
            kind = "application/gzip"
        return respond(200, body, kind, *headers)

    def _rows(self, asked: Asked) -> list[Row]:
        count = (asked.last - asked.first).days + 1
        truth, name = self._partner.truth, self._partner.name
        return [
            row
            for offset in range(count)
            for row in truth.rows(
                name, asked.report, asked.account, asked.first + timedelta(days=offset)
            )
        ]

    def _encode(
        self, asked: Asked, rows: list[Row], pages: int, following: int | None
    ) -> tuple[bytes, str]:
        if self._partner.format == "csv":
            return self._csv(asked, rows), "text/csv; charset=utf-8"
        records = [{name: getattr(row, name) for name in FIELDS} for row in rows]
        if self._partner.format == "jsonl":
            return b"".join(orjson.dumps(one) + b"\n" for one in records), "application/x-ndjson"
        paging: dict[str, str] = {}
        if following and self._partner.paging == "cursor":
            paging["next"] = cursor_of(asked, following)
        if following and self._partner.paging == "url":
            paging["next_url"] = self._url(asked, following)
        said = {"code": 0, "data": records, "page": asked.page, "pages": pages, "paging": paging}
        return orjson.dumps(said), "application/json"

    def _url(self, asked: Asked, page: int) -> str:
        days = f"from={asked.first}&to={asked.last}"
        return (
            f"{self._base_url}/{self._partner.name}/{asked.report}?account={asked.account}"
            f"&{days}&cursor={cursor_of(asked, page)}"
        )

    def _csv(self, asked: Asked, rows: list[Row]) -> bytes:
        out = io.StringIO()
        for number in range(self._partner.preamble_lines):
            out.write(f"Report {asked.report}, line {number + 1} of its preamble\r\n")
        writer = csv.writer(out, delimiter=self._partner.delimiter)
        writer.writerow(FIELDS)
        for row in rows:
            values = [getattr(row, name) for name in FIELDS]
            writer.writerow(["--" if value is None else value for value in values])
        return out.getvalue().encode("utf-8-sig" if self._partner.bom else "utf-8")
