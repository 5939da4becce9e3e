"""What Spark writes, against what the workers read."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from pyspark.sql import SparkSession

from reportd.broker.keys import partition_of
from reportd.broker.message import Message
from reportd.broker.producer import Producer
from reportd.cli.outlook import outlook_of
from reportd.clock import SystemClock
from reportd.config.accounts import AccountsSource
from reportd.enqueue.csv_accounts import read_csv
from reportd.enqueue.job import Order, Outcome
from reportd.enqueue.spark_accounts import read_accounts
from reportd.errors import BrokerError, ConfigError, InvalidMessageError
from reportd.model.account import Account
from reportd.model.request import Request, canonical_params, request_id
from reportd.model.run import Manifest, parse_run_record
from reportd.partners.load import load_partners
from tests.integration.enqueue.stage import PARTITIONS, DyingCluster, Stage, ids_hash

pytestmark = pytest.mark.timeout(300)

# An attribute, a zone, a credential and an account of every kind that may stand in a table
ODD = [
    ("1001", "Europe/Zurich", "emea", "brand"),
    ("act_7", "America/New_York", "us", 'say "hi", twice'),
    ("ünï-é中😀", "Pacific/Apia", "", "back\\slash"),
    ("..·./etc:passwd", "", "us", "{{ 7*7 }}"),
    (" spaced  within", "UTC", "emea", "a/b?c=d&e #"),
    ('"active":true,', "Asia/Kolkata", "x'y", "\u00a0\u3000"),
    ("0", "UTC", "0", ""),
    ("x" * 1024, "UTC", "e" * 1024, "y" * 1024),
]
TABLE = (
    "partner,account,timezone,currency,credential,active,team\n"
    "meta,1,Europe/Zurich,CHF,emea,true,brand\n"
    "meta,2,America/New_York,USD,us,,brand\n"
    "acme,1,Europe/Zurich,CHF,emea,yes,brand\n"
    "meta,3,UTC,USD,us,false,brand\n"
)


def odd_table(stage: Stage) -> None:
    rows = [
        {"partner": partner, "account": a, "timezone": z, "credential": c, "team": t}
        for partner in ("meta", "acme", "tiktok")
        for a, z, c, t in ODD
    ]
    (stage.folder / "accounts.json").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    stage.schedule("accounts.json")


def test_requests_are_what_workers_read(stage: Stage) -> None:
    """Ids, keys, partitions, JSON, manifest and snapshot are those that Python defines."""
    odd_table(stage)

    (outcome,) = stage.enqueue()
    messages, requests = stage.messages(), stage.requests()
    partners = load_partners(stage.folder / "partners")
    manifest = outcome.manifest
    snapshot = [Account.from_json(message.value) for message in stage.read(stage.topics.accounts)]

    assert Counter({"meta": 8, "acme": 8, "tiktok": 16}) == Counter(r.partner for r in requests)
    for message, request in zip(messages, requests, strict=True):
        partners[request.partner].check_request(request)
        days = request.first_day.isoformat(), request.last_day.isoformat()
        fields = (request.run, request.partner, request.report, request.account)
        key = partners[request.partner].key_of(request).encode()
        assert request.id == request_id(*fields, *days, canonical_params(request.params))
        assert (message.key, message.partition) == (key, partition_of(key, PARTITIONS))
        assert ("backfill" in message.topic) == (request.class_ == "backfill")
        assert request.not_before is not None
    assert {(a, z or "UTC", c, t) for a, z, c, t in ODD} == {
        (r.account, r.timezone, r.credential, r.attributes["team"]) for r in requests
    }
    assert manifest is not None
    assert (32, ids_hash(r.id for r in requests)) == (manifest.requests, manifest.ids_hash)
    assert {message.part for message in messages} == {
        (span.topic, number) for span in manifest.topics for number in span.spans
    }
    assert sum(end - first for s in manifest.topics for first, end in s.spans.values()) == 32
    assert manifest.account_days == {
        "meta.campaigns": 56,
        "acme.campaigns": 56,
        "tiktok.campaigns": 160,
    }
    assert {(p, a) for p in partners for a, *_ in ODD} == {(s.partner, s.account) for s in snapshot}
    assert all(account.active for account in snapshot)


def test_second_start_writes_the_difference(stage: Stage) -> None:
    """Killed after a part was written: the next start adds the rest, and each id stands once."""
    stage.accounts(TABLE)
    with pytest.raises(BrokerError, match="killed"):
        stage.enqueue(kind=DyingCluster)
    part = len(stage.requests())
    stage.accounts(TABLE + "tiktok,9,UTC,EUR,,true,x\n")

    (second,) = stage.enqueue()
    (third,) = stage.enqueue()
    ids = [request.id for request in stage.requests()]

    assert (3, 2, 0) == (part, second.written, third.written)
    assert 5 == len(ids) == len(set(ids)) == third.requests
    assert second.manifest is not None
    assert ids_hash(ids) == second.manifest.ids_hash


def test_two_machines_at_once_write_each_request_once(stage: Stage) -> None:
    """One claims the slot, the other waits for it and finds it complete."""
    stage.accounts(TABLE)
    both = threading.Barrier(2)

    def start(machine: str) -> list[Outcome]:
        both.wait(60)
        return stage.enqueue(machine=machine)

    with ThreadPoolExecutor(2) as machines:
        outcomes = [one for found in machines.map(start, ("vm1", "vm2")) for one in found]

    assert [3, 3] == [one.requests for one in outcomes]
    assert [0, 3] == sorted(one.written for one in outcomes)
    assert 3 == len(stage.messages())


def test_rerun_that_lacks_nothing_adds_nothing(stage: Stage) -> None:
    """Killed between the last request and the manifest: only the manifest is added."""
    stage.accounts(TABLE)
    with pytest.raises(BrokerError, match="killed"):
        stage.enqueue(kind=DyingCluster)

    (outcome,) = stage.enqueue()

    assert (outcome.requests, outcome.written, len(stage.messages())) == (3, 0, 3)


def test_add_brings_new_accounts_and_marks_those_gone(stage: Stage) -> None:
    """``--add`` asks for the new ones alone; the snapshot has only what changed."""
    stage.accounts(TABLE)
    stage.enqueue()
    before = len(stage.read(stage.topics.accounts))
    stage.accounts(TABLE.replace("acme,1,Europe/Zurich", "acme,2,Europe/Zurich"))

    (outcome,) = stage.enqueue(Order(add=True))
    changed = [Account.from_json(m.value) for m in stage.read(stage.topics.accounts)[before:]]
    last = parse_run_record(stage.read(stage.topics.runs)[-1].value)

    assert (outcome.written, outcome.requests) == (1, 4)
    assert isinstance(last, Manifest)
    assert last.requests == 4
    assert {("1", False), ("2", True)} == {(a.account, a.active) for a in changed}
    assert {"acme"} == {account.partner for account in changed}


class At(SystemClock):
    """Stands at an instant."""

    def __init__(self, instant: datetime) -> None:
        self._wall = instant.timestamp()

    def wall(self) -> float:
        return self._wall


def test_missed_slots_are_caught_up(stage: Stage) -> None:
    """Each missed run has the days of its own slot, in the zones that accounts have now."""
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    stage.accounts(TABLE)
    (first,) = stage.enqueue(clock=At(now - timedelta(days=3)))
    stage.accounts(TABLE.replace("Europe/Zurich", "Pacific/Auckland"))

    missed = stage.enqueue(clock=At(now))
    (again,) = stage.enqueue(clock=At(now))

    assert [one.run.slot.day for one in (first, *missed)] == [17, 18, 19, 20]
    requests = stage.requests()
    for outcome in (first, *missed):
        own = [one for one in requests if one.run == str(outcome.run)]
        assert outcome.manifest is not None
        assert outcome.manifest.requests == len({one.id for one in own}) == len(own) == 3
        assert {one.timezone for one in own} == {
            "America/New_York",
            "Europe/Zurich" if outcome is first else "Pacific/Auckland",
        }
        for one in own:
            today = outcome.run.slot.astimezone(ZoneInfo(one.timezone)).date()
            assert (one.first_day, one.last_day) == (
                today - timedelta(days=7),
                today - timedelta(days=1),
            )
    assert (again.run, again.written) == (missed[-1].run, 0)


def test_repeated_and_hostile_messages_do_not_count(stage: Stage) -> None:
    """A copy, another run's request, nonsense under the run's name: the manifest stays right."""
    stage.accounts(TABLE)
    with pytest.raises(BrokerError, match="killed"):
        stage.enqueue(kind=DyingCluster)
    first = stage.messages()[0]
    run = stage.requests()[0].run
    producer = Producer(stage.settings)
    for value in (
        first.value,
        first.value.replace(b'{"id"', b'{ "id"'),
        b'{"id":"' + b"z" * 32 + b'","v":1,"run":"' + run.encode() + b'","x":1}',
        b'{"run":"' + run.encode() + b'","id":7}',
        b'{"id":"' + b"0" * 32 + b'","v":1,"run":"other"}',
        b"\xff\xfe not JSON " + run.encode(),
        b"",
    ):
        producer.send(first.topic, value, key=first.key)
    assert producer.flush(30) == 0

    (outcome,) = stage.enqueue()

    assert outcome.manifest is not None
    assert (3, 0) == (outcome.requests, outcome.written)
    assert ids_hash([r.id for r in map(_request, stage.messages()) if r]) == (
        outcome.manifest.ids_hash
    )


def test_dry_run_writes_nothing(stage: Stage) -> None:
    """Not a request, not an account, not a claim."""
    stage.accounts(TABLE)

    (outcome,) = stage.enqueue(Order(dry_run=True))

    assert ["meta", "acme"] == [t.ask.partner for t in outcome.tallies if t.accounts]
    assert not stage.messages() + stage.read(stage.topics.runs, stage.topics.accounts)


def test_plan_is_played_for_the_tables_accounts(stage: Stage) -> None:
    """The same accounts and requests as would be written; nothing is."""
    stage.accounts(TABLE)

    (outcome,) = stage.enqueue(Order(dry_run=True, with_accounts=True))

    assert outcome.plan is not None
    partners = load_partners(stage.folder / "partners")
    slot = outcome.run.slot + timedelta(days=1)
    rows = [
        outlook_of(outcome.plan, partners[name], outcome.accounts, slot, 16).row(1.0)
        for name in ("meta", "acme", "tiktok")
    ]
    assert [(2, 2), (1, 1), (0, 0)] == [(row.accounts, row.requests) for row in rows]
    assert sum(row.requests for row in rows) == outcome.requests
    assert {"team": "brand"} == outcome.accounts[0].attributes
    assert not stage.messages() + stage.read(stage.topics.runs, stage.topics.accounts)


WRONG = """\
\ufeffpartner,account,timezone,active,team
meta,1,Europe/Zurich,true,ok
meta,2,Europe/Zurck,true,ok
mta,3,UTC,true,ok
meta,,UTC,true,ok
meta,5,UTC,maybe,ok
meta,6,UTC,true
meta,1,UTC,true,again
meta,8,UTC,true,"bell\x07"
meta,a/../b,UTC,true,
,9,UTC,true,
"""


def test_wrong_rows_are_named_before_anything_is_written(stage: Stage) -> None:
    """All at once, each with file, row and column."""
    stage.accounts(WRONG)
    name = f"{stage.folder / 'accounts.csv'}: row"

    with pytest.raises(ConfigError) as raised:
        stage.enqueue()

    assert {
        f"{name} 1: column 'account': account 'meta/1' stands in the table more than once",
        f"{name} 2: column 'timezone': unknown time zone 'Europe/Zurck'; did you mean"
        " 'Europe/Zurich'?",
        f"{name} 3: column 'partner': unknown partner 'mta'; did you mean 'meta'?",
        f"{name} 4: column 'account': is empty; every row needs it",
        f"{name} 5: column 'active': 'maybe' is neither true nor false",
        f"{name} 6: does not parse, or has a field too many or too few: 'meta,6,UTC,true'",
        f"{name} 7: column 'account': account 'meta/1' stands in the table more than once",
        f"{name} 9: column 'account': 'a/../b' has a '.' or '..' segment",
        f"{name} 10: column 'partner': is empty; every row needs it",
        f"{name} 8: column 'team': 'bell\\x07' has a control character",
    } == set(raised.value.problems)
    assert raised.value.problems == _without_spark(stage)
    assert not stage.messages() + stage.read(stage.topics.runs, stage.topics.accounts)


def _without_spark(stage: Stage) -> tuple[str, ...]:
    """Return what 'reportctl check' says of the table."""
    source = AccountsSource(path=str(stage.folder / "accounts.csv"))
    with pytest.raises(ConfigError) as raised:
        read_csv(source, load_partners(stage.folder / "partners"))
    return raised.value.problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the table is empty: it has no columns"),
        ("partner,account\n", "the table is empty: it has no rows"),
        ("partner,name\nmeta,1\n", "column 'account': is missing"),
    ],
)
def test_unusable_table_is_refused(stage: Stage, text: str, said: str) -> None:
    """An empty table, or one without its columns, is an error with the file's name."""
    stage.accounts(text)

    with pytest.raises(ConfigError, match=f"{stage.folder / 'accounts.csv'}: {said}") as raised:
        stage.enqueue()
    assert raised.value.problems == _without_spark(stage)
    assert not stage.messages() + stage.read(stage.topics.runs, stage.topics.accounts)


def test_the_only_wrong_file_of_a_folder_is_named(stage: Stage) -> None:
    """Row 2 alone would say nothing: each file has one."""
    folder = stage.folder / "accounts.csv"
    folder.mkdir()
    for name, zone in {"north.csv": "UTC", "south.csv": "Europe/Zurck"}.items():
        (folder / name).write_text(f"partner,account,timezone\nmeta,{name[:5]},{zone}\n")

    with pytest.raises(ConfigError, match=r"accounts\.csv/?:? ?south\.csv"):
        stage.enqueue()


@pytest.mark.parametrize("kind", ["parquet", "orc", "jdbc", "table"])
def test_accounts_come_from_anything_spark_reads(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    """Files with types of their own, a database, a table of the catalogue."""
    frame = spark.sql("select 'meta' partner, 7L account, false active, 'UTC' timezone, 3 tier")
    derby = {
        "url": f"jdbc:derby:memory:{tmp_path.name};create=true",
        "dbtable": "accounts",
        "driver": "org.apache.derby.jdbc.EmbeddedDriver",
    }
    source = AccountsSource(format=kind, path=str(tmp_path / kind))
    if kind == "table":
        frame.createOrReplaceTempView("accounts")
        source = AccountsSource(table="accounts")
    elif kind == "jdbc":
        system = spark._jvm.java.lang.System  # type: ignore[union-attr] # py4j has no types
        system.setProperty("derby.stream.error.file", str(tmp_path / "derby.log"))
        source = AccountsSource(format=kind, options=derby)
        frame.write.format(kind).options(**derby).save()
    else:
        frame.write.format(kind).save(source.path)

    found = read_accounts(spark, source, ["meta"])

    assert (1, {}) == (found.total, dict(found.active))
    assert [("7", False, "3")] == [
        (row["account"], row["active"], row["attributes"][0]) for row in found.rows.collect()
    ]


def test_quotes_and_spaces_of_a_csv(stage: Stage) -> None:
    """Doubled quotes, commas in quotes, a BOM and spaces are what spreadsheets write."""
    stage.accounts('\ufeffpartner , account,team\nmeta, 7 ,"a ""b"", c"\n')

    stage.enqueue()

    (request,) = stage.requests()
    assert ("7", 'a "b", c') == (request.account, request.attributes["team"])


def _request(message: Message) -> Request | None:
    try:
        return Request.from_json(message.value)
    except InvalidMessageError:
        return None
