"""Everything in the topic is hostile, and so are partners: each ends as a dead letter, alone."""

import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from reportd.broker.keys import partition_of
from reportd.broker.letters import DeadLetter, dead_letters
from reportd.broker.producer import Producer
from reportd.broker.topics import REQUEST_MAX_BYTES
from reportd.demo.scene import DemoAccount, Role
from reportd.model.ledger import End
from reportd.model.request import Request
from tests.system.conftest import MakeStage
from tests.system.hostile_partner import HostilePartner, spelled
from tests.system.stage import Stage, Vm, quick_scene, stopped, until

SECRET = 'swordfish/of"the+house=%&'
GOOD = ("good-1", "good-2", "good-3")
PARTNER = """\
hosts = ["127.0.0.1:PORT"]
allow_private = true
auth = { bearer = { secret = "acme-{{ account.credential }}" } }
limits = [{ per = "account", calls = 100, seconds = 1, meter = "bucket", burst = 20 }]
partitions = 4
retry = { attempts = 3, base_seconds = 0.05, max_seconds = 0.2, hold_seconds = 0.2 }

[reports.campaigns]
get = "http://127.0.0.1:PORT/stats?account={{ account.id }}&from={{ from }}&to={{ to }}"
rows = "data[]"
next = { url = "next" }
day_column = "date"
timeout_seconds = 10
max_answer_mib = 1
params = { level = "campaign" }

[reports.campaigns.columns]
date = "date"
account = { request = "account" }
name = "string"
clicks = "int64"
"""


@pytest.fixture
def partner() -> Iterator[HostilePartner]:
    """Give a hostile partner."""
    made = HostilePartner()
    yield made
    made.close()


@pytest.fixture
def stage(make_a_stage: MakeStage, partner: HostilePartner) -> Stage:
    """Give a stage with that partner as acme, whose secret must never be seen anywhere."""
    return stage_with(make_a_stage, PARTNER.replace("PORT", str(partner.port)))


def stage_with(make_a_stage: MakeStage, text: str) -> Stage:
    """Return a stage whose acme has that file."""
    scene = quick_scene()
    role = replace(scene.roles[0], days=1, secrets=(("acme-north", SECRET),))
    made = make_a_stage(replace(scene, roles=(role,)), lambda _name, _text: text)
    made.configure(made.vm("vm-a"), more='log = { level = "debug" }')
    config = made.vms["vm-a"].config
    config.write_text(config.read_text().replace("/{account}.", "/level={params.level}/{account}."))
    return made


def account(name: str) -> DemoAccount:
    """Return an account of that name."""
    return DemoAccount("acme", name, "UTC", "EUR", "north", gone=False)


def ask(stage: Stage, names: tuple[str, ...], number: int = 0, **more: Any) -> list[Request]:
    """Ask for one day of each account."""
    role: Role = stage.scene.roles[0]
    asked = [stage.ask(account(name), role, number, **more) for name in names]
    stage.confirm()
    return asked


def body(**changes: Any) -> bytes:
    """Return a request's bytes with other values, as any producer might write them."""
    said: dict[str, Any] = {
        "v": 1,
        "run": "daily/2026-11-22T04:00Z#1",
        "partner": "acme",
        "report": "campaigns",
        "account": "good-9",
        "first_day": "2026-11-20",
        "last_day": "2026-11-20",
        "formats": ["parquet"],
    }
    return orjson.dumps({name: v for name, v in {**said, **changes}.items() if v is not ...})


def letters(stage: Stage) -> list[DeadLetter]:
    """Return every dead letter."""
    return dead_letters(stage.books.dead())


def buried(stage: Stage, count: int) -> list[DeadLetter]:
    """Wait for so many dead letters."""
    until(lambda: len(letters(stage)) >= count, f"{count} dead letters")
    return letters(stage)


def ended(stage: Stage, asked: list[Request]) -> list[str]:
    """Wait for the ends of requests; return their states."""
    names = [one.id for one in asked]
    until(lambda: set(names) <= stage.follow().ends.keys(), "the requests' ends")
    found = [stage.ledgers.ends[name][0].record for name in names]
    return [one.state for one in found if isinstance(one, End)]


def files(root: Path) -> set[str]:
    """Return all files below a folder but what reportd keeps for itself."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return {path for path in found if "_reportd/" not in path and "reportd-metrics" not in path}


def seen_outside(stage: Stage, vm: Vm) -> str:
    """Return everything that people and programs get to see."""
    said = [vm.said()]
    for path in ("metrics", "status", "healthz", "readyz"):
        with suppress(OSError):
            url = f"http://127.0.0.1:{vm.metrics_port}/{path}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                said.append(answer.read().decode())
    assert len(said) >= 3
    for message in stage.books.dead():
        said += [repr(message.value), repr(message.headers)]
    for ends in stage.follow().ends.values():
        said += [repr(one.record) for one in ends]
    return "\n".join(said)


def shown(text: str) -> list[str]:
    """Return the spellings of the secret that stand in a text, whole or as the heart of Base64."""
    packed = b64encode(f"Bearer {SECRET}".encode()).decode()
    known = [*spelled(SECRET), b64encode(SECRET.encode()).decode(), packed[12:-4]]
    return [each for each in known if each in text]


POISON = {
    "nothing": b"",
    "not JSON": b"\xff\x00{{{ not json",
    "deep JSON": b"[" * 100_000,
    "no object": b"[1, 2, 3]",
    "another version": body(v=99),
    "wrong types": body(account={"a": 1}, formats="parquet", first_day=12),
    "a day that is none": body(first_day="2026-02-30", last_day="2026-02-30"),
    "too many days": body(first_day="2020-01-01"),
    "an id of another": body(id="0" * 32),
    "a run that is newer than all": body(run="daily/9999-11-22T04:00Z#1"),
    "a wait without end": body(run="by hand", not_before=1e15),
    "unknown partner": body(partner="umbrella"),
    "unknown report": body(report="passwords"),
    "unknown format": body(formats=["exe"]),
    "unknown param": body(params={"nope": "1"}),
    "way up": body(account="../../../../tmp/evil"),
    "way up in a param": body(params={"level": ".."}),
    "only dots": body(account=".."),
    "control characters": body(account="a\r\nX-Evil: 1"),
    "a null": body(account="a\0b"),
    "control characters in a param": body(params={"level": "a\nb"}),
    "a zone that is a path": body(timezone="../../etc/passwd"),
    "a secret of another": body(credential="../../reportd"),
}


WIDE = b"packed " * 500_000
"""Small in its topic, larger unpacked than any message may be."""
MONSTER = b" " * 9 * 1024 * 1024
"""Larger unpacked than what a client sends at all."""


def too_large_to_forward() -> tuple[bytes, int]:
    """Return a valid request that fills its topic's limit without a key, and a wrong partition.

    Nothing in it can be compressed, nor the key by its account: they are too far apart.
    """
    noise = b64encode(random.Random(2).randbytes(REQUEST_MAX_BYTES)).decode()
    name = noise[-1000:]
    room = REQUEST_MAX_BYTES - 200 - len(body(account=name, pad=""))
    said = orjson.loads(body(account=name))
    made = orjson.dumps({"pad": noise[:room], **said})
    return made, (partition_of(name.encode(), 4) + 1) % 4


def test_poison(stage: Stage, partner: HostilePartner) -> None:
    """Whatever is in a message: it ends as a dead letter with its bytes, and nothing else does."""
    topic = stage.topics.requests("acme")
    large = random.Random(1).randbytes(REQUEST_MAX_BYTES - 200)
    producer = Producer({**stage.client, "message.max.bytes": 2 * len(MONSTER)})
    bad = [*POISON.values(), large, WIDE, MONSTER]
    for number, value in enumerate(bad):
        producer.send(topic, value, key=b"k", partition=number % 4)
    brimful, partition = too_large_to_forward()
    producer.send(topic, brimful, partition=partition)
    bad.append(brimful)
    assert producer.flush(30) == 0
    good = ask(stage, GOOD)
    vm = stage.start(stage.vms["vm-a"])
    before = files(stage.place.root.parent)

    found = buried(stage, len(bad))

    assert ended(stage, good) == ["result"] * 3
    (cut,) = (letter for letter in found if letter.cut_from)
    assert cut.cut_from == len(MONSTER)
    assert MONSTER.startswith(cut.value)
    assert {letter.value for letter in found} - {cut.value} == set(bad) - {MONSTER}
    assert len(found) == len(bad)
    wrong = {one.reason for one in found if one.error != "poison"}
    assert not wrong, wrong
    assert sorted(partner.asked) == sorted(GOOD)
    outside = files(stage.place.root.parent) - before
    assert all(name.startswith("play/output/acme/") for name in outside), outside
    assert shown(seen_outside(stage, vm)) == []
    stopped(vm)
    stage.start(vm)
    stopped(vm)
    assert len(stage.books.dead()) == len(bad), "buried again after a restart"


def test_values_are_no_code(stage: Stage, partner: HostilePartner) -> None:
    """Template syntax, SQL, HTML and odd names in values are values: asked as they are, escaped."""
    names = ("{{ 7 * 7 }}", "{% raw %}", "'; DROP", "a/b", "_x", ".x", "<b>&amp;", "x" * 300, "日")
    asked = ask(stage, names)
    vm = stage.start(stage.vms["vm-a"])

    assert ended(stage, asked) == ["result"] * len(names)

    assert sorted(partner.asked) == sorted(names)
    made = files(stage.place.output)
    assert len(made) == len(names)
    parts = [part for name in made for part in name.split("/")]
    assert not any(part.startswith(("_", ".")) or len(part.encode()) > 255 for part in parts)
    assert {len(name.split("/")) for name in made} == {5}
    assert {name.split("/")[3] for name in made} == {"level=campaign"}
    stopped(vm)


def test_lying_partner(stage: Stage, partner: HostilePartner) -> None:
    """Redirects and next pages to other hosts, bombs, other days, echoes: dead, and no harm."""
    names = ("redirect", "next", "bomb", "escape", "echo", "mirror")
    bad = ask(stage, names)
    good = ask(stage, GOOD)
    vm = stage.start(stage.vms["vm-a"])
    until(lambda: set(names) <= set(partner.asked), "every call")
    number = 0
    while not {one.id for one in bad} <= stage.follow().ends.keys():
        number += 1
        good += ask(stage, GOOD, number)  # others succeed: it is each one's own fault
        assert ended(stage, good) == ["result"] * len(good)
        assert number < 200, [one.account for one in bad if one.id not in stage.ledgers.ends]

    found = {letter.account: letter for letter in buried(stage, len(names))}

    assert found.keys() == set(names)
    assert partner.trapped == []
    assert all(found[one.account].value == one.to_json() for one in bad)
    assert b"refused" in found["echo"].sample
    assert b"was sent" in found["mirror"].sample
    assert shown(seen_outside(stage, vm)) == []
    assert len(files(stage.place.output)) == len(good)
    stopped(vm)


def test_inner_addresses(make_a_stage: MakeStage) -> None:
    """A name that leads into the own network is not called, unless the file allows it."""
    with socket.create_server(("127.0.0.1", 0)) as inner:
        host = f"localhost:{inner.getsockname()[1]}"
        text = PARTNER.replace("allow_private = true\n", "").replace("http:", "https:")
        stage = stage_with(make_a_stage, text.replace("127.0.0.1:PORT", host))
        ask(stage, ("good-1",))
        vm = stage.start(stage.vms["vm-a"])

        until(lambda: "localhost has a private address" in seen_outside(stage, vm), "the refusal")

        inner.setblocking(False)
        with pytest.raises(BlockingIOError):
            inner.accept()
        stopped(vm)


def test_wrong_partition(stage: Stage, partner: HostilePartner) -> None:
    """A message in another key's partition is forwarded, and asked once."""
    role = stage.scene.roles[0]
    asked = []
    for number in range(4):
        asked += [stage.ask(account(name), role, number, partition=number) for name in GOOD]
    stage.confirm()
    vm = stage.start(stage.vms["vm-a"])

    assert ended(stage, asked) == ["result"] * len(asked)

    assert len(partner.asked) == len(asked)
    stopped(vm)


def test_killer(stage: Stage, partner: HostilePartner) -> None:
    """A request that kills its worker three times is a dead letter; everything else completes."""
    vm = stage.vms["vm-a"]
    killed: list[int] = []

    def kill_its_worker(name: str) -> None:
        if name == "killer":
            part = stage.parts_of[killer.id]
            owner = next(worker for worker, parts in vm.parts().items() if part in parts)
            pid = vm.workers()[owner]
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    partner.on_call = kill_its_worker
    [killer] = ask(stage, ("killer",))
    others = [one for number in range(10) for one in ask(stage, GOOD, number)]
    stage.start(vm)

    assert ended(stage, [killer]) == ["dead"]
    assert ended(stage, others) == ["result"] * len(others)

    assert len(killed) == 3
    [letter] = buried(stage, 1)
    assert (letter.error, letter.account) == ("crash", "killer")
    assert letter.value == killer.to_json()
    stopped(vm)


def test_replay(stage: Stage, partner: HostilePartner) -> None:
    """``reportctl dead replay`` runs a dead letter again, once, as it was."""
    vm = stage.vms["vm-a"]
    [gone, *_] = ask(stage, ("gone", *GOOD))
    stage.start(vm)
    number = 0
    while gone.id not in stage.follow().ends:
        number += 1
        ended(stage, ask(stage, GOOD, number))
        assert number < 200
    buried(stage, 1)
    partner.gone.clear()
    before = partner.asked.count("gone")

    for _ in range(2):
        _reportctl(vm, "dead", "replay", "--account", "gone")

    until(lambda: len(stage.follow().ends[gone.id]) == 2, "the replay's end")
    states = [
        (one.record.replay, one.record.state)
        for one in stage.ledgers.ends[gone.id]
        if isinstance(one.record, End)
    ]
    assert states == [(0, "dead"), (1, "result")]
    assert partner.asked.count("gone") == before + 1
    stopped(vm)


def _reportctl(vm: Vm, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "reportd.cli.reportctl", *arguments, "--config", str(vm.config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
