"""The schedules' timers: a drop-in a schedule, written from its TOML, which is the only truth.

Used by ``reportctl schedule``. Planning looks at files and changes none; `Timers` does what was
planned. Only files that begin with our own header are ever replaced or removed.
"""

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reportd.config.schedule import Schedule
from reportd.errors import ConfigError, ReportdError

SYSTEMD_FOLDER = Path("/etc/systemd/system")
HEADER = "# Written by `reportctl schedule apply`"
FILE_NAME = "50-schedule.conf"
ANSWER_SECONDS = 60.0

_BEFORE, _AFTER = "reportd-enqueue@", ".timer"


@dataclass(frozen=True, slots=True)
class DropIn:
    """What one schedule's timer is told."""

    schedule: str
    file: Path
    text: str = ""
    """The whole file; empty: it is to go."""

    @property
    def timer(self) -> str:
        """The timer's name."""
        return timer_of(self.schedule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What there is to do for the timers to be as the schedules say."""

    write: Sequence[DropIn] = ()
    keep: Sequence[DropIn] = ()
    """Those that are right already."""
    remove: Sequence[DropIn] = ()
    """Those of schedules that are gone."""


def timer_of(schedule: str) -> str:
    """Return the name of a schedule's timer."""
    return f"{_BEFORE}{schedule}{_AFTER}"


def drop_in(schedule: Schedule, folder: Path) -> DropIn:
    """Return what a schedule's timer has to be told."""
    text = (
        f"{HEADER} from {schedule.path}: change that, then run it again.\n"
        "[Timer]\n"
        "# An empty one first: what stood before does not count any more\n"
        "OnCalendar=\n"
        f"OnCalendar={schedule.settings.calendar}\n"
    )
    file = folder / f"{timer_of(schedule.name)}.d" / FILE_NAME
    return DropIn(schedule.name, file, text)


def changes(
    schedules: Mapping[str, Schedule], folder: Path, names: Collection[str] = ()
) -> Changes:
    """Plan what is to do for the schedules ``names``; without any for all, the gone ones too.

    Raises `ConfigError` for a file in the way that was not written here.
    """
    write, keep, foreign = [], [], []
    for name in names or schedules:
        wanted = drop_in(schedules[name], folder)
        found = _text(wanted.file)
        if found == wanted.text:
            keep.append(wanted)
        elif found and not found.startswith(HEADER):
            foreign.append(f"{wanted.file}: was not written by reportctl; move it away")
        else:
            write.append(wanted)
    if foreign:
        raise ConfigError(*foreign)
    remove = [] if names else [one for one in ours(folder) if one.schedule not in schedules]
    return Changes(write=write, keep=keep, remove=remove)


def ours(folder: Path) -> list[DropIn]:
    """Return the drop-ins that were written here, by schedule."""
    found = []
    for file in sorted(folder.glob(f"{_BEFORE}*{_AFTER}.d/{FILE_NAME}")):
        if _text(file).startswith(HEADER):
            timer = file.parent.name.removesuffix(".d")
            found.append(DropIn(timer.removeprefix(_BEFORE).removesuffix(_AFTER), file))
    return found


class Timers:
    """Systemd's timers on this machine."""

    def __init__(self, program: str = "systemctl") -> None:
        """Ask systemd through ``program``."""
        self._program = program

    def require(self) -> None:
        """Raise `ReportdError` if no systemd runs here."""
        if self._ask("is-system-running").stdout.strip() in {"", "offline", "unknown"}:
            raise ReportdError("no systemd runs here: --dry-run shows what would be done")

    def apply(self, planned: Changes) -> None:
        """Do what was planned; raises `ReportdError`. Doing it again mends what was half done."""
        for one in planned.remove:
            self._do("disable", "--now", one.timer)
            with _told(one.file):
                one.file.unlink()
                if not any(one.file.parent.iterdir()):
                    one.file.parent.rmdir()
        for one in planned.write:
            with _told(one.file):
                _put(one)
        self._do("daemon-reload")
        wanted = [one.timer for one in (*planned.write, *planned.keep)]
        if wanted:
            self._do("enable", "--now", *wanted)

    def state(self, schedule: str) -> tuple[str, str]:
        """Return whether a schedule's timer is active, and when it elapses next, as systemd says.

        Both are empty if that cannot be told.
        """
        wanted = "ActiveState,NextElapseUSecRealtime"
        answer = self._ask("show", f"--property={wanted}", timer_of(schedule))
        said = dict(line.partition("=")[::2] for line in answer.stdout.splitlines())
        return said.get("ActiveState", ""), said.get("NextElapseUSecRealtime", "")

    def _do(self, *args: str) -> None:
        answer = self._ask(*args)
        if answer.returncode != 0:
            why = " ".join(answer.stderr.split()) or f"it ended with {answer.returncode}"
            if "does not exist" in why:
                why += " Install the package reportd-enqueue, which brings it."
            raise ReportdError(f"systemctl {' '.join(args)}: {why}")

    def _ask(self, *args: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(  # noqa: S603  a name and words of our own, no shell
                [self._program, "--no-pager", *args],
                capture_output=True,
                text=True,
                check=False,
                timeout=ANSWER_SECONDS,
                env=os.environ | {"LC_ALL": "C.UTF-8"},
            )
        except FileNotFoundError:
            return subprocess.CompletedProcess([self._program], 127, "", "there is no systemctl")
        except subprocess.TimeoutExpired:
            raise ReportdError(f"systemctl {' '.join(args)}: no answer") from None


class _told:  # noqa: N801  # reads like the function it stands for
    """Turns what a file refuses into an error that says which file, and who may."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Translate an `OSError`."""
        if isinstance(error, PermissionError):
            raise ReportdError(f"{self._file}: not allowed: run it as root") from error
        if isinstance(error, OSError):
            raise ReportdError(f"{self._file}: {error.strerror}") from error


def _put(one: DropIn) -> None:
    one.file.parent.mkdir(mode=0o755, exist_ok=True)
    new = one.file.with_suffix(".next")  # systemd reads *.conf alone
    new.write_text(one.text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(one.file)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ReportdError(f"{file}: {error.strerror}") from error
