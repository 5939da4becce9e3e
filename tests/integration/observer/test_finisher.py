"""Runs that are over, on a real broker, in a folder and in a bucket: killed at each step."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reportd.broker.admin import Admin
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import topic_plans
from reportd.demo.kafka import EmbeddedKafka
from reportd.model.account import Account
from reportd.model.run import Finished, Mending, mending_key, parse_run_record
from reportd.observer.run_file import file_name
from tests.integration.observer import dying_finisher as dying
from tests.integration.observer.dying_finisher import DAY, Stage, run_name
from tests.integration.sinks.publishing import SECRET
from tests.s3server import S3Server

MARK = f"_reportd/days/acme/stats/{DAY}"


def made_stage(kafka: EmbeddedKafka, prefix: str, where: str, folder: Path) -> Stage:
    """Make the topics."""
    stage = Stage(kafka.servers, prefix, where, folder / "told")
    Admin(stage.settings).create(topic_plans(prefix, {"acme": 2}, replication=1))
    return stage


def records(stage: Stage) -> dict[str, list[Finished]]:
    """Return what the topic says of each run that is over, in order."""
    reader = PartitionReader(stage.settings, group=stage.prefix)
    found: dict[str, list[Finished]] = {}
    for message in reader.read_all(stage.topics.runs):
        record = parse_run_record(message.value)
        if isinstance(record, Finished):
            found.setdefault(record.run, []).append(record)
    reader.close()
    return found


def kill_at_every_step(stage: Stage, root: Path) -> None:
    """Let observers die at each step, and others go on; then look at what stands there."""
    said = subprocess.run(
        [
            *(sys.executable, "-m", "tests.integration.observer.dying_finisher"),
            *(stage.servers, stage.prefix, stage.where, str(stage.told)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ).stdout.split()
    found, told = records(stage), stage.told.read_text().split()
    killed = [status == str(-signal.SIGKILL) for status in said[0::2]]

    assert said[1::2] == ["0"] * (dying.STEPS + 1)
    assert killed == [True] * dying.STEPS + [False]
    for number in range(1, dying.STEPS + 2):
        run = run_name(number)
        document = json.loads((root / "_reportd" / file_name(run, 0)).read_text())
        assert document["state"] == ("partial" if number % 2 else "complete")
        assert {one.finished_at for one in found[run]} == {document["finished_at"]}, number
        assert found[run][-1].notified
        assert 1 <= told.count(run) <= 2, number
        assert len((root / document["list"]).read_text().splitlines()) == document["files"]
    assert len(list(root.glob("_reportd/runs/daily/*.json"))) == dying.STEPS + 1
    assert [path.name for path in (root / MARK).iterdir()] == ["_SUCCESS"]
    mark = json.loads((root / MARK / "_SUCCESS").read_text())
    assert (mark["run"], mark["missing"]) == (run_name(dying.STEPS + 1), [])


@pytest.mark.timeout(300)
def test_killed_at_every_step(kafka: EmbeddedKafka, topic_prefix: str, tmp_path: Path) -> None:
    """Each run is written once, its day marked, and told of at least once."""
    (tmp_path / "root").mkdir()
    stage = made_stage(kafka, topic_prefix, str(tmp_path / "root"), tmp_path)
    kill_at_every_step(stage, tmp_path / "root")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_killed_at_every_step_before_a_bucket(
    kafka: EmbeddedKafka,
    topic_prefix: str,
    tmp_path: Path,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same."""
    monkeypatch.setenv(SECRET, s3.secret_key)
    kill_at_every_step(made_stage(kafka, topic_prefix, f"s3:{s3.port}", tmp_path), s3.root)


def test_a_replay_mends(kafka: EmbeddedKafka, topic_prefix: str, tmp_path: Path) -> None:
    """Dead letters that were sent again and have ended flip the mark, and are told of."""
    root = tmp_path / "root"
    root.mkdir()
    stage = made_stage(kafka, topic_prefix, str(root), tmp_path)
    run, topic = run_name(1), stage.topics.requests("acme")
    manifest = dying.enqueue(stage, 1, dead=True)
    end = manifest.topics[0].spans[0][1]
    dying.observe(stage, dying.until_told(run))
    assert [path.name for path in (root / MARK).iterdir()] == ["_PARTIAL"]

    producer, request = Producer(stage.settings), dying.request_of(1, "bad")
    producer.send(topic, request.to_json(), key=b"k", partition=0)
    again = dying.end_of(request, topic, end, dead=False, replay=1)
    producer.send(stage.topics.ledger("acme"), again.to_json(), key=b"k", partition=0)
    sent = Mending(run=run, name="m", at=1.0, topics={topic: {0: end}}, ends={topic: {0: end + 1}})
    producer.send(stage.topics.runs, sent.to_json(), key=mending_key(sent).encode())
    assert producer.flush(dying.PATIENCE_SECONDS) == 0
    dying.commit(stage, end + 1)
    dying.observe(stage, dying.until_told(run, mend=1))

    assert [path.name for path in (root / MARK).iterdir()] == ["_SUCCESS"]
    assert stage.told.read_text().split() == [run, f"{run}+1"]
    assert [(one.mend, one.state) for one in records(stage)[run]] == [
        (0, "partial"),
        (0, "partial"),
        (1, "complete"),
        (1, "complete"),
    ]


def test_a_run_behind_an_open_request_of_another_is_over(
    kafka: EmbeddedKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Commits stop there, for a week if its account is paused; the ledgers tell."""
    root = tmp_path / "root"
    root.mkdir()
    stage = made_stage(kafka, topic_prefix, str(root), tmp_path)
    producer, topic = Producer(stage.settings), stage.topics.requests("acme")
    producer.send(topic, dying.request_of(0, "paused").to_json(), key=b"k", partition=0)
    assert producer.flush(dying.PATIENCE_SECONDS) == 0
    manifest = dying.enqueue(stage, 1, dead=False)
    assert manifest.topics[0].spans[0][0] == 1
    dying.commit(stage, 0)
    run = run_name(1)
    dying.observe(stage, dying.until_told(run), clock=dying.HastyClock())

    assert [one.state for one in records(stage)[run]] == ["complete", "complete"]
    assert [path.name for path in (root / MARK).iterdir()] == ["_SUCCESS"]
    assert stage.told.read_text().split() == [run]


def test_accounts_that_nobody_asked_for(
    kafka: EmbeddedKafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The manifest expects one more: it is the schedule's active account without a request."""
    root = tmp_path / "root"
    root.mkdir()
    stage = made_stage(kafka, topic_prefix, str(root), tmp_path)
    producer = Producer(stage.settings)
    for name, active, schedule in (
        ("good", True, "daily"),
        ("bad", True, "daily"),
        ("forgotten", True, "daily"),
        ("gone", False, "daily"),
        ("foreign", True, "weekly"),
    ):
        account = Account(partner="acme", account=name, active=active, schedule=schedule)
        key = f"acme/{name}".encode()
        producer.send(stage.topics.accounts, account.to_json(), key=key)
    assert producer.flush(dying.PATIENCE_SECONDS) == 0
    dying.enqueue(stage, 1, dead=False, expected=3)
    dying.observe(stage, dying.until_told(run_name(1)))

    mark = json.loads((root / MARK / "_PARTIAL").read_text())
    missing = [(one["account"], one["why"]) for one in mark["missing"]]
    assert missing == [("forgotten", "no such request")]
    (covered,) = records(stage)[run_name(1)][-1].reports.values()
    assert (covered.expected, covered.missing) == (3, 1)
