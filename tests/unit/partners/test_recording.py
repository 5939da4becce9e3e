"""Recordings: written without secrets, read back, answered from."""

import json
from pathlib import Path

import pytest

from reportd.errors import ConfigError
from reportd.model.content import whole
from reportd.partners.recording import (
    Exchange,
    Player,
    Recorder,
    new_recording,
    read_exchanges,
    read_request,
)
from reportd.partners.scrubbing import secrets_in_urls
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from tests.unit.partners.making import NOW, answer, request

URL = "https://api.acme.com/v2/stats?from=2025-11-15"


def call(url: str = URL, method: str = "GET", body: bytes | None = None) -> Call:
    """Make a call that carries secrets."""
    return Call(
        method=method,
        url=url,
        hosts=("api.acme.com",),
        headers={"X-Account": "acc-1"},
        secret_headers=(("Authorization", "Bearer hunter2-token"),),
        secret_query=(("key", "k3y/secret"),),
        body=body,
    )


def record(folder: Path, *exchanges: tuple[Call, Answer | Failure]) -> list[Exchange]:
    """Record some exchanges, and read them back."""
    new_recording(folder, request())
    outcomes = [outcome for _, outcome in exchanges]
    recorder = Recorder(lambda _call: outcomes.pop(0), folder, lambda: NOW, lambda: ["pa55"])
    for sent, outcome in exchanges:
        assert outcome == recorder.send(sent)
    recorder.close()
    return read_exchanges(folder)


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    """Status, headers, body, failures and times come back as they were."""
    good = answer({"data": [1]}, content_type="application/json")
    slow = Failure(kind=FailureKind.TIMEOUT, detail="no complete answer", seconds=60.0)

    found = record(tmp_path / "rec", (call(), good), (call(), slow))

    assert [good, slow] == [one.outcome for one in found]
    assert [NOW, NOW] == [one.at for one in found]
    assert request() == read_request(tmp_path / "rec")


def test_no_secret_is_on_the_disk(tmp_path: Path) -> None:
    """Neither what the call carried, nor what the answer repeats, nor a token that it brings."""
    body = {"you_sent": "hunter2-token", "key": "k3y/secret", "access_token": "EAAB", "p": "pa55"}
    record(tmp_path / "rec", (call(body=b"p=pa55"), answer(body, set_cookie="sid=5e551on")))

    kept = b"".join(path.read_bytes() for path in sorted((tmp_path / "rec").iterdir()))

    for secret in (b"hunter2-token", b"k3y/secret", b"k3y%2Fsecret", b"EAAB", b"pa55", b"5e551on"):
        assert secret not in kept
    assert 0o700 == (tmp_path / "rec").stat().st_mode & 0o777


def test_what_is_known_later_is_hidden_in_what_came_before(tmp_path: Path) -> None:
    """A URL that an answer brings is a secret of that answer, too."""
    new_recording(tmp_path / "rec", request())
    url = "https://files.acme.com/x?q=0pAque-k3y%2B1&part=2"
    known: list[str] = []
    outcomes = [answer({"url": url}), answer(b"rows")]
    recorder = Recorder(lambda _call: outcomes.pop(0), tmp_path / "rec", lambda: NOW, lambda: known)

    recorder.send(call())
    known += secrets_in_urls({"url": url})
    recorder.send(call(url))
    recorder.close()

    first, second = read_exchanges(tmp_path / "rec")
    assert isinstance(first.outcome, Answer)
    assert b"https://files.acme.com/x?q=[secret]&part=2" in whole(first.outcome.body)
    assert "https://files.acme.com/x?q=[secret]&part=2" == second.asked.url


def test_the_player_answers_each_call_once(tmp_path: Path) -> None:
    """The same call gets its answers in their order, then none."""
    busy, good, other = answer(b"", 429), answer({"data": [1]}), answer({"data": [2]})
    recorded = record(
        tmp_path / "rec", (call(), busy), (call(), good), (call(URL + "&after=2"), other)
    )
    player = Player(recorded)

    assert other == player.send(call(URL + "&after=2"))
    assert [busy, good] == [player.send(call()), player.send(call())]
    assert 0 == player.left
    spent = player.send(call())
    assert isinstance(spent, Failure)
    assert "has no further answer to GET https://api.acme.com/v2/stats" in spent.detail
    assert [] == player.differences


def test_the_player_takes_what_is_near(tmp_path: Path) -> None:
    """A file that was changed may ask a bit differently: answered, and said."""
    good = answer({"data": [1]})
    recorded = record(tmp_path / "rec", (call(), good), (call(method="POST", body=b"a"), good))
    player = Player(recorded)

    assert good == player.send(call("https://api.acme.com/v2/stats?from=2025-11-16"))
    assert good == player.send(call(method="POST", body=b"b"))
    assert [
        "GET /v2/stats: not quite what was recorded: from=2025-11-16 is new, from=2025-11-15 is"
        " gone",
        "POST /v2/stats: not quite what was recorded: the body differs",
    ] == player.differences
    refused = player.send(call("https://api.acme.com/v3/stats"))
    assert isinstance(refused, Failure)
    assert FailureKind.REFUSED == refused.kind


def test_signatures_and_tokens_do_not_matter(tmp_path: Path) -> None:
    """A presigned URL is found although its signature is nowhere kept."""
    good = answer(b"rows")
    signed = "https://api.acme.com/f?X-Amz-Signature=abc&part=1"
    player = Player(record(tmp_path / "rec", (call(signed), good)))

    assert good == player.send(call("https://api.acme.com/f?X-Amz-Signature=[secret]&part=1"))
    assert [] == player.differences


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """A recording never mixes with what is there."""
    (tmp_path / "x").write_text("")

    with pytest.raises(ConfigError, match="is not empty"):
        new_recording(tmp_path, request())


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"v": 2}, "v: must be one of 1"),
        ({"at": "noon"}, "at: must be like 2026-11-22T04:00:00Z"),
        ({"answer": None}, "file: give either answer or failure"),
        ({"anwser": 1}, "anwser: unknown setting; did you mean 'answer'?"),
        ({"answer": {"status": 200, "body": "../x"}}, "answer.body: must match"),
        ({"answer": {"status": 200, "body": "0009.body"}}, "answer.body: 0009.body: No such file"),
        ({"answer": None, "failure": {"kind": "x"}}, "failure: kind: one of connect, timeout"),
    ],
)
def test_mistakes(tmp_path: Path, change: dict[str, object], wanted: str) -> None:
    """A recording written by hand is checked as a configuration is."""
    folder = tmp_path / "rec"
    record(folder, (call(), answer({"data": [1]})))
    path = folder / "0001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(ConfigError) as caught:
        read_exchanges(folder)

    assert 1 == len(caught.value.problems)
    assert f"{path}: {wanted}" in caught.value.problems[0]


def test_nothing_recorded(tmp_path: Path) -> None:
    """An empty folder is said to be one."""
    with pytest.raises(ConfigError, match="holds no recording"):
        read_exchanges(tmp_path)
    with pytest.raises(ConfigError, match=r"request\.json: cannot be read: No such file"):
        read_request(tmp_path)
