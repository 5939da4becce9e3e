"""What templates can do with a value: proofs, encodings, JSON as text, days in any shape.

Registered by `reportd.partners.templates`. Pure; what does not fit is a ``ValueError`` or
``TypeError`` whose text nobody sees: values may be secret.
"""

import base64
import datetime
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import orjson


def as_date(value: str, pattern: str) -> str:
    """Filter ``date``: ``{{ from | date("%Y%m%d") }}``."""
    return _day(value).strftime(pattern)


def year(value: str) -> int:
    """Filter ``year``: ``{{ from | year }}`` is 2026."""
    return _day(value).year


def month(value: str) -> int:
    """Filter ``month``: 1 to 12."""
    return _day(value).month


def day(value: str) -> int:
    """Filter ``day``: 1 to 31."""
    return _day(value).day


def plus_days(value: str, days: int) -> str:
    """Move a day, for partners whose ranges end the day after their last one."""
    return (_day(value) + datetime.timedelta(days=days)).isoformat()


def midnight(value: str, zone: str = "UTC") -> str:
    """Filter ``midnight``: a day's first instant in a zone, ``2026-11-01T00:00:00+01:00``."""
    return _first_instant(value, zone).isoformat()


def epoch(value: str, zone: str = "UTC") -> int:
    """Filter ``epoch``: the seconds at which a day begins in a zone; ``* 1000`` for others."""
    return int(_first_instant(value, zone).timestamp())


def hmac_sha256(value: str, key: str, form: str = "hex") -> str:
    """Prove that a key is known, without sending it.

    ``form``: hex, base64 or base64url.
    """
    return _written(hmac.digest(_text(key).encode(), _text(value).encode(), "sha256"), form)


def sha256(value: str, form: str = "hex") -> str:
    """Filter ``sha256``: the digest of a text, in the same forms."""
    return _written(hashlib.sha256(_text(value).encode()).digest(), form)


def as_base64(value: str) -> str:
    """Filter ``base64``: of a text's UTF-8."""
    return _written(_text(value).encode(), "base64")


def as_base64url(value: str) -> str:
    """Filter ``base64url``: with ``-`` and ``_``, without ``=``."""
    return _written(_text(value).encode(), "base64url")


def url(value: Any) -> str:
    """Filter ``url``: percent-encoded once more than its place asks for, the slash too."""
    return quote(value if isinstance(value, str) else str(value), safe="")


def form(value: Mapping[str, Any]) -> str:
    """Filter ``form``: a table as ``a=1&b=2``, encoded as forms are."""
    return urlencode(dict(value))


def as_json(value: Any) -> str:
    """Filter ``json``: a value as JSON text, as inside a form field or a parameter."""
    return orjson.dumps(value).decode()


FILTERS: Mapping[str, Callable[..., Any]] = {
    "base64": as_base64,
    "base64url": as_base64url,
    "date": as_date,
    "day": day,
    "epoch": epoch,
    "form": form,
    "hmac_sha256": hmac_sha256,
    "json": as_json,
    "midnight": midnight,
    "month": month,
    "plus_days": plus_days,
    "sha256": sha256,
    "url": url,
    "year": year,
}


def _day(value: str) -> datetime.date:
    return datetime.date.fromisoformat(value)


def _first_instant(value: str, zone: str) -> datetime.datetime:
    return datetime.datetime.combine(_day(value), datetime.time(), ZoneInfo(zone))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is wanted")
    return value


def _written(data: bytes, form: str) -> str:
    if form == "hex":
        return data.hex()
    if form == "base64":
        return base64.b64encode(data).decode()
    if form == "base64url":
        return base64.urlsafe_b64encode(data).decode().rstrip("=")
    raise ValueError("form: hex, base64 or base64url")
