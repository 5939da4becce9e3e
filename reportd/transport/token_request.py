"""One request to a token server as data: what is asked, and what the answer means. Pure.

OAuth 2.0 (RFC 6749): refresh token and client credentials; RFC 7523 for service accounts. Used by
`reportd.transport.tokens` alone.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlencode

import orjson

from reportd.model.content import head_of
from reportd.transport.exchange import Answer, Call, Failure

Grant = Literal["refresh_token", "client_credentials", "service_account"]
MAX_BYTES = 256 * 1024
SAID_MOST = 300
LIFETIME_MOST_SECONDS = 366 * 86400.0
_LATER = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_NOT_REFUSED = frozenset({404, 405, 408, 425, 429})
"""Of 4xx; a token server that is not there says nothing about the credential."""

Assert = Callable[[str, "TokenPlan", float], str]
"""Signs for a service account: its key file's text, the plan, epoch seconds; see
`reportd.transport.assertion`. Raises `ConfigError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlan:
    """How a credential's access tokens are had: names only, nothing secret."""

    partner: str
    grant: Grant
    url: str
    hosts: tuple[str, ...]
    """The only hosts that are sent what it takes."""
    allow_private: bool = False
    client_id: str = ""
    """Itself; empty: it is the secret ``client_id_secret``, if that is not empty too."""
    client_id_secret: str = ""
    client_secret: str = ""
    refresh_token: str = ""
    key: str = ""
    """The secret that holds a service account's key file."""
    scopes: tuple[str, ...] = ()
    subject: str = ""
    """Whom a service account acts for."""
    fields: tuple[tuple[str, str], ...] = ()
    """Further fields of the form."""
    client_basic: bool = False
    """Whether the client is sent as ``Authorization: Basic``, not in the form."""
    rotates: bool = False
    """Whether a refresh token is good for one use, and the answer brings the next."""
    lifetime_seconds: float = 3600.0
    """Of an access token whose answer does not say."""
    timeout_seconds: float = 20.0

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its secrets: what people are told of."""
        named = (self.refresh_token, self.key, self.client_id_secret, self.client_secret)
        return tuple(name for name in named if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSecrets:
    """The values of a plan's secrets. Shows nothing of itself."""

    client_id: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    client_id_is_told: bool = False
    """Whether the partner's file says the client's id itself: a word like ``reports``."""

    @property
    def values(self) -> tuple[str, ...]:
        """All that must stand in no message."""
        client_id = "" if self.client_id_is_told else self.client_id
        found = (client_id, self.client_secret, self.refresh_token)
        return tuple(value for value in found if value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """An access token, fresh from the server."""

    access: str = field(repr=False)
    lifetime_seconds: float
    refresh: str = field(default="", repr=False)
    """The refresh token to use from here on; empty: the one that was sent."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """No access token."""

    reason: str
    """What the server said; may hold what was sent: to be redacted."""
    refused: bool = False
    """Whether it is the credential's fault, and will be the same the next time."""
    wait_seconds: float | None = None
    """What the server asks for."""


def token_call(plan: TokenPlan, secrets: TokenSecrets, sign: Assert, now: float) -> Call:
    """Return the request; ``now`` is the epoch's. Raises `ConfigError` for a key that signs not."""
    form: list[tuple[str, str]] = []
    headers: list[tuple[str, str]] = []
    if plan.grant == "service_account":
        form.append(("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"))
        form.append(("assertion", sign(secrets.key, plan, now)))
    else:
        form.append(("grant_type", plan.grant))
        if plan.grant == "refresh_token":
            form.append(("refresh_token", secrets.refresh_token))
        if plan.scopes:
            form.append(("scope", " ".join(plan.scopes)))
        if plan.client_basic:
            pair = f"{quote(secrets.client_id, safe='')}:{quote(secrets.client_secret, safe='')}"
            packed = base64.b64encode(pair.encode()).decode()
            headers.append(("Authorization", f"Basic {packed}"))
        else:
            client = {"client_id": secrets.client_id, "client_secret": secrets.client_secret}
            form += [(name, value) for name, value in client.items() if value]
    form += plan.fields
    return Call(
        method="POST",
        url=plan.url,
        hosts=plan.hosts,
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        },
        secret_headers=tuple(headers),
        body=urlencode(form).encode(),
        timeout_seconds=plan.timeout_seconds,
        allow_private=plan.allow_private,
        max_answer_bytes=MAX_BYTES,
    )


def token_in(plan: TokenPlan, outcome: Answer | Failure) -> Minted | Trouble:
    """Return what an answer brought."""
    if isinstance(outcome, Failure):
        return Trouble(f"{outcome.kind}: {outcome.detail}")
    document = _document(head_of(outcome.body, MAX_BYTES))
    said = _said(document)
    where = f"HTTP {outcome.status}{f' {said}' if said else ''}"
    if outcome.status == 200:
        access = document.get("access_token")
        if isinstance(access, str) and access and access.isascii() and access.isprintable():
            refresh = document.get("refresh_token")
            return Minted(
                access=access,
                lifetime_seconds=_lifetime(document.get("expires_in"), plan.lifetime_seconds),
                refresh=refresh if isinstance(refresh, str) else "",
            )
        return Trouble(f"{where}: an answer without access_token")
    wait = outcome.headers.get("retry-after", "")
    refused = (
        400 <= outcome.status < 500
        and outcome.status not in _NOT_REFUSED
        and document.get("error") not in _LATER
    )
    return Trouble(where, refused, float(wait) if wait.isascii() and wait.isdigit() else None)


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _said(document: Mapping[str, Any]) -> str:
    """Return the server's own words, those that RFC 6749 has for them; bounded, printable."""
    words = [document.get(name) for name in ("error", "error_description")]
    text = ": ".join(word for word in words if isinstance(word, str))
    return "".join(ch if ch.isprintable() else " " for ch in text)[:SAID_MOST]


def _lifetime(value: Any, otherwise: float) -> float:
    try:
        seconds = otherwise if isinstance(value, bool) or value is None else float(value)
    except (TypeError, ValueError):
        seconds = otherwise
    return min(seconds, LIFETIME_MOST_SECONDS) if seconds > 0 else otherwise
