"""Who this machine and its processes are, from ``/proc`` and ``/etc``. Linux; reads files only."""

import os
import uuid
from pathlib import Path

from reportd.config.load import Config
from reportd.errors import ConfigError
from reportd.model.vm import Vm


def machine_id(configured: str | None, file: Path = Path("/etc/machine-id")) -> str:
    """Return this VM's id: as configured, or systemd's. Raises `ConfigError` without one."""
    if configured:
        return configured
    try:
        found = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    if not found or found == "uninitialized":
        raise ConfigError(
            f"workers.machine_id: not set, and {file} has none either; set it, different on each VM"
        )
    return found


def this_vm(config: Config, started_at: float) -> Vm:
    """Return what this process (the supervisor) can say of its VM; slots and store come later."""
    pid = os.getpid()
    return Vm(
        machine=machine_id(config.settings.workers.machine_id),
        incarnation=str(uuid.uuid4()),
        boot=_line(Path("/proc/sys/kernel/random/boot_id")),
        namespace=_link(Path("/proc/self/ns/pid")),
        pid=pid,
        pid_started=started_ticks(pid),
        shared=config.settings.output.shared,
        config=config.config_hash,
        started_at=started_at,
    )


def is_running(pid: int, pid_started: int, proc: Path = Path("/proc")) -> bool:
    """Return whether that very process runs here; one that may be it, but is hidden, counts."""
    if pid <= 0 or pid_started <= 0:
        return False
    found = started_ticks(pid, proc)
    return found == pid_started if found else _is_hidden(pid, proc)


def _is_hidden(pid: int, proc: Path) -> bool:
    """Return whether a process is there that ``/proc`` does not show.

    ``ProtectProc=invisible`` with ``PrivateUsers=yes`` shows a process nothing that systemd has not
    started in the same go: a unit's ``ExecReload=`` does not see the unit's main process.
    """
    if (proc / str(pid)).exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started_ticks(pid: int, proc: Path = Path("/proc")) -> int:
    """Return when a process started, in ticks since boot; 0 if it is not there (or a zombie)."""
    try:
        stat = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in {"Z", "X"} else int(fields[19])


def private_bytes(pid: int) -> int | None:
    """Return a process's private dirty memory; None if it cannot be told."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    return None


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _link(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""
