"""The store in a local or mounted folder: temp file, fsync, rename, fsync of the folder.

Beside the partners' folders lies ``_reportd/``, where no name ends like data does (DuckDB's
globs read names with ``_``)::

    _reportd/store                                       the root's id, made once
    _reportd/staging/<a>/<key>.<try>.<path hash>.tmp     complete or half files, not yet published
    _reportd/staging/<a>/<key>.<try>.<path hash>.receipt
    _reportd/receipts/<cd>/<path hash>.receipt           of published files that are not Parquet
    _reportd/spool/                                      see `reportd.sinks.answers`
    _reportd/tokens/                                     see `reportd.sinks.notes`
    _reportd/runs/, _reportd/days/                       see `reportd.sinks.marks`

Every try has names of its own: a process that was stopped and wakes cannot write into what its
successor stages. Used by workers.
"""

import contextlib
import grp
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from reportd.config.settings import OutputSettings
from reportd.errors import ConfigError, OutputError
from reportd.sinks.answers import LocalAnswers
from reportd.sinks.folders import (
    Folders,
    Permissions,
    give_name_once,
    names_in,
    open_to_read,
    output_errors,
    read_small,
    remove,
    sweep_folder,
    write_file,
)
from reportd.sinks.formats import read_footer
from reportd.sinks.marks import LocalMarks
from reportd.sinks.notes import LocalNotes
from reportd.sinks.receipts import Receipt
from reportd.sinks.staging import (
    OWN,
    RECEIPTS,
    STAGING,
    LocalStage,
    chunks_of,
    fitting,
    path_digest,
)
from reportd.sinks.store import checked_key, identity_in

_ENDINGS = (".tmp", ".receipt")


DEFAULT_PERMISSIONS = Permissions()


class LocalStore:
    """An output root in a folder that exists. Thread-safe; one a process."""

    threads = 1
    """See `OutputRoot.threads`: what waits for the disk waits for one fsync together."""
    publish_seconds = 0.0
    """See `OutputRoot.publish_seconds`: a rename is the last thing that is done."""

    def __init__(self, root: Path, permissions: Permissions = DEFAULT_PERMISSIONS) -> None:
        """Open the root; the first one ever gives it its identity.

        Raises `OutputError` when the folder is not there (not mounted?) or not writable,
        `ConfigError` when its names do not tell capitals from small letters.
        """
        with output_errors(f"output root {root}"):
            self.root = root.resolve(strict=True)
            self.folders = Folders(self.root, permissions)
            for parts in (STAGING, RECEIPTS):
                os.close(self.folders.open(*parts, make=True))
            self._identity = self._make_identity()
            self._seen = _place_of(self.root)
        if (self.root / OWN.upper()).exists():
            raise ConfigError(
                f"output root {self.root}: takes capitals and small letters for the same: accounts"
                " that differ by them alone would share their files; mount it with case, or name"
                " another"
            )
        self.answers = LocalAnswers(self.folders)
        self.notes = LocalNotes(self.folders)
        self.marks = LocalMarks(self.folders)

    @classmethod
    def of(cls, output: OutputSettings) -> Self:
        """Open what the settings name; raises `ConfigError` for a group that cannot be given."""
        group = None if output.group is None else _group(output.group)
        return cls(Path(output.root), Permissions(output.file_mode, output.folder_mode_bits, group))

    @property
    def identity(self) -> str:
        """Return the root's id as it was when this process opened it."""
        return self._identity

    def _make_identity(self) -> str:
        folder = self.folders.open(OWN)
        try:
            found = open_to_read("store", folder)
            if found is None:
                temp = f"store.{secrets.token_hex(4)}.tmp"
                write_file(self.folders, folder, temp, [f"{secrets.token_hex(16)}\n".encode()])
                give_name_once(folder, temp, folder, "store")
                remove(folder, temp)
                os.fsync(folder)
                found = open_to_read("store", folder)
            data = b"" if found is None else read_small(found)
        finally:
            os.close(folder)
        return identity_in(data, str(self.root))

    def probe(self) -> None:
        """Write and remove a small file, durably, and see that the root is still the same."""
        with output_errors(f"output root {self.root}"):
            folder = self.folders.open(*STAGING)
            try:
                name = f"probe.{secrets.token_hex(4)}.tmp"
                try:
                    write_file(self.folders, folder, name, [b"reportd\n" * 512])
                finally:
                    remove(folder, name)
            finally:
                os.close(folder)
            self._check_identity()

    def _check_root(self) -> None:
        """See that the path still leads where it did, or to the same store, mounted anew."""
        with output_errors(f"output root {self.root}"):
            seen = _place_of(self.root)
            if seen != self._seen:
                self._check_identity()
                self._seen = seen

    def _check_identity(self) -> None:
        found = open_to_read(self.root / OWN / "store")
        text = b"" if found is None else read_small(found)
        if not text:
            raise OutputError(f"output root {self.root}: its id is gone (not mounted?)")
        if text.strip() != self._identity.encode():
            raise OutputError(f"output root {self.root}: its id has changed (another mount?)")

    def receipt_of(self, path: str, file_format: str) -> Receipt | None:
        """See `Store.receipt_of`: one open when there is no file."""
        with output_errors(path):
            descriptor = open_to_read(f"{self.root}/{path}")
            if descriptor is None:
                return None
            if file_format == "parquet":
                with os.fdopen(descriptor, "rb", buffering=0) as file:
                    receipt = read_footer(file)
            else:
                os.close(descriptor)
                receipt = self.receipt_beside(path)
        return receipt if receipt is not None and receipt.path == path else None

    def receipt_beside(self, path: str) -> Receipt | None:
        """Return the receipt in its final place of a file that is not Parquet."""
        digest = path_digest(path)
        name = self.root.joinpath(*RECEIPTS, digest[:2], f"{digest}.receipt")
        found = open_to_read(name)
        return None if found is None else Receipt.from_json(read_small(found))

    def verified(self, receipt: Receipt) -> Receipt | None:
        """See `Store.verified`: reads the file once."""
        with output_errors(receipt.path):
            descriptor = open_to_read(f"{self.root}/{receipt.path}")
            if descriptor is None:
                return None
            try:
                return fitting(receipt, chunks_of(descriptor))
            finally:
                os.close(descriptor)

    def stage(self, key: str) -> LocalStage:
        """See `Store.stage`."""
        shard = _shard(key)
        self._check_root()
        with output_errors("staging"):
            try:
                folder = self.folders.open(*shard)
            except FileNotFoundError:
                os.close(self.folders.open(*STAGING))  # never made here: it may be unmounted
                folder = self.folders.open(*shard, make=True)
        return self._stage(folder, f"{key}.{secrets.token_hex(4)}", ())

    def _stage(self, folder: int, prefix: str, names: Iterable[str]) -> LocalStage:
        return LocalStage(self.folders, folder, prefix, names, self.receipt_beside)

    def stages(self, key: str) -> list[LocalStage]:
        """See `Store.stages`: one open when nothing was ever staged beside the key."""
        self._check_root()
        with output_errors("staging"):
            try:
                folder = self.folders.open(*_shard(key))
            except FileNotFoundError:
                return []
            try:
                tries: dict[str, set[str]] = {}
                for name in names_in(folder):
                    owner, _, rest = name.partition(".")
                    if owner == key:
                        prefix = f"{key}.{rest.partition('.')[0]}"
                        tries.setdefault(prefix, set()).add(name)
                ages = {prefix: _newest(folder, names) for prefix, names in tries.items()}
                newest = sorted(tries, key=lambda prefix: ages[prefix], reverse=True)
                return [self._stage(os.dup(folder), name, tries[name]) for name in newest]
            finally:
                os.close(folder)

    def make_durable(self, paths: Iterable[str]) -> None:
        """See `Store.make_durable`: fsyncs their folders."""
        with output_errors("output"):
            for parts in sorted({tuple(path.split("/")[:-1]) for path in paths}):
                folder = self.folders.open(*parts)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)

    def sweep(self, older_than_seconds: float, now: float, is_open: Callable[[str], bool]) -> int:
        """See `Store.sweep`; ``now`` is the epoch's. Raises nothing for files just gone."""
        removed, before = 0, now - older_than_seconds
        with output_errors("staging"):
            staging = self.folders.open(*STAGING)
            try:
                removed += sweep_folder(staging, before, is_open, _ENDINGS)
                shards = [name for name in names_in(staging) if len(name) == 1]
            finally:
                os.close(staging)
            for shard in shards:
                folder = self.folders.open(*STAGING, shard)
                try:
                    removed += sweep_folder(folder, before, is_open, _ENDINGS)
                finally:
                    os.close(folder)
        return removed


def _place_of(root: Path) -> tuple[int, int]:
    """Return what tells one folder from another that came in its place. Raises OSError."""
    found = root.stat()
    return found.st_dev, found.st_ino


def _newest(folder: int, names: Iterable[str]) -> int:
    """Return when the last of the files was written; some may be gone by now."""
    written = 0
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            written = max(written, found.st_mtime_ns)
    return written


def _shard(key: str) -> tuple[str, ...]:
    return (*STAGING, checked_key(key)[:1])


def _group(name: str) -> int:
    """Return the number of a group that this process may give files to."""
    try:
        found = grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(
            f"output.group: there is no group {name!r} on this machine; make it, the same on "
            "every VM"
        ) from None
    if found not in {os.getegid(), *os.getgroups()} and os.geteuid() != 0:
        raise ConfigError(
            f"output.group: reportd does not belong to {name!r} and may not give files to it; add "
            f"it to the unit: SupplementaryGroups={name}"
        )
    return found
