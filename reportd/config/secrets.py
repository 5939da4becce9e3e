"""Secrets: files of one folder, read by name; values that never show themselves.

Used wherever a credential is needed, in every process. Reading is done again on every call, so a
changed file of the folder is seen at the next one. What systemd hands over is read by systemd when
it starts the service: a file that changes later counts only if this process may read it itself.
"""

import hmac
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from reportd.errors import ConfigError

NAME = re.compile(r"^[A-Za-z0-9._-]{1,255}$")
MAX_BYTES = 64 * 1024
FOLDER_PREFIX = "secrets_"
"""``LoadCredential=secrets:/etc/reportd/secrets`` names each file of the folder so."""
HANDED_MOST_BYTES = 1024 * 1024
"""So much systemd hands over to a service, all together."""

_HANDED_NAME = re.compile(r"[ -9;-~]+")


class Secret:
    """A text that only `reveal` shows: not ``str``, not ``repr``, not a format, not a pickle."""

    __slots__ = ("_value", "name")

    def __init__(self, value: str, name: str = "") -> None:
        """Hold the value; ``name`` is what errors and reprs may say."""
        self._value = value
        self.name = name

    def reveal(self) -> str:
        """Return the value: only at the place that sends it."""
        return self._value

    def __repr__(self) -> str:
        """Name it, never show it."""
        return f"Secret({self.name!r})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Compare values in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        """Hash like the value it equals by."""
        return hash((Secret, self._value))

    def __copy__(self) -> "Secret":
        """Return itself: it is immutable."""
        return self

    def __deepcopy__(self, _memo: object) -> "Secret":
        """Return itself: it is immutable."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would show it."""
        message = f"{self!r} is not to be pickled"
        raise TypeError(message)


def _changed_since(own: Path, handed: Path) -> bool:
    """Say whether a file may be read here and was written after a copy of it was handed over."""
    try:
        return os.access(own, os.R_OK) and own.stat().st_mtime_ns > handed.stat().st_mtime_ns
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class SecretsFolder:
    """Where secrets lie: systemd's credentials, when there are any, then the folder; the newer."""

    folder: Path
    credentials: Path | None = None
    """``$CREDENTIALS_DIRECTORY``, as systemd sets it for ``LoadCredential=``."""

    @classmethod
    def of(cls, folder: Path, environ: Mapping[str, str]) -> "SecretsFolder":
        """Return the folder, with what systemd put into the environment before it."""
        credentials = environ.get("CREDENTIALS_DIRECTORY")
        return cls(folder, Path(credentials) if credentials else None)

    def read(self, name: str) -> Secret:
        """Read one secret; one newline at its end is not part of it.

        Raises `ConfigError`, never with the content: the name is no plain file name, or the file
        is missing, unreadable, empty, not UTF-8 or larger than 64 KiB.
        """
        if not NAME.fullmatch(name) or name in {".", ".."}:
            raise ConfigError(f"secret {name[:100]!r}: not a plain file name (A-Z a-z 0-9 . _ -)")
        path = self._path(name)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"secret {name!r}: {self._unreadable(path, error)}") from None
        if len(content) > MAX_BYTES:
            raise ConfigError(f"secret {name!r}: {path} is larger than {MAX_BYTES} bytes")
        return Secret(self._text(name, path, content), name)

    def problems(self) -> Iterator[str]:
        """Yield what systemd refuses to hand over: with it, nothing is, and the service ends (243).

        It says neither which file nor why. Yields nothing where the folder cannot be looked into.
        """
        total = 0
        for top, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name[0] != "."]
            files = [Path(top, name) for name in names if name[0] != "."]
            for file in (file for file in files if file.is_file() and not file.is_symlink()):
                total += file.stat().st_size
                if not _HANDED_NAME.fullmatch(file.name):
                    yield f"{str(file)!a}: the name has a letter that no credential may have"
        if total > HANDED_MOST_BYTES:
            yield f"{self.folder}: {total:,} bytes in all, {HANDED_MOST_BYTES:,} are allowed"

    def _path(self, name: str) -> Path:
        own = self.folder / name
        if self.credentials is not None:
            for each in (name, FOLDER_PREFIX + name):
                handed = self.credentials / each
                if handed.exists():
                    return own if _changed_since(own, handed) else handed
        return own

    def _unreadable(self, path: Path, error: OSError) -> str:
        if self.credentials is not None and isinstance(error, FileNotFoundError | PermissionError):
            # the folder is root's; what was in it at the start is all that this process may see
            return f"systemd handed over none; put it into {path} and restart the service"
        if isinstance(error, FileNotFoundError):
            return f"there is no file {path}; put it there"
        return f"{path}: {error.strerror}"

    @staticmethod
    def _text(name: str, path: Path, content: bytes) -> str:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise ConfigError(f"secret {name!r}: {path} is not UTF-8 text") from None
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            raise ConfigError(f"secret {name!r}: {path} is empty")
        return text
