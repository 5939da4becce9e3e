"""Credentials: from names of secrets to the headers and query parameters that carry them.

One `Credentials` a worker process. Secrets are read at first use, again when they may have changed
and when a call was refused.
"""

import base64
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reportd.clock import Clock, SystemClock
from reportd.config.secrets import Secret
from reportd.errors import ConfigError, InvalidMessageError
from reportd.transport.token_request import TokenPlan

READ_AGAIN_SECONDS = 10.0
"""How long a secret that was read is taken for what its file holds."""

PLANS_MOST = 10_000
"""With more in memory they are forgotten and made anew: accounts may come without end."""

ReadSecret = Callable[[str], Secret]
"""`reportd.config.secrets.SecretsFolder.read`; raises `ConfigError`."""


class SecretText(Hashable, Protocol):
    """A text that secrets may stand in, to be made when it is sent."""

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """What it calls its secrets, and the secrets' names."""
        ...

    @property
    def is_secret(self) -> bool:
        """Whether what it becomes must be seen nowhere."""
        ...

    def render(self, secrets: Mapping[str, str], token: str) -> str:
        """Return the text; raises `InvalidMessageError`, without a value in it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthPlan:
    """Which secrets go where: names only, nothing secret. One for each credential."""

    bearer: str = ""
    basic_user: str = ""
    """The user's name itself; empty: it is the secret ``basic_user_secret``."""
    basic_user_secret: str = ""
    basic_password: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    """Header and the secret's name."""
    query: tuple[tuple[str, str], ...] = ()
    """Query parameter and the secret's name."""
    header_texts: tuple[tuple[str, SecretText], ...] = ()
    """Header and what stands in it."""
    query_texts: tuple[tuple[str, SecretText], ...] = ()
    """Query parameter and what stands in it."""
    token: TokenPlan | None = None
    """How an access token is had; None: none is."""
    token_header: str = ""
    """The header that carries it; empty: only texts do."""
    token_prefix: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all its secrets."""
        texts = (text for _, text in (*self.header_texts, *self.query_texts))
        named = (
            self.bearer,
            self.basic_user_secret,
            self.basic_password,
            *(name for _, name in (*self.headers, *self.query)),
            *(name for text in texts for _, name in text.names),
            *(self.token.names if self.token is not None else ()),
        )
        return tuple(dict.fromkeys(name for name in named if name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """What makes a call an authorized one. Shows nothing of itself."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Every text that must stand in no log and no sample, longest first."""
    token: str = field(default="", repr=False)
    """The access token among them."""


class GivesTokens(Protocol):
    """`reportd.transport.tokens.Tokens`; thread-safe."""

    def token(self, plan: TokenPlan, refused: str = "") -> str:
        """Return an access token that is not ``refused``, unless that is a new one, too.

        Raises `NotYetError`, `CredentialRefusedError`, `ConfigError`.
        """
        ...

    def known(self, plan: TokenPlan) -> tuple[str, ...]:
        """Return what of a plan must be seen nowhere, without asking anybody."""
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    """What was made of a plan, and when (monotonic seconds)."""

    auth: Auth
    at: float


class Credentials:
    """Reads secrets and keeps them for a while; has tokens fetched. Thread-safe."""

    def __init__(
        self, read: ReadSecret, tokens: GivesTokens | None = None, clock: Clock | None = None
    ) -> None:
        """Take what reads a secret by its name, and what gives access tokens."""
        self._read = read
        self._tokens = tokens
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._known: dict[AuthPlan, _Known] = {}

    def auth(self, plan: AuthPlan) -> Auth:
        """Return a plan's auth; reads files now and then, and may fetch a token.

        Raises `ConfigError` for secrets; of tokens: `NotYetError` when it is to be asked again a
        little later, `CredentialRefusedError` when nothing but people can help.
        """
        token = self._token(plan)
        known = self._known.get(plan)
        if (
            known is not None
            and known.auth.token == token
            and self._clock.monotonic() - known.at < READ_AGAIN_SECONDS
        ):
            return known.auth
        return self._made(plan, token)

    def refresh(self, plan: AuthPlan, refused: Auth | None = None) -> Auth:
        """Return an auth that is new, if there is one, after a 401 for the ``refused`` one.

        Raises what `auth` raises.
        """
        return self._made(plan, self._token(plan, refused.token if refused else ""))

    def secrets_of(self, plan: AuthPlan) -> tuple[str, ...]:
        """Return what must be seen nowhere of calls that a plan made, longest first.

        Asks no token server. Raises `ConfigError`.
        """
        known = self._known.get(plan)
        found = set(known.auth.secrets if known is not None else ())
        if plan.token is not None and self._tokens is not None:
            found.update(self._tokens.known(plan.token))
        if known is None:  # forgotten since, or never made here; no token is fetched for it
            no_token = _Maker(self._read, "", set())
            auth = self.auth(plan) if plan.token is None else no_token.made(plan)
            found.update(auth.secrets)
        return _longest_first(found)

    def _token(self, plan: AuthPlan, refused: str = "") -> str:
        if plan.token is None:
            return ""
        if self._tokens is None:
            raise ConfigError("auth.oauth2: nothing here fetches tokens")
        return self._tokens.token(plan.token, refused)

    def _made(self, plan: AuthPlan, token: str) -> Auth:
        last = self._known.get(plan)
        hidden = {last.auth.token} if last is not None else set()  # answers to it still arrive
        made = _Maker(self._read, token, hidden).made(plan)
        fresh = _Known(made, self._clock.monotonic())
        with self._lock:
            if len(self._known) >= PLANS_MOST:
                self._known.clear()
            self._known[plan] = fresh
        return fresh.auth

    def forget(self) -> None:
        """Read everything again at its next use: after a reload."""
        with self._lock:
            self._known.clear()


class _Maker:
    """Makes one auth, and collects what of it is secret."""

    def __init__(self, read: ReadSecret, token: str, hidden: set[str]) -> None:
        self._read = read
        self._token = token
        self._secrets = {text for text in (token, *hidden) if text}

    def made(self, plan: AuthPlan) -> Auth:
        headers: list[tuple[str, str]] = []
        query: list[tuple[str, str]] = []
        if plan.bearer:
            headers.append(("Authorization", f"Bearer {self._in_header(plan.bearer)}"))
        if plan.basic_password:
            headers.append(("Authorization", self._basic(plan)))
        if plan.token_header:
            headers.append((plan.token_header, f"{plan.token_prefix}{self._token}"))
        headers += [(header, self._in_header(name)) for header, name in plan.headers]
        query += [(parameter, self._value(name)) for parameter, name in plan.query]
        headers += self._texts("header", plan.header_texts)
        query += self._texts("query", plan.query_texts)
        return Auth(
            headers=tuple(headers),
            query=tuple(query),
            secrets=_longest_first(self._secrets),
            token=self._token,
        )

    def _value(self, name: str) -> str:
        text = self._read(name).reveal()
        if any(ch < " " or ch == "\x7f" for ch in text):
            raise ConfigError(f"secret {name!r}: it holds control characters")
        self._secrets.add(text)
        return text

    def _in_header(self, name: str) -> str:
        text = self._value(name)
        if not text.isascii():
            raise ConfigError(f"secret {name!r}: a header cannot carry characters beyond ASCII")
        return text

    def _basic(self, plan: AuthPlan) -> str:
        user = plan.basic_user or self._value(plan.basic_user_secret)
        pair = f"{user}:{self._value(plan.basic_password)}".encode()
        packed = base64.b64encode(pair).decode()
        self._secrets.add(packed)
        return f"Basic {packed}"

    def _texts(self, part: str, texts: tuple[tuple[str, SecretText], ...]) -> list[tuple[str, str]]:
        """Return those that did not become empty."""
        found = []
        for target, text in texts:
            secrets = {called: self._value(name) for called, name in text.names}
            try:
                made = text.render(secrets, self._token)
            except InvalidMessageError as error:
                raise ConfigError(f"auth.{part}.{target}: {error}") from None
            if made:
                found.append((target, made))
                if text.is_secret:
                    self._secrets.add(made)
        return found


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(secrets), key=lambda text: (-len(text), text)))
