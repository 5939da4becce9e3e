"""Every catalogue partner tried, recorded and replayed: the same rows, and no secret kept."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from reportd.config.secrets import Secret
from reportd.model.content import Content
from reportd.model.request import Request
from reportd.partners.extending import catalogue_files
from reportd.partners.load import load_partner
from reportd.partners.parse import to_tables
from reportd.partners.partner import Partner
from reportd.partners.recording import Recorder, Send, new_recording, read_request
from reportd.partners.verdict import Verdict
from reportd.sinks.gathering import table_of
from reportd.transport.credentials import Credentials
from reportd.transport.exchange import Answer, Call, Failure
from reportd.transport.token_request import TokenPlan
from reportd.trial.replay import NoTokens, RecordedClock, no_secret, open_recording
from reportd.trial.run import Trial
from tests.fakes.every import FAKES
from tests.fakes.fake import TOKEN, Fake, asked_by
from tests.unit.partners.making import request

START = 1_763_870_400.0
"""2025-11-23T04:00:00Z."""
KEYS = (b"signature=", b"sig=")


class Tokens:
    """Gives the access token that every fake takes."""

    def token(self, _plan: TokenPlan, _refused: str = "") -> str:
        return TOKEN

    def known(self, _plan: TokenPlan) -> tuple[str, ...]:
        return (TOKEN,)


class Watch:
    """Knows the secrets of the last call."""

    def __init__(self) -> None:
        self.secrets: Collection[str] = ()

    def calling(self, _number: int, _step: str, _call: Call, secrets: Collection[str]) -> None:
        self.secrets = secrets

    def judged(
        self, _outcome: Answer | Failure, _verdict: Verdict, _rules: Collection[str]
    ) -> None:
        pass

    def waiting(self, _seconds: float, _why: str) -> None:
        pass


def trial(
    of: Partner, send: Send, clock: RecordedClock, watch: Watch, credentials: Credentials
) -> Trial:
    return Trial(
        partner=of,
        send=send,
        credentials=credentials,
        clock=clock,
        pause=clock.pause,
        watcher=watch,
        patience_seconds=float("inf"),
    )


def rows_of(of: Partner, asked: Request, bodies: Sequence[Content]) -> list[dict[str, Any]]:
    tables = to_tables(of, asked, [body for body in bodies if body], START)
    return [row for rows in tables.values() for row in table_of(rows).to_pylist()]


@pytest.mark.parametrize("kind", FAKES.values(), ids=lambda kind: kind.name)
def test_recorded_and_replayed(kind: type[Fake], tmp_path: Path) -> None:
    """Polls, pages, downloads and odd forms come back from the files as they came."""
    fake, of = kind(), load_partner(catalogue_files()[kind.name])
    asked = request(
        partner=kind.name,
        report=next(iter(of.reports)),
        account="1001",
        first_day="2025-11-19",
        last_day="2025-11-22",
        attributes=dict(kind.attributes),
    )
    clock, watch = RecordedClock(START), Watch()
    new_recording(tmp_path / "rec", asked)
    recorder = Recorder(
        lambda call: fake.answer(asked_by(call), clock.wall()),
        tmp_path / "rec",
        clock.wall,
        lambda: watch.secrets,
    )
    secrets = dict(fake.secrets)
    known = Credentials(lambda name: Secret(secrets.get(name, TOKEN), name), Tokens(), clock)
    live = trial(of, recorder.send, clock, watch, known).run(asked)
    recorder.close()

    player, then = open_recording(tmp_path / "rec")
    nothing = Credentials(no_secret, NoTokens(), then)
    replayed = trial(of, player.send, then, Watch(), nothing).run(read_request(tmp_path / "rec"))

    assert ([], 0) == (player.differences, player.left)
    assert rows_of(of, asked, live) == rows_of(of, asked, replayed) != []
    kept = b"".join(path.read_bytes() for path in (tmp_path / "rec").iterdir()).lower()
    hidden = [key for key in KEYS if key in kept.replace(key + b"[secret]", b"")]
    assert [] == hidden + [
        key for key in (TOKEN, *secrets.values()) if key.lower().encode() in kept
    ]
