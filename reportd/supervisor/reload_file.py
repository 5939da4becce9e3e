"""How reloads go, in a small file of the runtime folder: what ``reportctl reload`` waits for.

The supervisor writes it whenever something changed; a whole file or the one before is read. It
works while neither observer nor broker answers, and needs no right but to read a file.
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from reportd.errors import UnavailableError

NAME = "reload.json"


def runtime_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder that systemd made for this unit's lifetime (``RuntimeDirectory=``)."""
    found = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(found) if found else None


class ReloadRecord(BaseModel):
    """Where the daemon stands with its reloads."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    """The supervisor's."""
    pid_started: int
    """In the kernel's ticks since boot: pids are used again."""
    phase: str = "starting"
    asked: int = 0
    """Reloads that were asked for in this daemon's life."""
    answered: int = 0
    """How many of them are over: done, or refused and nothing on its way any more."""
    ok: bool = True
    """Whether the last one that was answered is what runs now."""
    problems: tuple[str, ...] = ()
    patience_seconds: float = 0.0
    """The most that a reload may take."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it; raises `UnavailableError` if there is none."""
        file = folder / NAME
        try:
            return cls.model_validate(orjson.loads(file.read_bytes()))
        except FileNotFoundError:
            raise UnavailableError(
                f"{file}: not there: reportd does not run, or not as systemd's service; one that"
                " was started by hand takes 'kill -HUP PID'"
            ) from None
        except OSError as error:
            raise UnavailableError(f"{file}: cannot be read: {error.strerror}") from error
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise UnavailableError(f"{file}: not a record of reloads: {error}") from error


class ReloadFile:
    """The file, as the supervisor writes it."""

    def __init__(self, folder: Path, pid: int, pid_started: int) -> None:
        """Write into ``folder``, which is there."""
        self._file = folder / NAME
        self._next = folder / f"{NAME}.next"
        self._me = {"pid": pid, "pid_started": pid_started}
        self._written: Mapping[str, object] = {}

    def write(self, **state: object) -> None:
        """Write the fields of `ReloadRecord` that change, if they have; raises `OSError`."""
        if state != self._written:
            self._next.write_bytes(orjson.dumps({**self._me, **state}))
            self._next.replace(self._file)
            self._written = state


def ask_to_reload(pid: int) -> None:
    """Ask a supervisor to reload; raises `UnavailableError` if that cannot be."""
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise UnavailableError(f"cannot ask process {pid} to reload: {error.strerror}") from error
