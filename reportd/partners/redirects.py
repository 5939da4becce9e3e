"""Redirects: each is followed by a call of its own, which waits for the limits as any other. Pure.

Where they lead stands in memory alone, beside picked URLs, for the cursor whose call it was.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin, urlsplit

from reportd.errors import UnexpectedAnswerError
from reportd.partners.verdict import Cursor
from reportd.transport.exchange import Answer, Call
from reportd.transport.guard import DEFAULT_PORTS, refusal

STATUSES = frozenset({301, 302, 303, 307, 308})
MOST = 3
_KEY = "redirected "
"""Begins the keys of redirects; no picked name holds a blank."""


def leads_on(call: Call, answer: Answer) -> bool:
    """Say whether an answer sends its call elsewhere: a POST is never sent again."""
    return (
        answer.status in STATUSES and call.method == "GET" and bool(answer.headers.get("location"))
    )


def after(
    volatile: Mapping[str, Any], cursor: Cursor, call: Call, answer: Answer
) -> dict[str, Any]:
    """Return what to keep in memory for the call that follows; raises `UnexpectedAnswerError`.

    Of redirects only this cursor's: those of the pages before would pile up.
    """
    urls = volatile.get(_key(cursor), [])
    if len(urls) >= MOST:
        raise UnexpectedAnswerError(f"more than {MOST} redirects")
    try:
        url = urljoin(call.url, answer.headers["location"])
        refused = refusal(url, call.hosts, allow_private=call.allow_private)
    except ValueError:
        raise UnexpectedAnswerError("a redirect to a URL that does not parse") from None
    if refused:
        raise UnexpectedAnswerError(f"a redirect: {refused}")
    kept = {name: value for name, value in volatile.items() if not name.startswith(_KEY)}
    return {**kept, _key(cursor): [*urls, url]}


def followed(volatile: Mapping[str, Any], cursor: Cursor, call: Call) -> Call:
    """Return the call to where redirects have led, without secrets once they left its host."""
    for url in volatile.get(_key(cursor), ()):
        if _server(url) == _server(call.url):
            call = replace(call, url=url)
        else:
            call = replace(call, url=url, secret_headers=(), secret_query=())
    return call


def _key(cursor: Cursor) -> str:
    return f"{_KEY}{sorted(cursor.items())}"


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
