"""What the output root must be able to do.

`reportd.sinks.local` does it in a folder, `reportd.sinks.s3` in a bucket: nothing here renames. A
`Stage` holds the complete but unpublished files of one request; publishing one is atomic: readers
see the whole old file or the whole new one. Used by workers; every method may block on the disk or
network, and raises `OutputError` when the output does not do what it is asked.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from reportd.errors import OutputError
from reportd.model.content import Content
from reportd.sinks.formats import Chunk
from reportd.sinks.receipts import Receipt

_KEY = re.compile(r"^[0-9a-z]{2,64}(?:-\d{1,9})?$")
_IDENTITY = re.compile(r"^[0-9a-f]{32}$")

Guard = Callable[[], None]
"""Raises `FencedError` when nothing may be published any more."""


class Stage(Protocol):
    """The files of one try of one request, before their final names. Not thread-safe."""

    def write(self, receipt: Receipt, chunks: Iterable[Chunk]) -> Receipt:
        """Write one file; returns its receipt with size and checksum filled in."""
        ...

    def seal(self) -> None:
        """Make all that was written durable; the set is complete from here on."""
        ...

    def found(self, path: str, file_format: str) -> Receipt | None:
        """Return the receipt of the complete file staged for ``path``, fully checked."""
        ...

    def publish(self, receipt: Receipt, guard: Guard) -> None:
        """Put one staged file in place of whatever has its final name, atomically.

        ``guard`` is asked right before.
        """
        ...

    def settle(self) -> None:
        """Make what was published durable, and forget what was not."""
        ...

    def discard(self) -> None:
        """Forget everything staged here. Never raises."""
        ...

    def close(self) -> None:
        """Let go of it; what is staged stays, for `Store.stages` to find. Never raises."""
        ...


class Store(Protocol):
    """An output root. Thread-safe; processes and VMs may share one."""

    @property
    def identity(self) -> str:
        """The id that was made once with the root, the same for every VM that sees it."""
        ...

    def probe(self) -> None:
        """Write and remove a small file, durably; raises `OutputError` when that fails."""
        ...

    def receipt_of(self, path: str, file_format: str) -> Receipt | None:
        """Return the receipt of a final file, or None: no file, or nobody we know made it.

        Quick: one look when there is no file. A receipt outside its file may not fit it.
        """
        ...

    def verified(self, receipt: Receipt) -> Receipt | None:
        """Read the final file; return its receipt with size and checksum if it fits."""
        ...

    def make_durable(self, paths: Iterable[str]) -> None:
        """Make final names durable that a killed process may have given just before."""
        ...

    def stage(self, key: str) -> Stage:
        """Begin to stage under a key (see `stage_key`), apart from all earlier tries."""
        ...

    def stages(self, key: str) -> Sequence[Stage]:
        """Return what earlier tries left under a key, newest first."""
        ...

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """Remove what was left over, but for keys that ``is_open``; returns how many files."""
        ...


class Answers(Protocol):
    """Files of requests, each written whole and durably: where the spool is kept. Thread-safe."""

    def put(self, key: str, name: str, data: Content) -> str:
        """Write one of a key's files; return what `get` wants to know.

        One of that name is replaced, or stays until all of the key are removed.
        """
        ...

    def get(self, file: str) -> Content | None:
        """Return a file's content, or None: there is none, or the name leads elsewhere."""
        ...

    def remove(self, key: str) -> None:
        """Delete all of a key's files; those gone already are fine."""
        ...

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """Remove old files but for keys that ``is_open``; return how many. ``now``: epoch's."""
        ...


class Notes(Protocol):
    """Small files that all VMs see and reportd alone, each written once: see `SharedNotes`.

    Thread-safe.
    """

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin so."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file durably unless there is one; say whether it was written."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None when there is none."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone already is fine."""
        ...


class Marks(Protocol):
    """What is said of runs and days beside the data, for everybody to read. Thread-safe.

    Names are paths below ``_reportd/``, of parts that are encoded. A reader sees the whole old
    file or the whole new one.
    """

    def create(self, name: str, data: bytes) -> bool:
        """Write a file durably unless there is one; say whether it was written."""
        ...

    def replace(self, name: str, data: Content) -> None:
        """Write a file durably in place of any that has its name."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None when there is none."""
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a file that may be long; nothing when there is none."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone already is fine."""
        ...


class OutputRoot(Store, Protocol):
    """All that a worker wants of its output."""

    @property
    def answers(self) -> Answers:
        """Where its spool lies."""
        ...

    @property
    def notes(self) -> Notes:
        """Where refresh tokens that rotate are kept."""
        ...

    @property
    def marks(self) -> Marks:
        """Where it stands what became of runs and days."""
        ...

    @property
    def threads(self) -> int:
        """How many threads may wait for it at once; 1: one does it all, for many together."""
        ...

    @property
    def publish_seconds(self) -> float:
        """How long a final name may still come to stand after its guard was asked.

        The guard has to look so far ahead.
        """
        ...


def stage_key(request_id: str, replay: int) -> str:
    """Return the key of one life of a request: ``<id>`` or ``<id>-<replay>``."""
    return f"{request_id}-{replay}" if replay else request_id


def checked_key(key: str) -> str:
    """Return a key that leads nowhere else; raises `ValueError`."""
    if not _KEY.match(key):
        raise ValueError(f"not a stage's key: {key[:80]!r}")
    return key


def identity_in(data: bytes, root: str) -> str:
    """Return the id that ``_reportd/store`` holds; raises `OutputError`."""
    text = data.decode("ascii", "replace").strip()
    if not _IDENTITY.match(text):
        raise OutputError(f"output root {root}: _reportd/store does not hold an id")
    return text
