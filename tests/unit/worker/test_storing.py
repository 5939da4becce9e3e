"""The output as a worker uses it, in a real folder."""

import gzip
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reportd.errors import FencedError, UnexpectedAnswerError
from reportd.model.ledger import Step
from reportd.sinks.local import LocalStore
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from reportd.sinks.spool import Spool
from reportd.worker.entry import Entry
from reportd.worker.fence import Fence
from reportd.worker.finishing import Outcome
from reportd.worker.partition import Looked, Misfit
from reportd.worker.storing import Output, provisional_days
from tests.unit.partners.making import partner
from tests.unit.worker.making import WALL, StoppedClock, entry, step

DAYS = {"first_day": "2026-11-20", "last_day": "2026-11-21"}
NEWER = "daily/2026-11-23T04:00Z#1"
SECRET = "swordfish-of-the-house"


class Desk:
    """One worker's output, with an open fence."""

    def __init__(self, root: Path, publish_seconds: float = 0.0, report: str = "") -> None:
        self.root = root
        self.clock = StoppedClock()
        self.secrets: tuple[str, ...] | None = (SECRET,)
        self.fence = Fence(45.0, 3.0)
        self.fence.commit_accepted(0.0)
        store = LocalStore(root)
        self.output = Output(
            partners={"acme": partner("", report)},
            publisher=Publisher(store, PathTemplate("{partner}/{report}/{account}/{date}.{ext}")),
            spool=Spool(store),
            fence=self.fence,
            clock=self.clock,
            secrets_of=lambda _request: self.secrets,
            publish_seconds=publish_seconds,
        )

    def publish(self, one: Entry, body: bytes) -> Outcome:
        """Prepare and publish one request's answers."""
        (outcome,) = self.output.publish_all([self.output.prepare(one, body)])
        return outcome

    def clicks(self, day: str = "2026-11-21") -> Any:
        """Return what a reader sees of a day."""
        path = self.root / f"acme/stats/a/{day}.parquet"
        return pq.ParquetFile(path).read().column("clicks").to_pylist()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Give a worker's output."""
    return Desk(tmp_path)


def rows(*clicks: int, day: str = "2026-11-21") -> bytes:
    """Return a partner's answer."""
    return orjson.dumps({"data": [{"date": day, "clicks": count} for count in clicks]})


def kept(desk: Desk, found: Misfit) -> bytes:
    """Return the answer as `zstd -d` shows it."""
    with pa.input_stream(desk.root / found.answer, compression="zstd") as file:
        data: bytes = file.read()
    return data


def open_request(**fields: Any) -> Entry:
    """Return an open request of the partner's report."""
    return entry(**fields)


def spooled(desk: Desk, one: Entry, body: bytes) -> Step:
    """Store an answer as the finishing threads do, and note its step."""
    file, size, checksum = desk.output.spool(one, body)
    number = len(one.steps) + 1
    made = step(one.request.id, number=number, file=file, bytes=size, checksum=checksum)
    one.steps.append(made)
    return made


def test_nothing_stands_there_before_the_first_try(desk: Desk) -> None:
    """A new request is to be asked."""
    assert desk.output.look(open_request()) == Looked()


def test_what_was_published_is_found_again(desk: Desk) -> None:
    """A crash before the end record costs no call: the receipts say what stands."""
    one = open_request(**DAYS, formats=["parquet", "csv"])
    outcome = desk.publish(one, rows(1, 2))
    assert not isinstance(outcome, Exception)
    files, newer = outcome
    assert ([(f.day, f.format, f.rows) for f in files], newer) == (
        [("2026-11-20", "parquet", 0), ("2026-11-20", "csv", 0),
         ("2026-11-21", "parquet", 2), ("2026-11-21", "csv", 2)],
        "",
    )  # fmt: skip

    assert desk.output.look(one) == Looked(files=files)


def test_only_answers_with_rows_become_files(desk: Desk) -> None:
    """A create has none; those of a part that was too big come again in smaller ones."""
    one = open_request()
    one.steps.append(step(one.request.id, file="", bytes=0, checksum=""))
    spooled(desk, one, rows(1))
    spooled(desk, one, rows(2))
    one.steps.append(step(one.request.id, number=4, file="", bytes=0, checksum="", dropped=1))
    assert desk.output.look(one) == Looked()

    desk.publish(one, rows(3))
    assert desk.clicks() == [1, 3]


def test_a_report_that_must_have_rows(tmp_path: Path) -> None:
    """None is an answer that nobody understands, not an empty file."""
    desk = Desk(tmp_path, report="rows_expected = true\n")

    with pytest.raises(UnexpectedAnswerError, match="rows_expected"):
        desk.publish(open_request(), rows())
    desk.publish(open_request(), rows(1))


def test_a_file_that_does_not_fit_is_asked_again(desk: Desk) -> None:
    """A receipt alone is no proof: the file's bytes must be those it speaks of."""
    one = open_request(formats=["csv"])
    desk.publish(one, rows(1))
    (desk.root / "acme/stats/a/2026-11-21.csv").write_text("other")

    assert desk.output.look(one) == Looked()


def test_complete_temp_files_are_published_by_the_look(desk: Desk) -> None:
    """A crash between staging and renaming: the next look finishes the work."""
    one = open_request()
    prepared = desk.output.prepare(one, rows(5))
    prepared.stage.seal()
    prepared.stage.close()
    found = desk.output.look(one)

    assert ([file.rows for file in found.files], desk.clicks()) == ([1], [5])


def test_a_newer_runs_file_is_left_alone(desk: Desk) -> None:
    """An older run that comes late is superseded, at its look and at its publishing."""
    old, new = open_request(), open_request(run=NEWER)
    desk.publish(new, rows(9))
    assert desk.output.look(old) == Looked(newer_run=NEWER)

    assert desk.publish(old, rows(1)) == ((), NEWER)
    assert desk.clicks() == [9]


def test_an_older_runs_file_is_replaced(desk: Desk) -> None:
    """A rerun replaces what stands; it never adds."""
    desk.publish(open_request(), rows(1))
    new = open_request(run=NEWER)
    assert desk.output.look(new) == Looked()
    desk.publish(new, rows(9))

    assert desk.clicks() == [9]
    assert len(list(desk.root.glob("acme/**/*.parquet"))) == 1


def test_a_run_of_no_known_form_stops_nobody(desk: Desk) -> None:
    """A file's run, whoever named it, is older than any of known form: it is replaced."""
    unknown, other = open_request(), open_request()
    unknown.request = unknown.request.model_copy(update={"id": "ef" * 16, "run": "by hand"})
    other.request = other.request.model_copy(update={"run": "by hand again"})
    desk.publish(unknown, rows(1))

    assert desk.output.look(other) == Looked()


def test_behind_a_closed_fence_nothing_is_published(desk: Desk) -> None:
    """The lease ran out while the answer was parsed: the next owner's look will find it."""
    one = open_request()
    prepared = desk.output.prepare(one, rows(1))
    desk.clock.seconds = 40.0
    (outcome,) = desk.output.publish_all([prepared])
    assert isinstance(outcome, FencedError)
    assert not (desk.root / "acme").exists()

    desk.fence.commit_accepted(40.0)
    assert len(desk.output.look(one).files) == 1


@pytest.mark.parametrize(("at", "is_published"), [(24.0, True), (26.0, False)])
def test_what_may_take_long_begins_only_well_before_the_fence(
    tmp_path: Path, at: float, *, is_published: bool
) -> None:
    """A request to a bucket may be carried out late: by then the lease must not be over."""
    desk = Desk(tmp_path, publish_seconds=15.0)  # and a lease of 45 - 3 - 2
    prepared = desk.output.prepare(open_request(), rows(1))
    desk.clock.seconds = at
    (outcome,) = desk.output.publish_all([prepared])

    assert isinstance(outcome, FencedError) == (not is_published)


@pytest.mark.parametrize("reason", ["fence", "lost"])
def test_behind_a_closed_fence_nothing_is_spooled_or_found(desk: Desk, reason: str) -> None:
    """Neither for a lease that ran out nor for a partition that was lost."""
    one = open_request()
    if reason == "fence":
        desk.fence.close()
    else:
        one.alive = lambda: False
    desk.output.prepare(one, rows(1)).stage.seal()

    with pytest.raises(FencedError):
        desk.output.spool(one, b"page")
    with pytest.raises(FencedError):
        desk.output.look(one)


def test_pages_make_one_file_in_their_order(desk: Desk) -> None:
    """Spooled pages and the last answer are parsed together."""
    one = open_request()
    spooled(desk, one, rows(1, 2))
    spooled(desk, one, rows(3))
    assert desk.output.look(one).spool_fits
    desk.publish(one, rows(4))

    assert desk.clicks() == [1, 2, 3, 4]


def test_a_page_that_is_gone_is_seen(desk: Desk) -> None:
    """The look says that the request must start over."""
    one = open_request()
    made = spooled(desk, one, rows(1))
    (desk.root / "_reportd/spool" / made.file).unlink()

    assert desk.output.look(one) == Looked(spool_fits=False)


def test_a_swept_spool_is_gone(desk: Desk) -> None:
    """After the commit that closes it nothing of a request stays but its files."""
    one = open_request()
    spooled(desk, one, rows(1))
    desk.output.sweep(one.request.id, 0)

    assert not desk.output.look(one).spool_fits


def test_no_data_is_a_file_with_columns(desk: Desk) -> None:
    """An empty answer gives a result with no rows, not a failure."""
    desk.publish(open_request(), b"")

    assert desk.clicks() == []


def test_an_answer_that_breaks_the_columns_stages_nothing(desk: Desk) -> None:
    """It is refused before anything is written."""
    with pytest.raises(UnexpectedAnswerError):
        desk.output.prepare(open_request(), b'{"data": [{"date": "2026-11-21", "clicks": "x"}]}')

    staged = [path for path in (desk.root / "_reportd/staging").rglob("*") if path.is_file()]
    assert staged == []


def test_one_failure_stops_no_other(desk: Desk) -> None:
    """Of several requests published together each has an outcome of its own."""
    good, bad = open_request(account="a"), open_request(account="b")
    prepared = [desk.output.prepare(one, rows(1)) for one in (bad, good)]
    bad.alive = lambda: False
    failed, published = desk.output.publish_all(prepared)

    assert isinstance(failed, FencedError)
    assert not isinstance(published, Exception)
    assert len(published[0]) == 1


def test_running_again_gives_the_same_rows(desk: Desk) -> None:
    """The same answer published twice is the same file but for its receipt."""
    desk.publish(open_request(), rows(3, 1, 2))
    first = desk.clicks()
    desk.publish(open_request(run="daily/2026-11-22T04:00Z#2"), rows(3, 1, 2))

    assert desk.clicks() == first


def test_days_are_provisional_until_their_restatement_time_is_over() -> None:
    """In the account's zone, counted to the end of the partner's restatement days."""
    one = open_request(first_day="2026-11-10", last_day="2026-11-12", timezone="Pacific/Auckland")
    wall = 1_763_000_000.0 + 365 * 86_400 + 86_400 * 7  # 2026-11-20T02:13Z, in Auckland 15:13
    of = partner("restatement_days = 9\n")

    assert provisional_days(of, one, wall) == {date(2026, 11, 11), date(2026, 11, 12)}


def test_the_last_day_of_all_is_provisional() -> None:
    """Whoever asks for the end of the calendar does not stop the finishing thread's sums."""
    one = open_request(first_day="9999-12-31", last_day="9999-12-31")
    of = partner("restatement_days = 9\n")

    assert provisional_days(of, one, WALL) == {date.max}


def test_an_answer_that_does_not_fit_shows_no_secret(desk: Desk) -> None:
    """Neither its beginning nor the value that is complained of, cut short as that is."""
    one = open_request()
    body = gzip.compress(orjson.dumps({"data": [{"date": SECRET, "clicks": 1}]}))
    with pytest.raises(UnexpectedAnswerError) as raised:
        desk.output.prepare(one, body)
    assert SECRET in str(raised.value)

    found = desk.output.misfit(one, str(raised.value), body)
    cut = desk.output.misfit(one, f"column date, row 1: '{SECRET[:15]}' is not date", body)

    assert found.reason == "column date, row 1: '[secret]' is not date"
    assert cut.reason == found.reason
    assert found.sample == b'{"data":[{"date":"[secret]","clicks":1}]}'
    assert kept(desk, found) == found.sample


def test_an_answer_that_does_not_fit_is_kept_whole(desk: Desk) -> None:
    """People see all of it, not 4 KiB, also after the request's own spool has gone."""
    one = open_request()
    spooled(desk, one, b"{}")
    body = b"<html>" + b"sorry " * 20_000
    found = desk.output.misfit(one, "not JSON", body)
    desk.output.sweep(one.request.id, one.replay)

    assert kept(desk, found) == body


def test_a_full_disk_keeps_no_answer_but_the_reason(desk: Desk) -> None:
    """It is a help for people: the request's fate does not hang on it."""
    (desk.root / "_reportd/spool").write_text("in the way")
    found = desk.output.misfit(open_request(), "not JSON", b"<html>")

    assert (found.reason, found.sample, found.answer) == ("not JSON", b"<html>", "")


def test_without_its_secrets_nothing_of_an_answer_is_shown(desk: Desk) -> None:
    """They cannot be hidden: neither what is complained of nor a sample is kept."""
    desk.secrets = None
    found = desk.output.misfit(open_request(), f"'{SECRET}' is not date", SECRET.encode())

    assert SECRET not in found.reason
    assert "does not fit" in found.reason
    assert (found.sample, found.answer) == (b"", "")
    assert not [*(desk.root / "_reportd/spool").rglob("*.zst")]
