"""One HTTP exchange as data: what is asked (`Call`) and what came back (`Answer`, `Failure`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reportd.model.content import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request, rendered and ready to send. Its headers may hold secrets: never shown."""

    method: str
    url: str
    """Without secrets and with its query; `Client` refuses hosts that ``hosts`` does not name."""
    hosts: tuple[str, ...]
    """The hosts that the partner file names, e.g. ``api.acme.com``, ``*.acme.com``."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Headers that hold secrets: a redirect to another host drops them."""
    secret_query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Query parameters that hold secrets: added when sending, in no log and no sample."""
    body: bytes | None = field(default=None, repr=False)
    timeout_seconds: float = 60.0
    """For the whole call: connecting, the handshake, sending, the last byte."""
    allow_private: bool = False
    """Whether private and loopback addresses, and plain http, are fine."""
    max_answer_bytes: int = 256 * 1024 * 1024
    """After decompression; a longer answer is a `Failure` of kind TOO_LARGE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete HTTP answer, decompressed (Content-Encoding only)."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""
    body: Content = field(repr=False)
    seconds: float
    """Duration from sending to the last byte."""


class FailureKind(StrEnum):
    """Why there is no complete answer."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    RESET = "reset"
    SHORT_BODY = "short_body"
    BAD_ENCODING = "bad_encoding"
    TOO_LARGE = "too_large"
    NO_ROOM = "no_room"
    """It was answered, and TMPDIR has no room for it: this machine's fault, not the partner's."""
    REFUSED = "refused"
    """The host is not the partner's, or its address is private: nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No complete answer; ``detail`` is safe to log."""

    kind: FailureKind
    detail: str
    seconds: float
    status: int | None = None
    """What the head of the answer said; None: there was none."""
