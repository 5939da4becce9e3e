"""Killed, wedged, out of memory: each kind of process, with the built packages, under load.

Chapters of one life. What was measured is in docs/operations.rst.
"""

import os
import signal
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.scene import DemoAccount
from reportd.model.ledger import End
from tests.system.hostile_partner import HostilePartner
from tests.system.lab.conftest import MakeLab
from tests.system.lab.lab import Lab, Packages
from tests.system.lab.life import BOMB, UNIT, Life, Record, folders, living
from tests.system.stage import Part, Stage, freeze, thaw

pytestmark = pytest.mark.life

ACCOUNT = DemoAccount("bolt", BOMB, "UTC", "EUR", "app", gone=True)
MEMORY_MAX = "360M"
LIMITS = f"[Service]\nMemoryMax={MEMORY_MAX}\n"
GREEDY = """\
import zlib

_true = zlib.decompressobj


def _greedy(*asked):
    assert b"x" * (600 << 20)
    return _true(*asked)


zlib.decompressobj = _greedy
"""
"""For the daemon's Python: a zipped answer takes more memory than there is, which no answer does by
itself (`test_large_answers`). The account's alone is zipped."""
HEARTBEAT_LIMIT_SECONDS = 3
WATCHDOG_SECONDS = 4
"""For the last chapters alone: a machine that stalls for so long would end others, too."""
BOMBER = """\
hosts = ["127.0.0.1:PORT"]
allow_private = true
auth = { bearer = { secret = "bolt-app" } }
limits = [{ per = "account", calls = 100, seconds = 1, meter = "bucket", burst = 20 }]
partitions = 2

[reports.ads]
get = "http://127.0.0.1:PORT/stats?account={{ account.id }}&from={{ from }}&to={{ to }}"
rows = "data[]"
timeout_seconds = 30

[reports.ads.columns]
date = "date"
"""


@pytest.fixture(scope="module")
def bomber() -> Iterator[HostilePartner]:
    """Give a partner whose answer is zipped: see `GREEDY`."""
    made = HostilePartner(bomb_bytes=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def life(
    kafka: EmbeddedKafka,
    bomber: HostilePartner,
    make_common_lab: MakeLab,
    packages: Packages,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Life]:
    """Give an installed daemon that may not have much memory, started."""
    folder = tmp_path_factory.mktemp("crashes")

    def boot(stage: Stage) -> Lab:
        lab = make_common_lab("crashes", folders=folders(stage))
        lab.install(packages.reportd)
        site = lab.shell("echo /opt/reportd/lib/python3*/site-packages").strip()
        lab.write(f"{site}/greedy.py", GREEDY)
        lab.write(f"{site}/greedy.pth", "import greedy\n")
        return lab

    def edit(name: str, text: str) -> str:
        return BOMBER.replace("PORT", str(bomber.port)) if name == ACCOUNT.partner else text

    prefix = f"crashes-{uuid.uuid4().hex[:8]}"
    with living(folder, kafka, prefix, boot, edit=edit) as made:
        made.lab.drop_in("reportd.service", LIMITS)
        made.start()
        made.deal()
        yield made


@pytest.mark.long
def test_killed_worker(life: Life) -> None:
    """Only it is replaced, at once; what it had finished is not asked again."""
    life.busy()
    before, restarts, mark = life.workers(), life.restarts(), life.mark()
    name, parts = _victim(life)
    supervisor = life.main_pid()

    freeze([supervisor])  # until the list is made
    os.kill(before[_title(name)], signal.SIGKILL)
    life.stage.list_durable()
    thaw([supervisor])
    woken = time.monotonic()
    seconds = life.next_call(woken, parts=parts)

    _only_replaced(life, before, _title(name))
    assert life.restarts() == restarts
    died = _died(life, mark)
    assert f"{name} died (killed by SIGKILL) with" in died[0]["MESSAGE"]
    assert died[0]["PRIORITY"] == "3"
    life.goes_on()
    life.kept(f"worker killed: its partitions are asked again after {seconds:.2f} s")


def test_killed_observer(life: Life) -> None:
    """Nobody else notices; metrics are there again."""
    life.busy()
    before, mark = life.lab.processes(), life.mark()
    pid = next(pid for pid, title in before.items() if title == "observer")

    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    life.lab.until(lambda: pid not in life.lab.processes() and _metrics(life), "the metrics")
    seconds = time.monotonic() - killed

    after = life.lab.processes()
    assert before.items() - after.items() == {(pid, "observer")}
    assert "observer died (killed by SIGKILL)" in _died(life, mark)[0]["MESSAGE"]
    life.goes_on()
    life.kept(f"observer killed: metrics are back after {seconds:.2f} s")


@pytest.mark.long
def test_killed_supervisor(life: Life) -> None:
    """All of it dies with it, and systemd starts it again; no partition moves."""
    _all_replaced(life, "supervisor killed", lambda: os.kill(life.main_pid(), signal.SIGKILL))


def test_all_killed(life: Life) -> None:
    """Every process at the same moment."""
    _all_replaced(life, "all killed", lambda: life.lab.systemctl("kill", "--signal=KILL", UNIT))


def test_memory(life: Life, bomber: HostilePartner) -> None:
    """A worker whose memory runs out dies alone; its request ends as a dead letter."""
    life.busy()
    life.stage.list_durable()
    supervisor, restarts, mark = life.main_pid(), life.restarts(), life.mark()
    before = life.workers()
    role = next(one for one in life.stage.scene.roles if one.partner.name == ACCOUNT.partner)
    request = life.stage.ask(ACCOUNT, replace(role, days=1), 0)
    life.stage.confirm()
    began = time.monotonic()

    life.until_ended({request.id})

    seconds = time.monotonic() - began
    died = _died(life, mark)
    victims = {one["MESSAGE"].split(" died ")[0].split()[-1] for one in died}
    end = life.stage.ledgers.ends[request.id][0].record
    assert isinstance(end, End)
    assert end.state == "dead"
    assert "killed" in end.reason or "died" in end.reason or "crash" in end.reason, end.reason
    assert len(victims) == 1, died
    assert len(died) == len(bomber.asked) == 3
    assert (life.main_pid(), life.restarts()) == (supervisor, restarts)
    _only_replaced(life, before, _title(victims.pop()))
    life.goes_on()
    life.kept(
        f"{len(died)} kills of one worker by MemoryMax={MEMORY_MAX}, dead letter after "
        f"{seconds:.2f} s: {end.reason}"
    )


def test_wedged_worker(life: Life) -> None:
    """One that stands still is aborted with its traces, and replaced; the others work on."""
    life.reconfigure(heartbeat_limit_seconds=HEARTBEAT_LIMIT_SECONDS)
    life.during(lambda: life.lab.systemctl("restart", UNIT))
    life.busy()
    before, restarts, mark = life.workers(), life.restarts(), life.mark()
    name, parts = _victim(life)

    freeze([before[_title(name)]])
    life.stage.list_durable()
    stopped = time.monotonic()
    seconds = life.next_call(stopped, parts=parts)

    _only_replaced(life, before, _title(name))
    assert life.restarts() == restarts
    assert [text for action, text in life.actions(mark, "child_silent") if name in text]
    life.goes_on()
    life.kept(
        f"worker wedged: its partitions are asked again after {seconds:.2f} s "
        f"(heartbeat limit {HEARTBEAT_LIMIT_SECONDS} s)"
    )


def test_wedged_supervisor(life: Life) -> None:
    """One that stands still does not feed systemd's watchdog: aborted, and started again."""
    watched = f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\n"
    life.lab.drop_in("reportd.service", watched, "60-watched")
    life.during(lambda: life.lab.systemctl("restart", UNIT))
    what = f"supervisor wedged (WatchdogSec {WATCHDOG_SECONDS} s)"
    _all_replaced(life, what, lambda: freeze([life.main_pid()]))

    life.lab.says("Watchdog timeout")


@pytest.mark.long
def test_everything_ended_once(life: Life) -> None:
    """All of this life, compared: requests, ledgers, files, calls, limits."""
    life.conclude()


def _victim(life: Life) -> tuple[str, set[Part]]:
    """Return a worker with much in hand, and its partitions: the one that has all of crux."""
    parts = life.parts()
    topic = life.stage.topics.requests("crux")
    name = next(name for name, found in parts.items() if (topic, 0) in found)
    return name, parts[name]


def _title(name: str) -> str:
    """Return what ``ps`` shows for a worker."""
    return name.replace("-", " ")


def _all_replaced(life: Life, what: str, end: Callable[[], object]) -> None:
    """End the daemon by ``end``; see that systemd starts it again, and that it goes on."""
    life.busy()
    before, restarts, rebalances = life.lab.processes(), life.restarts(), life.rebalances()

    began = time.monotonic()
    end()
    life.lab.until(lambda: life.restarts() > restarts, "systemd to start it again")
    life.stage.list_durable()
    life.lab.until(lambda: life.lab.state(UNIT) == "active", "the next one")
    seconds = time.monotonic() - began

    after = life.lab.processes()
    assert not before.keys() & after.keys()
    assert sorted(before.values()) == sorted(after.values())
    life.goes_on()
    assert life.rebalances() == rebalances
    life.kept(
        f"{what}: active again after {seconds:.2f} s",
        f"no call for {life.pause_seconds(began):.2f} s",
        "no rebalance",
    )


def _only_replaced(life: Life, before: dict[str, int], title: str) -> None:
    """See that one worker is another process now, and all others are the same."""
    after = life.workers()
    assert after[title] != before[title]
    assert {**after, title: 0} == {**before, title: 0}


def _died(life: Life, mark: str) -> list[Record]:
    return life.lab.until(lambda: life.records(mark, "ACTION=child_died"), "the journal")


def _metrics(life: Life) -> bool:
    try:
        url = f"http://127.0.0.1:{life.vm.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return b"reportd_" in answer.read()
    except OSError:
        return False
