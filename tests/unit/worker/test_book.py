"""Which offset may be committed, when requests finish in any order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.worker.book import OffsetBook, Paused


def book(*offsets: int, start: int = 0) -> OffsetBook:
    """Return a book with delivered offsets."""
    made = OffsetBook(start)
    for offset in offsets:
        assert made.deliver(offset)
    return made


def test_the_commit_is_the_first_unfinished_offset() -> None:
    """Finishing later offsets does not move it, finishing the first one moves it past them."""
    one = book(5, 6, 7, start=5)
    one.close(6)
    assert one.commit_position() == 5

    one.close(5)
    assert one.commit_position() == 7


def test_gaps_count_as_finished() -> None:
    """Offsets that are never delivered (transaction markers) do not hold the commit."""
    one = book(10, 13, 20, start=3)
    one.close(10)
    assert one.commit_position() == 13

    one.close(20)
    one.close(13)
    assert one.commit_position() == 21


def test_an_untouched_book_commits_its_start() -> None:
    """A quiet partition's commit stays, however often it is asked."""
    assert OffsetBook(42).commit_position() == 42


@given(
    st.sets(st.integers(0, 60), max_size=30).flatmap(
        lambda offsets: st.tuples(
            st.just(sorted(offsets)),
            st.lists(st.sampled_from(sorted(offsets) or [0]), max_size=40),
        )
    )
)
@settings(max_examples=80, deadline=None)
def test_no_open_offset_lies_before_the_commit(course: tuple[list[int], list[int]]) -> None:
    """Whatever finishes in whatever order, the commit is the lowest open offset or the position."""
    offsets, closed = course
    one = book(*offsets)
    last = 0
    for offset in closed:
        one.close(offset)
        still = [o for o in offsets if one.is_open(o)]
        commit = one.commit_position()

        assert commit == (min(still) if still else one.position)
        assert commit >= last
        last = commit


@given(
    st.lists(
        st.tuples(st.sampled_from(["deliver", "skip", "close", "a", "b"]), st.integers(0, 40)),
        max_size=80,
    )
)
@settings(max_examples=200, deadline=None)
def test_a_book_is_what_a_plain_table_says(course: list[tuple[str, int]]) -> None:
    """Whatever is delivered, parked, taken again and finished."""
    one, table = OffsetBook(0), dict[int, str]()
    for what, number in course:
        known = sorted(table)
        offset = known[number % len(known)] if known else -1
        if what == "deliver":
            assert one.deliver(one.position)
            table[one.position - 1] = ""
        elif what == "skip":
            one.deliver(one.position + number)
            table[one.position - 1] = ""
        elif offset >= 0 and what == "close":
            assert one.deliver(offset) == one.unpark(offset) == bool(table.pop(offset))
            one.close(offset)
        elif offset >= 0:
            one.park(offset, what)
            table[offset] = what

        parked = sorted(at for at, key in table.items() if key)
        first = {
            key: min(at for at in parked if table[at] == key) for key in {*table.values()} - {""}
        }
        assert one.commit_position() == min(table, default=one.position)
        assert (one.open_count, one.parked_count) == (len(table), len(parked))
        assert dict(one.parked_first()) == first
        assert [at for at in range(one.position + 1) if one.is_open(at)] == sorted(table)


def test_what_is_finished_at_the_front_is_forgotten() -> None:
    """A book is as long as what lies beyond the commit, not as what was ever read."""
    one = book(*range(20_000))
    for offset in range(19_990):
        one.close(offset)
    assert one.commit_position() == 19_990
    assert one.length == 10

    one.park(19_995, "a")
    assert one.is_open(19_990)
    assert dict(one.parked_first()) == {"a": 19_995}


def test_neighbours_of_one_account_are_parked_as_one() -> None:
    """An account's bulk costs what one message does; two in turns cost each."""
    one = book(*range(1_000))
    for offset in range(500):
        one.park(offset, "bulk")
    assert one.parked_spans == 1

    for offset in range(500, 600):
        one.park(offset, "ab"[offset % 2])
    assert one.parked_spans == 101


def test_a_message_read_again_is_not_new() -> None:
    """What was delivered before is passed over, open or finished."""
    one = book(1, 2)
    one.close(1)

    assert not one.deliver(1)
    assert not one.deliver(2)
    assert one.open_count == 1


def test_a_parked_message_is_taken_when_it_is_read_again() -> None:
    """A parked offset stays open, holds the commit, and is delivered a second time."""
    one = book(1, 2)
    one.park(1, "a")
    one.close(2)
    assert (one.commit_position(), one.parked_count, one.open_count) == (1, 1, 1)

    assert one.deliver(1)
    assert one.unpark(1)
    assert not one.unpark(1)
    assert (one.parked_count, one.is_open(1)) == (0, True)


def test_each_accounts_first_parked_offset_is_known() -> None:
    """Reading again begins where an account's oldest message lies, whatever was taken first."""
    one = book(1, 2, 3, 4)
    for offset, account in ((1, "a"), (2, "b"), (3, "a"), (4, "a")):
        one.park(offset, account)
    one.unpark(3)
    one.unpark(1)

    assert dict(one.parked_first()) == {"a": 4, "b": 2}


def test_what_is_parked_later_and_lies_before_is_read_first() -> None:
    """A request that a pause has put out of memory lies before what was parked meanwhile."""
    one = book(*range(4))
    paused = Paused("acme/a", "daily/2026-11-22T04:00Z#1")
    one.park(3, paused)
    one.park(1, paused)
    one.park(1, paused)

    assert dict(one.parked_first()) == {paused: 1}
    assert one.paused_count == 2


def test_another_reason_to_be_parked_takes_the_place_of_the_first() -> None:
    """After a pause there may be no room for its account."""
    one = book(*range(2))
    one.park(1, Paused("acme", "daily/2026-11-22T04:00Z#1"))
    one.park(1, "a")

    assert dict(one.parked_first()) == {"a": 1}
    assert (one.parked_count, one.paused_count) == (1, 0)
