"""An output root in memory that can die between any two of its operations."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from reportd.errors import OutputError
from reportd.sinks.formats import Chunk
from reportd.sinks.receipts import Receipt
from reportd.sinks.store import Guard


class Crash(BaseException):
    """The process is killed here."""


class MemoryStore:
    """What is durable: final files, sealed stages, spool files. One for the whole fleet."""

    identity = "0" * 32

    def __init__(self) -> None:
        """Begin empty."""
        self.files: dict[str, tuple[Receipt, bytes]] = {}
        self.staged: dict[str, list[dict[str, tuple[Receipt, bytes]]]] = {}
        self.spooled: dict[str, bytes] = {}
        self.written: list[tuple[float, str, Receipt]] = []
        """Every publication with its time, in order."""
        self.clock: Callable[[], float] = lambda: 0.0
        self.is_away = False
        self.before_each: Callable[[str], None] = lambda _operation: None

    def probe(self) -> None:
        """Raise when the output is away."""
        self._operation("probe")

    def receipt_of(self, path: str, file_format: str) -> Receipt | None:
        """Return a final file's receipt."""
        self._operation("look")
        found = self.files.get(path)
        return found[0] if found else None

    def verified(self, receipt: Receipt) -> Receipt | None:
        """Return the receipt: files in memory are whole."""
        return receipt

    def make_durable(self, paths: Iterable[str]) -> None:
        """Do nothing: what has its final name stays."""

    def stage(self, key: str) -> "MemoryStage":
        """Begin to stage."""
        self._operation("stage")
        return MemoryStage(self, key, {})

    def stages(self, key: str) -> list["MemoryStage"]:
        """Return what was sealed under a key, newest first."""
        return [MemoryStage(self, key, files) for files in reversed(self.staged.get(key, []))]

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """Do nothing: the simulation is short."""
        return 0

    def spool(self, file: str, body: bytes) -> None:
        """Store one answer durably."""
        self._operation("spool")
        self.spooled[file] = body

    def _operation(self, name: str) -> None:
        if self.is_away:
            raise OutputError("the output is away")
        self.before_each(name)


class MemoryStage:
    """One try of one request."""

    def __init__(
        self, store: MemoryStore, key: str, files: dict[str, tuple[Receipt, bytes]]
    ) -> None:
        """Hold what was written so far."""
        self._store = store
        self._key = key
        self._files = files
        self._dead = False

    def write(self, receipt: Receipt, chunks: Iterable[Chunk]) -> Receipt:
        """Write one file; nothing of it is durable before `seal`."""
        self._do("write")
        data = b"".join(bytes(chunk) for chunk in chunks)
        receipt = replace(receipt, size_bytes=len(data), checksum=f"size:{len(data)}")
        self._files[receipt.path] = (receipt, data)
        return receipt

    def seal(self) -> None:
        """Make the set durable."""
        self._do("seal")
        self._store.staged.setdefault(self._key, []).append(self._files)

    def found(self, path: str, file_format: str) -> Receipt | None:
        """Return what is staged for a path."""
        found = self._files.get(path)
        return found[0] if found else None

    def publish(self, receipt: Receipt, guard: Guard) -> None:
        """Give one file its final name."""
        guard()
        self._do("publish")
        self._store.files[receipt.path] = self._files[receipt.path]
        self._store.written.append((self._store.clock(), receipt.path, receipt))

    def settle(self) -> None:
        """Forget the stage."""
        self._do("settle")
        self.discard()

    def discard(self) -> None:
        """Forget the stage; a dead process forgets nothing."""
        kept = self._store.staged.get(self._key, [])
        if not self._dead and self._files in kept:
            kept.remove(self._files)

    def close(self) -> None:
        """Let go."""

    def _do(self, name: str) -> None:
        try:
            self._store._operation(name)
        except Crash:
            self._dead = True
            raise
