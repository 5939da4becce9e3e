"""What a process and all that it started cost: CPU and memory, from /proc."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return a process and its living descendants."""
    found = [pid]
    for one in found:
        try:
            threads = list(Path(f"/proc/{one}/task").iterdir())
        except OSError:
            continue
        for thread in threads:
            try:
                found += map(int, (thread / "children").read_text("ascii").split())
            except OSError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a whole tree, ended and waited-for children included."""
    ticks = 0
    for one in tree(pid):
        try:
            text = Path(f"/proc/{one}/stat").read_text("ascii", errors="replace")
        except OSError:
            continue
        # utime, stime, cutime, cstime: fields 14 to 17; the name in brackets may hold blanks
        ticks += sum(map(int, text.rpartition(")")[2].split()[11:15]))
    return ticks / _TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Memory:
    """One process's memory in bytes."""

    resident: int = 0
    proportional: int = 0
    """Pages shared with others divided among them: over a tree they add up."""
    private_dirty: int = 0


def memory(pid: int) -> Memory:
    """Return a process's memory; zeros if it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        return Memory()
    found = {}
    for line in text.splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) * 1024
    return Memory(found.get("Rss", 0), found.get("Pss", 0), found.get("Private_Dirty", 0))


class PeakMemory:
    """Watches a tree's proportional memory, twice a second, until closed."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            total = sum(memory(pid).proportional for pid in tree(self._pid))
            self.peak_bytes = max(self.peak_bytes, total)
            if self._over.wait(0.5):
                return
