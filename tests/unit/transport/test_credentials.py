"""From names of secrets to headers."""

from typing import cast

import pytest

from reportd.config.secrets import Secret
from reportd.errors import ConfigError
from reportd.transport.credentials import READ_AGAIN_SECONDS, AuthPlan, Credentials
from reportd.transport.token_request import TokenPlan
from reportd.transport.tokens import Tokens
from tests.unit.transport.token_server import HandClock


class Folder:
    """Secrets as a dict."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = secrets
        self.reads = 0

    def __call__(self, name: str) -> Secret:
        self.reads += 1
        return Secret(self.secrets[name], name)


def test_bearer() -> None:
    """A bearer token is one header."""
    auth = Credentials(Folder(acme="t0ken")).auth(AuthPlan(bearer="acme"))

    assert auth.headers == (("Authorization", "Bearer t0ken"),)
    assert auth.secrets == ("t0ken",)


def test_basic_with_user_and_secret_user() -> None:
    """Basic takes the user's name or the secret that holds it; the packed pair is secret too."""
    folder = Folder(pw="pass", user="me")

    plain = Credentials(folder).auth(AuthPlan(basic_user="me", basic_password="pw"))
    secret = Credentials(folder).auth(AuthPlan(basic_user_secret="user", basic_password="pw"))

    assert plain.headers == secret.headers == (("Authorization", "Basic bWU6cGFzcw=="),)
    assert plain.secrets == ("bWU6cGFzcw==", "pass")


def test_api_keys_in_headers_and_query() -> None:
    """API keys stand where the partner file says, beside a bearer token."""
    plan = AuthPlan(bearer="t", headers=(("X-Key", "a"),), query=(("key", "b"),))

    auth = Credentials(Folder(t="1234", a="5678", b="9 0")).auth(plan)

    assert auth.headers == (("Authorization", "Bearer 1234"), ("X-Key", "5678"))
    assert auth.query == (("key", "9 0"),)


def test_read_once_until_refreshed() -> None:
    """Files are read at the first use, and again when a 401 asks for it."""
    folder = Folder(acme="old")
    credentials = Credentials(folder)
    plan = AuthPlan(bearer="acme")
    credentials.auth(plan)
    folder.secrets["acme"] = "new"

    assert credentials.auth(plan).headers == (("Authorization", "Bearer old"),)
    assert credentials.refresh(plan).headers == (("Authorization", "Bearer new"),)
    assert credentials.auth(plan).headers == (("Authorization", "Bearer new"),)
    credentials.forget()
    credentials.auth(plan)
    assert folder.reads == 3


class Known:
    """Tokens that were fetched, and no way to fetch another."""

    def known(self, _plan: TokenPlan) -> set[str]:
        return {"access"}


def test_what_is_forgotten_is_hidden_all_the_same() -> None:
    """Beside a token there are other secrets, whose plan a reload has made it forget."""
    token = cast("TokenPlan", "of a plan")
    plan = AuthPlan(headers=(("X-Key", "a"),), token=token, token_header="Authorization")
    credentials = Credentials(Folder(a="5678"), cast("Tokens", Known()))

    assert set(credentials.secrets_of(plan)) == {"access", "5678"}


def test_a_changed_file_is_seen_soon() -> None:
    """A new secret needs no restart and no 401: files are read again after some seconds."""
    folder, clock = Folder(acme="old"), HandClock()
    credentials = Credentials(folder, clock=clock)
    plan = AuthPlan(bearer="acme")
    credentials.auth(plan)
    folder.secrets["acme"] = "new"

    clock.now += READ_AGAIN_SECONDS - 1
    assert credentials.auth(plan).secrets == ("old",)
    clock.now += 1
    assert credentials.auth(plan).secrets == ("new",)


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\x00b", "schlüssel"])
def test_a_secret_that_a_header_cannot_carry(text: str) -> None:
    """A broken secret is named, never shown."""
    with pytest.raises(ConfigError) as caught:
        Credentials(Folder(acme=text)).auth(AuthPlan(bearer="acme"))

    assert "'acme'" in str(caught.value)
    assert text not in str(caught.value)


def test_no_auth_is_no_file() -> None:
    """A partner without auth reads nothing."""
    folder = Folder()

    assert Credentials(folder).auth(AuthPlan()).headers == ()
    assert folder.reads == 0


def test_auth_shows_nothing() -> None:
    """The repr of an auth holds no secret."""
    auth = Credentials(Folder(acme="hunter2")).auth(AuthPlan(bearer="acme"))

    assert "hunter2" not in repr(auth)
