"""The two sides, as programs: how each is started, known to be ready, and ended."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from bench.arena import Arena, BenchError, Ground, wait_for
from bench.peer.settings import PeerSettings
from bench.proc import tree
from bench.scene import TOKEN
from reportd.demo.programs import Program

READY_SECONDS = 30.0
SETTLE_SECONDS = 1.5
STOP_SECONDS = 60.0

_CHANGE = re.compile(r"(\S+) (assigned|revoked|lost) \2 (.*)")
_PART = re.compile(r"[^\s,]+\[\d+\]")


class Contestant(Protocol):
    """One side in one round."""

    group: str

    @property
    def pid(self) -> int:
        """Its first process."""
        ...

    def start(self) -> None:
        """Start it and return when it has its partitions and would work."""
        ...

    def end(self) -> None:
        """End all its processes."""
        ...


class Reportd:
    """``reportd --config``, as it is meant to be run."""

    def __init__(
        self, arena: Arena, ground: Ground, *, processes: int, threads: int, session: int = 45
    ) -> None:
        self.group = ground.prefix
        self._ground = ground
        self._members = min(processes, ground.partitions)
        etc = ground.folder / "etc"
        (etc / "partners").mkdir(parents=True, exist_ok=True)
        (etc / "secrets").mkdir(exist_ok=True)
        secret = etc / "secrets" / "bench"
        secret.touch(mode=0o600)
        secret.write_text(TOKEN, encoding="utf-8")
        for role in ground.roles:
            text = role.toml(arena.simulator.port)
            (etc / "partners" / f"{role.name}.toml").write_text(text, encoding="utf-8")
        config = etc / "reportd.toml"
        config.write_text(
            f"""\
kafka = {{ servers = "{arena.kafka.servers}", prefix = "{ground.prefix}" }}
metrics = {{ listen = "127.0.0.1:{free_port()}" }}
[workers]
processes = {processes}
threads = {threads}
machine_id = "bench"
session_timeout_seconds = {session}
[output]
root = "{ground.output}"
""",
            encoding="utf-8",
        )
        self.log = ground.folder / "reportd.log"
        self.program = Program("reportd.cli.reportd", ["--config", str(config)], self.log)

    @property
    def pid(self) -> int:
        return self.program.pid

    def launch(self) -> None:
        """Start it and return at once."""
        self.program.start()

    def start(self) -> None:
        self.launch()
        self.settle()

    def settle(self) -> None:
        """Wait until it has its partitions."""
        settled = _Settled(self.program, self.log, self._ground.partitions, self._members)
        wait_for("reportd's partitions", settled, READY_SECONDS)

    def workers(self) -> list[int]:
        """Return the workers' pids, by title."""
        found = {pid: _title(pid) for pid in tree(self.pid)}
        return sorted((pid for pid in found if "worker" in found[pid]), key=found.__getitem__)

    def kill(self) -> None:
        """SIGKILL the supervisor, and what is left of its children."""
        with _handles(self.pid) as handles:
            self.program.kill()
            _kill(handles)

    def end(self) -> None:
        _end(self.program)


class Peer:
    """``python -m bench.peer``."""

    def __init__(self, settings: PeerSettings, ground: Ground) -> None:
        self.group = settings.group
        self._ground = ground
        self._members = min(settings.processes, ground.partitions)
        path = ground.folder / "peer.json"
        settings.write(path)
        self.log = ground.folder / "peer.log"
        self.program = Program("bench.peer", [str(path)], self.log)

    @property
    def pid(self) -> int:
        return self.program.pid

    def start(self) -> None:
        self.program.start()
        settled = _Settled(self.program, self.log, self._ground.partitions, self._members)
        wait_for("the peer's partitions", settled, READY_SECONDS)

    def end(self) -> None:
        _end(self.program)


def _end(program: Program) -> None:
    """SIGTERM and wait; what is left of the tree then is killed."""
    with _handles(program.pid) as handles:
        try:
            if program.status() is None:
                program.stop(STOP_SECONDS)
        finally:
            _kill(handles)


@contextmanager
def _handles(pid: int) -> Iterator[list[int]]:
    """Give handles of a tree's processes: a pid may be somebody else's by the time it is used."""
    with ExitStack() as stack:
        handles = []
        for one in tree(pid):
            with suppress(ProcessLookupError):
                handles.append(os.pidfd_open(one))
                stack.callback(os.close, handles[-1])
        yield handles


def _kill(handles: list[int]) -> None:
    for handle in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)


class _Settled:
    """Says when a program has shared its partitions out: each process has some, and all is quiet.

    The first process to join gets them all, and seconds may pass before it gives some away.
    """

    def __init__(self, program: Program, log: Path, partitions: int, members: int) -> None:
        self._program = program
        self._log = log
        self._partitions = partitions
        self._members = members
        self._said = ""
        self._since = time.monotonic()

    def __call__(self) -> bool:
        if self._program.status() is not None:
            raise BenchError(f"it ended by itself:\n{self._program.said()}")
        said = self._log.read_text(encoding="utf-8", errors="replace")
        if said != self._said:
            self._said, self._since = said, time.monotonic()
        held = held_by(said)
        given = sum(len(names) for names in held.values())
        members = sum(1 for names in held.values() if names)
        shared_out = given == self._partitions and members >= self._members
        return shared_out and time.monotonic() - self._since > SETTLE_SECONDS


def held_by(log: str) -> dict[str, set[str]]:
    """Return which partitions each process has, as a log tells: ``NAME assigned ...``."""
    held: dict[str, set[str]] = {}
    for name, change, rest in _CHANGE.findall(log):
        parts = held.setdefault(name, set())
        named = set(_PART.findall(rest))
        if change == "assigned":
            parts |= named
        else:
            parts -= named
    return held


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def free_port() -> int:
    """Return a port nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
