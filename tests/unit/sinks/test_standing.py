"""Two threads and one final name: whose file stands there at the end, and what is met meanwhile."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reportd.sinks.local import LocalStore
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Look, Publisher
from reportd.sinks.receipts import Receipt
from tests.unit.sinks.making import NEWER_RUN, OLDER_RUN, a_request, nothing_forbids
from tests.unit.sinks.test_publish import look, publish, tables_of

MEANWHILE_SECONDS = 0.3
"""What another thread does meanwhile is given so long: it waits for the name, and gets it after."""
DEADLINE_SECONDS = 30.0


class Meanwhile:
    """Something that another thread does while the first is at a name; ends after it."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.found: list[object] = []
        self._thread = threading.Thread(target=lambda: self.found.append(do()), daemon=True)

    def begin(self) -> None:
        """Let it run, as far as it may."""
        self._thread.start()
        self._thread.join(MEANWHILE_SECONDS)

    def end(self) -> object:
        """Return what it found."""
        self._thread.join(DEADLINE_SECONDS)
        return self.found[0]


class Watched(LocalStore):
    """A store that lets something happen once it was seen what stands under a name."""

    seen: Callable[[], None] | None = None

    def receipt_of(self, path: str, file_format: str) -> Receipt | None:
        """See `LocalStore.receipt_of`."""
        receipt = super().receipt_of(path, file_format)
        seen, self.seen = self.seen, None
        if seen is not None:
            seen()
        return receipt


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    """Give a new store."""
    return Watched(tmp_path)


@pytest.fixture
def publisher(store: Watched) -> Publisher:
    """Give a publisher into it."""
    return Publisher(store, PathTemplate())


def stands(store: LocalStore, path: str, ext: str) -> str:
    """Return whose file stands there, with a receipt that fits."""
    receipt = store.receipt_of(path, ext)
    assert receipt is not None
    assert store.verified(receipt) is not None
    return receipt.run


@pytest.mark.parametrize("ext", ["parquet", "csv"])
def test_two_runs_at_one_name_leave_the_newer_ones_file(
    store: Watched, publisher: Publisher, ext: str
) -> None:
    """The older one saw nothing there; the newer one would publish before it does."""
    older, newer = (a_request(run=run, formats=(ext,)) for run in (OLDER_RUN, NEWER_RUN))
    other = Meanwhile(lambda: publish(publisher, newer, "new"))
    store.seen = other.begin

    (file,) = publish(publisher, older, "old").files
    other.end()

    assert stands(store, file.path, ext) == NEWER_RUN


@pytest.mark.parametrize("ext", ["parquet", "csv"])
def test_a_look_that_publishes_leaves_the_newer_ones_file(
    store: Watched, publisher: Publisher, ext: str
) -> None:
    """It has a thread of its own, beside those that publish: with one disk as with a bucket."""
    older, newer = (a_request(run=run, formats=(ext,)) for run in (OLDER_RUN, NEWER_RUN))
    prepared = publisher.prepare(older, publisher.targets(older), tables_of(older), nothing_forbids)
    prepared.stage.seal()
    prepared.stage.close()
    other = Meanwhile(lambda: publish(publisher, newer, "new"))

    def seen_once() -> None:
        store.seen = other.begin  # it looks, finds what was staged, and looks again to publish

    store.seen = seen_once
    (file,) = look(publisher, older).published.files
    other.end()

    assert stands(store, file.path, ext) == NEWER_RUN


def test_a_look_never_meets_a_receipt_whose_file_is_yet_to_come(
    store: Watched, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take a finished request for one that is to be asked again."""
    older, newer = (a_request(run=run, formats=("csv",)) for run in (OLDER_RUN, NEWER_RUN))
    publish(publisher, older, "old")
    other = Meanwhile(lambda: look(publisher, older))
    rename = os.rename

    def between(temp: str, name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        rename(temp, name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if name.endswith(".receipt"):
            other.begin()

    monkeypatch.setattr(os, "rename", between)
    publish(publisher, newer, "new")

    assert other.end() == Look("newer", publish(publisher, older, "old"))
