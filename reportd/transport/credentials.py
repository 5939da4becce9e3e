"""Credentials: from names of secrets to the headers and query parameters that carry them.

One `Credentials` a worker process; read from the secrets folder at first use, again on refresh.
"""

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from reportd.config.secrets import Secret
from reportd.errors import ConfigError

ReadSecret = Callable[[str], Secret]
"""`reportd.config.secrets.SecretsFolder.read`; raises `ConfigError`."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """What makes a call an authorized one. Shows nothing of itself."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Every text that must stand in no log and no sample, longest first."""


class Credentials:
    """Reads secrets and keeps them until refreshed. Thread-safe."""

    def __init__(self, read: ReadSecret) -> None:
        """Take what reads a secret by its name."""
        self._read = read
        self._lock = threading.Lock()
        self._known: dict[AuthPlan, Auth] = {}

    def auth(self, plan: AuthPlan) -> Auth:
        """Return a plan's auth; reads files the first time. Raises `ConfigError`."""
        known = self._known.get(plan)
        return known if known is not None else self.refresh(plan)

    def refresh(self, plan: AuthPlan) -> Auth:
        """Read a plan's secrets again, after a 401. Raises `ConfigError`."""
        fresh = self._build(plan)
        with self._lock:
            self._known[plan] = fresh
        return fresh

    def forget(self) -> None:
        """Read everything again at its next use: after a reload."""
        with self._lock:
            self._known.clear()

    def _build(self, plan: AuthPlan) -> Auth:
        headers: list[tuple[str, str]] = []
        query: list[tuple[str, str]] = []
        secrets: list[str] = []

        def value(name: str) -> str:
            text = self._read(name).reveal()
            if any(ch < " " or ch == "\x7f" for ch in text):
                raise ConfigError(f"secret {name!r}: it holds control characters")
            secrets.append(text)
            return text

        if plan.bearer:
            headers.append(("Authorization", f"Bearer {_latin(plan.bearer, value(plan.bearer))}"))
        if plan.basic_password:
            user = plan.basic_user or value(plan.basic_user_secret)
            pair = f"{user}:{value(plan.basic_password)}".encode()
            secrets.append(base64.b64encode(pair).decode())
            headers.append(("Authorization", f"Basic {secrets[-1]}"))
        for header, name in plan.headers:
            headers.append((header, _latin(name, value(name))))
        for parameter, name in plan.query:
            query.append((parameter, value(name)))
        longest_first = tuple(sorted(set(secrets), key=lambda text: (-len(text), text)))
        return Auth(headers=tuple(headers), query=tuple(query), secrets=longest_first)


def _latin(name: str, text: str) -> str:
    if not text.isascii():
        raise ConfigError(f"secret {name!r}: a header cannot carry characters beyond ASCII")
    return text
