"""`reportctl topics`, `dead` and `status` on a real broker."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from reportd.broker.admin import Admin
from reportd.broker.keys import partition_of
from reportd.broker.message import Message
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings, client_settings
from reportd.broker.topics import TopicPlan, Topics
from reportd.cli import reportctl
from reportd.config.settings import KafkaSettings
from reportd.demo.kafka import EmbeddedKafka
from reportd.enqueue.backfill import MOST_REQUESTS
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE
from reportd.model.account import Account
from reportd.model.id_set import IdSet, number_of
from reportd.model.ledger import End, PublishedFile
from reportd.model.request import Request
from reportd.model.run import Manifest, TopicSpan
from reportd.sinks.local import LocalStore

PARTNER = """
partitions = %d
hosts = ["api.acme.com"]
limits = [ { per = "account", calls = 5, seconds = 1, meter = "sliding" } ]
[reports.campaigns]
get = "https://api.acme.com/v2/{{ account.id }}/stats"
rows = "data[]"
columns = { clicks = "int64" }
"""
FLUSH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """A configuration folder, and clients for what it names."""

    folder: Path
    settings: ClientSettings
    topics: Topics

    def partitions(self, count: int) -> None:
        (self.folder / "partners" / "acme.toml").write_text(PARTNER % count)

    def run(self, *args: str) -> int:
        *command, last = args
        return reportctl.main([*command, last, "--config", str(self.folder / "reportd.toml")])

    def read(self, topic: str) -> list[Message]:
        reader = PartitionReader(self.settings, group=self.topics.prefix)
        try:
            return list(reader.read_all(topic))
        finally:
            reader.close()

    def bury(self, name: str, *, key: bytes = b"1", value: bytes = b"{}", **headers: str) -> None:
        """Write a dead letter as a worker does."""
        known = {
            "id": name,
            "replay": "0",
            "error": "permanent",
            "reason": "404",
            "attempts": "3",
            "topic": self.topics.requests("acme"),
            "partition": "0",
            "offset": "7",
            "run": "daily/2026-11-22T04:00Z#1",
            "account": "1",
            "report": "campaigns",
            "sample": "no such account",
            **headers,
        }
        producer = Producer(self.settings)
        producer.send(
            self.topics.dead,
            value,
            key=key,
            headers=tuple((name, text.encode()) for name, text in known.items()),
        )
        assert producer.flush(FLUSH_SECONDS) == 0


@pytest.fixture
def place(kafka: EmbeddedKafka, tmp_path: Path, topic_prefix: str) -> Place:
    (tmp_path / "partners").mkdir()
    (tmp_path / "reportd.toml").write_text(
        f'kafka = {{ servers = "{kafka.servers}", prefix = "{topic_prefix}" }}\n'
        'output = { root = "out" }\nmetrics = { listen = "127.0.0.1:9" }\n'
    )
    settings = client_settings(KafkaSettings(servers=kafka.servers))
    found = Place(tmp_path, settings, Topics(topic_prefix))
    found.partitions(3)
    return found


@pytest.fixture
def made(place: Place, capsys: pytest.CaptureFixture[str]) -> Place:
    """Give a place with its topics."""
    assert place.run("topics", "create") == 0
    capsys.readouterr()
    return place


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


class TestTopics:
    def test_create_is_idempotent(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """A dry run makes nothing, the first run all, the second nothing again."""
        kinds = []
        for option in ("--dry-run", "--json", "--json"):
            assert place.run("topics", "create", "--json", option) == 0
            kinds.append({each["change"] for each in document(capsys)["topics"]})

        assert kinds == [{"create"}, {"create"}, {"keep"}]
        assert Admin(place.settings).topics()[place.topics.requests("acme")] == 3

    def test_copies_are_those_that_there_are(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Not those that are wished for: of topics that are there, they stay as they are."""
        assert made.run("topics", "create", "--dry-run", "--replication", "1") == 0
        assert "not 1" not in capsys.readouterr().out

        asked = ("topics", "create", "--dry-run", "--replication", "3")
        made.run(*asked)
        assert "copies are 1, not 3" in capsys.readouterr().out
        made.run(*asked, "--json")
        assert {each["copies"] for each in document(capsys)["topics"]} == {1}

    def test_create_prints_what_it_did_and_the_rights(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """For a person, with every topic and a line a right."""
        assert place.run("topics", "create") == 0

        out = capsys.readouterr().out
        assert place.topics.ledger("acme") in out
        assert f"--operation Describe --operation Read --group {place.topics.prefix}" in out

    def test_grow_follows_the_partner_file(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It waits while anything is open, then all three grow; the second time nothing does."""
        producer = Producer(made.settings)
        producer.send(made.topics.requests("acme"), b"{}", key=b"1")
        assert producer.flush(FLUSH_SECONDS) == 0
        made.partitions(5)

        assert made.run("topics", "create") == 1
        assert "3 partitions, not 5" in capsys.readouterr().out
        assert made.run("topics", "grow", "acme", "--timeout", "0") == EXIT_UNAVAILABLE
        assert "still 1 open" in capsys.readouterr().err
        assert made.run("topics", "grow", "acme", "--dry-run") == 0
        assert Admin(made.settings).topics()[made.topics.ledger("acme")] == 3
        admin = Admin(made.settings)
        part = (made.topics.requests("acme"), partition_of(b"1", 3))
        admin.delete_records({part: 1})  # as good as finished: nothing is kept before the end
        assert made.run("topics", "grow", "acme") == 0
        assert made.run("topics", "grow", "acme") == 0
        assert "nothing to do" in capsys.readouterr().out
        for name in (made.topics.requests, made.topics.backfill, made.topics.ledger):
            assert admin.topics()[name("acme")] == 5

    def test_an_unknown_partner_is_a_mistake(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Said with those there are."""
        assert made.run("topics", "grow", "acne") == EXIT_CONFIG
        assert "there are: acme" in capsys.readouterr().err


class TestDead:
    def test_list_filters(self, made: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """By every field; copies of a letter are one."""
        made.bury("aa")
        made.bury("aa")
        made.bury("bb", account="2", error="poison")

        for options, ids in (
            ((), ["aa", "bb"]),
            (("--account", "2"), ["bb"]),
            (("--error", "permanent", "--partner", "acme"), ["aa"]),
            (("--partner", "globex"), []),
            (("--id", "bb", "--report", "campaigns"), ["bb"]),
        ):
            assert made.run("dead", "list", *options, "--json") == 0
            assert [each["id"] for each in document(capsys)] == ids

    def test_a_run_is_named_as_elsewhere(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without its revision, or as Airflow writes instants: not in silence as nothing at all."""
        for revision in (1, 2):
            made.bury(f"r{revision}", run=f"daily/2026-11-22T04:00Z#{revision}")
        made.bury("other", run="daily/2026-11-23T04:00Z#1")
        made.bury("poison", run="")

        for name, ids in (
            ("daily/2026-11-22T04:00Z#2", ["r2"]),
            ("daily/2026-11-22T04:00Z", ["r1", "r2"]),
            ("daily/2026-11-22T05:00:00+01:00#1", ["r1"]),
        ):
            assert made.run("dead", "list", "--run", name, "--json") == 0
            assert [each["id"] for each in document(capsys)] == ids
        assert made.run("dead", "replay", "--run", "daily") == EXIT_CONFIG
        assert "daily: is no run's name" in capsys.readouterr().err

    def test_list_is_a_table(self, made: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """Nothing in it is acted upon by a terminal."""
        made.bury("aa", reason="\x1b]0;owned\x07 [red]404[/red]")

        assert made.run("dead", "list") == 0

        out = capsys.readouterr().out
        assert "\\x1b]0;owned" in out
        assert "[red]404[/red]" in out
        assert "\x1b" not in out

    def test_what_is_no_request_is_listed_with_its_place(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It has no account: whoever looks for its producer needs the offset."""
        made.bury("poison-p.requests.acme-0-7", account="", report="", run="", error="poison")

        assert made.run("dead", "list") == 0
        assert "(offset 7)" in capsys.readouterr().out

    def test_show_has_the_original(self, made: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """Found by the beginning of its id; bytes that are no text too."""
        made.bury("abcdef", value=b'{"v":1}')
        made.bury("abxxxx", value=b"\xff\x1b[2J\n")

        assert made.run("dead", "show", "abc") == 0
        out = capsys.readouterr().out
        assert '"v": 1' in out
        assert "no such account" in out
        assert made.run("dead", "show", "abx") == 0
        assert "\\xff\\x1b[2J" in capsys.readouterr().out
        assert made.run("dead", "show", "ab") == EXIT_CONFIG
        assert made.run("dead", "show", "zz") == EXIT_CONFIG

    def test_replay_sends_the_original_once(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The same key, bytes and partition, the next life; noted, so that it is left out then."""
        keys = [b"account-%d" % number for number in range(8)]
        for key in keys:
            made.bury(key.decode(), key=key, value=b"bytes of " + key)

        assert made.run("dead", "replay", "--all", "--dry-run") == 0
        assert made.read(made.topics.requests("acme")) == []
        assert made.run("dead", "replay", "--id", "account-0") == 0
        assert made.run("dead", "replay", "--all") == 0
        assert made.run("dead", "replay", "--all") == 0

        found = made.read(made.topics.requests("acme"))
        assert sorted(each.key or b"" for each in found) == keys
        for each in found:
            assert each.value == b"bytes of " + (each.key or b"")
            assert each.partition == partition_of(each.key or b"", 3)
            assert each.headers == (("replay", b"1"),)
        capsys.readouterr()
        assert made.run("dead", "list", "--json") == 0
        assert document(capsys) == []
        assert made.run("dead", "list", "--replayed", "--json") == 0
        assert [each["replayed"] for each in document(capsys)] == [True] * 8

    def test_what_is_dropped_is_left_alone(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Not listed, not replayed; a dry run drops nothing, and its bytes are kept."""
        made.bury("aa", account="1")
        made.bury("bb", account="2")
        assert made.run("dead", "drop") == EXIT_CONFIG
        assert made.run("dead", "drop", "--account", "2", "--dry-run") == 0
        assert "1 would be dropped" in capsys.readouterr().out

        assert made.run("dead", "drop", "--account", "2") == 0
        assert made.run("dead", "replay", "--all") == 0
        capsys.readouterr()
        assert len(made.read(made.topics.requests("acme"))) == 1
        assert made.run("dead", "list", "--dropped", "--json") == 0
        assert [(each["id"], each["dropped"]) for each in document(capsys)] == [("bb", True)]
        assert made.run("dead", "show", "bb") == 0

    def test_a_replay_that_died_can_be_replayed(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It is the second life, then the third."""
        made.bury("aa")
        assert made.run("dead", "replay", "--all") == 0
        made.bury("aa", replay="1")
        assert made.run("dead", "replay", "--all") == 0

        found = made.read(made.topics.requests("acme"))
        assert [each.header("replay") for each in found] == [b"1", b"2"]

    def test_nothing_is_sent_elsewhere(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A letter that names a topic of no partner, or a ledger, stays where it is."""
        made.bury("aa", topic=made.topics.control)
        made.bury("bb", topic=made.topics.ledger("acme"))

        assert made.run("dead", "replay", "--all") == 0

        assert "2 left out" in capsys.readouterr().out
        assert made.read(made.topics.control) == made.read(made.topics.ledger("acme")) == []

    def test_those_of_a_removed_partner_are_left_out(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The others are sent; which were not is said, and they stay as they are."""
        made.bury("aa", topic=made.topics.requests("gone"))
        made.bury("bb")

        assert made.run("dead", "replay", "--all", "--dry-run", "--json") == 0
        told = [(each["id"], each["left_out"]) for each in document(capsys)]
        assert told == [("bb", None), ("aa", "its topic is gone")]
        assert made.run("dead", "replay", "--all") == 0
        assert capsys.readouterr().out.endswith("1 replayed\n1 left out: its topic is gone\n")
        assert len(made.read(made.topics.requests("acme"))) == 1
        assert made.run("dead", "list", "--json") == 0
        assert [each["id"] for each in document(capsys)] == ["aa"]

        made.bury("cc")
        (made.folder / "partners" / "acme.toml").unlink()
        assert made.run("dead", "replay", "--id", "cc") == 0
        left_out = "0 replayed\n1 left out: its partner has no file: nobody would read it\n"
        assert capsys.readouterr().out.endswith(left_out)

    def test_a_letter_that_was_cut_is_shown_and_not_replayed(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Its beginning is no request: whoever looks is told where the whole of it lies."""
        made.bury("aa", value=b"the beginning", cut="9437184")

        assert made.run("dead", "show", "aa") == 0
        said = "the beginning of its 9,437,184 bytes, all of which lie in its topic:"
        assert said in capsys.readouterr().out
        assert made.run("dead", "show", "aa", "--json") == 0
        assert document(capsys)["cut_from"] == 9_437_184
        assert made.run("dead", "replay", "--all") == 0
        why = "too large to be copied: its letter has its beginning alone"
        assert capsys.readouterr().out.endswith(f"0 replayed\n1 left out: {why}\n")
        assert made.read(made.topics.requests("acme")) == []

    def test_replay_asks_what(self, made: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """Nobody replays everything by leaving something out."""
        assert made.run("dead", "replay") == EXIT_CONFIG
        assert "--all" in capsys.readouterr().err


DOCUMENT: dict[str, Any] = {
    "v": 1,
    "at": 1_000_100.0,
    "machine": "vm-1",
    "phase": "running",
    "ready": True,
    "troubles": [],
    "partners": {
        "acme": {
            "open": 1500,
            "states": {"ready": 1000, "limit": 300, "unread": 200},
            "elsewhere": 7,
            "remaining": 1500,
            "lag": 4321,
            "oldest_open": 1_000_000.0,
            "ended": 99.0,
            "ended_per_second": 12.5,
            "eta_seconds": 3700.0,
        }
    },
    "runs": [
        {"run": "daily/2026-11-22T04:00Z#1", "requests": 5, "open_at_most": 2, "deadline": None}
    ],
}


@pytest.fixture
def observer(place: Place) -> Iterator[dict[str, Any]]:
    """Serve a document as the observer does, to who knows the token."""
    shown = {**DOCUMENT}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = self.headers["Authorization"] == "Bearer hush" and self.path == "/status"
            self.send_response(200 if right else 401)
            self.end_headers()
            self.wfile.write(json.dumps(shown).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = place.folder / "reportd.toml"
    (place.folder / "secrets").mkdir()
    (place.folder / "secrets" / "metrics").write_text("hush\n")
    config.write_text(
        config.read_text().replace(
            '"127.0.0.1:9"',
            f'"127.0.0.1:{server.server_port}", token = {{ secret = "metrics" }}',
        )
    )
    yield shown
    server.shutdown()
    server.server_close()
    thread.join()


class TestStatus:
    def test_it_shows_what_the_observer_knows(
        self, place: Place, observer: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """By partner, with states, age and ETA; the document itself for programs."""
        assert place.run("status") == 0
        out = capsys.readouterr().out
        for text in ("acme", "1,500", "1 min 40 s", "1 h 1 min", "4,321", "12.5", "daily/2026"):
            assert text in out

        assert place.run("status", "--json") == 0
        assert document(capsys) == observer

    def test_not_ready_is_a_status(
        self, place: Place, observer: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With the reason, for a person and for a script."""
        observer |= {"ready": False, "troubles": ["worker-1 is wedged"]}

        assert place.run("status") == 1
        assert "worker-1 is wedged" in capsys.readouterr().out

    def test_warnings_are_no_failure(
        self, place: Place, observer: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What somebody should look at, and why the configuration on disk is refused."""
        observer |= {
            "warnings": ["another configuration runs on vm-2"],
            "reload": {"ok": False, "problems": ["reportd.toml: workers.thread: unknown"]},
        }

        assert place.run("status") == 0
        said = capsys.readouterr().out
        assert "warning: another configuration runs on vm-2" in said
        assert "the configuration on disk is refused" in said
        assert "workers.thread: unknown" in said

    def test_without_observer_the_broker_is_asked(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What is beyond the commits is at least as much as what is open."""
        producer = Producer(made.settings)
        for number in range(4):
            producer.send(made.topics.requests("acme"), b"{}", key=b"%d" % number)
        producer.send(made.topics.backfill("acme"), b"{}", key=b"1")
        assert producer.flush(FLUSH_SECONDS) == 0

        assert made.run("status", "--json") == 1
        assert document(capsys) == {"observer": None, "partners": {"acme": {"lag": 5}}}
        assert made.run("status") == 1
        assert "no observer at 127.0.0.1:9" in capsys.readouterr().out


class TestLag:
    def test_each_partition_is_shown(self, made: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """Begin, commit, end and lag; nobody has it, so what is open is not known."""
        topic = made.topics.requests("acme")
        producer = Producer(made.settings)
        for _ in range(3):
            producer.send(topic, b"{}", partition=1)
        assert producer.flush(FLUSH_SECONDS) == 0

        assert made.run("lag", "acme", "--json") == 0
        found = [one for one in document(capsys) if one["topic"] == topic]
        assert [(one["begin"], one["end"], one["lag"]) for one in found] == [
            (0, 0, 0),
            (0, 3, 3),
            (0, 0, 0),
        ]
        assert {(one["commit"], one["open"]) for one in found} == {(None, None)}

    def test_a_partner_without_topics_is_named(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A typing error is told from a partner with nothing to do."""
        assert made.run("lag", "amce") == EXIT_CONFIG
        assert "amce has no topics; did you mean 'acme'?" in capsys.readouterr().err


RUN = "daily/2026-11-22T04:00Z#1"


@pytest.mark.parametrize(
    "command",
    [
        ("cancel", RUN),
        ("controls",),
        ("dead", "list"),
        ("lag",),
        ("pause", "acme"),
        ("plan", RUN),
        ("rerun", RUN),
        ("resume", "acme"),
        ("runs",),
        ("slow", "acme", "--to", "50%"),
    ],
    ids=lambda command: command[0],
)
def test_where_no_kafka_is_it_is_said_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """In a line, and not by Kafka's own client half a minute later."""
    (tmp_path / "partners").mkdir()
    (tmp_path / "partners" / "acme.toml").write_text(PARTNER % 1)
    config = tmp_path / "reportd.toml"
    config.write_text('kafka = { servers = "127.0.0.1:9" }\noutput = { root = "out" }\n')

    assert reportctl.main([*command, "--config", str(config)]) == EXIT_UNAVAILABLE

    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("no Kafka can be reached (127.0.0.1:9: ")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("dead", "list"), "no dead letter fits"),
        (("dead", "replay", "--all", "--dry-run"), "no dead letter fits"),
        (("controls",), "nothing is paused, slowed down or cancelled"),
        (("runs",), "no run yet: the first comes with 'reportd-enqueue SCHEDULE'"),
    ],
)
def test_where_there_is_nothing_it_is_said(
    made: Place, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], said: str
) -> None:
    """Not a table of nothing: it looks like an error."""
    assert made.run(*command[:-1], command[-1]) == 0

    assert capsys.readouterr().out.startswith(said)


class TestControls:
    def test_what_is_asked_for_is_listed_and_lifted(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The newest counts for each scope; a resume takes it away, a second one says so."""
        assert made.run("pause", "acme/1", "--who", "ada", "--reason", "new login") == 0
        assert made.run("pause", "acme.campaigns", "--for", "2h") == 0
        capsys.readouterr()
        assert made.run("slow", "acme.campaigns", "--to", "50%") == 0
        assert "it was paused by " in capsys.readouterr().err
        assert made.run("controls", "--json") == 0
        found = {one["scope"]: one for one in document(capsys)}
        assert found["acme/1"]["action"] == "pause"
        assert (found["acme/1"]["who"], found["acme/1"]["reason"]) == ("ada", "new login")
        assert found["acme.campaigns"]["rate"] == 0.5
        assert found["acme.campaigns"]["until"] is None

        assert "acme has no account" not in capsys.readouterr().err
        know(made, Account(partner="acme", account="123"))
        assert made.run("pause", "acme/1-2-3") == 0
        said = "acme has no account '1-2-3' in its last accounts table; did you mean acme/123?"
        assert said in capsys.readouterr().err
        assert made.run("resume", "acme/1-2-3") == 0
        assert made.run("pause", "acme/123") == 0
        assert capsys.readouterr().err == ""
        assert made.run("pause", "acme") == 0
        assert made.run("pause", "class:daily") == 0
        capsys.readouterr()
        assert made.run("resume", "acme/123") == 0
        said = capsys.readouterr().out
        assert said == "acme/123 goes on\nstill paused: acme, class:daily\n"
        assert made.run("resume", "class:daily") == 0
        assert "still paused: acme/1, acme\n" in capsys.readouterr().out
        assert made.run("resume", "acme") == 0
        assert "still paused: acme/1\n" in capsys.readouterr().out

        assert made.run("resume", "acme/1") == 0
        assert made.run("resume", "acme/1") == EXIT_CONFIG
        assert "there is: acme.campaigns" in capsys.readouterr().err
        assert made.run("resume", "--all") == 0
        capsys.readouterr()
        assert made.run("controls", "--json") == 0
        assert document(capsys) == []

    @pytest.mark.parametrize(
        ("command", "words"),
        [
            (("pause", "amce"), "did you mean 'acme'?"),
            (("pause", "acme.campaign"), "did you mean 'campaigns'?"),
            (("pause", "acme", "--until", "2001-01-01"), "has passed"),
            (("pause", "acme", "--until", "tomorrow"), "like 2026-11-28T06:00"),
            (("pause", "acme", "--for", "soon"), "write 90s, 30min, 2h or 3d"),
            (("pause", "acme", "--reason", "one line\nand another"), "reason: "),
            (("pause", "acme/a\tb"), "scope: "),
            (("slow", "acme", "--to", "0"), "write a part of the limits"),
            (("slow", "acme", "--to", "150%"), "write a part of the limits"),
            (("pause", "run:daily/2026-11-22T04:00Z#1"), "see 'reportctl cancel'"),
            (("cancel", "daily/2026-11-22T04:00Z#1"), "the newest are: none"),
            (("cancel", "daily/2026-11-22T04:00Z#1", "--undo"), "is not cancelled"),
        ],
    )
    def test_what_nobody_has_is_refused(
        self,
        made: Place,
        capsys: pytest.CaptureFixture[str],
        command: tuple[str, ...],
        words: str,
    ) -> None:
        """With what is meant, perhaps; and nothing is written."""
        assert made.run(*command) == EXIT_CONFIG
        assert words in capsys.readouterr().err
        assert made.read(made.topics.control) == []


def know(place: Place, *accounts: Account) -> None:
    """Write accounts as the enqueuer's snapshot does."""
    producer = Producer(place.settings)
    for one in accounts:
        key = f"{one.partner}/{one.account}".encode()
        producer.send(place.topics.accounts, one.to_json(), key=key, partition=0)
    assert producer.flush(FLUSH_SECONDS) == 0


class TestPlan:
    SCHEDULE = """
calendar = "daily"
accounts = "accounts.csv"
deadline = "23:59 UTC"
[[ask]]
report = "acme.campaigns"
days = "1..30"
split_days = 1
formats = ["csv"]
"""

    def test_a_run_is_played(self, made: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """30 requests an account at 5 a second: six seconds, and the account's limit binds."""
        (made.folder / "schedules").mkdir()
        (made.folder / "schedules" / "daily.toml").write_text(self.SCHEDULE)
        know(made, *(Account(partner="acme", account=f"{n}") for n in range(9)))
        know(made, Account(partner="acme", account="gone", active=False))

        status = made.run("plan", "daily", "--call-seconds", "0.2", "--json")
        (found,) = (told := document(capsys))["partners"]
        assert status == (told["seconds"] > told["left"])
        assert (found["accounts"], found["requests"], found["calls"]) == (9, 270, 270)
        assert found["seconds"] == pytest.approx(7.0, abs=1.5)
        assert (found["binds"], found["vms"]) == ("account", 1)
        assert found["limits"] == "5 in 1 s per account"

        assert made.run("plan", "daily") == status
        assert "deadline in" in capsys.readouterr().out
        assert made.run("plan", "dayly") == EXIT_CONFIG
        assert "did you mean 'daily'?" in capsys.readouterr().err
        assert made.read(made.topics.runs) == []

    def test_before_the_first_enqueue_the_table_is_read(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A CSV is; of what only Spark reads it is said what reads it."""
        (made.folder / "schedules").mkdir()
        schedule = made.folder / "schedules" / "daily.toml"
        schedule.write_text(self.SCHEDULE)
        (schedule.parent / "accounts.csv").write_text(
            "partner,account,active\nacme,1,\nacme,2,no\n"
        )

        made.run("plan", "daily", "--json")
        (found,) = document(capsys)["partners"]
        assert (found["accounts"], found["requests"]) == (1, 30)

        schedule.write_text(self.SCHEDULE.replace('"accounts.csv"', '{ table = "accounts" }'))
        assert made.run("plan", "daily") == EXIT_CONFIG
        assert "'reportd-enqueue daily --plan' reads the table" in capsys.readouterr().err

    def test_what_is_open_of_a_run_is_played(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """30 requests of one account and 5 of another, 10 of them over; the other run's are not."""
        asked = [
            *((name, RUN) for name, count in (("1", 30), ("2", 5)) for _ in range(count)),
            *(("1", "daily/2026-11-23T04:00Z#1") for _ in range(7)),
        ]
        manifest = enqueue(made, asked)
        enqueue(made, [("3", RUN)], told=False)
        ended = [end_of(message) for message in made.read(manifest.topics[0].topic)]
        for part, end in [one for one in ended if (one[1].account, one[1].run) == ("1", RUN)][:10]:
            write(made, made.topics.ledger("acme"), end.to_json(), part)

        status = made.run("plan", RUN, "--call-seconds", "0.2", "--json")
        (found,) = (told := document(capsys))["partners"]
        assert (found["accounts"], found["requests"]) == (2, 25)
        assert found["seconds"] == pytest.approx(5.0, abs=1.5)
        assert found["binds"] == "account"
        assert (status, told["left"] < 0) == (1, True)

        assert made.run("plan", RUN.partition("#")[0]) == 1
        assert "its deadline was" in capsys.readouterr().out
        assert made.run("plan", "daily/2026-11-20T04:00Z") == EXIT_CONFIG
        assert "there is no such run" in capsys.readouterr().err


def write(place: Place, topic: str, value: bytes, partition: int) -> None:
    producer = Producer(place.settings)
    producer.send(topic, value, key=b"", partition=partition)
    assert producer.flush(FLUSH_SECONDS) == 0


def end_of(message: Message) -> tuple[int, End]:
    """Return a request's partition, and its end."""
    asked = Request.from_json(message.value)
    end = End(id=asked.id, topic=message.topic, offset=message.offset, state="result")
    return message.partition, end.model_copy(update={"account": asked.account, "run": asked.run})


def enqueue(place: Place, asked: list[tuple[str, str]], *, told: bool = True) -> Manifest:
    """Write requests, by account and run, and the first one's manifest if it is to be told of."""
    topic = place.topics.requests("acme")
    spans: dict[int, tuple[int, int]] = {}
    producer = Producer(place.settings)
    for number, (account, run) in enumerate(asked):
        one = Request(
            v=1,
            run=run,
            partner="acme",
            report="campaigns",
            account=account,
            first_day=date(2026, 1, 1) + timedelta(days=number),
            last_day=date(2026, 1, 1) + timedelta(days=number),
            formats=("csv",),
        )
        part = partition_of(account.encode(), 3)
        producer.send(topic, one.to_json(), key=account.encode(), partition=part)
        first, end = spans.get(part, (0, 0))
        spans[part] = (first, end + 1)
    assert producer.flush(FLUSH_SECONDS) == 0
    run = asked[0][1]
    count = sum(each == run for _, each in asked)
    manifest = Manifest(
        run=run,
        requests=count,
        ids_hash=f"{0:016x}",
        topics=[TopicSpan(topic=topic, requests=count, spans=spans)],
        account_days={},
        deadline=1_795_330_800.0 if told else None,
        enqueued_at=1_795_320_000.0,
    )
    if told:
        write(place, place.topics.runs, manifest.to_json(), 0)
    return manifest


class TestRequests:
    def test_files_of_many_days_are_counted(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The first is named; a month in three formats would be a hundred lines."""
        enqueue(made, [("7", RUN)])
        part = partition_of(b"7", 3)
        (message,) = made.read(made.topics.requests("acme"))
        names = [f"acme/campaigns/date=2026-01-{day:02}/7.csv" for day in (1, 2, 3)]
        files = tuple(
            PublishedFile(path=name, day=name[20:30], format="csv", rows=1, bytes=9, checksum="x")
            for name in names
        )
        days = {"first_day": "2026-01-01", "last_day": "2026-01-03"}
        end = end_of(message)[1].model_copy(update={"files": files, **days})
        write(made, made.topics.ledger("acme"), end.to_json(), part)

        assert made.run("requests", "--account", "7") == 0
        said = "".join(capsys.readouterr().out.split())
        assert "date=2026-01-01/7.csvand2more" in said
        assert "date=2026-01-02" not in said


ACCOUNTS = 100


def many(place: Place) -> None:
    """Have the accounts of a large backfill known."""
    know(place, *(Account(partner="acme", account=f"{number}") for number in range(ACCOUNTS)))


def backfill(days: int) -> tuple[str, ...]:
    """Return the command that asks for so many days of each of them."""
    last = date(2023, 1, 1) + timedelta(days=days - 1)
    span = ("--from", "2023-01-01", "--to", last.isoformat())
    return ("backfill", "acme", "campaigns", *span, "--accounts", "all")


class TestBackfill:
    def test_a_backfill_is_a_run_with_a_manifest(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nothing in a dry run; then each request where its key belongs, and where it is said."""
        ids = [f"{n}" for n in range(7)]
        know(made, *(Account(partner="acme", account=one) for one in ids))
        know(made, Account(partner="acme", account="gone", active=False))
        know(made, Account(partner="bolt", account="9"))
        days = ("--from", "2026-01-01", "--to", "2026-01-03")
        command = ("backfill", "acme", "campaigns", *days, "--accounts", "all", "--json")
        assert made.run(*command, "--dry-run") == 0
        told = document(capsys)
        assert (told["requests"], told["accounts"], told["written"]) == (21, 7, False)
        assert made.read(made.topics.runs) == made.read(made.topics.backfill("acme")) == []

        assert made.run(*command) == 0
        name = document(capsys)["run"]
        written = made.read(made.topics.backfill("acme"))
        requests = [Request.from_json(message.value) for message in written]
        assert len({one.id for one in requests}) == 21
        assert {one.account for one in requests} == set(ids)
        assert {(one.run, one.class_) for one in requests} == {(name, "backfill")}
        for message in written:
            assert message.partition == partition_of(message.key or b"", 3)
        manifest = Manifest.from_json(made.read(made.topics.runs)[-1].value)
        assert (manifest.run, manifest.requests) == (name, 21)
        spans = manifest.topics[0].spans
        assert all(spans[m.partition][0] <= m.offset < spans[m.partition][1] for m in written)
        assert made.run(*command, "--run", name) == EXIT_CONFIG

    def test_what_is_too_much_for_it_is_refused(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A hundred thousand requests it would write, one day more not: Spark is for that."""
        many(made)
        assert made.run(*backfill(MOST_REQUESTS // ACCOUNTS), "--dry-run", "--json") == 0
        assert document(capsys)["requests"] == MOST_REQUESTS == 100_000

        assert made.run(*backfill(MOST_REQUESTS // ACCOUNTS + 1)) == EXIT_CONFIG
        assert "100,100 requests are more than 100,000" in capsys.readouterr().err
        assert made.read(made.topics.runs) == []

    @pytest.mark.long
    @pytest.mark.timeout(300)
    def test_the_largest_is_written(self, made: Place, capsys: pytest.CaptureFixture[str]) -> None:
        """All of them, each once; how long it takes is printed."""
        many(made)
        began = time.perf_counter()
        assert made.run(*backfill(MOST_REQUESTS // ACCOUNTS), "--json") == 0
        taken = time.perf_counter() - began
        name = document(capsys)["run"]
        manifest = Manifest.from_json(made.read(made.topics.runs)[-1].value)
        assert (manifest.run, manifest.requests) == (name, MOST_REQUESTS)
        ids = IdSet()
        for message in made.read(made.topics.backfill("acme")):
            ids.add(number_of(Request.from_json(message.value).id))
        assert (len(ids), ids.hash) == (MOST_REQUESTS, manifest.ids_hash)
        with capsys.disabled():
            print(f"\na backfill of {MOST_REQUESTS:,} requests is written in {taken:.1f} s")

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (("--accounts", "1,2,x"), "has no account 2, x"),
            (("--accounts", "@/nothing"), "cannot be read"),
            (("--accounts", "1", "--split-days", "2"), "days: 2"),
            (("--accounts", "1", "--format", "excel"), "--format excel"),
            (("--accounts", "1", "--to", "2025-01-01"), "--to is before --from"),
            (("--accounts", "1", "--run", "daily/2026-11-22T04:00Z#1"), "is no backfill's"),
        ],
    )
    def test_what_cannot_be_asked_is_refused(
        self,
        made: Place,
        capsys: pytest.CaptureFixture[str],
        more: tuple[str, ...],
        words: str,
    ) -> None:
        """With what is wrong, and nothing is written."""
        know(made, Account(partner="acme", account="1"))
        command = ("backfill", "acme", "campaigns", "--from", "2026-01-01", "--to", "2026-01-03")
        assert made.run(*command, *more) == EXIT_CONFIG
        assert words in capsys.readouterr().err
        assert made.read(made.topics.runs) == []


class TestDoctor:
    def test_a_real_broker_is_looked_at(
        self, made: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Well but for what is not there yet; a topic that loses messages is to be mended."""
        (made.folder / "out").mkdir()
        assert made.run("doctor", "--json") == 0
        levels = {one["check"]: one["level"] for one in document(capsys)}
        assert levels == {
            "output": "warning", "broker": "ok", "topics": "ok", "rights": "ok", "offsets": "ok",
            "retention": "ok", "credentials": "warning", "VMs": "ok", "clock": "warning",
        }  # fmt: skip

        assert list((made.folder / "out").iterdir()) == []
        LocalStore(made.folder / "out").probe()
        assert made.run("doctor", "--json") == 0
        assert {one["check"]: one["level"] for one in document(capsys)}["output"] == "ok"

        topic = made.topics.requests("acme")
        plan = TopicPlan(topic, 3, 1, {"retention.ms": "1000"})
        Admin(made.settings).create([plan], repair=True)
        assert made.run("doctor") == 1
        said = capsys.readouterr().out
        assert f"topics: {topic}: retention.ms is 1000, not -1" in said
        assert "-> reportctl topics create --repair" in said

    def test_a_missing_topic_is_to_be_mended(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Before the first start all of them are."""
        (place.folder / "out").mkdir()
        assert place.run("doctor", "--json") == 1
        bad = [one for one in document(capsys) if one["level"] == "bad"]
        assert {one["mend"] for one in bad if one["check"] == "topics"} == {
            "reportctl topics create"
        }
