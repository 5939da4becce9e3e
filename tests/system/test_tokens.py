"""Access tokens under a real daemon: one request a VM, a revoked credential, and nothing seen."""

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from reportd.demo.scene import DemoAccount
from reportd.model.ledger import End
from reportd.model.request import Request
from tests.system.conftest import MakeStage
from tests.system.stage import Stage, quick_scene, stopped, until

pytestmark = pytest.mark.long

APP_SECRET = "app-secret-of-the-house"
REFRESH = {"north": "refresh-of-north", "south": "refresh-of-south"}
PARTNER = """\
hosts = ["127.0.0.1:PORT"]
allow_private = true
limits = [{ per = "account", calls = 100, seconds = 1, meter = "bucket", burst = 20 }]
partitions = 4
retry = { attempts = 3, base_seconds = 0.05, max_seconds = 0.2, hold_seconds = 0.2 }

[auth.oauth2]
grant = "refresh_token"
token_url = "http://127.0.0.1:PORT/token"
client_id = "reportd"
client_secret = { secret = "acme-app" }
refresh_token = { secret = "acme-{{ account.credential }}" }

[reports.campaigns]
get = "http://127.0.0.1:PORT/stats?account={{ account.id }}&from={{ from }}"
rows = "data[]"
day_column = "date"

[reports.campaigns.columns]
date = "date"
name = "string"
"""


class Acme:
    """A token server whose refresh tokens are good for one use, and a partner that takes tokens."""

    def __init__(self) -> None:
        self.next_of = {value: name for name, value in REFRESH.items()}
        self.asked: list[str] = []
        """The refresh token of each request."""
        self.revoked = {"south"}
        self.valid: set[str] = set()
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"acme": self})
        )
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def give(self, refresh: str) -> tuple[int, dict[str, Any]]:
        """Answer a request for a token."""
        with self.lock:
            self.asked.append(refresh)
            name = self.next_of.pop(refresh, "")
            if not name or name in self.revoked:
                if name:
                    self.next_of[refresh] = name
                return 400, {"error": "invalid_grant", "error_description": "revoked"}
            number = next(self.numbers)
            self.next_of[f"rotated-{number}"] = name
            self.valid.add(f"access-{number}")
            return 200, {
                "access_token": f"access-{number}",
                "refresh_token": f"rotated-{number}",
                "expires_in": 3600,
            }


class _Handler(BaseHTTPRequestHandler):
    acme: ClassVar[Acme]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
        """Say nothing."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(*self.acme.give(form["refresh_token"][0]))

    def do_GET(self) -> None:
        asks = parse_qs(urlsplit(self.path).query)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.acme.valid:
            row = {"date": asks["from"][0], "name": asks["account"][0]}
            self._answer(200, {"data": [row]})
        else:
            self._answer(401, {"you_sent": token})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = orjson.dumps(document)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def acme() -> Iterator[Acme]:
    """Give both servers."""
    made = Acme()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def stage(make_a_stage: MakeStage, acme: Acme) -> Stage:
    """Give a stage with that partner as acme."""
    scene = quick_scene()
    secrets = (("acme-app", APP_SECRET), *((f"acme-{k}", v) for k, v in REFRESH.items()))
    role = replace(scene.roles[0], days=1, secrets=secrets)
    text = PARTNER.replace("PORT", str(acme.server.server_address[1]))
    return make_a_stage(replace(scene, roles=(role,)), lambda _name, _text: text)


def ask(stage: Stage, credential: str, number: int) -> list[Request]:
    """Ask for one day of each of eight accounts."""
    accounts = [
        DemoAccount("acme", f"{credential}-{each}", "UTC", "EUR", credential, gone=False)
        for each in range(8)
    ]
    asked = [stage.ask(account, stage.scene.roles[0], number) for account in accounts]
    stage.confirm()
    return asked


def results(stage: Stage, asked: list[Request]) -> None:
    """Wait for the results of requests."""
    names = {one.id for one in asked}
    until(lambda: names <= stage.follow().ends.keys(), "the requests' ends")
    found = [stage.ledgers.ends[name][0].record for name in names]
    assert {one.state for one in found if isinstance(one, End)} == {"result"}


def test_one_token_for_a_vm_and_a_revoked_credential_alone(stage: Stage, acme: Acme) -> None:
    """Two workers, one request to the token server, kill -9 or not; the revoked one waits alone."""
    vm = stage.start(stage.vm("vm-a"))
    revoked = ask(stage, "south", 0)
    until(lambda: "refuses the credential" in vm.said(), "the refusal")
    results(stage, ask(stage, "north", 0))
    assert acme.asked.count(REFRESH["north"]) == 1

    for pid in vm.workers().values():
        os.kill(pid, signal.SIGKILL)
    results(stage, ask(stage, "north", 1))

    assert [asked for asked in acme.asked if asked != REFRESH["south"]] == [REFRESH["north"]]
    assert acme.asked.count(REFRESH["south"]) <= 4  # at 0 s, 60 s, 180 s ...
    said = [line for line in vm.said().splitlines() if " credential_refused " in line]
    assert len(said) == 1, vm.said()
    assert "refuses the credential (acme-south, acme-app)" in said[0]
    assert not {one.id for one in revoked} & stage.ledgers.ends.keys()
    stopped(vm)
    seen = vm.said() + "".join(repr(ends) for ends in stage.follow().ends.values())
    for secret in (APP_SECRET, *REFRESH.values(), "access-1", "rotated-1"):
        assert secret not in seen
    kept = list((stage.place.output / "_reportd/tokens").iterdir())
    assert kept
    assert not [file for file in kept if b"rotated-" in file.read_bytes()]


def test_a_restarted_vm_goes_on_with_what_was_rotated(stage: Stage, acme: Acme) -> None:
    """The file's refresh token was used up in an earlier life; its successor is at the output."""
    vm = stage.start(stage.vm("vm-a"))
    results(stage, ask(stage, "north", 0))
    stopped(vm)
    acme.valid.clear()

    stage.start(vm)
    results(stage, ask(stage, "north", 1))

    assert acme.asked == [REFRESH["north"], "rotated-1"]
