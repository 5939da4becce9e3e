"""A token server without a network, and what its clients are handed. For tests."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from reportd.config.secrets import Secret
from reportd.transport.exchange import Answer, Call, Failure
from reportd.transport.token_chain import SharedNotes
from reportd.transport.token_files import TokenFiles, TokenMemory
from reportd.transport.token_request import TokenPlan
from reportd.transport.tokens import Tokens

NOW = 1_763_784_000.0
HOUR = 3600.0
PLAN = TokenPlan(
    partner="acme",
    grant="refresh_token",
    url="https://auth.acme.com/token",
    hosts=("auth.acme.com",),
    client_id="app",
    client_secret="app-secret",
    refresh_token="refresh",
)


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def wall(self) -> float:
        """Return what was set."""
        return self.now

    def monotonic(self) -> float:
        """Return the same."""
        return self.now

    def boottime(self) -> float:
        """Return the same."""
        return self.now


class TokenServer:
    """Gives ``access-1``, ``access-2`` ...; each request is kept, and may be answered otherwise."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.forms: list[dict[str, str]] = []
        self.given = 0
        self.otherwise: Callable[[Mapping[str, str]], Answer | Failure | None] = lambda _form: None
        self.more: dict[str, Any] = {"expires_in": 3600}

    def send(self, call: Call) -> Answer | Failure:
        """Be asked, as the client asks."""
        form = dict(parse_qsl((call.body or b"").decode()))
        self.calls.append(call)
        self.forms.append(form)
        other = self.otherwise(form)
        if other is not None:
            return other
        self.given += 1
        return said(200, access_token=f"access-{self.given}", **self.more)


class Rotating(TokenServer):
    """Takes each refresh token once: ``refresh-0``, then what it gave last."""

    def __init__(self) -> None:
        super().__init__()
        self.valid = "refresh-0"
        self.otherwise = self._taken

    def _taken(self, form: Mapping[str, str]) -> Answer | None:
        if form["refresh_token"] != self.valid:
            return said(400, error="invalid_grant", error_description="used before")
        self.valid = f"refresh-{self.given + 1}"
        self.more = {"expires_in": 3600, "refresh_token": self.valid}
        return None


class Notes:
    """Notes in a dictionary, which may be away."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fails: Callable[[str], Exception | None] = lambda _name: None

    def names(self, prefix: str) -> list[str]:
        """See `SharedNotes.names`."""
        return [name for name in self.files if name.startswith(prefix)]

    def create(self, name: str, data: bytes) -> bool:
        """See `SharedNotes.create`."""
        error = self.fails(name)
        if error is not None:
            raise error
        if name in self.files:
            return False
        self.files[name] = data
        return True

    def read(self, name: str) -> bytes | None:
        """See `SharedNotes.read`."""
        return self.files.get(name)

    def remove(self, name: str) -> None:
        """See `SharedNotes.remove`."""
        self.files.pop(name, None)


SECRETS = {"app-secret": "s3cret", "refresh": "refresh-0", "key": "{}", "id": "app-id"}


class Log:
    """Counts requests by outcome."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def token_asked(self, _partner: str, outcome: str) -> None:
        """See `TokenLog.token_asked`."""
        self.outcomes.append(outcome)


def tokens(
    server: TokenServer,
    clock: HandClock,
    files: TokenFiles | None = None,
    notes: SharedNotes | None = None,
    secrets: Mapping[str, str] = SECRETS,
    log: Log | None = None,
) -> Tokens:
    """Return what one process has."""
    return Tokens(
        read=lambda name: Secret(secrets[name], name),
        send=server.send,
        sign=lambda key, plan, now: f"signed {key} for {plan.subject} at {now:.0f}",
        files=files or TokenMemory(),
        clock=clock,
        hide=lambda text, hidden: text.replace(hidden[0], "[secret]"),
        notes=notes,
        log=log,
    )


def said(status: int, **document: Any) -> Answer:
    """Return an answer of JSON."""
    return Answer(status=status, headers={}, body=orjson.dumps(document), seconds=0.01)
