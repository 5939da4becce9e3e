"""Lives and deaths of reportd's processes: how soon they are back, how small they are."""

import os
import select
import signal
import statistics
import time
from dataclasses import asdict, dataclass
from threading import Event
from typing import Any

from bench.arena import LOOK_SECONDS, Arena, BenchError, wait_for
from bench.contestants import Reportd
from bench.proc import memory
from bench.scene import Role

IDLE_WORKERS = 4
IDLE_SECONDS = 3.0
BACK_SECONDS = 30.0
ON_THE_WAY_SECONDS = 0.05
MILESTONES = (4_000, 20_000, 50_000, 100_000)
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Lives:
    """What was measured; times in seconds."""

    worker_back_seconds: list[float]
    """From kill -9 of the only worker to the first call of the next."""
    restart_seconds: list[float]
    """From starting the daemon to its first call, after an orderly stop."""
    restart_after_kill_seconds: list[float]
    """The same after kill -9 of the whole daemon."""
    idle_worker_bytes: list[int]
    """Private dirty memory of each idle worker."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for the JSON file."""
        return asdict(self)


def measure(arena: Arena, role: Role, times: int, threads: int) -> Lives:
    """Kill and restart so often, with requests waiting all the time."""
    idle = _idle(arena, role, threads)
    workers: list[float] = []
    restarts: list[float] = []
    kills: list[float] = []
    ground = arena.ground(role)
    side = Reportd(arena, ground, processes=1, threads=threads)
    try:
        side.start()
        arena.produce(ground, role, role.requests(arena.warmed(role)))
        wait_for("the first calls", lambda: arena.calls_of(role.name) > 0, BACK_SECONDS)
        for _ in range(times):
            # One death a life: the next early one would be answered after a pause, on purpose
            workers.append(_kill_worker(arena, side))
            restarts.append(_restart(arena, side, kill=False))
            kills.append(_restart(arena, side, kill=True))
    finally:
        side.end()
    return Lives(workers, restarts, kills, idle)


def _idle(arena: Arena, role: Role, threads: int) -> list[int]:
    ground = arena.ground(role)
    side = Reportd(arena, ground, processes=IDLE_WORKERS, threads=threads)
    try:
        side.start()
        Event().wait(IDLE_SECONDS)
        return [memory(pid).private_dirty for pid in side.workers()]
    finally:
        side.end()


def _kill_worker(arena: Arena, side: Reportd) -> float:
    Event().wait(1.0)
    (pid,) = side.workers()
    handle = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    at = time.monotonic()
    try:
        _gone(handle)
    finally:
        os.close(handle)
    return _first_call(arena, time.monotonic()) - at


def _gone(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if not poll.poll(BACK_SECONDS * 1000):
        raise BenchError("a killed worker does not go")


def _restart(arena: Arena, side: Reportd, *, kill: bool) -> float:
    Event().wait(1.0)
    if kill:
        side.kill()
    else:
        side.program.stop()
    at = time.monotonic()
    side.launch()
    return _first_call(arena, at) - at


def _first_call(arena: Arena, at: float) -> float:
    """Return when the first call came that nobody sent who was gone at an instant (monotonic)."""
    seen = arena.calls_total()
    # What the killed one had sent may still be on its way
    since = at + ON_THE_WAY_SECONDS
    found: list[float] = []

    def came() -> bool:
        found.extend(call.at for call in arena.simulator.calls(max(0, seen - 50)))
        return any(one > since for one in found)

    wait_for("a call", came, BACK_SECONDS)
    return min(one for one in found if one > since)


@dataclass(frozen=True, slots=True)
class Growth:
    """One worker's memory over many requests, in bytes."""

    requests: int
    early_bytes: int
    """Resident, private: median of samples from the second tenth on, a tenth long."""
    late_bytes: int
    """The same in the last tenth."""
    milestones: dict[int, int]
    """The same when so many were done, of `MILESTONES`."""

    @property
    def per_hundred_thousand(self) -> int:
        """How much it grows in 100,000 requests."""
        return round((self.late_bytes - self.early_bytes) * 100_000 / (0.75 * self.requests))

    def as_dict(self) -> dict[str, Any]:
        """Return it for the JSON file."""
        milestones = {str(done): size for done, size in self.milestones.items()}
        return {
            **asdict(self),
            "milestones": milestones,
            "growth_per_100000_bytes": self.per_hundred_thousand,
        }


def growth(arena: Arena, role: Role, count: int, threads: int) -> Growth:
    """Watch one worker's private memory while it does so many requests."""
    requests = role.requests(count)
    samples: list[tuple[int, int]] = []
    ground = arena.ground(role)
    side = Reportd(arena, ground, processes=1, threads=threads)
    try:
        side.start()
        arena.produce(ground, role, requests)
        (pid,) = side.workers()
        deadline = time.monotonic() + 60 + count / 20
        pause = Event()
        done = 0
        while done < count:
            pause.wait(5 * LOOK_SECONDS)
            done = arena.committed(ground, side.group, role)
            samples.append((done, memory(pid).private_dirty))
            if time.monotonic() > deadline:
                raise BenchError(f"{done} of {count} requests are done")
    finally:
        side.end()
    return _growth(count, samples)


def _growth(count: int, samples: list[tuple[int, int]]) -> Growth:
    early = [size for done, size in samples if 0.15 * count <= done <= 0.3 * count]
    late = [size for done, size in samples if done >= 0.9 * count]
    milestones = {
        stone: next(size for done, size in samples if done >= stone)
        for stone in MILESTONES
        if stone <= count
    }
    return Growth(
        count, round(statistics.median(early)), round(statistics.median(late)), milestones
    )
