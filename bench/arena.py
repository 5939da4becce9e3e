"""Where both compete: one broker, one simulator, a fresh folder and fresh topics for each round."""

import http.client
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Self

from bench.scene import TOKEN, Role
from reportd.broker.admin import Admin
from reportd.broker.keys import partition_of
from reportd.broker.producer import Producer
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics, topic_plans
from reportd.config.settings import KafkaSettings
from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.simulator.config import Latency, SimulatorConfig
from reportd.demo.simulator.process import Simulator

LOOK_SECONDS = 0.1


class BenchError(Exception):
    """A contestant did not do what it was measured for."""


@dataclass(frozen=True, slots=True)
class Ground:
    """One round's folder and topics."""

    folder: Path
    prefix: str
    roles: tuple[Role, ...]

    @property
    def topics(self) -> Topics:
        """The names."""
        return Topics(self.prefix)

    @property
    def partitions(self) -> int:
        """How many there are in all."""
        return sum(role.partitions for role in self.roles)

    @property
    def output(self) -> Path:
        """Where the files go."""
        return self.folder / "output"


class Arena:
    """What both sides find: Kafka and the partners. One a bench."""

    def __init__(self, folder: Path, roles: tuple[Role, ...]) -> None:
        self.folder = folder
        self.kafka = EmbeddedKafka(folder / "kafka")
        self.simulator = Simulator(SimulatorConfig(partners=tuple(r.played() for r in roles)))
        self._stack = ExitStack()
        self._rounds = 0
        self._came: dict[str, int] = {}
        self._warmed: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        with ExitStack() as stack:
            stack.enter_context(self.kafka)
            stack.enter_context(self.simulator)
            settings = client_settings(KafkaSettings(servers=self.kafka.servers))
            self.admin = Admin(settings)
            # No compression: the peer's client would need one more library to undo lz4
            self._producer = Producer({**settings, "compression.type": "none"})
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ground(self, *roles: Role) -> Ground:
        """Give a fresh folder and topics.

        Nothing is removed before the end: for minutes ext4 searches around what was deleted,
        whenever it makes a file, and that would be measured.
        """
        self._rounds += 1
        prefix = f"round{self._rounds}"
        ground = Ground(self.folder / prefix, prefix, roles)
        ground.output.mkdir(parents=True)
        for role in roles:
            self._came[role.name] = 0
            self._came[role.name] = self.calls_of(role.name)
        counts = {role.name: role.partitions for role in roles}
        as_sent = {"compression.type": "producer"}  # aiokafka reads lz4 with one more library
        plans = topic_plans(prefix, counts, replication=1)
        self.admin.create([replace(one, config={**one.config, **as_sent}) for one in plans])
        return ground

    def warm_up(self, role: Role, count: int) -> None:
        """Ask everything once: the simulator makes its answers before anyone is measured."""
        self._warmed[role.name] = count
        self.simulator.latency(Latency(), role.name)
        connection = http.client.HTTPConnection("127.0.0.1", self.simulator.port, timeout=60)
        for path in role.paths(count):
            connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            if len(answer.read()) == 0 or answer.status != 200:
                raise BenchError(f"the simulator answers {path} with {answer.status}")
        connection.close()
        self.simulator.latency(Latency(median_seconds=role.latency_seconds), role.name)

    def warmed(self, role: Role) -> int:
        """Return how many requests of a role the simulator has answers for."""
        return self._warmed[role.name]

    def produce(self, ground: Ground, role: Role, requests: list[tuple[str, bytes]]) -> None:
        """Write requests into their partitions; returns when they stand."""
        topic = ground.topics.requests(role.name)
        for account, message in requests:
            key = (account if role.meter is None else role.name).encode()
            part = partition_of(key, role.partitions)
            self._producer.send(topic, message, key=key, partition=part)
        if self._producer.flush(60):
            raise BenchError("the broker does not take the requests")

    def committed(self, ground: Ground, group: str, role: Role) -> int:
        """Return how many of a role's requests are committed."""
        topic = ground.topics.requests(role.name)
        offsets = self.admin.group_offsets(group)
        return sum(one.offset or 0 for (name, _), one in offsets.items() if name == topic)

    def calls_total(self) -> int:
        """Return how many calls have come: the number of the next one."""
        counts = self.simulator.counts().values()
        return sum(count for one in counts for name, count in one.items() if name != "in_flight")

    def calls_of(self, partner: str) -> int:
        """Return how many calls of a partner have come since the round began."""
        counts = self.simulator.counts()[partner]
        come = sum(count for name, count in counts.items() if name != "in_flight")
        return come - self._came.get(partner, 0)


def wait_for(what: str, is_so: Callable[[], bool], seconds: float) -> None:
    """Look until it is so; raises `BenchError`."""
    pause = Event()
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {seconds:g} s for {what}")
        pause.wait(LOOK_SECONDS)


def files_below(folder: Path) -> list[os.stat_result]:
    """Return the final Parquet files' states."""
    found = []
    for root, folders, names in os.walk(folder):
        if "_reportd" in folders:
            folders.remove("_reportd")
        found += [Path(root, name).stat() for name in names if name.endswith(".parquet")]
    return found
