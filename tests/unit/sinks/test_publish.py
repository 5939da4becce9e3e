"""What is published, what a look finds, and in which order it reaches the disk."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reportd.errors import FencedError, OutputError
from reportd.model.request import Request
from reportd.sinks.formats import FORMATS
from reportd.sinks.local import LocalStore
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Look, Published, Publisher
from reportd.sinks.receipts import Receipt
from reportd.sinks.staging import LocalStage
from tests.descriptors import descriptors
from tests.unit.sinks.making import (
    DAY,
    NEWER_RUN,
    OLDER_RUN,
    a_request,
    a_table,
    nothing_forbids,
)

WEEK = {"first_day": DAY - timedelta(days=2), "last_day": DAY}
BOTH = ("parquet", "csv.gz")


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """Give a publisher into a new root."""
    return Publisher(LocalStore(tmp_path), PathTemplate())


def tables_of(request: Request, names: str = "ab") -> dict[date, pa.Table]:
    """Return a table a day; its rows tell the day."""
    return {day: a_table([f"{name}{day.day}" for name in names], day) for day in request.days()}


def publish(publisher: Publisher, request: Request, names: str = "ab", **more: Any) -> Published:
    """Publish a request's tables."""
    tables = tables_of(request, names)
    return publisher.publish(
        request, publisher.targets(request), tables, more.pop("guard", nothing_forbids), **more
    )


def look(publisher: Publisher, request: Request, **more: Any) -> Look:
    """Look at a request's targets."""
    guard = more.pop("guard", nothing_forbids)
    return publisher.look(request, publisher.targets(request), guard, **more)


def data_files(root: Path) -> list[str]:
    """Return the final files' paths."""
    found = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return sorted(str(path) for path in found if path.parts[0] != "_reportd")


def staged_files(root: Path) -> list[str]:
    """Return what lies in the staging folder."""
    return sorted(path.name for path in (root / "_reportd/staging").rglob("*") if path.is_file())


class Killed(BaseException):
    """The process is gone: nothing after this ran, no handler either."""


def kill_at(patch: pytest.MonkeyPatch, name: str, nth: int) -> None:
    """Kill at the n-th call of an os function; what a handler would clean up stays then."""
    calls = [0]
    real = getattr(os, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] >= nth:
            raise Killed
        return real(*args, **kwargs)

    patch.setattr(os, name, counted)
    patch.setattr(LocalStage, "discard", lambda _stage: None)


def test_a_day_and_format_each_is_a_file(publisher: Publisher, tmp_path: Path) -> None:
    """One download, several days, two stakeholders."""
    request = a_request(**WEEK, formats=BOTH)

    published = publish(publisher, request, provisional=[DAY])

    paths = [file.path for file in published.files]
    assert sorted(paths) == data_files(tmp_path)
    assert paths[:2] == [f"acme/stats/date=2026-11-19/1.{ext}" for ext in BOTH]
    assert staged_files(tmp_path) == []
    for file in published.files:
        assert file.rows == 2
        assert file.bytes == (tmp_path / file.path).stat().st_size
        assert file.provisional == (file.day == "2026-11-21")
    parquet = pq.ParquetFile(tmp_path / paths[0])
    assert parquet.read().column("name").to_pylist() == ["a19", "b19"]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_look_finds_what_was_published(publisher: Publisher, file_format: str) -> None:
    """Same id, file fits: nothing is asked again, and the end says the same."""
    request = a_request(**WEEK, formats=(file_format,))
    assert look(publisher, request) == Look("none")

    published = publish(publisher, request, provisional=[DAY])

    assert look(publisher, request) == Look("mine", published)


def test_a_replay_is_not_its_first_life(publisher: Publisher) -> None:
    """A dead letter's replay asks again; its own receipt is found then."""
    request = a_request()
    publish(publisher, request)
    assert look(publisher, request, replay=1) == Look("none")

    replayed = publish(publisher, request, "xyz", replay=1)

    assert look(publisher, request, replay=1) == Look("mine", replayed)
    assert look(publisher, request) == Look("none")


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"x", lambda _: b""]
)
def test_a_file_that_was_damaged_does_not_count(
    publisher: Publisher, tmp_path: Path, file_format: str, damage: Callable[[bytes], bytes]
) -> None:
    """It is asked for again and replaced."""
    request = a_request(formats=(file_format,))
    (file,) = publish(publisher, request).files
    path = tmp_path / file.path
    path.write_bytes(damage(path.read_bytes()))
    assert look(publisher, request) == Look("none")

    assert publish(publisher, request).files == (file,)
    assert look(publisher, request).kind == "mine"


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_a_file_that_is_not_ours_is_replaced(
    publisher: Publisher, tmp_path: Path, file_format: str
) -> None:
    """Put there by hand, or copied from another account: its receipt does not say this path."""
    request = a_request(formats=(file_format,))
    (other,) = publish(publisher, a_request(account="2", formats=(file_format,))).files
    path = tmp_path / publisher.targets(request)[0].path
    path.write_bytes((tmp_path / other.path).read_bytes())
    assert look(publisher, request) == Look("none")

    assert look(publisher, request) == Look("none")
    assert publish(publisher, request).files


def test_a_file_of_another_day_does_not_count(publisher: Publisher, tmp_path: Path) -> None:
    """The same request's, but copied by hand: a receipt says its own path."""
    request = a_request(**WEEK)
    first, second, _ = publish(publisher, request).files
    (tmp_path / second.path).write_bytes((tmp_path / first.path).read_bytes())

    assert look(publisher, request) == Look("none")


def test_what_a_look_reports_is_durable(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kill may have come between the renames and the fsync of their folders."""
    request = a_request(**WEEK)
    publish(publisher, request)
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
    )

    found = look(publisher, request)

    assert {str(tmp_path / Path(one.path).parent) for one in found.published.files} <= {*synced}


@pytest.mark.parametrize("formats", [("parquet",), ("csv",), BOTH])
def test_an_older_run_never_replaces_a_newer_ones_file(
    publisher: Publisher, tmp_path: Path, formats: tuple[str, ...]
) -> None:
    """Cheap catch-up after an outage: superseded, with no call if it is looked at before."""
    newer, older = (a_request(run=run, formats=formats) for run in (NEWER_RUN, OLDER_RUN))
    publish(publisher, newer, "new")
    before = {path: (tmp_path / path).read_bytes() for path in data_files(tmp_path)}

    found = look(publisher, older)
    published = publish(publisher, older, "old")

    assert found == Look("newer", published)
    assert published == Published((), publisher.targets(older), NEWER_RUN)
    assert published.all_superseded
    assert before == {path: (tmp_path / path).read_bytes() for path in data_files(tmp_path)}
    assert staged_files(tmp_path) == []


def test_a_newer_run_and_an_equal_one_replace(publisher: Publisher) -> None:
    """A restatement replaces; so does another request of the same run."""
    for run in (OLDER_RUN, NEWER_RUN):
        assert publish(publisher, a_request(run=run)).files
    other = a_request(run=NEWER_RUN, params={"x": "1"})

    assert look(publisher, other) == Look("none")
    assert publish(publisher, other).files


def test_overlapping_ranges_replace_each_other_by_day(publisher: Publisher) -> None:
    """Some days are a newer run's: the others are published, and the result says which."""
    publish(publisher, a_request(run=NEWER_RUN))
    request = a_request(**WEEK)
    assert look(publisher, request) == Look("none")

    published = publish(publisher, request)

    assert [file.day for file in published.files] == ["2026-11-19", "2026-11-20"]
    assert [target.day for target in published.superseded] == [DAY]
    assert not published.all_superseded
    assert look(publisher, request) == Look("mine", published)


def test_a_run_of_another_form_is_older_than_any(publisher: Publisher) -> None:
    """Other producers name runs as they like; their files stop no run of a schedule."""
    publish(publisher, a_request(run="by hand"))

    assert look(publisher, a_request(run=OLDER_RUN)) == Look("none")
    assert publish(publisher, a_request(run=OLDER_RUN)).files
    assert publish(publisher, a_request(run="by hand")).all_superseded


@pytest.mark.parametrize("formats", [("parquet",), ("csv",), BOTH])
@pytest.mark.parametrize("before", ["nothing", "an older run"])
def test_killed_between_any_two_renames(
    publisher: Publisher,
    tmp_path: Path,
    formats: tuple[str, ...],
    before: str,
) -> None:
    """What was staged completely is published by the look; no call, no part, no mixture."""
    request = a_request(**WEEK, formats=formats)
    if before == "an older run":
        publish(publisher, a_request(**WEEK, run=OLDER_RUN, formats=formats), "old")
    renames = sum(1 if name == "parquet" else 2 for name in formats) * 3
    for nth in range(1, renames + 1):
        again = a_request(**WEEK, formats=formats, params={"try": str(nth)})
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, "rename", nth)
            with pytest.raises(Killed):
                publish(publisher, again, "new")

        found = look(publisher, again)

        assert found.kind == "mine", nth
        assert len(found.published.files) == 3 * len(formats)
        assert staged_files(tmp_path) == []
    assert look(publisher, request) == Look("none")


@pytest.mark.parametrize("nth", range(1, 13))
def test_killed_while_staging(publisher: Publisher, tmp_path: Path, nth: int) -> None:
    """A set that is not complete is asked again: never a part of it is published."""
    request = a_request(**WEEK, formats=BOTH)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "write", nth)
        with pytest.raises(Killed):
            publish(publisher, request)
    left = staged_files(tmp_path)
    assert nth == 1 or left

    assert look(publisher, request) == Look("none")
    assert data_files(tmp_path) == []
    assert publish(publisher, request).files
    assert look(publisher, request).kind == "mine"


def test_killed_before_the_first_fsync(publisher: Publisher) -> None:
    """A complete set whose process died counts: the kernel has it, and the look fsyncs it."""
    request = a_request(**WEEK, formats=BOTH)
    publisher.publish(request, (), {}, nothing_forbids)  # its staging folder is durable now
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "fsync", 1)
        with pytest.raises(Killed):
            publish(publisher, request)

    assert look(publisher, request).kind == "mine"


def test_a_staged_file_that_is_not_whole_does_not_count(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Cut short by a crash of the machine: asked again."""
    request = a_request(formats=BOTH)
    for nth, name in enumerate(sorted(BOTH), 1):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, "rename", 1)
            with pytest.raises(Killed):
                publish(publisher, request)
        temps = [*(tmp_path / "_reportd/staging").rglob("*.tmp")]
        assert len(temps) == 2
        victim = next(path for path in temps if (path.read_bytes()[:4] == b"PAR1") == (nth == 1))
        victim.write_bytes(victim.read_bytes()[:-1])

        assert look(publisher, request) == Look("none"), name
        for path in temps:
            path.unlink()


def test_the_order_of_the_writes(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is staged and fsynced, then guard and rename in turns, then the folders."""
    request = a_request(**WEEK, formats=BOTH)
    publish(publisher, request)  # its folders are there and durable now
    steps: list[str] = []
    for name in ("write", "fsync", "rename"):
        real = getattr(os, name)

        def noted(*args: Any, _name: str = name, _real: Any = real, **kwargs: Any) -> Any:
            steps.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(os, name, noted)
    publish(publisher, request, guard=lambda: steps.append("guard"))

    wrote = 3 * 3  # a Parquet, a CSV file and its receipt a day, each in one write or more
    while steps[0] == "write":
        steps.pop(0)
    assert steps[:wrote] == ["fsync"] * wrote
    assert steps[wrote : wrote + 15] == ["guard", "rename", "guard", "rename", "rename"] * 3
    assert set(steps[wrote + 15 :]) == {"fsync"}
    folders = 3 + len({path.parent for path in _receipts(publisher, request)})
    assert len(steps[wrote + 15 :]) == folders


def _receipts(publisher: Publisher, request: Request) -> list[Path]:
    store = publisher._store
    assert isinstance(store, LocalStore)
    found = [*(store.root / "_reportd/receipts").rglob("*.receipt")]
    assert len(found) == len(publisher.targets(request)) / 2
    return found


def test_a_closed_fence_publishes_nothing(publisher: Publisher, tmp_path: Path) -> None:
    """Whoever owns the request now finds what was staged, and publishes it without a call."""
    request = a_request(**WEEK, formats=BOTH)

    def fenced() -> None:
        raise FencedError

    with pytest.raises(FencedError):
        publish(publisher, request, guard=fenced)
    assert data_files(tmp_path) == []
    with pytest.raises(FencedError):
        look(publisher, request, guard=fenced)
    assert data_files(tmp_path) == []

    successor = Publisher(LocalStore(tmp_path), PathTemplate())
    assert look(successor, request).kind == "mine"
    assert len(data_files(tmp_path)) == 6


def test_a_sleeper_cannot_harm_what_its_successor_staged(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Each try has files of its own: the sleeper's are gone, or its fence is closed."""
    request = a_request()
    sleeper = publisher.prepare(
        request, publisher.targets(request), tables_of(request, "old"), nothing_forbids
    )
    successor = Publisher(LocalStore(tmp_path), PathTemplate())
    published = publish(successor, request, "new")

    (woken,) = publisher.publish_all([sleeper])

    assert isinstance(woken, Published)  # the same request's: stated in the design, not closed
    assert look(successor, request).published.files == woken.files
    assert published.files[0].path == woken.files[0].path


def test_one_failure_stops_no_other_in_a_group(publisher: Publisher, tmp_path: Path) -> None:
    """Requests are published together, and fail alone."""
    requests = [a_request(account=str(number)) for number in range(3)]

    def fenced() -> None:
        raise FencedError

    group = [
        publisher.prepare(request, publisher.targets(request), tables_of(request), guard)
        for request, guard in zip(requests, (nothing_forbids, fenced, nothing_forbids), strict=True)
    ]
    first, second, third = publisher.publish_all(group)

    assert isinstance(first, Published)
    assert isinstance(second, FencedError)
    assert isinstance(third, Published)
    assert [look(publisher, request).kind for request in requests] == ["mine"] * 3
    assert len(data_files(tmp_path)) == 3


def test_a_full_disk_leaves_nothing_behind(publisher: Publisher, tmp_path: Path) -> None:
    """What was staged until then is removed: it is asked to be stored again."""
    request = a_request(**WEEK, formats=BOTH)
    real = os.write
    calls = [0]

    def full(descriptor: int, data: Any) -> int:
        calls[0] += 1
        if calls[0] > 4:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutputError, match="No space left"):
            publish(publisher, request)

    assert staged_files(tmp_path) == []
    assert data_files(tmp_path) == []
    assert publish(publisher, request).files


def test_many_staged_requests_hold_few_descriptors(publisher: Publisher) -> None:
    """A service has 1024 of them, and requests of 28 days in two formats wait side by side."""
    requests = [
        a_request(first_day=DAY - timedelta(days=27), last_day=DAY, account=str(n), formats=BOTH)
        for n in range(8)
    ]
    before = descriptors()

    group = [
        publisher.prepare(request, publisher.targets(request), tables_of(request), nothing_forbids)
        for request in requests
    ]
    held = descriptors() - before
    outcomes = publisher.publish_all(group)

    assert held <= len(requests)
    assert all(isinstance(one, Published) for one in outcomes)
    assert descriptors() == before


@pytest.mark.parametrize("formats", [("parquet",), ("csv",)])
def test_no_descriptor_is_left_open(publisher: Publisher, formats: tuple[str, ...]) -> None:
    """Whatever happens: a worker lives for months."""
    request = a_request(formats=formats)

    def fenced() -> None:
        raise FencedError

    before = descriptors()
    with pytest.raises(FencedError):
        publish(publisher, request, guard=fenced)
    with pytest.raises(FencedError):
        look(publisher, request, guard=fenced)
    look(publisher, request)
    publish(publisher, request)
    look(publisher, request)
    look(publisher, a_request(run=OLDER_RUN, formats=formats))

    assert descriptors() == before


def test_a_newer_receipt_without_its_file_is_not_replaced_but_no_result_either(
    publisher: Publisher, tmp_path: Path
) -> None:
    """A newer run was killed between its receipt's rename and its file's: it comes again.

    What an older life staged must not be called published then.
    """
    older = a_request(run=OLDER_RUN, formats=("csv",))
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "rename", 1)
        with pytest.raises(Killed):
            publish(publisher, older, "old")
    publish(publisher, a_request(formats=("csv",)), "mid")
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "rename", 2)
        with pytest.raises(Killed):
            publish(publisher, a_request(run=NEWER_RUN, formats=("csv",)), "new")
    (path,) = data_files(tmp_path)
    before = (tmp_path / path).read_bytes()

    found = look(publisher, older)

    assert found.kind == "newer"
    assert found.published.run == NEWER_RUN
    assert (tmp_path / path).read_bytes() == before
    assert look(publisher, a_request(run=NEWER_RUN, formats=("csv",))).kind == "mine"
    assert b"new" not in before


def test_receipts_say_who_made_a_file(publisher: Publisher, tmp_path: Path) -> None:
    """For people: in the footer, or in a small file; the same fields."""
    request = a_request(formats=BOTH)
    publish(publisher, request)
    footer = pq.read_metadata(tmp_path / "acme/stats/date=2026-11-21/1.parquet").metadata
    (beside,) = (tmp_path / "_reportd/receipts").rglob("*.receipt")

    in_footer = json.loads(footer[b"reportd.receipt"])
    in_file = json.loads(beside.read_text())

    assert list(in_footer) == list(in_file)
    assert in_footer["id"] == in_file["id"] == request.id
    assert in_file["run"] == request.run
    assert in_file["checksum"].startswith("sha256:")


def test_files_with_the_content_that_stood_there_are_unchanged(publisher: Publisher) -> None:
    """Day by day, in every format: against the run before, not against another try."""
    older, newer = (a_request(run=run, formats=BOTH, **WEEK) for run in (OLDER_RUN, NEWER_RUN))
    first = publish(publisher, older)
    again = publish(publisher, older)
    tables = tables_of(newer) | {DAY: a_table(["other"])}
    second = publisher.publish(newer, publisher.targets(newer), tables, nothing_forbids)

    assert {file.unchanged for file in (*first.files, *again.files)} == {False}
    assert {(file.day, file.unchanged) for file in second.files} == {
        ("2026-11-19", True),
        ("2026-11-20", True),
        ("2026-11-21", False),
    }
    assert len(second.files) == 6


def test_a_look_that_publishes_tells_what_is_unchanged(publisher: Publisher) -> None:
    """Complete staged files of a life that was killed are compared, too."""
    publish(publisher, a_request(run=OLDER_RUN))
    newer = a_request(run=NEWER_RUN)
    prepared = publisher.prepare(newer, publisher.targets(newer), tables_of(newer), nothing_forbids)
    prepared.stage.seal()
    prepared.stage.close()

    found = look(publisher, newer)

    assert [file.unchanged for file in found.published.files] == [True]


def test_the_file_of_an_older_version_is_another_one(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its receipt does not tell the content: it counts, and what replaces it is changed."""
    with monkeypatch.context() as before:
        before.setattr(Receipt, "to_json", without_content)
        older = a_request(run=OLDER_RUN, formats=BOTH)
        publish(publisher, older)
    assert look(publisher, older).kind == "mine"

    published = publish(publisher, a_request(run=NEWER_RUN, formats=BOTH))

    assert [file.unchanged for file in published.files] == [False, False]


def without_content(receipt: Receipt) -> bytes:
    """Return a receipt as a version wrote it that did not know contents."""
    fields = {**asdict(receipt)}
    del fields["content"]
    return json.dumps(fields).encode()
