"""Taking secrets out of exchanges that are kept: those that are known, and those that look so.

Used by `reportd.partners.recording`. Pure.
"""

import gzip
import io
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from reportd.partners.redaction import HIDDEN, without_secrets
from reportd.transport.decoding import GZIP_MAGIC, inflate

ZIP_MAGIC = b"PK\x03\x04"
_LEAST_CHARS = 8
_MOST_BYTES = 1 << 30
_HIDDEN = HIDDEN.encode()

HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Headers whose values are secrets, whoever sends them."""

_KEYS = rb"access_?token|refresh_?token|id_?token|client_?secret|api_?key|appsecret_proof|password"
_SIGNED = (
    rb"sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid"
    rb"|googleaccessid|key-pair-id"
)
_QUERY = re.compile(
    rb"((?:[?&]|\\u0026|&amp;)(?:" + _KEYS + rb"|" + _SIGNED + rb")=)(?:(?!\\u0026)[^&\"'\s<>])+",
    re.IGNORECASE,
)
"""What makes a URL one that opens a door: a token, or the signature of a presigned one."""
_FORM = re.compile(rb"(^(?:" + _KEYS + rb")=)[^&\s]+", re.IGNORECASE)
_JSON = re.compile(rb'("(?:' + _KEYS + rb')"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE)


def secrets_in_urls(value: Any) -> Iterator[str]:
    """Yield what of a URL opens a door, or of all in a list or table: long values of its query."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from secrets_in_urls(each)
    elif isinstance(value, str):
        for part in urlsplit(value).query.split("&"):
            text = part.partition("=")[2]
            if len(text) >= _LEAST_CHARS:
                yield from {text, unquote_plus(text)}


def scrubbed(data: bytes, secrets: Collection[str]) -> bytes:
    """Return data of any length without secrets; what was opened for it is packed again.

    Gzip and ZIP are opened; data without a secret comes back as it is, byte for byte.
    """
    if data.startswith(GZIP_MAGIC):
        return _repacked(data, lambda: _gzip(data, secrets))
    if data.startswith(ZIP_MAGIC):
        return _repacked(data, lambda: _zip(data, secrets))
    data = without_secrets(data, secrets)
    data = _QUERY.sub(rb"\1" + _HIDDEN, data)
    data = _FORM.sub(rb"\1" + _HIDDEN, data)
    return _JSON.sub(rb'\1"' + _HIDDEN + b'"', data)


def scrubbed_text(text: str, secrets: Collection[str]) -> str:
    """Return a text, such as a URL, without secrets."""
    return scrubbed(text.encode("utf-8", "surrogatepass"), secrets).decode("utf-8", "replace")


def scrubbed_headers(headers: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """Return headers without secrets; those that always hold one keep their names."""
    return {
        name: HIDDEN if name.lower() in HEADERS else scrubbed_text(value, secrets)
        for name, value in headers.items()
    }


def _repacked(data: bytes, repack: Callable[[], bytes]) -> bytes:
    try:
        return repack()
    except (ValueError, OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        return data  # broken: nobody can read a secret out of it, and that is what is recorded


def _gzip(data: bytes, secrets: Collection[str]) -> bytes:
    inner = inflate(data, _MOST_BYTES)
    clean = scrubbed(inner, secrets)
    return data if clean == inner else gzip.compress(clean, mtime=0)


def _zip(data: bytes, secrets: Collection[str]) -> bytes:
    out = io.BytesIO()
    changed = False
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            inner = old.read(member)
            clean = scrubbed(inner, secrets)
            changed = changed or clean != inner
            new.writestr(member, clean)
    return out.getvalue() if changed else data
