"""Which process enqueues: a name that no other process ever has, and whether one still lives.

Reads ``/proc``; used by `reportd.enqueue.job` and `reportd.enqueue.spark`.
"""

import os
from pathlib import Path

PROC = Path("/proc")


def process_name(pid: int | None = None, proc: Path = PROC) -> str:
    """Return ``boot:pid:start`` of a process, by default this one; "" if there is none."""
    pid = os.getpid() if pid is None else pid
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # After the command, which may hold anything: state is field 3, starttime field 22
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else f"{boot}:{pid}:{fields[19]}"


def is_gone(name: str, proc: Path = PROC) -> bool:
    """Tell whether a process of this machine, named by `process_name`, has ended."""
    pid = name.split(":")[1] if name.count(":") == 2 else ""
    return pid.isdecimal() and process_name(int(pid), proc) != name


def machine_name(configured: str | None, etc: Path = Path("/etc")) -> str:
    """Return this machine's id: the configured one, else ``/etc/machine-id``, else its name."""
    if configured:
        return configured
    try:
        found = (etc / "machine-id").read_text(encoding="ascii").strip()
    except OSError:
        found = ""
    return found or os.uname().nodename
