"""``reportctl reload``: have the daemon take the new configuration, and wait until it has.

What ``ExecReload=`` runs: systemd's reload is over when this ends, and fails with its reasons.
"""

import argparse
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from reportd.clock import Clock, SystemClock
from reportd.errors import ConfigError, UnavailableError
from reportd.observer.machine import is_running
from reportd.supervisor.reload_file import ReloadRecord, ask_to_reload, runtime_folder

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

DEFAULT_FOLDER = Path("/run/reportd")
LOOK_SECONDS = 0.1


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``reload [--config FILE] [--pid PID] [--timeout SECONDS] [--runtime-folder FOLDER]``."""
    parser = subparsers.add_parser(
        "reload",
        epilog="example: reportctl reload --timeout 120",
        help="have the daemon take the new configuration, and wait until it has",
        description="Ask the daemon of this machine to take the configuration on disk, and wait "
        "until all its processes were replaced. 78 if it is refused, with every reason: what ran "
        "before runs on. 75 if there is no daemon, or it takes too long.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="taken as by every command; not read: the daemon reads its own",
    )
    parser.add_argument("--pid", type=int, help="the daemon's process, to be sure ($MAINPID)")
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="how long to wait (default: what the daemon itself allows)",
    )
    parser.add_argument(
        "--runtime-folder",
        type=Path,
        default=runtime_folder(os.environ) or DEFAULT_FOLDER,
        metavar="FOLDER",
        help="where the daemon says how its reloads go (default: $RUNTIME_DIRECTORY or "
        f"{DEFAULT_FOLDER})",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Reload; raises `ConfigError` when it is refused, `UnavailableError` when nothing comes."""
    before = running(args.runtime_folder, args.pid)
    ask_to_reload(before.pid)
    patience = before.patience_seconds if args.timeout is None else args.timeout
    after = wait(args.runtime_folder, before, patience, SystemClock())
    if not after.ok:
        raise ConfigError("refused, what ran before runs on:", *after.problems)
    print("the new configuration is in use")
    return 0


def running(folder: Path, pid: int | None) -> ReloadRecord:
    """Return what the daemon says; raises `UnavailableError` if that is not a living one's."""
    record = ReloadRecord.read(folder)
    if pid is not None and pid != record.pid:
        raise UnavailableError(f"{folder} is process {record.pid}'s, not {pid}'s")
    if not is_running(record.pid, record.pid_started):
        raise UnavailableError(f"reportd does not run: process {record.pid} is gone")
    return record


def wait(folder: Path, before: ReloadRecord, seconds: float, clock: Clock) -> ReloadRecord:
    """Wait until a reload that was asked for after ``before`` is over; return how it went."""
    deadline = clock.monotonic() + seconds
    pause = threading.Event().wait  # nothing ever sets it: a bounded wait
    while clock.monotonic() < deadline:
        record = running(folder, before.pid)
        if record.phase == "stopping":
            raise UnavailableError("reportd stops: the new configuration counts at its next start")
        if record.answered > before.asked:
            return record
        pause(LOOK_SECONDS)
    raise UnavailableError(f"not over after {seconds:g} s; it goes on, see the log")
