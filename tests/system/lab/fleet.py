"""Three VMs with the package installed, on one broker and one output, under load.

The output is a folder of this machine that every VM mounts at `OUTPUT`, as they would an NFS, or a
bucket. One of the VMs is a clone of another: both have the same ``/etc/machine-id``.
"""

import re
import subprocess
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

from reportd.cli.observing import ask_observer
from reportd.config.settings import MetricsSettings
from reportd.demo.scene import Scene
from reportd.demo.simulator.config import Latency
from tests.s3server import ACCESS_KEY, BUCKET, S3Server
from tests.system.lab.conftest import MakeLab
from tests.system.lab.installed import OUTPUT, furnish, reconfigure
from tests.system.lab.lab import Lab
from tests.system.stage import Part, Stage, Vm, accounts_of, pause, quick_scene, until

T = TypeVar("T")

VMS = ("vm-a", "vm-b", "vm-c")
CLONE = "vm-c"
"""Has the machine id of the first one, unless its configuration says another."""
PARTITIONS = 12
ACCOUNTS = 24
OPEN_EACH = 2
"""Requests that are open at any time, an account."""
SHARED = "/srv/shared"
"""Where a VM sees what its outputs are mounted from."""
_SETTINGS = {"vms": len(VMS), "processes": "per-partition", "session_timeout_seconds": 45}
_S3_FILE = "/etc/reportd/conf.d/60-s3.toml"


def fleet_scene() -> Scene:
    """Return one partner that answers in a third of a second; a file a request."""
    role = quick_scene(ACCOUNTS).roles[0]
    partner = replace(role.partner, latency=Latency(median_seconds=0.3, sigma=0.3))
    return Scene((replace(role, partner=partner, days=1),))


def edit(_name: str, text: str) -> str:
    """Give the partner partitions enough for all workers, and a limit that nobody meets."""
    return text.replace("partitions = 4", f"partitions = {PARTITIONS}").replace(
        "calls = 4, seconds = 1", "calls = 100, seconds = 1"
    )


def boot(make_lab: MakeLab, folder: Path) -> dict[str, Lab]:
    """Boot the VMs; nothing is installed. They see ``folder`` as `SHARED`."""
    outputs = folder / "outputs"
    outputs.mkdir()
    cloned = uuid.uuid4().hex
    return {
        name: make_lab(
            name,
            folders={SHARED: outputs},
            machine_id=cloned if name in {VMS[0], CLONE} else "",
        )
        for name in VMS
    }


def install(labs: Mapping[str, Lab], deb: Path) -> None:
    """Install a package on every VM that has another version of it, all at once."""
    version = version_of(deb)
    wanting = [lab for lab in labs.values() if installed(lab) != version]
    with ThreadPoolExecutor(len(VMS)) as hands:
        list(hands.map(lambda lab: lab.install(deb), wanting))


def version_of(deb: Path) -> str:
    """Return a package's version."""
    command = ["dpkg-deb", "--field", str(deb), "Version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def installed(lab: Lab) -> str:
    """Return the installed version; empty: none."""
    found = lab.tries("dpkg-query", "-W", "-f", "${Version}", "reportd")
    return found.stdout if found.returncode == 0 else ""


@dataclass
class Fleet:
    """The VMs of one test, and the load on them."""

    stage: Stage
    labs: Mapping[str, Lab]
    hands: ThreadPoolExecutor
    s3: S3Server | None = None
    numbers: Counter[str] = field(default_factory=Counter)
    """How many requests each account was asked for."""

    # Set-up

    def furnish(self, name: str, output: Path | None = None, **settings: Any) -> Vm:
        """Configure a VM for the stage's output, or another one; nothing is started.

        ``machine_id=None``: the machine's own; ``shared=False``: a folder. Every other setting is
        as in `Stage.vm`.
        """
        lab = self.labs[name]
        own_id = "machine_id" in settings and settings.pop("machine_id") is None
        self._mount(lab, output or self.stage.place.output)
        vm = furnish(lab, self.stage, name, **_SETTINGS | settings)
        if own_id:
            lab.run("sed", "-i", "/^machine_id = /d", "/etc/reportd/conf.d/50-test.toml")
        lab.run("rm", "-f", _S3_FILE)
        if self.s3 is not None and settings.get("shared", True):
            lab.write(_S3_FILE, self._bucket("raw" if output is None else output.name))
            for secret, value in (
                ("s3-access-key", ACCESS_KEY),
                ("s3-secret-key", self.s3.secret_key),
            ):
                lab.write(f"/etc/reportd/secrets/{secret}", f"{value}\n", mode=0o600)
        return vm

    def reconfigure(self, name: str, **settings: Any) -> None:
        """Change a VM's settings; it has to be reloaded."""
        reconfigure(self.labs[name], self.stage, self.stage.vms[name], **_SETTINGS | settings)

    def _mount(self, lab: Lab, output: Path) -> None:
        """Mount an output where the configuration says it is."""
        lab.shell(f"! mountpoint -q {OUTPUT} || umount {OUTPUT}; mkdir -p {OUTPUT}")
        if self.s3 is None:
            lab.run("mount", "--bind", lab.seen(output), OUTPUT)

    def _bucket(self, folder: str) -> str:
        assert self.s3 is not None
        return (
            f'[output]\nroot = "s3://{BUCKET}/{folder}"\n'
            f'[output.s3]\nendpoint = "http://127.0.0.1:{self.s3.port}"\n'
            'access_key = { secret = "s3-access-key" }\nsecret_key = { secret = "s3-secret-key" }\n'
            "connect_timeout_seconds = 1\nrequest_timeout_seconds = 2\n"
        )

    # Under load

    def feed(self) -> None:
        """Write more requests for every account that has not enough open ones."""
        stage = self.stage
        stage.follow()
        open_now = Counter(stage.requests[name].account for name in stage.open_ids())
        for account, role in accounts_of(stage.scene):
            for _ in range(OPEN_EACH - open_now[account.account]):
                stage.ask(account, role, self.numbers[account.account])
                self.numbers[account.account] += 1
        stage.confirm()

    def under_load(self, act: Callable[[], T]) -> tuple[T, float]:
        """Do something that takes its time while requests go on; returns how long it took."""

        def timed() -> tuple[T, float]:
            began = time.monotonic()
            result = act()
            return result, time.monotonic() - began

        doing = self.hands.submit(timed)
        while not doing.done():
            self.feed()
            pause(0.1)
        return doing.result()

    def until(self, found: Callable[[], T], what: str, seconds: float = 120.0) -> T:
        """Wait for something to become true while requests go on."""

        def fed() -> T:
            self.feed()
            return found()

        try:
            return until(fed, what, seconds)
        except BaseException as error:
            for lab in self.labs.values():
                error.add_note(f"{lab.name}:\n{lab.journal('reportd', lines=40)}")
            raise

    def systemctl(self, name: str, verb: str) -> float:
        """Run ``systemctl`` for a VM's daemon, under load; returns how long it took."""
        return self.under_load(lambda: self.labs[name].systemctl(verb, "reportd"))[1]

    # What can be seen

    def status(self, name: str) -> dict[str, Any]:
        """Return what a VM's observer says; empty: it does not answer."""
        if name not in self.stage.vms:
            return {}
        listen = f"127.0.0.1:{self.stage.vms[name].metrics_port}"
        try:
            return ask_observer(MetricsSettings.model_validate({"listen": listen}))
        except (OSError, HTTPException, ValueError):
            return {}

    def parts(self, name: str) -> set[Part]:
        """Return the partitions of requests that a VM's workers have."""
        topic = self.stage.topics.requests("acme")
        found = self.status(name).get("partitions", [])
        return {
            (one["topic"], one["partition"])
            for one in found
            if one["owner"] is not None and one["topic"] == topic
        }

    def owners(self, name: str) -> set[str]:
        """Return a VM's workers that have partitions of requests."""
        topic = self.stage.topics.requests("acme")
        found = self.status(name).get("partitions", [])
        return {one["owner"] for one in found if one["owner"] and one["topic"] == topic}

    def share(self) -> dict[str, int]:
        """Return how many partitions each VM has."""
        return {name: len(self.parts(name)) for name in VMS}

    def rebalances(self, name: str) -> dict[str, float]:
        """Return how often partitions came to and went from a VM's workers."""
        port = self.stage.vms[name].metrics_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        found = re.findall(
            r'^reportd_rebalances_total{event="(\w+)"} ([0-9.e+]+)', text, re.MULTILINE
        )
        return {event: float(count) for event, count in found}

    def called_for(self, parts: set[Part], since: int) -> float | None:
        """Return when the first call for some partitions came after the ``since``-th call."""
        names = self.stage.request_of()
        for call in self.stage.simulator.calls(since):
            if self.stage.parts_of.get(names.get(call.question, "")) in parts:
                return call.at
        return None

    def answered_twice(self) -> int:
        """Return how many calls were answered completely and came again."""
        found = Counter((c.question, c.page) for c in self.stage.simulator.calls() if c.complete)
        return sum(count - 1 for count in found.values())

    def memory_megabytes(self, name: str) -> float:
        """Return what a VM's processes take, what they share with each other counted once."""
        pids = self.labs[name].processes()
        return sum(map(_proportional_bytes, pids)) / 1e6

    def kafka_bytes(self, topic: str) -> int:
        """Return what a topic takes on the broker's disk."""
        logs = (self.stage.kafka.folder / "data").glob(f"{topic}-*/*.log")
        return sum(log.stat().st_size for log in logs)

    # The end

    def conclude(self) -> None:
        """Let every request end, stop every VM, and see that every promise was kept."""
        stage = self.stage
        memory = {name: self.memory_megabytes(name) for name in VMS}
        print("memory of", *(f"{name} {megabytes:.0f} MB" for name, megabytes in memory.items()))
        until(stage.all_ended, "every request to end")
        running = [lab for lab in self.labs.values() if lab.state("reportd") == "active"]
        list(self.hands.map(lambda lab: lab.systemctl("stop", "reportd"), running))
        for lab in running:
            assert lab.show("reportd", "Result", "ExecMainStatus") == {
                "Result": "success",
                "ExecMainStatus": "0",
            }, lab.journal("reportd")
        broken = stage.broken()
        assert not broken, "\n".join(map(str, broken))
        count = len(stage.requests)
        topics = stage.topics.requests("acme"), stage.topics.ledger("acme")
        each = [self.kafka_bytes(topic) / count for topic in topics]
        print(
            f"{count} requests, {len(stage.simulator.calls())} calls,",
            f"{self.answered_twice()} answered twice;",
            f"in Kafka {each[0]:.0f} bytes a request, {each[1]:.0f} an end",
        )


def _proportional_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has just ended
        return 0
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
