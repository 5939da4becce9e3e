"""Tokens from a real server over HTTP: threads, processes, a slow server, rotation, kill -9."""

import itertools
import multiprocessing
import os
import signal
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from reportd.config.secrets import SecretsFolder
from reportd.errors import NotYetError
from reportd.model.request import Request
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner
from reportd.partners.redaction import redacted_reason
from reportd.partners.verdict import Outcome, Verdict
from reportd.sinks.local import LocalStore
from reportd.transport.assertion import signed
from reportd.transport.client import Client
from reportd.transport.credentials import Auth, Credentials
from reportd.transport.token_files import TokenFolder
from reportd.transport.tokens import Tokens
from reportd.worker.calling import PartnerCaller
from tests.integration.transport.serving import Exchange, Server
from tests.unit.transport.token_server import HandClock
from tests.unit.worker.making import entry

FORK = multiprocessing.get_context("fork")
DEADLINE_SECONDS = 30.0
ROWS = orjson.dumps({"data": []})


class Acme:
    """A token server and a partner that takes its tokens, each on a port of its own."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.numbers = itertools.count(1)
        self.valid: set[str] = set()
        self.refresh = "refresh-0"
        self.more: dict[str, Any] = {"expires_in": 3600}
        self.before: Callable[[], None] = lambda: None
        self.rotates = False
        self.serve_nobody = False
        self.seen: list[Mapping[str, str]] = []

    def give(self, exchange: Exchange) -> None:
        """Be the token server."""
        form = dict(parse_qsl(exchange.body.decode()))
        self.forms.append(form)
        self.before()
        if form.get("refresh_token") != self.refresh:
            error = {"error": "invalid_grant", "error_description": f"{form['refresh_token']}?"}
            exchange.reply(orjson.dumps(error), 400)
            return
        number = next(self.numbers)
        self.valid = {f"access-{number}"}
        answer = {"access_token": f"access-{number}", **self.more}
        if self.rotates:
            self.refresh = answer["refresh_token"] = f"refresh-{number}"
        exchange.reply(orjson.dumps(answer), content_type="application/json")

    def serve(self, exchange: Exchange) -> None:
        """Be the partner."""
        self.seen.append(exchange.headers)
        token = exchange.headers.get("authorization", "").removeprefix("Bearer ")
        if token in self.valid and not self.serve_nobody:
            exchange.reply(ROWS)
        else:
            exchange.reply(orjson.dumps({"you_sent": token}), 401)


class Place:
    """One VM: its secrets, its folder of tokens, its output."""

    def __init__(self, root: Path, acme: Acme, host: str, api: str, more: str = "") -> None:
        self.root = root
        self.acme = acme
        self.clock = HandClock()
        (root / "secrets").mkdir(parents=True)
        (root / "output").mkdir()
        self.secret("refresh", "refresh-0")
        self.secret("app", "app-s3cret")
        text = f"""
hosts = ["{api}"]
allow_private = true
[auth.oauth2]
grant = "refresh_token"
token_url = "http://{host}/token"
client_id = "app"
client_secret = {{ secret = "app" }}
refresh_token = {{ secret = "refresh" }}
{more}
[reports.stats]
get = "http://{api}/stats"
rows = "data"
columns = {{ a = "string" }}
"""
        self.partner = Partner("acme", parse_spec(tomllib.loads(text), "acme.toml"))

    def secret(self, name: str, text: str) -> None:
        (self.root / "secrets" / name).write_text(text)

    def credentials(self, vm: str = "vm") -> Credentials:
        """Return what one process of a VM has."""
        read = SecretsFolder(self.root / "secrets").read
        tokens = Tokens(
            read=read,
            send=Client(allow_private=True).send,
            sign=signed,
            files=TokenFolder(self.root / vm),
            clock=self.clock,
            hide=redacted_reason,
            notes=LocalStore(self.root / "output").notes,
        )
        return Credentials(read, tokens, self.clock)

    def auth(self, credentials: Credentials) -> Auth:
        """Return the auth; come again as long as somebody else fetches its token."""
        plan, deadline = self.partner.auth_plan(request()), time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return credentials.auth(plan)
            except NotYetError:
                assert time.monotonic() < deadline

    def call(self, credentials: Credentials) -> Verdict:
        """Make one call as a worker does: again, where its credential was renewed."""
        caller = PartnerCaller(
            {"acme": self.partner}, Client(allow_private=True), credentials, self.clock.wall
        )
        one = entry()
        verdict = caller.call(one)[1]
        one.is_renewed = verdict.is_renewed
        return caller.call(one)[1] if one.is_renewed else verdict


def request() -> Request:
    return entry().request


@pytest.fixture
def acme() -> Acme:
    """Give the partner's two servers' mind."""
    return Acme()


@pytest.fixture
def place(acme: Acme, tmp_path: Path) -> Any:
    """Give a VM in front of both servers."""
    with Server(acme.give) as tokens, Server(acme.serve) as api:
        yield Place(tmp_path, acme, tokens.host, api.host, "rotates = false")


@pytest.fixture
def rotating(acme: Acme, tmp_path: Path) -> Any:
    """Give one whose refresh token is good for one use."""
    acme.rotates = True
    with Server(acme.give) as tokens, Server(acme.serve) as api:
        yield Place(tmp_path, acme, tokens.host, api.host)


def test_sixteen_threads_and_a_slow_server_are_one_refresh(place: Place) -> None:
    """Nobody asks a second time while the first is being answered, in any process."""
    let_go = threading.Event()
    place.acme.before = lambda: _wait_for(let_go)
    workers = [place.credentials() for _ in range(2)]
    waited: list[str] = []

    def ask(number: int) -> str:
        credentials = workers[number % 2]
        try:
            return credentials.auth(place.partner.auth_plan(request())).token
        except NotYetError as error:
            waited.append(str(error))
            if len(waited) == 15:  # all the others have gone on with something else
                let_go.set()
            return ""

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(16)))

    assert sorted(found) == [""] * 15 + ["access-1"]
    assert {place.auth(one).token for one in workers} == {"access-1"}
    assert len(place.acme.forms) == 1


def test_processes_share_a_token_and_a_kill_holds_nobody_up(place: Place) -> None:
    """A worker that dies while it fetches leaves no lock behind."""
    arrived, killed = threading.Event(), threading.Event()

    def slow_at_first() -> None:
        arrived.set()
        if len(place.acme.forms) == 1:
            _wait_for(killed)

    place.acme.before = slow_at_first
    child = FORK.Process(target=lambda: place.auth(place.credentials()))
    child.start()
    _wait_for(arrived)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join(DEADLINE_SECONDS)
    killed.set()

    assert place.auth(place.credentials()).token == "access-2"
    others = [FORK.Process(target=lambda: os._exit(_same(place))) for _ in range(3)]
    for one in others:
        one.start()
    for one in others:
        one.join(DEADLINE_SECONDS)
    assert [one.exitcode for one in others] == [0, 0, 0]
    assert len(place.acme.forms) == 2


def _wait_for(event: threading.Event) -> None:
    assert event.wait(DEADLINE_SECONDS)


def _same(place: Place) -> int:
    return 0 if place.auth(place.credentials()).token == "access-2" else 1


def test_a_401_in_the_middle_is_not_noticed(place: Place) -> None:
    """A token that the partner forgot: refreshed once, and the call is made again."""
    credentials = place.credentials()
    assert place.call(credentials).outcome is Outcome.OK
    place.acme.valid = set()
    place.clock.now += 100

    verdicts = [place.call(credentials).outcome for _ in range(3)]

    assert verdicts == [Outcome.OK] * 3
    assert len(place.acme.forms) == 2
    assert len(place.acme.seen) == 5


def test_a_token_is_renewed_before_it_ends(place: Place) -> None:
    """No call meets a 401 over ten hours."""
    credentials = place.credentials()

    for _ in range(60):
        assert place.call(credentials).outcome is Outcome.OK
        place.clock.now += 600

    assert len(place.acme.seen) == 60
    assert len(place.acme.forms) == 10


def test_rotation_over_two_vms(rotating: Place) -> None:
    """Each refresh token is used once, whoever's turn it is; the output holds none readably."""
    vms = [rotating.credentials("vm-1"), rotating.credentials("vm-2")]

    for _ in range(4):
        assert len({rotating.auth(vm).token for vm in vms}) == 1
        rotating.clock.now += 3600

    used = [form["refresh_token"] for form in rotating.acme.forms]
    assert used == ["refresh-0", "refresh-1", "refresh-2", "refresh-3"]
    kept = list((rotating.root / "output/_reportd/tokens").iterdir())
    assert kept
    assert not [path for path in kept if b"refresh-" in path.read_bytes()]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def test_a_revoked_credential_says_which_secret(place: Place) -> None:
    """The reason names the file and the server's words, and holds no secret."""
    place.secret("refresh", "revoked-t0ken")

    verdict = place.call(place.credentials())

    assert (verdict.outcome, verdict.unsent) == (Outcome.AUTH, True)
    assert "(refresh, app)" in verdict.reason
    assert "invalid_grant" in verdict.reason
    assert "revoked-t0ken" not in verdict.reason
    assert place.acme.seen == []


def test_nobody_but_the_named_host_sees_the_credential(place: Place) -> None:
    """The partner gets the access token; what it takes to get one goes to the token server."""
    place.call(place.credentials())

    seen = repr(place.acme.seen)
    assert "access-1" in seen
    assert "app-s3cret" not in seen
    assert "refresh-0" not in seen


def test_what_a_partner_echoes_holds_no_token(place: Place) -> None:
    """The sample of a refused answer, of the first token and of the one that replaced it."""
    credentials = place.credentials()
    place.call(credentials)
    place.acme.serve_nobody = True

    verdict = place.call(credentials)

    assert verdict.outcome is Outcome.AUTH
    assert verdict.sample == b'{"you_sent":"[secret]"}'
    assert len(place.acme.forms) == 2
    plan = place.partner.auth_plan(request())
    assert {"access-1", "access-2"} <= set(credentials.secrets_of(plan))
