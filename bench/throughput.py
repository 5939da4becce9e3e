"""Requests a second, CPU a request, memory: everything is produced once, then both take turns."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from bench.arena import Arena, BenchError, Ground, files_below, wait_for
from bench.contestants import Contestant, Peer, Reportd
from bench.peer.settings import Parsing, PeerSettings
from bench.proc import PeakMemory, cpu_seconds
from bench.scene import TOKEN, Role

WORK_SECONDS = 300.0
PROCESSES = (1, 2, 3)
CONCURRENCY = (32, 128)
PARSING: tuple[Parsing, ...] = ("inline", "thread")


@dataclass(frozen=True, slots=True)
class Measured:
    """One side's round."""

    label: str
    requests: int
    seconds: float
    """From the first message's writing to the last file's."""
    cpu_seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def cpu_per_thousand(self) -> float:
        """CPU seconds per 1,000 requests."""
        return self.cpu_seconds * 1000 / self.requests

    def as_dict(self) -> dict[str, Any]:
        """Return it for the JSON file."""
        return {
            **asdict(self),
            "requests_per_second": round(self.rate, 1),
            "cpu_seconds_per_1000": round(self.cpu_per_thousand, 3),
        }


Make = Callable[[Arena, Ground], Contestant]


def measure(arena: Arena, role: Role, count: int, make: Make, label: str) -> Measured:
    """Start one side, then write its requests; wait until all are files and committed."""
    ground = arena.ground(role)
    side = make(arena, ground)
    try:
        side.start()
        requests = role.requests(count)
        before = cpu_seconds(side.pid)
        with PeakMemory(side.pid) as peak:
            began = time.time()
            arena.produce(ground, role, requests)
            wait_for(
                f"{label}: {count} requests",
                lambda: arena.committed(ground, side.group, role) >= count,
                WORK_SECONDS,
            )
            cpu = cpu_seconds(side.pid) - before
        files = files_below(ground.output)
    finally:
        side.end()
    if len(files) != count:
        raise BenchError(f"{label}: {len(files)} files for {count} requests")
    seconds = max(file.st_mtime for file in files) - began
    return Measured(label, count, seconds, cpu, peak.peak_bytes)


def peer(settings: PeerSettings, role: Role) -> Make:
    """Return how the peer is made for a round."""

    def make(arena: Arena, ground: Ground) -> Contestant:
        return Peer(peer_settings(settings, arena, ground, role), ground)

    return make


def peer_settings(settings: PeerSettings, arena: Arena, ground: Ground, role: Role) -> PeerSettings:
    """Complete a setting of the grid with where everything is."""
    partner_limit, account_limit = role.peer_limits()
    return PeerSettings(
        processes=settings.processes,
        concurrency=settings.concurrency,
        parsing=settings.parsing,
        lean=settings.lean,
        servers=arena.kafka.servers,
        topic=ground.topics.requests(role.name),
        group=f"{ground.prefix}.peer",
        base_url=arena.simulator.base_url,
        format=role.format,
        root=str(ground.output),
        token=TOKEN,
        partner_limit=partner_limit,
        account_limit=account_limit,
    )


def reportd(processes: int, threads: int) -> Make:
    """Return how reportd is made for a round."""

    def make(arena: Arena, ground: Ground) -> Contestant:
        return Reportd(arena, ground, processes=processes, threads=threads)

    return make


def grid() -> Iterator[PeerSettings]:
    """Yield the peer's settings that are tried."""
    for processes, concurrency, parsing in product(PROCESSES, CONCURRENCY, PARSING):
        yield PeerSettings(processes=processes, concurrency=concurrency, parsing=parsing)


def median(found: list[Measured]) -> Measured:
    """Return the round with the median rate."""
    rate = statistics.median_low(one.rate for one in found)
    return next(one for one in found if one.rate == rate)
