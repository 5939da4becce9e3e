"""What the daemon stands on goes away: broker, output, room, a credential, the right time, the VM.

Chapters of one life, with the built packages and under load, on a broker of its own and an output
that is a small file system of its own. What was measured is in docs/operations.rst.
"""

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from reportd.demo.kafka import EmbeddedKafka
from reportd.model.ledger import End
from tests.system.lab.conftest import MakeLab
from tests.system.lab.lab import Lab, Packages
from tests.system.lab.life import UNIT, Life, folders, living
from tests.system.lab.parts import BULK, repacked
from tests.system.stage import Stage, pause, until

pytestmark = pytest.mark.life

AWAY_SECONDS = 20.0
SOAK_AWAY_SECONDS = 600.0
OUTPUT_MIB = 64
HOUR_SECONDS = 3600
CLOCK_SLACK_SECONDS = 60
QUICK_RESTARTS = "[Service]\nRestartSec=1\n"
ENQUEUE = "reportd-enqueue@daily"
STUB = "[Service]\nExecStart=\nExecStart=/bin/true\n"
"""Spark is not here; `test_enqueued_by_its_unit` has it."""
TURNED_CLOCK = """\
import time

_true = time.time


def _turned():
    try:
        with open("/etc/reportd/clock", "rb") as file:
            return _true() + float(file.read())
    except (OSError, ValueError):
        return _true()


time.time = _turned
"""
"""The daemon's own clock, as libfaketime would turn it; that does not do for librdkafka: it turns
``timespec_get`` and not C11's ``cnd_timedwait``, so that a wait of a second lasts an hour."""


@pytest.fixture(scope="module")
def life(
    make_common_lab: MakeLab, packages: Packages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Life]:
    """Give an installed daemon; neither its broker nor it has been started."""
    folder = tmp_path_factory.mktemp("away")
    parts = tmp_path_factory.mktemp("parts")
    output = folder / "play" / "output"
    output.mkdir(parents=True)

    def boot(stage: Stage) -> Lab:
        lab = make_common_lab("away", folders=folders(stage, parts=parts))
        lab.install(packages.reportd)
        enqueue = repacked(packages.enqueue, "0", parts, without=BULK)
        lab.install(enqueue, more=("--force-depends",))
        return lab

    size = f"size={OUTPUT_MIB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(output)], check=True)
    prefix = f"away-{uuid.uuid4().hex[:8]}"
    try:
        with (
            EmbeddedKafka(folder / "kafka") as kafka,
            living(folder, kafka, prefix, boot, drain_seconds=10) as made,
        ):
            yield made
    finally:
        subprocess.run(["umount", "--lazy", str(output)], check=True)


def test_absent_at_boot(life: Life) -> None:
    """Neither output nor broker is there: 75, tried for ever; each that comes is noticed."""
    lab = life.lab
    life.feeder.feed()
    lab.drop_in("reportd.service", QUICK_RESTARTS, "60-quick")
    life.stage.kafka.kill()
    _read_only(life, on=True)

    lab.systemctl("start", "--no-block", UNIT)
    lab.until(lambda: _gave_up(life) >= 2, "two tries without an output")
    lab.says("output root /srv/output: Read-only file system")
    _read_only(life, on=False)
    lab.until(lambda: "not reachable" in lab.journal(UNIT), "a try that misses the broker")
    tries = _gave_up(life)
    lab.until(lambda: _gave_up(life) >= tries + 2, "two more tries without a broker")
    tries = _gave_up(life)
    life.stage.kafka.start()
    came = time.monotonic()
    lab.until(lambda: lab.state(UNIT) == "active", "the start")
    seconds = time.monotonic() - came

    assert lab.show(UNIT, "StartLimitIntervalUSec") == {"StartLimitIntervalUSec": "0"}
    life.goes_on()
    life.kept(f"{tries} tries with status 75; active {seconds:.2f} s after the broker came")


@pytest.mark.long
def test_broker_away(life: Life) -> None:
    """Nothing is lost or asked again; the daemon itself goes on living."""
    _broker_away(life, AWAY_SECONDS)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_broker_away_for_long(life: Life) -> None:
    """Ten minutes of it."""
    _broker_away(life, SOAK_AWAY_SECONDS)


def test_output_away(life: Life) -> None:
    """It takes no files; calls stop, nothing is dead-lettered, and all goes on when it is back."""
    _output_away(life, AWAY_SECONDS / 2, _read_only)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_output_away_for_long(life: Life) -> None:
    """Ten minutes of it."""
    _output_away(life, SOAK_AWAY_SECONDS, _read_only)


@pytest.mark.long
def test_disk_full(life: Life) -> None:
    """The same for a file system without room; half files are nobody's."""
    _output_away(life, AWAY_SECONDS / 4, _full)


def test_credential_missing(life: Life) -> None:
    """One partner's calls wait, saying for which file; the other's go on; no restart loop."""
    _revive(life)
    life.busy()
    life.stage.list_durable()
    secret = "/etc/reportd/secrets/acme-north"
    life.lab.run("mv", secret, "/root/")

    life.during(lambda: life.lab.systemctl("restart", UNIT))
    words = ("secret 'acme-north': systemd handed over none", f"put it into {secret}")
    life.lab.until(
        lambda: all(text in life.lab.run("systemctl", "status", UNIT) for text in words),
        "the words",
    )
    since = time.monotonic()
    life.goes_on(5)
    calls = [call for call in life.stage.simulator.calls() if call.at > since]
    shown = life.lab.show(UNIT, "ActiveState", "NRestarts")
    life.lab.run("mv", "/root/acme-north", secret)
    life.during(lambda: life.lab.systemctl("restart", UNIT))

    assert {call.partner for call in calls} == {"crux"}
    assert shown == {"ActiveState": "active", "NRestarts": "0"}
    life.goes_on()
    life.kept("a secret missing: its partner's requests are held, others go on")


def test_clock(life: Life) -> None:
    """Forward by an hour and back again, under load: nothing is repeated, late or dead."""
    _revive(life)
    packages = life.lab.shell("echo /opt/reportd/lib/python3*/site-packages").strip()
    life.lab.write(f"{packages}/turned_clock.py", TURNED_CLOCK)
    life.lab.write(f"{packages}/turned_clock.pth", "import turned_clock\n")
    _turn_clock(life, 0)
    life.during(lambda: life.lab.systemctl("restart", UNIT))
    life.busy()
    processes, mark = life.lab.processes(), life.mark()

    for seconds in (HOUR_SECONDS, 0, -HOUR_SECONDS, 0):
        life.stage.list_durable()
        _turn_clock(life, seconds)
        for partner in (
            "acme",
            "crux",
        ):  # whose limits are a bucket, and a window of the wall clock
            _next_call_of(life, partner)
        life.busy()
        assert abs(_ahead_seconds(life) - seconds) < CLOCK_SLACK_SECONDS

    assert life.lab.processes() == processes, life.lab.journal(UNIT)
    assert not life.records(mark, "ACTION=broker_away")
    life.lab.run("rm", f"{packages}/turned_clock.pth")
    life.kept("clock forward and back by an hour: same processes")


def test_timer_missed_while_off(life: Life) -> None:
    """Three slots passed while the VM was off: the timer fires once, as soon as it is on again."""
    lab = life.lab
    _revive(life)
    lab.run("reportctl", "schedule", "apply")
    lab.drop_in(f"{ENQUEUE}.timer", "[Timer]\nRandomizedDelaySec=0\n")
    lab.drop_in("reportd-enqueue@.service", STUB)
    lab.run("touch", "--date=3 days ago", f"/var/lib/systemd/timers/stamp-{ENQUEUE}.timer")

    lab.reboot()

    said = f"Finished {ENQUEUE}.service"
    lab.until(lambda: said in lab.journal(ENQUEUE), "the enqueue", ENQUEUE)
    assert lab.journal(ENQUEUE).count(said) == 1
    assert lab.state(f"{ENQUEUE}.timer") == "active"
    _revive(life)
    life.goes_on()
    life.kept("a timer missed while the VM was off: enqueued once after the boot")


@pytest.mark.long
def test_everything_ended_once(life: Life) -> None:
    """All of this life, compared: requests, ledgers, files, calls, limits."""
    _revive(life)
    life.conclude()


def _gave_up(life: Life) -> int:
    """Return how often the daemon has ended because something is not there yet."""
    return life.lab.journal(UNIT).count("status=75/TEMPFAIL")


def _broker_away(life: Life, seconds: float) -> None:
    _revive(life)
    life.busy()
    restarts, supervisor = life.restarts(), life.main_pid()

    life.stage.kafka.kill()
    life.stage.list_durable(broker=False)
    pause(seconds)
    life.stage.list_durable(broker=False)
    life.stage.kafka.start()
    back = time.monotonic()
    life.goes_on()
    took = time.monotonic() - back

    assert (life.restarts(), life.main_pid()) == (restarts, supervisor)
    life.busy()
    life.kept(f"broker away for {seconds:g} s: 20 requests ended {took:.2f} s after it was back")


def _output_away(life: Life, seconds: float, switch: Callable[..., None]) -> None:
    _revive(life)
    life.busy()
    restarts, mark = life.restarts(), life.mark()

    switch(life, on=True)
    life.during(
        lambda: life.lab.until(lambda: life.records(mark, "ACTION=output_away"), "the word of it")
    )
    calls = len(life.stage.simulator.calls())
    life.stage.list_durable()
    life.during(lambda: pause(seconds))
    calls = len(life.stage.simulator.calls()) - calls
    status = life.lab.show(UNIT, "StatusText")["StatusText"]
    life.stage.list_durable()
    switch(life, on=False)
    back = time.monotonic()
    life.goes_on()
    took = time.monotonic() - back

    assert "cannot write" in status
    assert life.restarts() == restarts
    life.lab.until(lambda: life.records(mark, "ACTION=output_back"), "the record of its return")
    life.busy()
    life.kept(
        f"output away for {seconds:g} s: {calls} calls meanwhile, "
        f"20 requests ended {took:.2f} s after it was back"
    )


def _revive(life: Life) -> None:
    """Make everything be there again, whatever the test before has left."""
    _read_only(life, on=False)
    _full(life, on=False)
    if life.stage.kafka.pid is None:
        life.stage.kafka.start()
    life.revive()


def _read_only(life: Life, *, on: bool) -> None:
    """Have the output take no writes, as a failing disk or a server's export does; or again."""
    how = f"remount,{'ro' if on else 'rw'}"
    command = ("mount", "-o", how, str(life.stage.place.output))
    # refused while somebody has a file open to write
    until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, how)


def _full(life: Life, *, on: bool) -> None:
    """Fill the output to the last byte; or make room again."""
    filler = life.stage.place.output / "_filler"
    if not on:
        filler.unlink(missing_ok=True)
        return
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def _next_call_of(life: Life, partner: str) -> None:
    """Wait for a call of a partner, while requests are written on."""
    since = time.monotonic()
    parts = {part for part in life.stage.parts_of.values() if partner in part[0]}
    life.next_call(since, parts)


def _ahead_seconds(life: Life) -> float:
    """Return how much the daemon's clock was ahead of the broker's when a request ended last."""
    ends = [found[0] for found in life.stage.follow().ends.values()]
    last = max(ends, key=lambda one: one.at)
    assert isinstance(last.record, End)
    return last.record.ended_at - last.at


def _turn_clock(life: Life, seconds: int) -> None:
    life.lab.write("/etc/reportd/clock", f"{seconds}\n")
