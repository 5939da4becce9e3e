"""Start, stop, reload, restart, downgrade, upgrade, reboot: under load, with the built packages.

Chapters of one life, in their order. What was measured is in docs/operations.rst.
"""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd.demo.kafka import EmbeddedKafka
from tests.system.lab.conftest import MakeLab
from tests.system.lab.lab import Lab, Packages
from tests.system.lab.life import GONE, UNIT, Life, folders, living
from tests.system.lab.parts import earlier_program, repacked
from tests.system.stage import Stage, until

pytestmark = pytest.mark.life

BEFORE = "0.0.9"
"""The number of the release before, whose program is that of `earlier_program`."""
VERSION = ("dpkg-query", "-W", "-f", "${Version}", UNIT)
DRAIN_SECONDS = 45
START_SECONDS_MOST = 3.0


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of packages that tests make; the lab sees it."""
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="module")
def life(
    kafka: EmbeddedKafka,
    make_common_lab: MakeLab,
    packages: Packages,
    parts: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Life]:
    """Give an installed daemon."""
    folder = tmp_path_factory.mktemp("life")

    def boot(stage: Stage) -> Lab:
        lab = make_common_lab("life", folders=folders(stage, parts=parts))
        lab.install(packages.reportd)
        return lab

    prefix = f"life-{uuid.uuid4().hex[:8]}"
    with living(folder, kafka, prefix, boot, drain_seconds=DRAIN_SECONDS) as made:
        yield made


@pytest.mark.long
def test_start(life: Life) -> None:
    """Ready in less than three seconds, told when all processes beat; then requests end."""
    life.feeder.feed()
    seconds = life.start()
    cpu = life.cpu_seconds()
    first = life.next_call(time.monotonic() - seconds)
    ready = life.lab.between(UNIT, "InactiveExit", "ActiveEnter")

    life.kept(
        f"start {seconds:.2f} s, by systemd's stamps {ready:.2f} s, {cpu:.2f} s of CPU",
        f"first call after {first:.2f} s",
    )
    # Of a machine that does nothing else; systemd's clock, too, is everybody's
    assert cpu < START_SECONDS_MOST
    assert life.lab.show(UNIT, "ActiveState", "SubState", "NRestarts") == {
        "ActiveState": "active",
        "SubState": "running",
        "NRestarts": "0",
    }


@pytest.mark.long
def test_stop_drains_and_commits(life: Life) -> None:
    """Calls in flight are finished and committed within the drain time; the next start goes on."""
    life.revive()
    life.busy()
    in_flight = life.stage.in_flight()

    _, seconds = life.during(life.stop)

    stage = life.stage
    listing = stage.list_durable()
    uncommitted = stage.uncommitted(stage.parts_of.values())
    answered = [call for call in stage.simulator.calls() if call.complete]
    names = stage.request_of()
    lost = [
        call
        for call in answered
        if names[call.question] not in listing.finished
        and (names[call.question], call.page) not in listing.pages
    ]
    assert stage.in_flight() == 0
    assert not lost, "answered in the drain, but not durable"
    assert life.lab.show(UNIT, "Result", "ExecMainStatus") == {
        "Result": "success",
        "ExecMainStatus": "0",
    }
    started = life.start()
    life.goes_on()
    life.kept(
        f"stop {seconds:.2f} s with {in_flight} calls in flight (drain {DRAIN_SECONDS} s)",
        f"{uncommitted} ends behind an open request",
        f"start {started:.2f} s",
    )


@pytest.mark.long
def test_reload_replaces_one_at_a_time(life: Life) -> None:
    """Workers go one after the other, the others work on; nothing is lost, repeated or late."""
    life.revive()
    life.busy()
    life.stage.list_durable()
    before, mark, rebalances = life.workers(), life.mark(), life.rebalances()
    life.reconfigure(threads=20)
    began = time.monotonic()

    said, seconds = life.during(lambda: life.lab.systemctl("reload", UNIT, seconds=300))

    after = life.workers()
    happened = life.actions(mark, "child_stopped", "child_started")
    workers = [
        (action, text.split("worker-")[1][0]) for action, text in happened if "worker-" in text
    ]
    assert said == ""
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert workers == [
        (action, str(index)) for index in range(3) for action in ("child_stopped", "child_started")
    ]
    calls = [call for call in life.stage.simulator.calls() if began < call.at < began + seconds]
    life.goes_on()
    assert life.rebalances() == rebalances
    life.kept(
        f"reload of {len(before)} workers {seconds:.2f} s",
        f"{len(calls)} calls meanwhile, none for {life.pause_seconds(began):.2f} s",
        "no rebalance",
    )


def test_refused_reload_says_why(life: Life) -> None:
    """A wrong file: ``systemctl reload`` fails, the reason is everywhere, nobody is touched."""
    life.revive()
    life.busy()
    before, mark = life.workers(), life.mark()
    wrong = "/etc/reportd/conf.d/60-wrong.toml"
    life.lab.write(wrong, 'workers = { threads = "many" }\n')

    done, seconds = life.during(lambda: life.lab.tries("systemctl", "reload", UNIT))

    status = life.lab.run("systemctl", "status", UNIT)
    life.lab.run("rm", wrong)
    assert done.returncode != 0
    assert "configuration on disk refused" in status
    assert "workers.threads" in status
    problems = [text for action, text in life.actions(mark, "reload_problem")]
    assert [text for text in problems if "60-wrong.toml" in text and "workers.threads" in text]
    assert life.workers() == before
    life.goes_on()
    life.lab.systemctl("reload", UNIT, seconds=300)
    assert "configuration on disk refused" not in life.lab.show(UNIT, "StatusText")["StatusText"]
    life.kept(f"refused after {seconds:.2f} s")


def test_restart(life: Life) -> None:
    """``systemctl restart`` repeats no finished call, and no partition moves."""
    life.revive()
    life.busy()
    life.stage.list_durable()
    parts, rebalances = life.parts(), life.rebalances()

    began = time.monotonic()
    _, seconds = life.during(lambda: life.lab.systemctl("restart", UNIT))

    life.goes_on()
    assert life.parts() == parts
    assert life.rebalances() == rebalances
    pause = life.pause_seconds(began)
    life.kept(f"restart {seconds:.2f} s", f"no call for {pause:.2f} s", "no rebalance")


@pytest.mark.long
def test_downgrade(life: Life, packages: Packages, parts: Path) -> None:
    """To a program of another time, which reads what today's wrote; nothing is repeated or moved.

    Not only another number, where there is history: hundreds of commits lie between the two.
    """
    program = earlier_program()

    before = repacked(packages.reportd, BEFORE, parts, program=program)
    _replaced(life, before, f"downgrade to {program[:12] or 'the same program'}")

    assert life.lab.run(*VERSION) == BEFORE


@pytest.mark.long
def test_upgrade(life: Life, packages: Packages) -> None:
    """From that program to this one: dpkg restarts it, nothing is repeated or moved."""
    assert life.lab.run(*VERSION) == BEFORE

    _replaced(life, packages.reportd, "upgrade")

    assert life.lab.run(*VERSION) != BEFORE


def _replaced(life: Life, deb: Path, what: str) -> None:
    """Install another version under load; see that no call comes again and no partition moves."""
    life.revive()
    life.busy()
    life.stage.list_durable()
    parts, rebalances, pid = life.parts(), life.rebalances(), life.main_pid()
    began = time.monotonic()

    _, seconds = life.during(lambda: life.lab.install(deb))

    life.goes_on()
    assert life.main_pid() != pid
    assert life.restarts() == 0
    assert life.parts() == parts
    assert life.rebalances() == rebalances
    pause = life.pause_seconds(began)
    life.kept(f"{what} {seconds:.2f} s", f"no call for {pause:.2f} s", "no rebalance")


def test_reboot(life: Life) -> None:
    """The VM reboots in the middle: drained, started by itself, going on where it was."""
    life.revive()
    life.lab.run("systemctl", "enable", UNIT)
    life.busy()
    life.stage.list_durable()

    _, down = life.during(life.lab.down)
    life.stage.list_durable()
    _, up = life.during(life.lab.up)
    first = life.next_call(time.monotonic() - up)

    assert life.lab.state(UNIT) == "active"
    life.goes_on()
    life.kept(f"shut down {down:.2f} s, booted {up:.2f} s, first call {first:.2f} s after power on")


@pytest.mark.soak
def test_power_cut(life: Life) -> None:
    """Nobody is asked to stop: the next boot goes on with what files and ledger say."""
    life.revive()
    life.lab.run("systemctl", "enable", UNIT)
    life.busy()

    life.lab.tries("systemctl", "poweroff", "--force", "--force")
    until(lambda: not life.lab.is_up(), "the power to be off")
    life.stage.list_durable()
    _, up = life.during(life.lab.up)
    first = life.next_call(time.monotonic() - up)

    life.goes_on()
    life.kept(f"booted {up:.2f} s, first call {first:.2f} s after power on")


def test_journal(life: Life) -> None:
    """A request's records are found by its fields, with a priority; one record is one entry."""
    life.revive()
    until(lambda: _dead(life), "a dead letter")
    name = _dead(life)[0]

    said = life.lab.run(
        *("journalctl", "--quiet", "--output=json", "-t", "reportd"),
        *("PARTNER=acme", f"REQUEST={name}"),
    )

    assert said.count("\n") >= 1
    assert f'ACCOUNT":"{GONE}' in said
    assert '"PRIORITY":"4"' in said
    warnings = life.lab.run(
        "journalctl", "-q", "-o", "cat", "-t", "reportd", "-p", "warning", "PARTNER=acme"
    )
    assert name in warnings


@pytest.mark.long
def test_everything_ended_once(life: Life) -> None:
    """All of this life, compared: requests, ledgers, files, calls, limits."""
    life.revive()
    life.conclude()


def _dead(life: Life) -> list[str]:
    """Return the requests of the account that is gone which have ended."""
    ends = life.stage.follow().ends
    return [name for name in ends if life.stage.requests[name].account == GONE]
