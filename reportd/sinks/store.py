"""What the output root must be able to do; `reportd.sinks.local` does it in a folder.

Written so that an object store can implement it: nothing here renames. A `Stage` holds the
complete but unpublished files of one request; publishing one is atomic: readers see the whole
old file or the whole new one. Used by workers; every method may block on the disk or network,
and raises `OutputError` when the output does not do what it is asked.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from reportd.sinks.formats import Chunk
from reportd.sinks.receipts import Receipt


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

    def publish(self, receipt: Receipt) -> None:
        """Put one staged file in place of whatever has its final name, atomically."""
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


def stage_key(request_id: str, replay: int) -> str:
    """Return the key of one life of a request: ``<id>`` or ``<id>-<replay>``."""
    return f"{request_id}-{replay}" if replay else request_id
