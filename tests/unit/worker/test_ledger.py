"""The ledger's image: which records count, and which a next owner needs."""

import tracemalloc

import pytest

from reportd.model.ledger import parse_ledger_record
from reportd.worker import ledger
from reportd.worker.book import OffsetBook
from reportd.worker.ledger import POISON, KnownEnd, LedgerImage
from tests.unit.worker.making import BACKFILL, REQUESTS, end, step


def test_the_first_end_of_an_id_wins() -> None:
    """A second end, written by an owner that was late, changes nothing."""
    image = LedgerImage()
    image.apply(3, end(state="dead"))
    image.apply(4, end(state="result"))

    assert image.end_of(("id", 0)) == KnownEnd.of(end(state="dead"), 3)


def test_a_replay_is_another_life() -> None:
    """The end of a request's first life does not end its replay."""
    image = LedgerImage()
    image.apply(0, end(state="dead"))

    assert image.end_of(("id", 1)) is None


def test_the_steps_of_the_highest_attempt_count() -> None:
    """A request that was started over goes on from its new steps alone."""
    image = LedgerImage()
    for position, (attempt, number) in enumerate([(0, 1), (0, 2), (1, 1), (0, 3), (1, 2)]):
        image.apply(position, step(attempt=attempt, number=number))

    found = [(at, one.attempt, one.step) for at, one in image.steps_of(("id", 0))]
    assert found == [(2, 1, 1), (4, 1, 2)]


def test_a_repeated_step_counts_once() -> None:
    """Two owners may have written the same step: it is one answer."""
    image = LedgerImage()
    for position, number in enumerate([1, 2, 2, 1]):
        image.apply(position, step(number=number))

    assert [one.step for _, one in image.steps_of(("id", 0))] == [1, 2]


def test_steps_with_a_hole_are_no_steps() -> None:
    """If an answer is missing, nothing can be gone on from; a new attempt begins."""
    image = LedgerImage()
    image.apply(0, step(number=1))
    image.apply(1, step(number=3))

    assert image.steps_of(("id", 0)) == []
    assert image.attempt_of(("id", 0)) == 1


def test_steps_of_two_reports_are_no_steps() -> None:
    """An owner that slept and its successor each had one made: pages of both would be mixed."""
    image = LedgerImage()
    image.apply(0, step(picked={"report": "r1"}))
    image.apply(1, step(picked={"report": "r1"}))
    image.apply(2, step(number=2))
    assert (len(image.steps_of(("id", 0))), image.attempt_of(("id", 0))) == (2, 0)

    image.apply(3, step(picked={"report": "r2"}))
    assert (image.steps_of(("id", 0)), image.attempt_of(("id", 0))) == ([], 1)
    image.apply(4, step(attempt=1, picked={"report": "r3"}))
    assert (len(image.steps_of(("id", 0))), image.attempt_of(("id", 0))) == (1, 1)


def test_an_end_ends_the_steps() -> None:
    """Steps before or after an id's end are of no use."""
    image = LedgerImage()
    image.apply(0, step())
    image.apply(1, end())
    image.apply(2, step(number=2))

    assert image.steps_of(("id", 0)) == []


def test_the_end_of_an_empty_image_is_its_next_position() -> None:
    """With nothing needed, R is the ledger's end."""
    image = LedgerImage()
    image.confirmed(41)

    assert image.first_needed() == 42


def test_r_covers_ends_beyond_the_commit() -> None:
    """An end stays needed until the commit has passed its offset."""
    image, book = LedgerImage(), OffsetBook(0)
    for offset in (0, 1, 2):
        book.deliver(offset)
    image.ended(("b", 0), KnownEnd.of(end("b", offset=1), 7))
    image.need(7, book, 1)
    book.close(1)
    assert image.first_needed() == 7

    image.ended(("a", 0), KnownEnd.of(end("a", offset=0), 9))
    image.need(9, book, 0)
    book.close(0)
    assert (book.commit_position(), image.first_needed()) == (2, 10)


def test_r_covers_the_steps_of_an_open_request() -> None:
    """The first step of an open request is needed, however many later records there are."""
    image, book = LedgerImage(), OffsetBook(0)
    book.deliver(0)
    image.confirmed(5)
    image.need(5, book, 0)
    image.confirmed(90)
    assert image.first_needed() == 5

    book.close(0)
    assert image.first_needed() == 91


def test_r_covers_restored_ends_and_steps() -> None:
    """What a restore has read and may still be asked for is in the next commit's R."""
    image = LedgerImage()
    image.apply(3, end("gone", offset=1))
    image.apply(5, step("open", offset=2))
    image.apply(6, end("beyond", offset=9))
    books = {REQUESTS: OffsetBook(2)}
    image.need_restored(books, {REQUESTS: 10})
    assert image.first_needed() == 5

    books[REQUESTS].deliver(2)
    books[REQUESTS].close(2)
    books[REQUESTS].deliver(9)
    assert image.first_needed() == 6


def test_r_covers_a_dead_end_until_its_copies_are_committed() -> None:
    """A second copy of a dead request may lie up to the high watermark: it must not be called."""
    image = LedgerImage()
    image.apply(3, end(state="dead", offset=0))
    book = OffsetBook(4)
    image.need_restored({REQUESTS: book}, {REQUESTS: 8})
    assert image.first_needed() == 3

    book.deliver(7)
    assert image.first_needed() == 3
    book.close(7)
    assert image.first_needed() == 4


def test_a_restored_dead_end_before_the_commit_was_copied() -> None:
    """It is not kept whole: its offset was closed after its copy."""
    image = LedgerImage()
    image.apply(3, end("before", state="dead", offset=4))
    image.apply(4, end("behind", state="dead", offset=5))
    image.need_restored({REQUESTS: OffsetBook(5)}, {REQUESTS: 8})

    known = [image.end_of((name, 0)) for name in ("before", "behind")]
    assert [one is not None and one.dead is None for one in known] == [True, False]


def test_each_topic_has_its_own_offsets() -> None:
    """An offset of the backfill topic is not closed by the requests topic's commit."""
    image, requests, backfill = LedgerImage(), OffsetBook(0), OffsetBook(0)
    for book in (requests, backfill):
        book.deliver(0)
    image.apply(0, end("r", offset=0))
    image.apply(1, end("b", offset=0, topic=BACKFILL))
    image.need_restored({REQUESTS: requests, BACKFILL: backfill}, {REQUESTS: 1, BACKFILL: 1})
    requests.close(0)

    assert image.first_needed() == 1


def test_own_ends_are_forgotten_before_restored_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, but a restored dead end whose message is still to come is kept."""
    monkeypatch.setattr(ledger, "REMEMBERED_ENDS", 2)
    image = LedgerImage()
    image.apply(0, end("restored", "dead", offset=900))
    for position in range(1, 6):
        image.ended((f"own-{position}", 0), KnownEnd.of(end(f"own-{position}"), position))

    assert image.end_of(("restored", 0)) is not None
    assert image.end_of(("own-1", 0)) is None
    assert image.end_of(("own-5", 0)) is not None


def test_many_ends_are_small() -> None:
    """One blocked account keeps the commit behind, and all that has ended since is read again."""
    file = {"day": "2026-11-20", "format": "csv", "rows": 9, "bytes": 9, "checksum": "sha256:0"}
    files = [{**file, "path": f"acme/stats/date={number}/a.csv"} for number in range(14)]
    value = end("x", files=files, reason="r" * 2000).to_json()
    image = LedgerImage()
    tracemalloc.start()
    try:
        for position in range(1000):
            record = parse_ledger_record(value.replace(b'"x"', b'"id-%d"' % position))
            image.apply(position, record)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used / 1000 < 500, "bytes an end"


def test_a_dead_end_is_kept_whole_until_its_copy_stands() -> None:
    """Then that it is dead is enough; of poison, which nothing else can be, nothing is kept."""
    image = LedgerImage()
    poison = (f"{POISON}requests.acme-0-7", 0)
    image.apply(3, end(state="dead"))
    image.ended(poison, KnownEnd.of(end(poison[0], state="dead", offset=7), 4))
    known = image.end_of(("id", 0))
    assert known is not None
    assert known.dead == end(state="dead")

    image.copied(("id", 0))
    image.copied(poison)

    assert image.end_of(("id", 0)) == KnownEnd("dead", REQUESTS, 0, 3)
    assert image.end_of(poison) is None
