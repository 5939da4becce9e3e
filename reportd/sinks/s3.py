"""The store in a bucket: staged objects, each copied to its final name by one request.

It looks like a `LocalStore`'s folder, but for a folder of its own for each key in staging and spool
(a listing is by folder). The objects ``keep`` stay: servers over a file system delete a folder with
its last object, and refuse a write that meets that moment::

    _reportd/store                                        the root's id, made once
    _reportd/staging/<key>/<try>.<path hash>.tmp          complete or half files, not yet published
    _reportd/staging/<key>/<try>.<path hash>.receipt
    _reportd/receipts/<cd>/<path hash>.receipt            of published files that are not Parquet
    _reportd/spool/<key>/<try>.<attempt>.<step>.zst       answers of many-call requests
    _reportd/tokens/<credential>.<number>.<kind>          refresh tokens that rotate, sealed
    _reportd/runs/, _reportd/days/                        see `reportd.sinks.marks`

An object is complete and durable when the server has acknowledged it. Used by workers.
"""

import contextlib
import hashlib
import logging
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import IO

from reportd.config.settings import S3Settings
from reportd.errors import OutputError
from reportd.model.content import Content, chunks_of, collected
from reportd.sinks.folders import output_errors
from reportd.sinks.formats import Chunk
from reportd.sinks.objects import Calls, DamagedError, Found, Objects
from reportd.sinks.receipts import Receipt
from reportd.sinks.staging import OWN, READ_BYTES, fitting, path_digest
from reportd.sinks.store import Guard, checked_key, identity_in

logger = logging.getLogger(__name__)

STAGING = f"{OWN}/staging"
RECEIPTS = f"{OWN}/receipts"
SPOOL = f"{OWN}/spool"
NOTES = f"{OWN}/tokens"
_STORE = f"{OWN}/store"
_KEEP = (f"{STAGING}/keep", f"{SPOOL}/keep")
_MEMORY_BYTES = 1024 * 1024
"""A file larger than this waits for its upload in a temporary file of this machine."""
_UPLOAD_SECONDS = 86_400.0
"""Nobody goes on with an upload that another process began: a day is more than any takes."""


class S3Store:
    """An output root in a bucket that exists. Thread-safe; one a process, made after the fork."""

    threads = 16
    """See `OutputRoot.threads`."""

    def __init__(self, root: str, settings: S3Settings, calls: Calls) -> None:
        """Open the root; the first one ever gives it its identity.

        Raises `OutputError` when the bucket is not there, or does not answer in time.
        """
        self.publish_seconds = settings.request_seconds
        self._objects = Objects(root, settings, calls)
        self._identity = self._make_identity()
        for name in _KEEP:
            self._objects.create(name, b"")
        self.answers = S3Answers(self._objects)
        self.notes = S3Notes(self._objects)
        self.marks = S3Marks(self._objects)

    @property
    def identity(self) -> str:
        """Return the root's id as it was when this process opened it."""
        return self._identity

    def _make_identity(self) -> str:
        data = self._objects.read(_STORE)
        if data is None:
            self._objects.create(_STORE, f"{secrets.token_hex(16)}\n".encode())
            data = self._objects.read(_STORE)
        return identity_in(data or b"", self._objects.root)

    def probe(self) -> None:
        """Do once all that a publication does, and see that the root is still the same.

        Keys that may not do all of it are found out at the start, not with the first request.
        """
        folder = f"{STAGING}/probe.{secrets.token_hex(4)}"
        self._objects.write(f"{folder}/a.tmp", [b"reportd\n"])
        self._objects.copy(f"{folder}/a.tmp", f"{folder}/b.tmp")
        for found in self._objects.below(folder):
            self._objects.delete(found.key)
        if self._objects.open(f"{folder}/b.tmp") is not None:
            raise OutputError(f"output root {self._objects.root}: not strongly consistent")
        if (self._objects.read(_STORE) or b"").strip() != self._identity.encode():
            raise OutputError(f"output root {self._objects.root}: its id has changed")

    def receipt_of(self, path: str, file_format: str) -> Receipt | None:
        """See `Store.receipt_of`: one request when there is no file."""
        file = self._objects.open(path)
        if file is None:
            return None
        if file_format == "parquet":
            receipt = self._objects.receipt_in(file, path)
        else:
            data = self._objects.read(_receipt_name(path))
            receipt = None if data is None else Receipt.from_json(data)
        return receipt if receipt is not None and receipt.path == path else None

    def verified(self, receipt: Receipt) -> Receipt | None:
        """See `Store.verified`: reads the file once."""
        file = self._objects.open(receipt.path)
        return None if file is None else _fitting(self._objects, receipt, file, receipt.path)

    def make_durable(self, paths: Iterable[str]) -> None:
        """Do nothing: what was acknowledged is durable."""

    def stage(self, key: str) -> "S3Stage":
        """See `Store.stage`."""
        return self._stage(f"{_folder(STAGING, key)}/{secrets.token_hex(4)}", ())

    def _stage(self, prefix: str, keys: Iterable[str]) -> "S3Stage":
        return S3Stage(self._objects, prefix, keys)

    def stages(self, key: str) -> list["S3Stage"]:
        """See `Store.stages`: one request."""
        folder = _folder(STAGING, key)
        tries: dict[str, list[Found]] = {}
        for found in self._objects.below(folder):
            prefix = found.key.removeprefix(f"{folder}/").partition(".")[0]
            tries.setdefault(f"{folder}/{prefix}", []).append(found)
        newest = sorted(
            tries, key=lambda prefix: max(one.written for one in tries[prefix]), reverse=True
        )
        return [self._stage(prefix, (one.key for one in tries[prefix])) for prefix in newest]

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """See `Store.sweep`; multipart uploads that were left go after a day."""
        removed = _swept(self._objects, STAGING, now - older_than_seconds, is_open)
        try:
            return removed + self._objects.abort_uploads(
                OWN, now - min(older_than_seconds, _UPLOAD_SECONDS)
            )
        except OutputError as error:  # not everybody's keys may; a rule of the bucket can do it
            extra = {"action": "uploads_stay"}
            logger.warning("left-over multipart uploads stay: %s", error, extra=extra)
            return removed


class S3Stage:
    """One try's objects in staging; until it is sealed, files of this machine."""

    def __init__(self, objects: Objects, prefix: str, keys: Iterable[str]) -> None:
        """Take what is there already."""
        self._objects = objects
        self._prefix = prefix
        self._keys = set(keys)
        self._unsealed: list[tuple[str, IO[bytes]]] = []

    def _key(self, path: str, ending: str) -> str:
        return f"{self._prefix}.{path_digest(path)[:32]}.{ending}"

    def write(self, receipt: Receipt, chunks: Iterable[Chunk]) -> Receipt:
        """Write one file, for `seal` to send; see `Stage.write`."""
        checksum = hashlib.sha256()
        with output_errors(receipt.path):
            file = self._file(receipt.path, "tmp")
            for chunk in chunks:
                file.write(chunk)
                checksum.update(chunk)
            size = file.tell()
            full = replace(receipt, size_bytes=size, checksum=f"sha256:{checksum.hexdigest()}")
            if receipt.format != "parquet":
                self._file(receipt.path, "receipt").write(full.to_json())
        return full

    def _file(self, path: str, ending: str) -> IO[bytes]:
        file = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 - `close` closes it
        self._unsealed.append((self._key(path, ending), file))
        return file

    def seal(self) -> None:
        """See `Stage.seal`: sends all that was written."""
        while self._unsealed:
            key, file = self._unsealed[0]
            self._keys.add(key)
            self._objects.write(key, _content(file))
            file.close()
            self._unsealed.pop(0)

    def found(self, path: str, file_format: str) -> Receipt | None:
        """See `Stage.found`: checked in full."""
        key = self._key(path, "tmp")
        if key not in self._keys:
            return None
        file = self._objects.open(key)
        if file is None:
            return None
        receipt = self._receipt_of(path, file_format, file)
        if receipt is None or receipt.path != path:
            return None
        return _fitting(self._objects, receipt, file, key)

    def _receipt_of(self, path: str, file_format: str, file: IO[bytes]) -> Receipt | None:
        if file_format == "parquet":
            return self._objects.receipt_in(file, path)
        data = self._objects.read(self._key(path, "receipt"))
        return None if data is None else Receipt.from_json(data)

    def publish(self, receipt: Receipt, guard: Guard) -> None:
        """Copy the receipt (unless it is in the file), then the file; see `Stage.publish`."""
        if receipt.format != "parquet":
            guard()
            self._objects.copy(self._key(receipt.path, "receipt"), _receipt_name(receipt.path))
        guard()
        self._objects.copy(self._key(receipt.path, "tmp"), receipt.path)

    def settle(self) -> None:
        """See `Stage.settle`."""
        self.discard()

    def discard(self) -> None:
        """Delete this try's objects; what cannot be deleted is left to the sweep."""
        try:
            for key in sorted(self._keys):
                self._objects.delete(key)
            self._keys.clear()
        except OutputError as error:  # the others would wait in vain, too
            extra = {"action": "staging_stays"}
            logger.warning("left-over staging stays for now: %s", error, extra=extra)
        self.close()

    def close(self) -> None:
        """Let go of this machine's files; the objects stay for `S3Store.stages`."""
        for _, file in self._unsealed:
            with contextlib.suppress(OSError):
                file.close()
        self._unsealed.clear()


class S3Answers:
    """See `reportd.sinks.store.Answers`."""

    def __init__(self, objects: Objects) -> None:
        """Share the store's objects."""
        self._objects = objects

    def put(self, key: str, name: str, data: Content) -> str:
        """See `Answers.put`."""
        file = f"{key}/{name}"
        self._objects.write(f"{SPOOL}/{file}", chunks_of(data))
        return file

    def get(self, file: str) -> Content | None:
        """See `Answers.get`."""
        parts = file.split("/")
        if len(parts) != 2 or not all(part.strip(".") for part in parts):
            return None
        name = f"{SPOOL}/{file}"
        found = self._objects.open(name)
        try:
            return None if found is None else collected(self._objects.chunks_of(found, name))
        except DamagedError:
            return None

    def remove(self, key: str) -> None:
        """See `Answers.remove`."""
        for found in self._objects.below(_folder(SPOOL, key)):
            self._objects.delete(found.key)

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """See `Answers.sweep`."""
        return _swept(self._objects, SPOOL, now - older_than_seconds, is_open)


class S3Notes:
    """See `reportd.sinks.store.Notes`; who may read the bucket may read them: they are sealed."""

    def __init__(self, objects: Objects) -> None:
        """Share the store's objects."""
        self._objects = objects

    def names(self, prefix: str) -> list[str]:
        """See `Notes.names`."""
        names = [found.key.removeprefix(f"{NOTES}/") for found in self._objects.below(NOTES)]
        return [name for name in names if name.startswith(prefix)]

    def create(self, name: str, data: bytes) -> bool:
        """See `Notes.create`."""
        return self._objects.create(f"{NOTES}/{name}", data)

    def read(self, name: str) -> bytes | None:
        """See `Notes.read`."""
        return self._objects.read(f"{NOTES}/{name}")

    def remove(self, name: str) -> None:
        """See `Notes.remove`."""
        self._objects.delete(f"{NOTES}/{name}")


class S3Marks:
    """See `reportd.sinks.store.Marks`."""

    def __init__(self, objects: Objects) -> None:
        """Share the store's objects."""
        self._objects = objects

    def create(self, name: str, data: bytes) -> bool:
        """See `Marks.create`."""
        return self._objects.create(f"{OWN}/{name}", data)

    def replace(self, name: str, data: Content) -> None:
        """See `Marks.replace`: written to staging, then copied, like all that has a final name."""
        temp = f"{STAGING}/marks{secrets.token_hex(8)}/mark.tmp"
        self._objects.write(temp, chunks_of(data))
        self._objects.copy(temp, f"{OWN}/{name}")
        self._objects.delete(temp)

    def read(self, name: str) -> bytes | None:
        """See `Marks.read`."""
        return self._objects.read(f"{OWN}/{name}")

    def chunks(self, name: str) -> Iterator[bytes]:
        """See `Marks.chunks`; a damaged one ends early."""
        key = f"{OWN}/{name}"
        with contextlib.suppress(DamagedError):
            if (file := self._objects.open(key)) is not None:
                yield from self._objects.chunks_of(file, key)

    def remove(self, name: str) -> None:
        """See `Marks.remove`."""
        self._objects.delete(f"{OWN}/{name}")


def _fitting(objects: Objects, receipt: Receipt, file: IO[bytes], key: str) -> Receipt | None:
    try:
        return fitting(receipt, objects.chunks_of(file, key))
    except DamagedError:
        return None


def _swept(objects: Objects, folder: str, before: float, is_open: Callable[[str], bool]) -> int:
    """Delete the objects that were written before an instant, but for keys that are open."""
    removed = 0
    for found in objects.below(folder, recursive=True):
        key = found.key.removeprefix(f"{folder}/").partition("/")[0]
        if found.key not in _KEEP and found.written < before and not is_open(key):
            objects.delete(found.key)
            removed += 1
    return removed


def _folder(folder: str, key: str) -> str:
    return f"{folder}/{checked_key(key)}"


def _receipt_name(path: str) -> str:
    digest = path_digest(path)
    return f"{RECEIPTS}/{digest[:2]}/{digest}.receipt"


def _content(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(READ_BYTES):
        yield chunk
