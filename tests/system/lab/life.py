"""A daemon's life in a lab, under load: what the tests of ``test_life_*.py`` share.

One lab, one broker and one simulator a file; its tests are chapters of one life, in their order.
Whatever happens, three things are measured: how long it took, how long until requests end again,
and which finished calls the partners saw again (none may be).
"""

import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import orjson

from reportd.demo.audit import repeated_calls
from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.scene import Scene, demo_scene
from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import Faults, Latency
from reportd.demo.simulator.process import Simulator
from reportd.errors import BrokerError
from tests.system.lab.installed import OUTPUT, furnish, reconfigure, worker_pids
from tests.system.lab.lab import Lab
from tests.system.stage import Feeder, Part, Stage, Vm, make_stage, pause, until

T = TypeVar("T")

UNIT = "reportd"
OPEN_MOST = 120
IN_FLIGHT_LEAST = 20
ENDS_LEAST = 20
"""So many requests end before a chapter is over: everything works at full speed again."""
SLOW = Latency(median_seconds=0.8, sigma=0.3)
QUICK = Latency(median_seconds=0.05)
ACCOUNTS = {"acme": 10, "bolt": 0, "crux": 6}
"""Single calls of many accounts, and many pages of few; bolt is for what a test does with it."""
GONE = "acme-02"
"""The partner knows no such account: each request for it ends as a dead letter."""
BOMB = "bomb"
"""An account that no worker survives; it ends as a dead letter, too."""
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

Record = dict[str, Any]
"""One record of the journal."""


def life_scene() -> Scene:
    """Return the demo's partners, with faults, slow enough for many calls in flight."""
    faults = Faults(error=0.02, reset=0.01, truncated=0.01, html=0.005)
    return Scene(
        tuple(
            replace(
                role,
                accounts=ACCOUNTS[role.partner.name],
                partner=replace(
                    role.partner, latency=SLOW, faults=faults, gone_accounts=(GONE, BOMB)
                ),
            )
            for role in demo_scene().roles
        )
    )


@dataclass
class Life:
    """The installed daemon of one lab, its stage, and what feeds it."""

    lab: Lab
    stage: Stage
    vm: Vm
    feeder: Feeder
    settings: dict[str, Any] = field(default_factory=dict)

    # Load

    def busy(self) -> None:
        """Wait until requests end and many calls are in flight."""
        ends = len(self.stage.follow().ends)

        def is_busy() -> bool:
            self.feeder.feed()
            ended = len(self.stage.ledgers.ends) >= ends + ENDS_LEAST
            return ended and self.stage.in_flight() >= IN_FLIGHT_LEAST

        self._until(is_busy, f"{IN_FLIGHT_LEAST} calls in flight and {ENDS_LEAST} ends")

    def goes_on(self, ends: int = ENDS_LEAST) -> None:
        """Wait until so many more requests have ended."""
        before = len(self.stage.follow().ends)

        def has_gone_on() -> bool:
            self.feeder.feed()
            return len(self.stage.ledgers.ends) >= before + ends

        self._until(has_gone_on, f"{ends} requests to end")

    def during(self, work: Callable[[], T]) -> tuple[T, float]:
        """Do something while requests are written on; return what it gave, and its seconds."""
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(lambda: (work(), time.monotonic() - began))
            while not doing.done():
                try:
                    self.feeder.feed()
                except BrokerError:
                    pause(0.1)
                pause(0.05)
        return doing.result()

    def until_ended(self, names: Collection[str]) -> None:
        """Wait for the ends of requests."""
        self._until(lambda: set(names) <= self.stage.follow().ends.keys(), "their ends")

    def next_call(self, since: float, parts: Collection[Part] = ()) -> float:
        """Wait for a call that came after a moment (monotonic); return how long after.

        ``parts``: for a request of these partitions.
        """

        def found() -> list[float]:
            self.feeder.feed()
            names = self.stage.request_of()
            return [
                call.at - since
                for call in self.stage.simulator.calls()
                if call.at > since
                and (not parts or self.stage.parts_of.get(names.get(call.question, "")) in parts)
            ]

        return min(self._until(found, "a call"))

    def pause_seconds(self, since: float) -> float:
        """Return the longest time without a new call since a moment (monotonic)."""
        times = sorted(call.at for call in self.stage.simulator.calls() if call.at > since)
        return max(b - a for a, b in pairwise([since, *times]))

    def _until(self, found: Callable[[], T], what: str) -> T:
        def found_now() -> T | None:
            try:
                return found()
            except BrokerError:
                return None

        result = self.lab.until(found_now, what, UNIT)
        assert result is not None
        return result

    # What the daemon says

    def mark(self) -> str:
        """Return where the journal ends now."""
        said = self.lab.run("journalctl", "--quiet", "--lines=0", "--show-cursor")
        return said.rpartition("-- cursor: ")[2].strip()

    def records(self, mark: str, *matches: str) -> list[Record]:
        """Return the journal's records since a mark that match, as ``ACTION=assigned``."""
        # Not by journalctl's own matches: with a cursor it passes over the first that matches
        said = self.lab.run("journalctl", "--quiet", "--output=json", f"--after-cursor={mark}")
        wanted = [match.partition("=")[::2] for match in matches]
        found: list[Record] = [orjson.loads(line) for line in said.splitlines()]
        return [one for one in found if all(one.get(name) == value for name, value in wanted)]

    def actions(self, mark: str, *actions: str) -> list[tuple[str, str]]:
        """Return what happened since a mark: action and message, in order."""
        found = self.records(mark, "SYSLOG_IDENTIFIER=reportd")
        return [
            (one["ACTION"], str(one["MESSAGE"])) for one in found if one.get("ACTION") in actions
        ]

    def rebalances(self) -> int:
        """Return how often the broker has begun to deal the partitions anew."""
        log = self.stage.kafka.log.read_text(encoding="utf-8", errors="replace")
        said = f"Preparing to rebalance group {self.stage.prefix} "
        return log.count(said)

    def restarts(self) -> int:
        """Return how often systemd has started it again by itself."""
        return int(self.lab.show(UNIT, "NRestarts")["NRestarts"])

    def main_pid(self) -> int:
        """Return the supervisor's pid on this machine."""
        return next(pid for pid, title in self.lab.processes().items() if title == "supervisor")

    def workers(self) -> dict[str, int]:
        """Return the workers: title -> pid on this machine."""
        return worker_pids(self.lab)

    def parts(self) -> dict[str, set[Part]]:
        """Return which partitions each worker has, as the journal tells."""
        said = self.lab.run("journalctl", "--quiet", "--boot", "-t", UNIT, "--output=cat")
        self.vm.log.write_text(said, encoding="utf-8")
        return self.vm.parts()

    # Its life

    def start(self) -> float:
        """Start it; return the seconds until it was ready."""
        began = time.monotonic()
        self.lab.systemctl("start", UNIT)
        return time.monotonic() - began

    def deal(self) -> None:
        """Wait until every worker has partitions, and all of them have an owner.

        Kafka orphans what a member gives away if that is killed before it joins again.
        """
        stage = self.stage
        wanted = {
            (stage.topics.requests(name), index)
            for name, partner in stage.partners.items()
            for index in range(partner.partitions)
        }

        def is_dealt() -> bool:
            dealt = self.parts()
            return all(dealt.values()) and wanted <= set().union(*dealt.values())

        self._until(is_dealt, "every partition to have an owner")

    def stop(self) -> float:
        """Stop it; return the seconds until it was gone."""
        began = time.monotonic()
        self.lab.systemctl("stop", UNIT)
        return time.monotonic() - began

    def revive(self) -> None:
        """Start it if the test before has left it as it should not."""
        if self.lab.state(UNIT) != "active":
            self.lab.systemctl("start", UNIT)

    def reconfigure(self, **settings: Any) -> None:
        """Write other settings of ``[workers]`` beside those it was made with."""
        self.settings |= settings
        reconfigure(self.lab, self.stage, self.vm, **self.settings)

    def cpu_seconds(self) -> float:
        """Return the processor time that all its processes have used."""
        ticks = 0
        for pid in self.lab.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_A_SECOND

    # What is promised

    def repeated(self) -> list[SeenCall]:
        """Return the calls that came although their answer was durable."""
        return repeated_calls(self.stage.evidence())

    def kept(self, *figures: str) -> None:
        """Print what was measured; see that no finished call came again."""
        repeated = self.repeated()
        calls = len(self.stage.simulator.calls())
        print("; ".join([*figures, f"{len(repeated)} of {calls} calls repeated"]))
        assert not repeated, repeated[:5]

    def conclude(self) -> None:
        """Let every request end, stop, and see that every promise was kept."""
        self.stage.simulator.latency(QUICK)
        until(self.stage.all_ended, "every request to end", 120)
        self.stop()
        broken = self.stage.broken()
        assert not broken, "\n".join(map(str, broken))
        print(f"{len(self.stage.requests)} requests, {len(self.stage.simulator.calls())} calls")


@contextmanager
def living(
    folder: Path,
    kafka: EmbeddedKafka,
    prefix: str,
    boot: Callable[[Stage], Lab],
    *,
    edit: Callable[[str, str], str] | None = None,
    **settings: Any,
) -> Iterator[Life]:
    """Give a stage and a lab with an installed, configured daemon; nothing is started.

    ``boot`` makes the lab, with the stage's output at `OUTPUT`, and installs the package.
    """
    scene = life_scene()
    settings = {"processes": 3, "session_timeout_seconds": 60, "threads": 24, **settings}
    (folder / "play").mkdir(exist_ok=True)
    with Simulator(scene.simulated(folder / "calls.jsonl")) as simulator:
        stage = make_stage(folder / "play", scene, kafka, simulator, prefix, edit)
        try:
            lab = boot(stage)
            vm = furnish(lab, stage, **settings)
            yield Life(lab, stage, vm, Feeder(stage, OPEN_MOST), settings)
        finally:
            stage.close()


def folders(stage: Stage, **more: Path) -> dict[str, Path]:
    """Return what the lab sees of this machine; ``more``: ``parts=folder`` is ``/parts``."""
    return {OUTPUT: stage.place.output, **{f"/{name}": more[name] for name in more}}
