"""A fleet: VMs join, leave, are upgraded one by one, or are refused, while requests go on."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.simulator.process import Simulator
from reportd.errors import EXIT_CONFIG
from tests.s3server import S3Server
from tests.system.conftest import MakeStage
from tests.system.lab.conftest import MakeLab
from tests.system.lab.fleet import (
    CLONE,
    PARTITIONS,
    VMS,
    Fleet,
    boot,
    edit,
    fleet_scene,
    install,
    installed,
    version_of,
)
from tests.system.lab.installed import OUTPUT, furnish
from tests.system.lab.lab import Lab, Packages, build_packages
from tests.system.lab.parts import earlier_program, java_folders, java_package, repacked
from tests.system.stage import make_stage, until

pytestmark = pytest.mark.life

PREVIOUS = "0.0.9"
PART = PARTITIONS // len(VMS)
SESSION_SECONDS = 15
"""It counts from the last heartbeat; what comes after it is the others' rebalance."""
LONG_SESSION_SECONDS = 60
TIMER = "reportd-enqueue@daily.timer"
ENQUEUE = "reportd-enqueue@daily.service"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give what all VMs of this file see."""
    return tmp_path_factory.mktemp("fleet")


@pytest.fixture(scope="module")
def labs(make_common_lab: MakeLab, folder: Path) -> dict[str, Lab]:
    """Give three VMs; each test sees to the version that it needs."""
    return boot(make_common_lab, folder)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.soak)])
def fleet(
    request: pytest.FixtureRequest,
    labs: dict[str, Lab],
    folder: Path,
    kafka: EmbeddedKafka,
    topic_prefix: str,
    tmp_path: Path,
) -> Iterator[Fleet]:
    """Give the VMs with a stage of their own, its output a folder or a bucket."""
    scene = fleet_scene()
    place = folder / "outputs" / topic_prefix
    place.mkdir()
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(scene.simulated(tmp_path / "calls.jsonl")))
        s3 = None
        if request.param == "bucket":
            request.getfixturevalue("s3_program")
            s3 = stack.enter_context(S3Server(tmp_path / "s3"))
            s3.root.mkdir(parents=True)
            (place / "output").symlink_to(s3.root)
        stage = make_stage(place, scene, kafka, simulator, topic_prefix, edit)
        stack.callback(stage.close)
        hands = stack.enter_context(ThreadPoolExecutor(len(VMS)))
        for lab in labs.values():
            stack.callback(partial(lab.tries, "systemctl", "stop", "reportd"))
        yield Fleet(stage, labs, hands, s3)


@pytest.mark.timeout(900)
def test_rolling_upgrade(fleet: Fleet, packages: Packages) -> None:
    """One VM after the other gets the next version: no call comes again, no partition moves.

    The version before is a program of another time, where there is history, which works beside
    today's meanwhile; ``make soak`` builds its package.
    """
    program = earlier_program()
    if fleet.s3 is None:
        previous = repacked(packages.reportd, PREVIOUS, fleet.stage.place.root, program=program)
    else:
        of = ("--of", program) if program else ()
        previous = build_packages("--version", PREVIOUS, *of).reportd
    install(fleet.labs, previous)
    for name in VMS:
        fleet.furnish(name)
    list(fleet.hands.map(lambda lab: lab.systemctl("start", "reportd"), fleet.labs.values()))
    fleet.until(lambda: set(fleet.share().values()) == {PART}, "each VM to have its part")
    before = {name: fleet.parts(name) for name in VMS}
    took = []

    for name in VMS:
        lab = fleet.labs[name]
        others = {other: fleet.rebalances(other) for other in VMS if other != name}
        ended = len(fleet.stage.follow().ends)
        fleet.stage.list_durable()
        _, seconds = fleet.under_load(partial(lab.install, packages.reportd))
        assert installed(lab) == version_of(packages.reportd)
        assert lab.state("reportd") == "active", lab.journal("reportd")
        took.append((seconds, lab.between("reportd", "ActiveExit", "ActiveEnter")))
        fleet.until(lambda: fleet.parts(name) == before[name], f"{name} to have its part")  # noqa: B023
        # What its workers count is shown a moment later, and compared in the next round
        fleet.until(lambda: fleet.rebalances(name).get("assigned") == PART, f"{name} to count it")  # noqa: B023
        fleet.until(lambda: len(fleet.stage.ledgers.ends) > ended + 100, "requests to end")  # noqa: B023
        assert others == {other: fleet.rebalances(other) for other in others}

    assert before == {name: fleet.parts(name) for name in VMS}
    print(
        f"rolling upgrade from {program[:12] or 'the same program'}, seconds in all and away:",
        ", ".join(f"{all_in_all:.1f} {away:.1f}" for all_in_all, away in took),
        f"; calls repeated: {fleet.answered_twice()}",
    )
    fleet.conclude()
    assert fleet.answered_twice() == 0


def test_grows(fleet: Fleet, packages: Packages) -> None:
    """A full group makes room for VMs that join.

    Alone, a VM has a worker for each partition. With ``vms`` raised it keeps its part of them.
    """
    install(fleet.labs, packages.reportd)
    first, *others = VMS
    fleet.furnish(first, vms=1)
    for name in others:
        fleet.furnish(name)
    fleet.systemctl(first, "start")
    # The worker that is first has all of them for a moment; then they are shared out
    fleet.until(lambda: len(fleet.owners(first)) == PARTITIONS, "each of the first's to have one")
    started = [fleet.systemctl(name, "start") for name in others]
    print("systemctl start:", *(f"{seconds:.1f}" for seconds in started), "s")
    for name in others:
        fleet.until(lambda: fleet.status(name).get("ready"), f"{name} to be ready")  # noqa: B023
    assert fleet.share() == {first: PARTITIONS, **dict.fromkeys(others, 0)}

    fleet.reconfigure(first)
    began = time.monotonic()
    reloaded = fleet.systemctl(first, "reload")
    fleet.until(lambda: set(fleet.share().values()) == {PART}, "each VM to have its part")
    print(
        f"vms raised: reloaded in {reloaded:.1f} s, each VM had its part after"
        f" {time.monotonic() - began:.1f} s"
    )
    fleet.conclude()


def test_shrinks(fleet: Fleet, packages: Packages) -> None:
    """What a stopped VM had, others read after its session, or at once if it has left."""
    install(fleet.labs, packages.reportd)
    first, leaver, stopped = VMS
    fleet.furnish(first)
    fleet.furnish(leaver, session_timeout_seconds=LONG_SESSION_SECONDS)
    fleet.furnish(stopped, session_timeout_seconds=SESSION_SECONDS)
    list(fleet.hands.map(lambda lab: lab.systemctl("start", "reportd"), fleet.labs.values()))
    fleet.until(lambda: set(fleet.share().values()) == {PART}, "each VM to have its part")

    taken = stop_and_await(fleet, stopped)
    print(f"stopped: taken over after {taken:.1f} s, session {SESSION_SECONDS} s")
    assert taken < LONG_SESSION_SECONDS

    said: list[str] = []
    leave = partial(fleet.labs[leaver].run, "reportctl", "leave")
    taken = stop_and_await(fleet, leaver, lambda: said.append(leave()))
    print(f"first call {taken:.1f} s after the stop; reportctl leave: {said[0].strip()}")
    assert re.search(r" left; the group had settled after [0-9.]+ s", said[0])
    assert taken < LONG_SESSION_SECONDS
    assert fleet.share()[first] == PARTITIONS
    fleet.conclude()


def stop_and_await(fleet: Fleet, name: str, then: Callable[[], object] = lambda: None) -> float:
    """Stop a VM, do something more; return after how long others called for what it had."""
    had = fleet.parts(name)
    fleet.stage.list_durable()
    fleet.systemctl(name, "stop")
    stopped_at = time.monotonic()
    calls = len(fleet.stage.simulator.calls())
    fleet.under_load(then)
    first = fleet.until(lambda: fleet.called_for(had, calls), f"calls for what {name} had")
    left = [other for other in VMS if other != name]
    fleet.until(lambda: had <= set().union(*map(fleet.parts, left)), "the others to have all")
    assert first is not None
    return first - stopped_at


def test_refused(fleet: Fleet, packages: Packages) -> None:
    """A clone, another output, an output of its own: each ends with 78 and says what to do."""
    install(fleet.labs, packages.reportd)
    other = fleet.stage.place.root / "other"
    other.mkdir()
    fleet.furnish(VMS[0], machine_id=None)
    fleet.furnish(VMS[1])
    for name in VMS[:2]:
        fleet.systemctl(name, "start")
    before = fleet.until(lambda: settled(fleet), "two VMs to have all")

    fleet.furnish(CLONE, machine_id=None)
    said = refusal(fleet, CLONE)
    assert "another live VM has the machine id" in said
    assert "(a cloned image?): set workers.machine_id" in said

    fleet.furnish(CLONE, other)
    said = refusal(fleet, CLONE)
    assert "is alive and writes to another output" in said
    assert "mount the same folder on both" in said

    fleet.furnish(CLONE, other, shared=False, vms=1)
    said = refusal(fleet, CLONE)
    assert "a second VM on an output that is not shared" in said

    assert before == fleet.share(), "those who run were disturbed"
    fleet.furnish(CLONE)
    fleet.systemctl(CLONE, "start")
    fleet.until(lambda: set(fleet.share().values()) == {PART}, "each VM to have its part")
    fleet.conclude()


def settled(fleet: Fleet) -> dict[str, int]:
    """Return who has how many partitions once two VMs share all; empty: some are on their way."""
    share = fleet.share()
    return share if share[VMS[1]] >= PART and sum(share.values()) == PARTITIONS else {}


def refusal(fleet: Fleet, name: str) -> str:
    """Start a VM that must not run: it fails once, for good; return its last words."""
    lab = fleet.labs[name]
    done, seconds = fleet.under_load(lambda: lab.tries("systemctl", "start", "reportd"))
    assert done.returncode != 0
    shown = lab.show("reportd", "ActiveState", "ExecMainStatus", "NRestarts")
    expected = {"ActiveState": "failed", "ExecMainStatus": str(EXIT_CONFIG), "NRestarts": "0"}
    assert expected == shown, lab.journal("reportd")
    journal = lab.run("journalctl", "-t", "reportd", "ACTION=halt", "-o", "cat", "-n", "1")
    lab.run("systemctl", "reset-failed", "reportd")
    print(f"refused after {seconds:.1f} s: {journal.strip()}")
    return journal


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_same_timer_on_two_vms(
    make_a_stage: MakeStage, make_lab: MakeLab, packages: Packages, tmp_path: Path
) -> None:
    """Both elapse in the same second; each request is written once, and asked once."""
    scene = fleet_scene()
    scene = replace(scene, roles=tuple(replace(role, asks=2) for role in scene.roles))
    stage = make_a_stage(scene, edit)
    parts = tmp_path / "parts"
    parts.mkdir()
    java = java_package(parts)
    folders = {OUTPUT: stage.place.output, "/parts": parts, **java_folders()}
    # Not the names of the file's own labs, which are up
    labs = [make_lab(f"timer-{name}", folders=folders) for name in VMS[:2]]
    with ThreadPoolExecutor(len(labs)) as hands:
        list(hands.map(lambda lab: lab.install(java, packages.reportd, packages.enqueue), labs))
    for lab, name in zip(labs, VMS, strict=False):
        furnish(lab, stage, name, vms=2)
        lab.drop_in(TIMER, "[Timer]\nRandomizedDelaySec=0\n", "60-test")
    at = (datetime.now(UTC) + timedelta(seconds=100)).replace(second=0, microsecond=0)
    for lab in labs:
        schedule = f"/etc/reportd/schedules/{stage.place.schedule.name}"
        lab.write(schedule, lab.read(schedule).replace("04:00 Europe/Zurich", f"{at:%H:%M} UTC"))
        assert f"{at:%Y-%m-%d %H:%M:%S}" in lab.run("reportctl", "schedule", "apply")

    for lab in labs:
        lab.until(partial(has_enqueued, lab), "its enqueue to end", ENQUEUE, seconds=300)

    asked = len(list(scene.accounts())) * sum(role.asks for role in scene.roles)
    took = [lab.between(ENQUEUE, "ExecMainStart", "ExecMainExit") for lab in labs]
    print(f"{asked} requests, written once;", *(f"{seconds:.1f}" for seconds in took), "s each")
    assert stage.books.requests_written() == {"acme": asked}
    stage.requests.update(stage.books.requests())
    for lab in labs:
        lab.systemctl("start", "reportd")
    until(stage.all_ended, "every request to end")
    for lab in labs:
        lab.systemctl("stop", "reportd")
    assert len(stage.simulator.calls()) == asked
    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))


def has_enqueued(lab: Lab) -> bool:
    """Say whether the timer's enqueue was started and has ended well."""
    shown = lab.show(ENQUEUE, "ActiveState", "Result", "ExecMainExitTimestampMonotonic")
    assert shown["ActiveState"] != "failed", lab.journal(ENQUEUE)
    return shown["ActiveState"] == "inactive" and shown["ExecMainExitTimestampMonotonic"] != "0"
