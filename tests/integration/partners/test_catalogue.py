"""The catalogue's partners over real HTTP: tokens fetched, calls sent, recorded and replayed."""

import subprocess
import sys
import tomllib
from collections.abc import Collection
from pathlib import Path

import pytest

from reportd.clock import Clock
from reportd.config.secrets import Secret
from reportd.model.content import Content
from reportd.model.request import Request
from reportd.partners.load import parse_spec
from reportd.partners.parse import to_tables
from reportd.partners.partner import Partner
from reportd.partners.recording import Recorder, new_recording
from reportd.partners.redaction import redacted_reason
from reportd.partners.verdict import Verdict
from reportd.sinks.gathering import table_of
from reportd.sinks.local import LocalStore
from reportd.transport.assertion import signed
from reportd.transport.client import Client
from reportd.transport.credentials import Credentials
from reportd.transport.exchange import Answer, Call, Failure
from reportd.transport.token_files import TokenMemory
from reportd.transport.tokens import Tokens
from reportd.trial.replay import NoTokens, RecordedClock, no_secret, open_recording
from reportd.trial.run import Trial
from tests.fakes.amazon_ads import AmazonAds
from tests.fakes.driving import CATALOGUE, START, Drive
from tests.fakes.every import FAKES
from tests.fakes.fake import TOKEN, Fake
from tests.fakes.meta import Meta
from tests.fakes.serving import APP_SECRET, Served, secrets_of, service_account_key
from tests.fakes.tiktok import TikTok

FIRST, LAST = "2025-11-16", "2025-11-22"
SCOPES = {
    "microsoft_ads": "https://ads.microsoft.com/msads.manage offline_access",
    "pinterest": "ads:read",
}


class Silent:
    """Watches a trial, and says nothing of it."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def calling(self, number: int, step: str, call: Call, secrets: Collection[str]) -> None:
        """See `reportd.trial.run.Watcher.calling`."""

    def judged(self, outcome: Answer | Failure, verdict: Verdict, fitting: Collection[str]) -> None:
        """See `reportd.trial.run.Watcher.judged`."""
        del outcome, fitting
        self.verdicts.append(verdict)

    def waiting(self, seconds: float, why: str) -> None:
        """See `reportd.trial.run.Watcher.waiting`."""


@pytest.fixture(scope="module")
def key_file() -> str:
    """Give a service account's key."""
    return service_account_key()


def partner_at(served: Served) -> Partner:
    """Return the catalogue's partner, asked at a port of this machine."""
    name = served.fake.name
    file = tomllib.loads((CATALOGUE / f"{name}.toml").read_text(encoding="utf-8"))
    return Partner(name, parse_spec(served.here(file), name))


def check(run: Drive, partner: Partner, request: Request, bodies: list[Content]) -> None:
    """Compare what came with what the fake knows."""
    tables = to_tables(partner, request, bodies, START)
    found = {day: table_of(rows).to_pylist() for day, rows in tables.items()}
    assert found == {day: run.wanted(request.report, request.account, day) for day in found}
    assert sum(map(len, found.values())) > 5


def credentials_of(secrets: dict[str, str], clock: Clock, root: Path) -> Credentials:
    """Return what reads secrets and fetches tokens, as the worker does."""

    def read(name: str) -> Secret:
        return Secret(secrets[name], name)

    tokens = Tokens(
        read=read,
        send=Client(1).send,
        sign=signed,
        files=TokenMemory(),
        clock=clock,
        hide=redacted_reason,
        notes=LocalStore(root).notes,
    )
    return Credentials(read, tokens, clock)


@pytest.mark.parametrize("fake", FAKES.values())
def test_over_http_recorded_and_replayed(fake: type[Fake], key_file: str, tmp_path: Path) -> None:
    """The rows come out right, twice; a token is fetched once; no secret is in the recording."""
    clock, one = RecordedClock(START), fake()
    run = Drive(one)
    secrets = secrets_of(one, key_file)
    report = "sp_ads" if fake is AmazonAds else "ads"
    request = run.request(report, "1001", FIRST, LAST)
    folder = tmp_path / "recording"
    new_recording(folder, request)
    (tmp_path / "output").mkdir()
    with Served(one, clock.wall) as served:
        partner = partner_at(served)
        client, watcher = Client(1), Silent()
        recorder = Recorder(client.send, folder, clock.wall, lambda: [TOKEN, *secrets.values()])
        trial = Trial(
            partner=partner,
            send=recorder.send,
            credentials=credentials_of(secrets, clock, tmp_path / "output"),
            clock=clock,
            pause=clock.pause,
            watcher=watcher,
            patience_seconds=7200,
        )

        check(run, partner, request, trial.run(request))

        client.close()
        recorder.close()
    fetched = [form.get("scope") for form in served.token_forms]
    assert fetched == ([] if fake in (Meta, TikTok) else [SCOPES.get(one.name)])
    kept = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    for secret in (TOKEN, APP_SECRET, *secrets.values()):
        assert secret.encode() not in kept

    player, recorded = open_recording(folder)
    again = Trial(
        partner=partner,
        send=player.send,
        credentials=Credentials(no_secret, NoTokens(), recorded),
        clock=recorded,
        pause=recorded.pause,
        watcher=Silent(),
        patience_seconds=float("inf"),
    )
    check(run, partner, request, again.run(request))
    assert (player.left, player.differences) == (0, [])


@pytest.mark.parametrize("name", ["tiktok", "ga4"])
def test_a_fake_by_hand(name: str) -> None:
    """``python -m tests.fakes`` prints the command that asks it, and the command works."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes", name],
        stdout=subprocess.PIPE,
        text=True,
        cwd=CATALOGUE.parents[2],
    ) as playing:
        try:
            assert playing.stdout is not None
            command = playing.stdout.readline().split()
            done = subprocess.run(
                [str(Path(sys.executable).with_name(command[0])), *command[1:]],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            playing.terminate()

    assert done.returncode == 0, done.stderr
    assert f"{name}/campaigns/date=2025-11-18/1001.parquet" in done.stdout
