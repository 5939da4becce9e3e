"""Folders under the output root, walked without ever following a link out of it.

Used by `reportd.sinks.local` and `reportd.sinks.spool`. Everything works relative to a folder's
descriptor; permissions do not depend on the umask.
"""

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reportd.errors import OutputError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KNOWN_LIMIT = 20_000
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class output_errors:  # noqa: N801 - used like the function that it would be, at a third of the cost
    """Translate an OSError: full, read-only, away, not permitted, ..."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        """Take what is said to be in trouble."""
        self._what = what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise `OutputError` in place of an OSError."""
        if isinstance(error, OSError):
            what = error.strerror or type(error).__name__
            raise OutputError(f"{self._what}: {what}") from error


@dataclass(frozen=True, slots=True)
class Permissions:
    """What files and new folders are given, whatever the umask; never less than the owner's."""

    file_mode: int = 0o640
    folder_mode: int | None = None
    """None: the files' mode, with ``x`` where files have ``r``."""
    group: int | None = None
    """Its number; None: the process's, or what a folder with the set-group-id bit hands on."""

    def give(self, descriptor: int, mode: int) -> None:
        """Give a new file or folder its group, then its mode. Raises OSError."""
        if self.group is not None:
            os.fchown(descriptor, -1, self.group)  # it may take the set-group-id bit away
        os.fchmod(descriptor, mode)

    @property
    def of_files(self) -> int:
        """The mode that files get."""
        return self.file_mode | 0o600

    @property
    def of_folders(self) -> int:
        """The mode that folders get."""
        if self.folder_mode is not None:
            return self.folder_mode | 0o700
        return self.file_mode | 0o700 | (self.file_mode & 0o444) >> 2


class Folders:
    """Opens and makes folders of one root. Thread-safe; one a process."""

    def __init__(self, root: Path, permissions: Permissions) -> None:
        """Take the root, and what is given to all that is made below it."""
        self.root = root
        self._permissions = permissions
        self._durable: set[tuple[str, ...]] = set()
        self._marks = itertools.count(1)
        self._synced: dict[tuple[str, ...], int] = {}

    def open(self, *parts: str, make: bool = False) -> int:
        """Return a descriptor of a folder; the caller closes it. Raises OSError.

        Links are not followed (they may lead out of the root). With ``make``, what is missing
        is made, and the parent of every folder is fsynced before this process first uses it,
        whoever made it.
        """
        if not make:
            return self._found(parts)
        if parts in self._durable:
            with suppress(FileNotFoundError):
                return self._found(parts)
        here = os.open(self.root, _FOLDER)
        for depth, part in enumerate(parts, 1):
            try:
                there = self._enter(here, parts[:depth], part)
            finally:
                os.close(here)
            here = there
        return here

    def _found(self, parts: tuple[str, ...]) -> int:
        first, *rest = parts or (".",)
        here = os.open(f"{self.root}/{first}", _FOLDER | os.O_NOFOLLOW)
        for part in rest:
            try:
                there = _enter(here, part)
            finally:
                os.close(here)
            here = there
        return here

    def _enter(self, here: int, path: tuple[str, ...], part: str) -> int:
        made = False
        try:
            there = _enter(here, part)
        except FileNotFoundError:
            made = _made(here, part, self._permissions.of_folders & 0o700)
            there = _enter(here, part)
        try:
            if made:
                inherited = os.fstat(there).st_mode & stat.S_ISGID
                self._permissions.give(there, self._permissions.of_folders | inherited)
            if made or path not in self._durable:
                os.fsync(here)
        except OSError:
            os.close(there)
            raise
        if len(self._durable) > _KNOWN_LIMIT:
            self._durable.clear()
        self._durable.add(path)
        return there

    def mark(self) -> int:
        """Return a number for what was just renamed into a folder, for `sync`."""
        return next(self._marks)

    def sync(self, path: tuple[str, ...], mark: int) -> None:
        """Make a folder durable as it was at a mark, unless somebody has done so since.

        Many requests publish into one folder: those that come together share its fsync.
        Raises OSError.
        """
        if self._synced.get(path, 0) > mark:
            return
        folder = self.open(*path)
        try:
            begun = next(self._marks)
            os.fsync(folder)
        finally:
            os.close(folder)
        if len(self._synced) > _KNOWN_LIMIT:
            self._synced.clear()
        self._synced[path] = begun

    def create(self, folder: int, name: str) -> int:
        """Create a file that is not there yet, with its permissions; returns its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            self._permissions.give(descriptor, self._permissions.of_files)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _enter(here: int, part: str) -> int:
    return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=here)


def _made(here: int, part: str, mode: int) -> bool:
    try:
        os.mkdir(part, mode, dir_fd=here)
    except FileExistsError:
        return False
    return True


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte: a write may take a part only."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def write_file(folders: Folders, folder: int, name: str, chunks: Iterable[bytes]) -> None:
    """Write a file that is not there yet, durably but for its name. Raises OSError."""
    descriptor = folders.create(folder, name)
    try:
        for chunk in chunks:
            write_all(descriptor, chunk)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_name_once(source: int, temp: str, folder: int, name: str) -> bool:
    """Give a file a name that no other has; say whether it got it. Raises OSError.

    Where there are no links, one that comes in the same moment may take the name's place.
    """
    try:
        os.link(temp, name, src_dir_fd=source, dst_dir_fd=folder)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if (found := open_to_read(name, folder)) is not None:
            os.close(found)
            return False
        os.rename(temp, name, src_dir_fd=source, dst_dir_fd=folder)
    return True


def open_to_read(name: str | Path, folder: int | None = None) -> int | None:
    """Return a descriptor of a plain file, or None when there is none. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def remove(folder: int, name: str) -> None:
    """Remove a file that may be gone already. Raises OSError."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def names_in(folder: int) -> list[str]:
    """Return the names in a folder. Raises OSError."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def sweep_folder(
    folder: int, before: float, is_open: Callable[[str], bool], endings: tuple[str, ...]
) -> int:
    """Remove the files with these endings that were written before an instant (epoch seconds).

    A name's part before its first dot is its key; those that ``is_open`` stay. Raises OSError.
    """
    removed = 0
    for name in names_in(folder):
        if not name.endswith(endings):
            continue
        with suppress(FileNotFoundError):
            written = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
            if written < before and not is_open(name.partition(".")[0]):
                os.unlink(name, dir_fd=folder)
                removed += 1
    return removed


def read_small(descriptor: int, limit_bytes: int = 64 * 1024) -> bytes:
    """Read a small file, at most the limit, and close it. Raises OSError."""
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit_bytes)
