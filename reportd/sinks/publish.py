"""Publishing what a request made, and finding what an earlier life of it has published.

Used by a worker: `Publisher.publish` in its finishing thread, `Publisher.look` before the first
call of a request in doubt. The order of the writes is DESIGN.md's: every file of the request is
staged and durable, then the guard, then the final names, then their folders.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Literal

from reportd.model.ledger import PublishedFile
from reportd.model.request import Request
from reportd.sinks.formats import encode
from reportd.sinks.gathering import Rows
from reportd.sinks.paths import PathTemplate
from reportd.sinks.receipts import Receipt
from reportd.sinks.sameness import content_of
from reportd.sinks.schema import COLUMNS_HASH
from reportd.sinks.standing import Standing
from reportd.sinks.store import Guard, Stage, Store, stage_key


@dataclass(frozen=True, slots=True)
class Target:
    """One file that a request publishes."""

    path: str
    """Relative to the root, as on disk."""
    day: date
    format: str


@dataclass(frozen=True, slots=True)
class Published:
    """What of a request's targets stands there now."""

    files: tuple[PublishedFile, ...] = ()
    """Those that this request made, in the targets' order."""
    superseded: tuple[Target, ...] = ()
    """Those where a newer run's file stands: they were left alone."""
    run: str = ""
    """The newest of those runs."""

    @property
    def all_superseded(self) -> bool:
        """Say whether nothing of it is this request's: its state is ``superseded``."""
        return not self.files


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a request's targets found."""

    kind: Literal["none", "mine", "newer"]
    """``none``: ask again, everything. ``mine``: it is finished. ``newer``: superseded."""
    published: Published = Published()


@dataclass(frozen=True, slots=True)
class Prepared:
    """One request's files, staged but neither durable nor published yet."""

    request: Request
    replay: int
    targets: tuple[Target, ...]
    stage: Stage
    receipts: tuple[Receipt, ...]
    guard: Guard


class Publisher:
    """Publishes into one store, one a process. Thread-safe while one request is in one thread."""

    def __init__(self, store: Store, template: PathTemplate) -> None:
        """Take an open store and a template without problems."""
        self._store = store
        self._standing = Standing(store)
        self._template = template

    def targets(self, request: Request) -> tuple[Target, ...]:
        """Return what a request publishes: its days, each in its formats."""
        return tuple(
            Target(
                self._template.render(
                    request.partner, request.report, request.account, day, request.params, ext
                ),
                day,
                ext,
            )
            for day in request.days()
            for ext in dict.fromkeys(request.formats)
        )

    def look(
        self, request: Request, targets: Iterable[Target], guard: Guard, *, replay: int = 0
    ) -> Look:
        """Find out, without any call to the partner, whether the request is finished.

        Complete staged files of a life that was killed between staging and publishing are
        published here and now; ``guard`` is asked before each. When a single target is neither
        this request's, nor a newer run's, nor staged, everything is asked again. Costs two opens
        when nothing was ever published. Raises `OutputError`, and what ``guard`` raises.
        """
        targets = tuple(targets)
        stages = self._store.stages(stage_key(request.id, replay))
        try:
            standing: dict[str, Receipt] = {}
            unchanged: set[str] = set()
            for target in targets:
                receipt = self._standing.found(target.path, target.format, request, replay)
                if receipt is not None:
                    standing[target.path] = receipt
                elif not stages:
                    return Look("none")
            missing = [target for target in targets if target.path not in standing]
            if missing:
                staged = _first_complete(stages, missing, request, replay)
                if staged is None:
                    return Look("none")
                stage, receipts = staged
                given, unchanged = self._standing.give(stage, receipts, guard)
                standing |= given
                stage.settle()
            for stage in stages:
                stage.discard()
        finally:
            for stage in stages:
                stage.close()
        published = _published(targets, standing, unchanged, request, replay)
        self._store.make_durable(file.path for file in published.files)
        return Look("newer" if published.all_superseded else "mine", published)

    def publish(
        self,
        request: Request,
        targets: Iterable[Target],
        tables: Mapping[date, Rows],
        guard: Guard,
        *,
        replay: int = 0,
        provisional: Collection[date] = (),
    ) -> Published:
        """Publish a table a day, in every format asked for; blocks on the disk.

        When it returns, everything is durable. Where a newer run's file stands, it is left
        alone. Raises `OutputError`: nothing or a part was published, try `look` or this again;
        and what ``guard`` raises: whoever owns the request now finds the staged files.
        """
        prepared = self.prepare(
            request, targets, tables, guard, replay=replay, provisional=provisional
        )
        (published,) = self.publish_all([prepared])
        if isinstance(published, Exception):
            raise published
        return published

    def prepare(
        self,
        request: Request,
        targets: Iterable[Target],
        tables: Mapping[date, Rows],
        guard: Guard,
        *,
        replay: int = 0,
        provisional: Collection[date] = (),
    ) -> Prepared:
        """Encode and stage a request's files, for `publish_all`; raises `OutputError`."""
        targets = tuple(targets)
        stage = self._store.stage(stage_key(request.id, replay))
        try:
            receipts = []
            contents = {day: content_of(tables[day]) for day in {each.day for each in targets}}
            for target in targets:
                table = tables[target.day]
                receipt = Receipt(
                    id=request.id,
                    replay=replay,
                    run=request.run,
                    path=target.path,
                    day=target.day.isoformat(),
                    format=target.format,
                    rows=table.num_rows,
                    columns=(table.schema.metadata or {}).get(COLUMNS_HASH, b"").decode(),
                    provisional=target.day in provisional,
                    content=contents[target.day],
                )
                chunks = encode(table, target.format, receipt.to_json())
                receipts.append(stage.write(receipt, chunks))
        except BaseException:
            stage.discard()
            raise
        return Prepared(request, replay, targets, stage, tuple(receipts), guard)

    def publish_all(self, prepared: Sequence[Prepared]) -> list[Published | Exception]:
        """Publish several requests' files together; returns what became of each, in their order.

        Every step is done for all of them before the next: so the disk is waited for once, and
        a folder that several publish into is made durable once. One that fails, with what
        `publish` would raise, stops no other.
        """
        group = [_Publication(one) for one in prepared]
        for one in group:
            one.attempt(one.seal)
        for one in group:
            one.attempt(partial(one.give_names, self._standing))
        for one in group:
            one.attempt(one.settle)
        return [one.outcome() for one in group]


class _Publication:
    """One request's way through `Publisher.publish_all`."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._standing: dict[str, Receipt] = {}
        self._unchanged: set[str] = set()
        self._error: Exception | None = None

    def attempt(self, step: Callable[[], None]) -> None:
        """Take the next step, unless one failed."""
        if self._error is not None:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 - handed to whoever asked, with the others' results
            self._error = error

    def seal(self) -> None:
        try:
            self._prepared.stage.seal()
        except BaseException:
            self._prepared.stage.discard()
            raise

    def give_names(self, names: Standing) -> None:
        one = self._prepared
        try:
            self._standing, self._unchanged = names.give(one.stage, one.receipts, one.guard)
        except BaseException:
            one.stage.close()
            raise

    def settle(self) -> None:
        try:
            self._prepared.stage.settle()
        finally:
            self._prepared.stage.close()

    def outcome(self) -> Published | Exception:
        if self._error is not None:
            return self._error
        one = self._prepared
        return _published(one.targets, self._standing, self._unchanged, one.request, one.replay)


def _first_complete(
    stages: Iterable[Stage], missing: Iterable[Target], request: Request, replay: int
) -> tuple[Stage, list[Receipt]] | None:
    """Return the newest try whose staged files are all that is missing."""
    for stage in stages:
        receipts = []
        for target in missing:
            receipt = stage.found(target.path, target.format)
            if receipt is None or not receipt.made_by(request.id, replay):
                break
            receipts.append(receipt)
        else:
            return stage, receipts
    return None


def _published(
    targets: Iterable[Target],
    standing: Mapping[str, Receipt],
    unchanged: Collection[str],
    request: Request,
    replay: int,
) -> Published:
    files, superseded, newest = [], [], None
    for target in targets:
        receipt = standing[target.path]
        if receipt.made_by(request.id, replay):
            files.append(_file(receipt, unchanged=target.path in unchanged))
        else:
            superseded.append(target)
            if newest is None or receipt.order > newest.order:
                newest = receipt
    return Published(tuple(files), tuple(superseded), newest.run if newest else "")


def _file(receipt: Receipt, *, unchanged: bool) -> PublishedFile:
    return PublishedFile(
        path=receipt.path,
        day=receipt.day,
        format=receipt.format,
        rows=receipt.rows,
        bytes=receipt.size_bytes,
        checksum=receipt.checksum,
        provisional=receipt.provisional,
        unchanged=unchanged,
    )
