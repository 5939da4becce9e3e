"""What every output root promises; the same tests run against each kind of store.

`Place.root` is where its files lie on this machine, whatever it is: there tests damage and age
them.
"""

import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from reportd.errors import FencedError, OutputError, UnexpectedAnswerError
from reportd.model.request import Request
from reportd.sinks.formats import FORMATS
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Look, Published, Publisher
from reportd.sinks.spool import Spool
from reportd.sinks.store import OutputRoot, stage_key

DAY = date(2026, 11, 21)
RUN = "daily/2026-11-22T04:00Z#1"
OLDER_RUN = "daily/2026-11-21T04:00Z#1"
NEWER_RUN = "backfill/2026-11-23T04:00Z#1"
THREE_DAYS = {"first_day": DAY - timedelta(days=2), "last_day": DAY}
BOTH = ("parquet", "csv.gz")
ID = "ab" * 16
HOUR = 3600.0


class Killed(BaseException):
    """The process is gone: nothing after this ran, no handler either."""


class Place(Protocol):
    """One kind of output root, empty."""

    root: Path
    """Its files on this machine."""

    def open(self) -> OutputRoot:
        """Open it, as one process more."""
        ...

    def kill_at(self, patch: pytest.MonkeyPatch, step: str, nth: int) -> None:
        """Raise `Killed` before the n-th "stage" (a write) or "publish" (a final name)."""
        ...


def nothing_forbids() -> None:
    """Guard nothing."""


def fenced() -> None:
    """Forbid everything."""
    raise FencedError


def a_request(**fields: Any) -> Request:
    """Return a request of one day, or with other fields."""
    first = fields.get("first_day", DAY)
    base = {"v": 1, "run": RUN, "partner": "acme", "report": "stats", "account": "1"}
    days = {"first_day": first, "last_day": first, "formats": ("parquet",)}
    return Request.model_validate({**base, **days, **fields})


def tables_of(request: Request, text: str = "ab") -> dict[date, pa.Table]:
    """Return a table a day: its rows tell the day and the text."""
    return {
        day: pa.table({"name": [f"{one}{day.day}" for one in text], "day": [day] * len(text)})
        for day in request.days()
    }


class SinkContract:
    """Inherited once for each kind of store, which gives ``place``."""

    @pytest.fixture
    def store(self, place: Place) -> OutputRoot:
        """Give the store as one process has it."""
        return place.open()

    @pytest.fixture
    def publisher(self, store: OutputRoot) -> Publisher:
        """Give a publisher into it."""
        return Publisher(store, PathTemplate())

    @pytest.fixture
    def spool(self, store: OutputRoot) -> Spool:
        """Give its spool."""
        return Spool(store)

    def publish(
        self, publisher: Publisher, request: Request, text: str = "ab", **more: Any
    ) -> Published:
        """Publish a request's tables."""
        guard = more.pop("guard", nothing_forbids)
        tables = tables_of(request, text)
        return publisher.publish(request, publisher.targets(request), tables, guard, **more)

    def look(self, publisher: Publisher, request: Request, **more: Any) -> Look:
        """Look at a request's targets."""
        guard = more.pop("guard", nothing_forbids)
        return publisher.look(request, publisher.targets(request), guard, **more)

    def final(self, place: Place) -> list[str]:
        """Return the final files' paths."""
        found = [path.relative_to(place.root) for path in place.root.rglob("*") if path.is_file()]
        return sorted(str(path) for path in found if path.parts[0] != "_reportd")

    def below(self, place: Place, part: str) -> list[Path]:
        """Return the files in a part of what is the store's own."""
        found = (path for path in (place.root / "_reportd" / part).rglob("*") if path.is_file())
        return sorted(path for path in found if path.name != "keep")  # a bucket's own

    # --- what is published, and what a look finds

    def test_a_day_and_format_each_is_a_file(self, place: Place, publisher: Publisher) -> None:
        """One download, several days, two stakeholders; anyone can read them."""
        request = a_request(**THREE_DAYS, formats=("parquet", "csv"))
        files = self.publish(publisher, request, provisional=[DAY]).files

        assert sorted(file.path for file in files) == self.final(place)
        assert [file.day for file in files if file.provisional] == [DAY.isoformat()] * 2
        assert self.below(place, "staging") == []
        for file in files:
            path = place.root / file.path
            read = pa_csv.read_csv(path) if file.format == "csv" else pq.ParquetFile(path).read()
            assert (file.rows, file.bytes) == (2, path.stat().st_size)
            assert read.column("name").to_pylist() == [f"{one}{file.day[-2:]}" for one in "ab"]

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_a_look_finds_what_was_published(self, publisher: Publisher, file_format: str) -> None:
        """Same id, file fits: nothing is asked again, and the end says the same."""
        request = a_request(**THREE_DAYS, formats=(file_format,))
        assert self.look(publisher, request) == Look("none")

        published = self.publish(publisher, request, provisional=[DAY])

        assert self.look(publisher, request) == Look("mine", published)

    @pytest.mark.parametrize(
        "account", ["a/b", "../x", "%2F", "ä ö", "_x", ".y", "a+b&c=d?e#f", "~"]
    )
    def test_any_account_has_a_file_of_its_own(
        self, place: Place, publisher: Publisher, account: str
    ) -> None:
        """Names reach the store as they are: encoded once, neither twice nor back."""
        request = a_request(account=account, formats=BOTH)
        published = self.publish(publisher, request)

        assert self.final(place) == sorted(file.path for file in published.files)
        assert self.look(publisher, request) == Look("mine", published)

    def test_a_large_file(self, publisher: Publisher) -> None:
        """Of more than one part, where a store has parts."""
        request = a_request(formats=("csv",))
        table = pa.table({"n": pa.array(range(3_000_000), pa.int64())})
        published = publisher.publish(
            request, publisher.targets(request), {DAY: table}, nothing_forbids
        )

        assert published.files[0].bytes > 20_000_000
        assert self.look(publisher, request) == Look("mine", published)

    def test_a_replay_is_not_its_first_life(self, publisher: Publisher) -> None:
        """A dead letter's replay asks again; its own receipt is found then."""
        request = a_request()
        self.publish(publisher, request)
        assert self.look(publisher, request, replay=1) == Look("none")

        replayed = self.publish(publisher, request, "xyz", replay=1)

        assert self.look(publisher, request, replay=1) == Look("mine", replayed)
        assert self.look(publisher, request) == Look("none")

    @pytest.mark.parametrize("file_format", ["parquet", "csv"])
    @pytest.mark.parametrize(
        "damage", [lambda data: data[:-1], lambda data: data + b"x", lambda _: b""]
    )
    def test_a_file_that_was_damaged_does_not_count(
        self,
        place: Place,
        publisher: Publisher,
        file_format: str,
        damage: Callable[[bytes], bytes],
    ) -> None:
        """It is asked for again and replaced."""
        request = a_request(formats=(file_format,))
        path = place.root / self.publish(publisher, request).files[0].path
        path.write_bytes(damage(path.read_bytes()))
        assert self.look(publisher, request) == Look("none")

        published = self.publish(publisher, request)

        assert self.look(publisher, request) == Look("mine", published)

    def test_a_file_without_its_receipt_does_not_count(
        self, place: Place, publisher: Publisher
    ) -> None:
        """Nobody we know made it; nor is a receipt without its file one."""
        request = a_request(formats=("csv",))
        path = place.root / self.publish(publisher, request).files[0].path
        (receipt,) = self.below(place, "receipts")
        said = receipt.read_bytes()
        receipt.unlink()
        assert self.look(publisher, request) == Look("none")

        path.unlink()
        receipt.write_bytes(said)
        assert self.look(publisher, request) == Look("none")

    # --- runs

    @pytest.mark.parametrize("formats", [("parquet",), ("csv",), BOTH])
    def test_an_older_run_never_replaces_a_newer_ones_file(
        self, place: Place, publisher: Publisher, formats: tuple[str, ...]
    ) -> None:
        """Cheap catch-up after an outage: superseded, with no call if it is looked at before."""
        newer, older = (a_request(run=run, formats=formats) for run in (NEWER_RUN, OLDER_RUN))
        self.publish(publisher, newer, "new")
        before = {path: (place.root / path).read_bytes() for path in self.final(place)}

        found = self.look(publisher, older)
        published = self.publish(publisher, older, "old")

        assert found == Look("newer", published)
        assert published == Published((), publisher.targets(older), NEWER_RUN)
        assert before == {path: (place.root / path).read_bytes() for path in self.final(place)}
        assert self.below(place, "staging") == []

    def test_a_newer_run_replaces_by_day(self, publisher: Publisher) -> None:
        """Where a newer run's file stands it stays; the other days are published."""
        self.publish(publisher, a_request(run=OLDER_RUN))
        assert self.publish(publisher, a_request(run=NEWER_RUN)).files
        request = a_request(**THREE_DAYS)
        published = self.publish(publisher, request)

        assert [file.day for file in published.files] == ["2026-11-19", "2026-11-20"]
        assert [target.day for target in published.superseded] == [DAY]
        assert self.look(publisher, request) == Look("mine", published)

    # --- deaths

    @pytest.mark.parametrize("formats", [("parquet",), ("csv",), BOTH])
    def test_killed_between_any_two_final_names(
        self, place: Place, publisher: Publisher, formats: tuple[str, ...]
    ) -> None:
        """What was staged completely is published by the look; no call, no part, no mixture."""
        self.publish(publisher, a_request(**THREE_DAYS, run=OLDER_RUN, formats=formats), "old")
        names = sum(1 if name == "parquet" else 2 for name in formats) * 3
        for nth in range(1, names + 1):
            again = a_request(**THREE_DAYS, formats=formats, params={"try": str(nth)})
            with pytest.MonkeyPatch.context() as patch:
                place.kill_at(patch, "publish", nth)
                with pytest.raises(Killed):
                    self.publish(publisher, again, "new")

            found = self.look(Publisher(place.open(), PathTemplate()), again)

            assert found.kind == "mine", nth
            assert len(found.published.files) == 3 * len(formats)
            assert self.below(place, "staging") == []

    def test_killed_while_staging(self, place: Place, publisher: Publisher) -> None:
        """A set that is not complete is asked again: never a part of it is published."""
        request = a_request(**THREE_DAYS, formats=BOTH)
        for nth in range(1, 10):  # a Parquet, a CSV file and its receipt a day
            with pytest.MonkeyPatch.context() as patch:
                place.kill_at(patch, "stage", nth)
                with pytest.raises(Killed):
                    self.publish(publisher, request)

            assert self.look(publisher, request) == Look("none"), nth
            assert self.final(place) == []
        assert self.publish(publisher, request).files
        assert self.look(publisher, request).kind == "mine"

    @pytest.mark.parametrize("ending", ["tmp", "receipt"])
    def test_a_staged_file_that_is_not_whole_does_not_count(
        self, place: Place, publisher: Publisher, ending: str
    ) -> None:
        """Cut short by a crash: asked again."""
        request = a_request(formats=BOTH)
        with pytest.MonkeyPatch.context() as patch:
            place.kill_at(patch, "publish", 1)
            with pytest.raises(Killed):
                self.publish(publisher, request)
        victim = next(one for one in self.below(place, "staging") if one.name.endswith(ending))
        victim.write_bytes(victim.read_bytes()[:-1])

        assert self.look(publisher, request) == Look("none")

    def test_a_closed_fence_publishes_nothing(self, place: Place, publisher: Publisher) -> None:
        """Whoever owns the request now finds what was staged, and publishes it without a call."""
        request = a_request(**THREE_DAYS, formats=BOTH)
        with pytest.raises(FencedError):
            self.publish(publisher, request, guard=fenced)
        with pytest.raises(FencedError):
            self.look(publisher, request, guard=fenced)
        assert self.final(place) == []

        successor = Publisher(place.open(), PathTemplate())
        assert self.look(successor, request).kind == "mine"
        assert len(self.final(place)) == 6

    def test_a_fence_that_closes_in_between_is_asked_before_each_file(
        self, place: Place, publisher: Publisher
    ) -> None:
        """Not once for a set that takes long."""
        asked: list[int] = []

        def third_time() -> None:
            asked.append(len(self.final(place)))
            if len(asked) == 3:
                raise FencedError

        with pytest.raises(FencedError):
            self.publish(publisher, a_request(**THREE_DAYS), guard=third_time)

        assert asked == [0, 1, 2]

    def test_a_sleeper_cannot_harm_what_its_successor_published(
        self, place: Place, publisher: Publisher
    ) -> None:
        """Each try has files of its own; the look of the successor took the sleeper's away."""
        request = a_request()
        targets = publisher.targets(request)
        sleeper = publisher.prepare(request, targets, tables_of(request, "old"), nothing_forbids)
        sleeper.stage.seal()
        successor = Publisher(place.open(), PathTemplate())
        assert self.look(successor, request).kind == "mine"
        published = self.publish(successor, request, "new")

        (woken,) = publisher.publish_all([sleeper])

        assert isinstance(woken, OutputError)
        assert self.look(successor, request) == Look("mine", published)

    def test_one_failure_stops_no_other_in_a_group(
        self, place: Place, publisher: Publisher
    ) -> None:
        """Requests are published together, and fail alone."""
        requests = [a_request(account=str(number)) for number in range(3)]
        guards = (nothing_forbids, fenced, nothing_forbids)
        group = [
            publisher.prepare(request, publisher.targets(request), tables_of(request), guard)
            for request, guard in zip(requests, guards, strict=True)
        ]
        first, second, third = publisher.publish_all(group)

        assert isinstance(first, Published)
        assert isinstance(second, FencedError)
        assert isinstance(third, Published)
        assert [self.look(publisher, request).kind for request in requests] == ["mine"] * 3

    # --- the root

    def test_the_identity_is_made_once(self, place: Place) -> None:
        """Every process and VM that sees the root sees the same id."""
        first, second = place.open(), place.open()

        assert first.identity == second.identity
        assert (place.root / "_reportd/store").read_text() == f"{first.identity}\n"

    def test_a_damaged_identity_is_an_error(self, place: Place, store: OutputRoot) -> None:
        """Nobody guesses which store this is."""
        assert store.identity
        (place.root / "_reportd/store").write_text("what?\n")

        with pytest.raises(OutputError, match="does not hold an id"):
            place.open()

    def test_a_probe_notices_another_root(self, place: Place, store: OutputRoot) -> None:
        """It is the same path, but not the same store; and it leaves nothing."""
        store.probe()
        assert self.below(place, "staging") == []

        (place.root / "_reportd/store").write_text("0" * 32 + "\n")
        with pytest.raises(OutputError, match="its id has changed"):
            store.probe()

    def test_nothing_of_ours_ends_like_data(self, place: Place, publisher: Publisher) -> None:
        """DuckDB's globs read names that begin with ``_``, so theirs must not end like data."""
        self.publish(publisher, a_request(formats=("csv",)))
        request = a_request(account="2", formats=("parquet", "csv.gz"))
        with pytest.raises(FencedError):
            self.publish(publisher, request, guard=fenced)

        names = [path.name for path in self.below(place, "")]
        assert len(names) == 5
        assert all(name == "store" or name.endswith((".tmp", ".receipt")) for name in names)

    @pytest.mark.parametrize("key", ["", "../x", "a/b", "A" * 32, "a", "x" * 65, "ab-x", "ab.c"])
    def test_a_key_cannot_lead_elsewhere(self, store: OutputRoot, key: str) -> None:
        """Keys are ids, and ids are hexadecimal."""
        with pytest.raises(ValueError, match="not a stage's key"):
            store.stage(key)

    def test_sweeping_takes_what_is_old_and_nobodys(
        self, place: Place, store: OutputRoot, publisher: Publisher
    ) -> None:
        """Temp files of open requests stay, however old; so do young ones, and all final files."""
        path = self.publish(publisher, a_request(formats=("csv",))).files[0].path
        keys = []
        for number in range(3):
            request = a_request(account=str(number), formats=("parquet", "csv"))
            with pytest.raises(FencedError):
                self.publish(publisher, request, guard=fenced)
            keys.append(stage_key(request.id, 0))
        old, still_open, young = keys
        now = (place.root / path).stat().st_mtime
        for file in self.below(place, "staging"):
            age = 0.0 if young in str(file) else 2 * HOUR
            os.utime(file, (now - age, now - age))

        removed = store.sweep(HOUR, now, still_open.__eq__)

        left = " ".join(map(str, self.below(place, "staging")))
        assert removed == 3
        assert (old in left, still_open in left, young in left) == (False, True, True)
        assert store.receipt_of(path, "csv") is not None

    # --- the spool

    def test_an_answer_reads_back_as_it_was(self, spool: Spool) -> None:
        """Raw bytes in, the same bytes out; a step that is written again replaces the first."""
        spool.write(ID, 0, 0, 1, b"old")
        stored = spool.write(ID, 0, 0, 1, b"\0new\xff")

        assert spool.fits(stored.file, stored.size_bytes, stored.checksum)
        assert spool.read(stored.file, stored.checksum) == b"\0new\xff"

    @pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
    def test_an_answer_that_does_not_fit_does_not_count(
        self, place: Place, spool: Spool, damage: str
    ) -> None:
        """Short, altered or missing: its page is asked again."""
        stored = spool.write(ID, 0, 0, 1, b"x" * 100)
        (path,) = self.below(place, "spool")
        data = path.read_bytes()
        path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + b"?")
        if damage == "gone":
            path.unlink()

        assert not spool.fits(stored.file, stored.size_bytes, stored.checksum)
        with pytest.raises(UnexpectedAnswerError, match="gone or damaged"):
            spool.read(stored.file, stored.checksum)

    @pytest.mark.parametrize(
        "file", ["", "a", "../store", "a/../../store", "a/../store", "./x", "/etc/passwd", "a/"]
    )
    def test_a_name_that_leads_elsewhere_is_not_followed(self, spool: Spool, file: str) -> None:
        """A step record from anywhere cannot make a worker read other files."""
        assert not spool.fits(file, 1, "sha256:00")

    def test_removing_takes_one_life_of_one_request(self, place: Place, spool: Spool) -> None:
        """Its other life, and ids that begin alike, stay."""
        kept = [spool.write(ID, 1, 0, 1, b"x"), spool.write("ab" * 15 + "ac", 0, 0, 1, b"x")]
        for step in (1, 2):
            spool.write(ID, 0, 0, step, b"x")
        spool.remove(ID, 0)
        spool.remove(ID, 0)

        assert len(self.below(place, "spool")) == 2
        assert all(spool.fits(one.file, one.size_bytes, one.checksum) for one in kept)

    def test_old_answers_of_nobody_go(self, place: Place, spool: Spool) -> None:
        """An old one of an open request stays."""
        for key in ("aa11", "bb22", "cc33"):
            spool.write(key, 0, 0, 1, b"rows")
        now = max(path.stat().st_mtime for path in self.below(place, "spool"))
        for path in self.below(place, "spool"):
            age = 0.0 if "cc33" in str(path) else 2 * HOUR
            os.utime(path, (now - age, now - age))

        assert spool.sweep(HOUR, now, "aa11".__eq__) == 1
        left = " ".join(map(str, self.below(place, "spool")))
        assert ("aa11" in left, "bb22" in left, "cc33" in left) == (True, False, True)

    def test_a_note_is_written_once(self, place: Place) -> None:
        """Of two processes one alone makes a name; the other sees it."""
        one, two = place.open().notes, place.open().notes

        assert one.names("chain.") == []
        assert one.create("chain.1.link", b"mine")
        assert not two.create("chain.1.link", b"no")
        one.create("other.1.link", b"")
        assert two.read("chain.1.link") == b"mine"
        assert two.names("chain.") == ["chain.1.link"]

        two.remove("chain.1.link")
        two.remove("chain.1.link")
        assert one.read("chain.1.link") is None

    def test_marks_are_made_once_or_replaced(self, place: Place) -> None:
        """Of two that create one, the first one's stays; a replaced one is whole; gone is gone."""
        one, two = place.open().marks, place.open().marks
        name = "runs/daily/2026-11-22T04%3A00Z%231.json"

        assert one.read(name) is None
        assert one.create(name, b"first" * 50_000)
        assert not two.create(name, b"second")
        assert two.read(name) == b"first" * 50_000
        one.replace(name, b"first" * 500_000)
        pieces = list(two.chunks(name))
        assert b"".join(pieces) == b"first" * 500_000
        assert max(map(len, pieces)) < 2_000_000
        assert list(two.chunks("runs/daily/none")) == list(two.chunks("none/none")) == []

        two.replace("days/acme/stats/2026-11-21/_SUCCESS", b"old")
        one.replace("days/acme/stats/2026-11-21/_SUCCESS", b"new")
        assert two.read("days/acme/stats/2026-11-21/_SUCCESS") == b"new"
        one.remove("days/acme/stats/2026-11-21/_SUCCESS")
        one.remove("days/acme/stats/2026-11-21/_SUCCESS")
        one.remove("days/acme/other/2026-11-21/_SUCCESS")
        assert two.read("days/acme/stats/2026-11-21/_SUCCESS") is None
        left = [path for path in place.root.rglob("*.tmp") if path.is_file()]
        assert left == []
