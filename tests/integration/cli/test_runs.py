"""`reportctl runs`, `wait` and `rerun` on a real broker, and what `dead replay` says of runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from reportd.broker.admin import Admin
from reportd.broker.keys import partition_of
from reportd.broker.message import Message
from reportd.broker.producer import Producer
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.config.settings import KafkaSettings
from reportd.demo.kafka import EmbeddedKafka
from reportd.errors import EXIT_CONFIG, EXIT_PARTIAL, EXIT_TIMEOUT
from reportd.model.base import Record
from reportd.model.control import Control, folded, read_control
from reportd.model.id_set import IdSet, number_of
from reportd.model.request import Request
from reportd.model.run import (
    Claim,
    Covered,
    Finished,
    Manifest,
    Mending,
    TopicSpan,
    finished_key,
    parse_run_record,
)
from tests.integration.cli.test_reportctl import FLUSH_SECONDS, Place

SLOT = "daily/2026-11-22T04:00Z"
RUN = f"{SLOT}#1"
AGAIN = f"{SLOT}#2"
ACCOUNTS = 12


@pytest.fixture
def place(kafka: EmbeddedKafka, tmp_path: Path, topic_prefix: str) -> Place:
    """Give a place with its topics, three partitions each."""
    (tmp_path / "partners").mkdir()
    (tmp_path / "reportd.toml").write_text(
        f'kafka = {{ servers = "{kafka.servers}", prefix = "{topic_prefix}" }}\n'
        'output = { root = "out" }\nmetrics = { listen = "127.0.0.1:9" }\n'
    )
    settings = client_settings(KafkaSettings(servers=kafka.servers))
    found = Place(tmp_path, settings, Topics(topic_prefix))
    found.partitions(3)
    assert found.run("topics", "create") == 0
    return found


def request_of(number: int, run: str = RUN, day: int = 21) -> Request:
    """Return the n-th account's request."""
    return Request.model_validate(
        {
            "v": 1,
            "run": run,
            "partner": "acme",
            "report": "campaigns",
            "account": f"a{number}",
            "first_day": f"2026-11-{day}",
            "last_day": f"2026-11-{day}",
            "formats": ("parquet",),
            "attributes": {"team": "north"},
        }
    )


def write(place: Place, topic: str, *records: tuple[str, Record]) -> dict[int, list[int]]:
    """Write records with their keys; return where they lie, by partition."""
    producer, found = Producer(place.settings), dict[int, list[int]]()
    partitions = Admin(place.settings).topics()[topic]

    def lies(partition: int) -> Callable[[object], None]:
        def note(offset: object) -> None:
            assert isinstance(offset, int)
            found.setdefault(partition, []).append(offset)

        return note

    for key, record in records:
        number = partition_of(key.encode(), partitions)
        producer.send(
            topic, record.to_json(), key=key.encode(), partition=number, on_done=lies(number)
        )
    assert producer.flush(FLUSH_SECONDS) == 0
    return found


def enqueue(place: Place) -> Manifest:
    """Write a run: two requests an account, the first of all before the second of any."""
    requests = [request_of(number, day=day) for day in (21, 20) for number in range(ACCOUNTS)]
    topic = place.topics.requests("acme")
    lie = write(place, topic, *((request.account, request) for request in requests))
    ids = IdSet()
    for request in requests:
        ids.add(number_of(request.id))
    spans = {number: (min(offsets), max(offsets) + 1) for number, offsets in lie.items()}
    manifest = Manifest(
        run=RUN,
        requests=len(ids),
        ids_hash=ids.hash,
        topics=[TopicSpan(topic=topic, requests=len(ids), spans=spans)],
        account_days={"acme.campaigns": 2 * ACCOUNTS},
        enqueued_at=1.0,
    )
    write(place, place.topics.runs, (RUN, manifest))
    return manifest


def finish(
    place: Place, state: Literal["complete", "partial"], *, finished_at: float = 4600.0
) -> None:
    """Say that the run is over."""
    covered = Covered(expected=24, missing=2 if state == "partial" else 0, files=22, rows=700)
    record = Finished(
        run=RUN,
        state=state,
        ids_hash=manifest_of(place, RUN).ids_hash,
        requests=24,
        states={"result": 22, "dead": 2},
        reports={"acme.campaigns": covered},
        file="_reportd/runs/daily/x.json",
        deadline=1000.0,
        finished_at=finished_at,
    )
    write(place, place.topics.runs, (finished_key(RUN), record))


def manifest_of(place: Place, run: str) -> Manifest:
    """Return a run's manifest."""
    records = [parse_run_record(message.value) for message in place.read(place.topics.runs)]
    (found,) = (one for one in records if isinstance(one, Manifest) and one.run == run)
    return found


def asked(messages: list[Message], run: str) -> dict[int, list[tuple[str, str]]]:
    """Return what a run asks for in each partition, in the order it lies there."""
    found: dict[int, list[tuple[str, str]]] = {}
    for message in messages:
        request = Request.from_json(message.value)
        if request.run == run:
            what = (request.account, request.first_day.isoformat())
            found.setdefault(message.partition, []).append(what)
    return found


class TestRerun:
    def test_same_requests_as_the_next_revision(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """In the partitions of their keys, in the order they had, with all their fields."""
        before = enqueue(place)
        assert place.run("rerun", SLOT, "--dry-run") == 0
        assert f"{AGAIN}: 24 requests of {RUN} would be written" in capsys.readouterr().out
        assert place.run("rerun", SLOT) == 0

        messages = place.read(place.topics.requests("acme"))
        assert asked(messages, AGAIN) == asked(messages, RUN)
        assert {Request.from_json(one.value).attributes["team"] for one in messages} == {"north"}
        made = manifest_of(place, AGAIN)
        assert (made.requests, made.account_days) == (24, before.account_days)
        ids = IdSet()
        for message in messages:
            request = Request.from_json(message.value)
            if request.run == AGAIN:
                ids.add(number_of(request.id))
                first, end = made.topics[0].spans[message.partition]
                assert first <= message.offset < end
        assert made.ids_hash == ids.hash

    def test_a_rerun_of_a_rerun(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a revision the newest is taken, with one that one; it is always the next."""
        enqueue(place)
        assert place.run("rerun", SLOT) == 0
        capsys.readouterr()

        assert place.run("rerun", RUN, "--json") == 0

        said = json.loads(capsys.readouterr().out)
        assert (said["run"], said["of"], said["requests"]) == (f"{SLOT}#3", RUN, 24)

    def test_one_that_was_killed_goes_on(self, place: Place) -> None:
        """What it had written is not written again, and counts."""
        enqueue(place)
        topic = place.topics.requests("acme")
        begins = {topic: dict.fromkeys(range(3), 0)}
        claim = Claim(
            run=AGAIN, machine="gone", claimed_at=1.0, expires_at=2.0, holder="x", starts=begins
        )
        write(place, place.topics.runs, (AGAIN, claim))
        half = [request_of(number, AGAIN) for number in range(ACCOUNTS)]
        write(place, topic, *((request.account, request) for request in half))

        assert place.run("rerun", SLOT) == 0

        messages = place.read(topic)
        assert len(messages) == 48
        assert asked(messages, AGAIN) == asked(messages, RUN)
        assert manifest_of(place, AGAIN).requests == 24

    def test_trimmed_requests_are_no_rerun(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nobody takes a part of a run for the whole."""
        manifest = enqueue(place)
        topic = place.topics.requests("acme")
        number, (first, _) = next(iter(manifest.topics[0].spans.items()))
        Admin(place.settings).delete_records({(topic, number): first + 1})

        assert place.run("rerun", SLOT) == EXIT_CONFIG
        assert "is trimmed up to" in capsys.readouterr().err

    def test_there_must_be_such_a_run(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Names are checked, and looked for."""
        assert place.run("rerun", "daily") == EXIT_CONFIG
        assert "write it like" in capsys.readouterr().err
        assert place.run("rerun", SLOT) == EXIT_CONFIG
        assert "there is no such run" in capsys.readouterr().err

    def test_a_partner_that_was_removed_is_not_asked(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No worker reads its topics: the run would never be over."""
        enqueue(place)
        (place.folder / "partners" / "acme.toml").unlink()

        assert place.run("rerun", SLOT) == EXIT_CONFIG
        assert f"{RUN} asks acme, which has no file any more" in capsys.readouterr().err
        assert asked(place.read(place.topics.requests("acme")), AGAIN) == {}


def cancels(place: Place) -> dict[str, Control]:
    """Return what is cancelled, by run."""
    found = folded(
        read_control(message.key, message.value) for message in place.read(place.topics.control)
    )
    return {scope.removeprefix("run:"): control for scope, control in found.items()}


class TestCancel:
    def test_what_is_not_over_of_a_slot(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Also what is being enqueued; what is over is left alone, unless it is named."""
        enqueue(place)
        finish(place, "partial")
        claim = Claim(run=AGAIN, machine="m", claimed_at=1.0, expires_at=2.0, holder="x")
        write(place, place.topics.runs, (AGAIN, claim))

        assert place.run("cancel", "daily/2026-11-22T05:00+01:00", "--reason", "wrong") == 0
        assert f"{AGAIN} is cancelled: it is being enqueued" in capsys.readouterr().out
        assert {run: one.reason for run, one in cancels(place).items()} == {AGAIN: "wrong"}

        assert place.run("cancel", RUN) == 0
        assert f"{RUN} is cancelled: what is open of its 24 requests" in capsys.readouterr().out
        assert place.run("cancel", SLOT, "--undo") == 0
        assert cancels(place) == {}

    def test_what_is_over_has_nothing_open(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It is said, and nothing is written."""
        enqueue(place)
        finish(place, "complete")

        assert place.run("cancel", SLOT) == EXIT_CONFIG
        assert f"{SLOT} is over" in capsys.readouterr().err
        assert cancels(place) == {}

    def test_what_was_added_to_is_not_over(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """After 'reportd-enqueue --add' the run is cancelled by its slot, and waited for."""
        before = enqueue(place)
        finish(place, "complete")
        added = before.model_copy(update={"ids_hash": "f" * 16, "requests": 25})
        write(place, place.topics.runs, (RUN, added))

        assert place.run("wait", RUN, "--timeout", "0") == EXIT_TIMEOUT
        assert place.run("cancel", SLOT) == 0
        assert f"{RUN} is cancelled: what is open of its 25 requests" in capsys.readouterr().out

    def test_a_cancel_is_listed_until_its_run_is_over(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Then nothing of it is open; it can still be undone."""
        enqueue(place)
        assert place.run("cancel", RUN) == 0
        capsys.readouterr()
        assert place.run("controls", "--json") == 0
        assert [one["scope"] for one in json.loads(capsys.readouterr().out)] == [f"run:{RUN}"]

        finish(place, "partial", finished_at=4e9)
        assert place.run("controls", "--json") == 0
        assert json.loads(capsys.readouterr().out) == []
        assert place.run("cancel", RUN, "--undo") == 0

    def test_a_cancel_is_forgotten_in_the_end(self, place: Place) -> None:
        """It has an end, and the next one takes out of the topic what has ended."""
        enqueue(place)
        old = Control(scope=f"run:{AGAIN}", action="cancel", until=2.0, at=1.0)
        write(place, place.topics.control, (old.scope, old))

        assert place.run("cancel", RUN) == 0

        (run, control), *more = cancels(place).items()
        assert (run, more) == (RUN, [])
        assert control.until == control.at + 90 * 86400


class TestWait:
    @pytest.mark.parametrize(("state", "status"), [("complete", 0), ("partial", EXIT_PARTIAL)])
    def test_over(
        self,
        place: Place,
        capsys: pytest.CaptureFixture[str],
        state: Literal["complete", "partial"],
        status: int,
    ) -> None:
        """By its state; any way of writing the instant will do."""
        enqueue(place)
        finish(place, state)

        assert place.run("wait", RUN) == status
        assert f"{RUN} is {state}" in capsys.readouterr().out
        assert place.run("wait", "daily/2026-11-22T05:00:00+01:00", "--json") == status
        assert json.loads(capsys.readouterr().out)["state"] == state

    def test_not_in_time(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """Not enqueued, or not over: both are a timeout, and said apart."""
        assert place.run("wait", SLOT, "--timeout", "0") == EXIT_TIMEOUT
        assert f"{SLOT} is not enqueued yet" in capsys.readouterr().out
        enqueue(place)
        assert place.run("wait", SLOT, "--timeout", "0.1") == EXIT_TIMEOUT
        assert f"{RUN} is not over yet" in capsys.readouterr().out


class TestRuns:
    def test_list_and_one(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """Open ones with what is open, those that are over with what is missing."""
        enqueue(place)
        capsys.readouterr()
        assert place.run("runs", "--json") == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert (row["state"], row["requests"], row["open_at_most"]) == ("open", 24, 24)
        assert place.run("runs", SLOT) == 0
        assert "at most 24 of 24 requests open" in capsys.readouterr().out

        finish(place, "partial")
        assert place.run("runs", "--json") == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert (row["state"], row["missing"], row["open_at_most"]) == ("partial", 2, 0)
        assert place.run("runs", SLOT) == 0
        out = capsys.readouterr().out
        for text in ("acme.campaigns", "1 h late", "2 dead", "_reportd/runs/daily/x.json", "700"):
            assert text in out
        assert place.run("runs", "weekly/2026-11-22T04:00Z") == EXIT_CONFIG

    def test_whose_requests_are_missing_is_named(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As its file says; where that cannot be read it is said, and the rest all the same."""
        enqueue(place)
        finish(place, "partial")
        assert place.run("runs", SLOT) == 0
        said = capsys.readouterr()
        assert "x.json: No such file" in said.err
        assert "2 dead" in said.out

        one = {"partner": "acme", "report": "campaigns", "why": "permanent", "id": "1f"}
        lost = [
            {**one, "account": f"a{n}", "first_day": "2026-11-20", "last_day": "2026-11-21"}
            for n in range(30)
        ]
        file = place.folder / "out" / "_reportd" / "runs" / "daily" / "x.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"missing": lost}))
        assert place.run("runs", SLOT) == 0
        said = capsys.readouterr()
        assert "a19" in said.out
        assert "2026-11-20..2026-11-21" in said.out
        assert "a20" not in said.out
        assert "10 more: --all names them" in said.err
        assert place.run("runs", SLOT, "--all") == 0
        assert "a29" in capsys.readouterr().out
        assert place.run("runs", SLOT, "--json") == 0
        assert json.loads(capsys.readouterr().out)["missing_requests"] == lost

    def test_what_has_died_of_an_open_run_is_named(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """But for what was replayed; and a run that is being enqueued is no run of 0 requests."""
        enqueue(place)
        place.bury("aa", run=RUN, account="lost")
        place.bury("bb", run=RUN, account="saved")
        place.bury("cc", run=AGAIN, account="other")
        assert place.run("dead", "replay", "--id", "bb") == 0
        capsys.readouterr()

        assert place.run("runs", SLOT) == 0
        out = capsys.readouterr().out
        assert "lost" in out
        assert "saved" not in out
        assert "other" not in out
        assert place.run("runs", SLOT, "--json") == 0
        assert [one["id"] for one in json.loads(capsys.readouterr().out)["died"]] == ["aa"]

        claim = Claim(run=AGAIN, machine="m", claimed_at=1.0, expires_at=2.0, holder="x")
        write(place, place.topics.runs, (AGAIN, claim))
        assert place.run("runs", AGAIN) == 0
        assert "is being enqueued" in capsys.readouterr().out


def mendings(place: Place) -> list[Any]:
    """Return what is said of letters that were sent again."""
    records = [parse_run_record(message.value) for message in place.read(place.topics.runs)]
    return [record for record in records if isinstance(record, Mending)]


def test_a_replay_says_where_a_runs_requests_lie(place: Place) -> None:
    """Before they are sent from where on, when they are up to where; each run for itself."""
    for number in range(6):
        key = b"account-%d" % number
        place.bury(key.decode(), key=key, run=RUN)
    place.bury("other", key=b"x", run="")

    assert place.run("dead", "replay", "--all") == 0

    first, last = mendings(place)
    assert (first.run, first.name, first.ends) == (RUN, last.name, {})
    lie = {
        (message.partition, message.offset)
        for message in place.read(place.topics.requests("acme"))
        if message.key != b"x"
    }
    (starts,), (ends,) = first.topics.values(), last.ends.values()
    assert all(starts[number] <= offset < ends[number] for number, offset in lie)
    assert {number: end - 1 for number, end in ends.items()} == {
        number: max(offset for at, offset in lie if at == number) for number, _ in lie
    }
