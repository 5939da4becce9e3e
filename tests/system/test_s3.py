"""The daemon with its output in a bucket: killed in the middle, the bucket away and back."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reportd.demo.scene import Scene, demo_scene
from reportd.demo.simulator.config import Faults, Latency
from reportd.errors import EXIT_UNAVAILABLE
from reportd.model.ledger import End
from tests.loopback import Proxy
from tests.s3server import ACCESS_KEY, ROOT, S3Server
from tests.system.conftest import MakeStage
from tests.system.stage import Feeder, Stage, Vm, stopped, until

ENDS_LEAST = 25
END_SECONDS = 120.0


def small_scene() -> Scene:
    """Return the demo's partners with four accounts each: pages, many days, two formats."""
    latency = Latency(median_seconds=0.1)
    return Scene(
        tuple(
            replace(
                role,
                partner=replace(role.partner, latency=latency, faults=Faults()),
                accounts=4,
            )
            for role in demo_scene().roles
        )
    )


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    """Give what stands between the daemon and its bucket."""
    with Proxy(s3.port) as made:
        yield made


@pytest.fixture
def stage(make_a_stage: MakeStage, s3: S3Server, proxy: Proxy) -> Stage:
    """Give a stage with the output in a bucket; the test finds its objects in the usual folder."""
    stage = make_a_stage(small_scene())
    secrets = stage.place.config.parent / "secrets"
    for name, value in (("s3-access-key", ACCESS_KEY), ("s3-secret-key", s3.secret_key)):
        (secrets / name).write_text(f"{value}\n")
    s3.root.mkdir()
    stage.place.output.rmdir()
    stage.place.output.symlink_to(s3.root)
    stage.output = (
        f'root = "{ROOT}"',
        "[output.s3]",
        'access_key = { secret = "s3-access-key" }',
        'secret_key = { secret = "s3-secret-key" }',
        f'endpoint = "http://127.0.0.1:{proxy.port}"',
        "connect_timeout_seconds = 1",
        "request_timeout_seconds = 2",
    )
    return stage


def readiness(vm: Vm) -> str:
    """Return why a VM is not ready; empty: it is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{vm.metrics_port}/readyz", timeout=10):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def states(stage: Stage) -> dict[str, int]:
    """Return how many requests have ended in each state."""
    found: dict[str, int] = {}
    for ends in stage.follow().ends.values():
        record = ends[0].record
        assert isinstance(record, End)
        found[record.state] = found.get(record.state, 0) + 1
    return found


def at_work(stage: Stage, feeder: Feeder) -> None:
    """Wait until requests have ended, and calls are in flight."""
    before = len(stage.follow().ends)

    def is_busy() -> bool:
        feeder.feed()  # whoever did not look for a while finds all that was written ended
        return len(stage.ledgers.ends) >= before + ENDS_LEAST and stage.in_flight() > 0

    until(is_busy, "requests to end, and calls in flight")


@pytest.mark.timeout(300)
def test_killed_and_cut_off(stage: Stage, s3: S3Server, proxy: Proxy) -> None:
    """Nothing finished is asked again, nothing is lost, and every row is as the partner has it."""
    feeder = Feeder(stage, 40)
    feeder.feed()
    vm = stage.vm("vm-a", processes=2, session_timeout_seconds=20)
    stage.start(vm)
    for _ in range(2):
        at_work(stage, feeder)
        vm.daemon.kill_all()
        listing = stage.list_durable()
        print(f"killed: {len(listing.finished)} finished, {len(listing.pages)} pages are durable")
        stage.start(vm)
    at_work(stage, feeder)
    feeder.feed()
    proxy.become("hang")
    until(lambda: "cannot write" in readiness(vm), "the VM not to be ready")
    print(f"cut off: {readiness(vm).strip()}")
    stage.list_durable()
    proxy.become("503")
    assert set(states(stage)) == {"result"}

    proxy.become("pass")
    until(lambda: not readiness(vm), "the VM to be ready again")
    until(stage.all_ended, "every request to end", END_SECONDS)
    stopped(vm)

    broken = stage.broken()
    assert not broken, "\n".join(map(str, broken))
    assert set(states(stage)) == {"result"}
    assert s3.secret_key not in vm.said()
    print(f"{len(stage.requests)} requests, {len(stage.simulator.calls())} calls")


def test_a_bucket_that_does_not_answer_at_the_start(stage: Stage, proxy: Proxy) -> None:
    """75, and which one: systemd tries again for ever."""
    proxy.become("503")
    vm = stage.vm("vm-a", session_timeout_seconds=20)
    vm.daemon.start()

    assert vm.daemon.wait(END_SECONDS) == EXIT_UNAVAILABLE
    assert "HTTP status 503" in vm.said()
    assert "Traceback" not in vm.said()
