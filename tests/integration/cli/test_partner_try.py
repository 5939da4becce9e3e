"""`reportctl partner try` against the demo's partners, and again without them."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.demo.scene import Scene, demo_scene
from reportd.demo.simulator.config import Faults
from reportd.demo.simulator.process import Simulator
from reportd.demo.workplace import Workplace
from tests.integration.transport.serving import Exchange, Server

SECRETS = (b"token-of-north", b"key-of-the-app", b"swordfish", b"cmVwb3J0czpzd29yZGZpc2g=")
DAYS = "2026-11-18..2026-11-20"


class Running:
    """The simulated partners, calm, and a configuration that names them."""

    def __init__(self, place: Workplace, simulator: Simulator) -> None:
        self.place = place
        self.simulator = simulator

    def ask(self, partner: str, *options: str) -> int:
        config = ("--config", str(self.place.config))
        return reportctl.main(["partner", "try", partner, *options, *config])


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    scene = demo_scene()
    calm = [replace(one, partner=replace(one.partner, faults=Faults())) for one in scene.roles]
    scene = Scene(tuple(calm))
    place = Workplace(tmp_path / "place")
    place.root.mkdir()
    with Simulator(scene.simulated(place.calls)) as simulator:
        place.write(scene, "127.0.0.1:9092", simulator.port, 9477)
        yield Running(place, simulator)


@pytest.mark.parametrize(
    ("partner", "credential"), [("acme", "north"), ("bolt", "app"), ("crux", "team")]
)
def test_what_is_recorded_is_replayed(
    running: Running, capsys: pytest.CaptureFixture[str], partner: str, credential: str
) -> None:
    """One request shows its calls and rows; its recording, without secrets, shows the same."""
    folder = running.place.root / "recording"
    options = ("--account", f"{partner}-03", "--credential", credential, "--days", DAYS)

    assert 0 == running.ask(partner, *options, "--record", str(folder))

    live = capsys.readouterr().out
    made = [call.question for call in running.simulator.calls()]
    assert len(made) == len(re.findall(r"^ +\d+  (?:GET|POST) http", live, re.MULTILINE))
    assert made[0][2:] == (f"{partner}-03", "2026-11-18", "2026-11-20")
    assert re.search(r"^The first \d+ of \d+ rows$", live, re.MULTILINE)
    assert f"date=2026-11-20/{partner}-03.parquet" in live
    kept = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    assert [] == [secret for secret in SECRETS if secret in kept + live.encode()]

    for secret in (running.place.root / "etc/secrets").iterdir():
        secret.unlink()
    assert 0 == running.ask(partner, "--replay", str(folder))

    assert _timeless(live) == _timeless(capsys.readouterr().out)
    assert len(made) == len(running.simulator.calls())


def test_a_slow_down_is_waited_for(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """A partner that never stops saying "slow down" ends at the patience that was given."""
    running.simulator.faults(Faults(throttle=1.0))

    status = running.ask(
        "acme", "--account", "acme-03", "--credential", "north", "--patience", "0.5"
    )

    said = capsys.readouterr()
    assert 75 == status
    assert "rule slow_down[1] decides" in said.out
    assert "which is longer than the 0.5 s" in said.err
    assert 1 == len(running.simulator.calls())


def test_nobody_there(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """A partner that cannot be reached is 75, after three tries."""
    file = running.place.partners / "acme.toml"
    file.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9", file.read_text()))

    status = running.ask("acme", "--account", "acme-03", "--credential", "north")

    assert 75 == status
    assert "It ends here: transient: connect: no connection to 127.0.0.1" in capsys.readouterr().err


def _timeless(text: str) -> str:
    """Return what was shown without what a replay lacks.

    Times, waits for limits, tokens that are fetched, and sizes (secrets were longer).
    """
    lacking = "waits", "token: "
    lines = [line for line in text.splitlines() if not line.strip().startswith(lacking)]
    return re.sub(r"in \d+\.\d\d s, [\d,]+ bytes", "in time", "\n".join(lines))


FLOW = """
hosts = ["{api}"]
allow_private = true
[auth.oauth2]
grant = "client_credentials"
token_url = "http://{api}/token"
client_id = "app-7"
client_secret = {{ secret = "app" }}

[reports.ads]
rows = "rows"
columns = {{ clicks = "int64" }}
[[reports.ads.steps]]
name = "create"
post = "http://{api}/reports"
json = {{ account = "{{{{ account.id }}}}" }}
pick = {{ report = "id" }}
[[reports.ads.steps]]
name = "poll"
get = "http://{api}/reports/{{{{ picked.report }}}}"
pick = {{ url = "url" }}
poll = {{ first_seconds = 0.05, jitter = 0, done = "state == 'DONE'" }}
[[reports.ads.steps]]
name = "download"
get = "{{{{ picked.url }}}}"
hosts = ["{files}"]
"""


class Making:
    """A token server, a partner that makes reports, and where they lie, at a port of its own."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.polls = 0
        self.files = ""

    def serve(self, exchange: Exchange) -> None:
        self.calls.append(f"{exchange.method} {exchange.target}")
        if exchange.target == "/token":
            exchange.reply(b'{"access_token": "t0ken-0f-the-app", "expires_in": 3600}')
        elif exchange.target.startswith("/x?"):
            assert "authorization" not in exchange.headers
            exchange.reply(b'{"rows": [{"clicks": 3}]}')
        elif exchange.headers.get("authorization") != "Bearer t0ken-0f-the-app":
            exchange.reply(b"{}", 401)
        elif exchange.method == "POST":
            exchange.reply(b'{"id": "r1"}')
        else:
            self.polls += 1
            done = f'{{"state": "DONE", "url": "http://{self.files}/x?q=0paque-k3y"}}'
            exchange.reply(done.encode() if self.polls > 1 else b'{"state": "RUNNING"}')


def test_a_flow_with_fetched_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Token, create, polls, download elsewhere: shown, recorded and replayed without a secret."""
    making = Making()
    file, folder = tmp_path / "making.toml", tmp_path / "recording"
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/app").write_text("5ecret-of-the-app")
    trying = ["partner", "try", str(file), "--config", str(tmp_path / "nothing.toml")]
    with Server(making.serve) as api, Server(making.serve) as files:
        making.files = files.host
        file.write_text(FLOW.format(api=api.host, files=files.host))
        options = ["--account", "17", "--secrets", str(tmp_path / "secrets")]

        assert 0 == reportctl.main([*trying, *options, "--record", str(folder)])

    live = capsys.readouterr().out
    assert [
        "POST /token", "POST /reports", "GET /reports/r1", "GET /reports/r1", "GET /x?q=0paque-k3y",
    ] == making.calls  # fmt: skip
    assert f"  4  GET http://{files.host}/x?q=[secret]  (step download)" in live
    assert "picked report = r1" in live
    kept = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    for secret in (b"5ecret-of-the-app", b"t0ken-0f-the-app", b"0paque-k3y"):
        assert secret not in kept + live.encode()

    assert 0 == reportctl.main([*trying, "--replay", str(folder)])

    assert _timeless(live) == _timeless(capsys.readouterr().out)
