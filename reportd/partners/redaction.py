"""Taking secrets out of what people will read. Pure."""

import base64
import html
import re
from collections.abc import Collection, Iterator
from urllib.parse import quote, quote_plus

import orjson

MAX_SAMPLE_BYTES = 4096
HIDDEN = "[secret]"
_PERCENT = re.compile("%[0-9A-F]{2}")
_MIN_PART = 4
_MIN_CUT = 8


def redacted(text: str, secrets: Collection[str]) -> bytes:
    """Return the beginning of a text, at most 4 KiB, without secrets in any usual spelling.

    Spellings: as it is, percent-encoded, inside JSON or HTML, in Base64, alone or with what stood
    around it. A secret cut in half by the end of the text is hidden, too.
    """
    for secret in secrets:
        for spelling in _spellings(secret):
            text = text.replace(spelling, HIDDEN)
            text = _without_half(text, spelling)
    return text.encode("utf-8", "replace")[:MAX_SAMPLE_BYTES]


def without_secrets(data: bytes, secrets: Collection[str]) -> bytes:
    """Return bytes of any length without secrets in any usual spelling."""
    for secret in secrets:
        for spelling in _spellings(secret):
            data = data.replace(spelling.encode(), HIDDEN.encode())
    return data


def redacted_reason(reason: str, secrets: Collection[str]) -> str:
    """Return a sentence without secrets, nor the beginning of one that was cut within it."""
    text = redacted(reason, secrets).decode("utf-8", "replace")
    for secret in secrets:
        for spelling in _spellings(secret):
            text = _without_beginnings(text, spelling)
    return text


def _without_beginnings(text: str, spelling: str) -> str:
    if spelling[:_MIN_CUT] not in text:
        return text
    for length in range(len(spelling) - 1, _MIN_CUT - 1, -1):
        text = text.replace(spelling[:length], HIDDEN)
    return text


def _spellings(secret: str) -> list[str]:
    in_json = orjson.dumps(secret).decode()[1:-1]
    percented = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    found = {
        secret,
        *percented,
        *(_PERCENT.sub(lambda code: code[0].lower(), text) for text in percented),
        in_json,
        in_json.replace("/", "\\/"),
        html.escape(secret),
        *_in_base64(secret.encode()),
    }
    return sorted((text for text in found if text), key=len, reverse=True)


def _in_base64(secret: bytes) -> Iterator[str]:
    """Yield what a secret is in Base64: alone, and what is its alone behind and before others."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(secret).decode()
        for before in range(3):
            text = encode(b"\0" * before + secret).decode().rstrip("=")
            inner = text[-(-8 * before // 6) : 8 * (before + len(secret)) // 6]
            if len(inner) >= _MIN_CUT:
                yield inner


def _without_half(text: str, spelling: str) -> str:
    if spelling[:_MIN_PART] not in text[-len(spelling) :]:
        return text
    for length in range(min(len(spelling) - 1, len(text)), _MIN_PART - 1, -1):
        if text.endswith(spelling[:length]):
            return text[:-length] + HIDDEN
    return text
