"""The engine: reports of many steps, polls, picked URLs, parts."""

from dataclasses import replace

import pytest

from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.actions import Finish, Release, Spool, StartCall, WriteStep
from reportd.worker.engine import VOLATILE_SECONDS
from reportd.worker.entry import Entry, State
from tests.unit.worker.hands import OK, Hands
from tests.unit.worker.making import RETRY, message, request, step

CREATED = Verdict(
    outcome=Outcome.OK,
    next_cursor={"step": "poll", "since": "0"},
    picked={"report": "r-1"},
    empty=True,
    wait_seconds=5.0,
)
PENDING = Verdict(
    outcome=Outcome.PENDING, wait_seconds=7.5, next_cursor={"step": "poll", "polls": "1"}
)
DONE = Verdict(
    outcome=Outcome.OK,
    next_cursor={"step": "download"},
    volatile={"url": "https://x/?s=1"},
    empty=True,
)
EXPIRED = Verdict(outcome=Outcome.EXPIRED, reason="HTTP 403: the URL has expired")
FAILED = Verdict(outcome=Outcome.FAILED, reason="HTTP 200: the report failed")
HALVED = Verdict(
    outcome=Outcome.TOO_BIG, next_cursor={"parts": "2026-11-20..2026-11-21/1"}, part_days=1
)


def only(hands: Hands) -> Entry:
    """Return the only call under way."""
    (called,) = hands.calls
    return called


def created(hands: Hands) -> Entry:
    """Let a request's report be created and its first poll begin."""
    hands.put(request())
    hands.answer(only(hands), CREATED, b"")
    hands.go(6.0)
    return only(hands)


def test_a_create_is_recorded_before_its_first_poll() -> None:
    """Nothing is spooled for it, and no poll starts before its record is confirmed."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, WriteStep)
    hands.put(request())
    hands.answer(only(hands), CREATED, b"")
    hands.go(9.0)
    (write,) = hands.done(WriteStep)
    assert (write.step.file, write.step.picked) == ("", {"report": "r-1"})
    assert (hands.done(Spool), hands.calls) == ([], [])

    hands.confirm(write)
    hands.go(4.0)
    assert hands.calls == []
    hands.go(2.0)
    assert only(hands).cursor == {"step": "poll", "since": "0"}
    assert only(hands).picked == {"report": "r-1"}


def test_a_step_without_a_file_waits_for_the_fence() -> None:
    """Whoever slept past its lease writes into no ledger that another worker may have read."""
    hands = Hands()
    hands.own()
    hands.put(request())
    one = only(hands)
    hands.fence.close()
    hands.answer(one, CREATED, b"")
    hands.commit_error = "away"
    hands.go(9.0)
    assert hands.done(WriteStep) == []

    hands.commit_error = None
    hands.go(30.0)
    assert len(hands.done(WriteStep)) == 1
    assert (one.cursor["step"], hands.engine.outlet.storing_count) == ("poll", 0)


def test_what_is_pending_holds_nothing() -> None:
    """No thread, no attempt, no record, and it is not in hand; then it is asked again."""
    hands = Hands(threads=1)
    hands.own()
    one = created(hands)
    hands.answer(one, PENDING, b"")

    assert (one.state, one.attempts, hands.engine.in_flight) == (State.PENDING, 0, 0)
    assert hands.engine.is_drained(hands.engine.partitions())
    assert hands.done(Release)[-1] == Release(one.request.id)
    assert len(hands.done(WriteStep)) == 1
    hands.put(request("b"))
    assert hands.asked() == ["b"]
    hands.answer(only(hands))
    hands.go(8.0)
    assert only(hands).cursor == {"step": "poll", "polls": "1"}


def test_jitter() -> None:
    """Polls of many requests do not come all at once."""
    hands = Hands()
    hands.own()
    hands.put(*(request(account) for account in "abc"))
    waits = []
    for one in list(hands.calls):
        hands.answer(one, replace(PENDING, jitter=0.5), b"")
        waits.append(one.due - hands.seconds)

    assert len(set(waits)) == 3
    assert all(3.75 <= wait <= 11.25 for wait in waits)


def test_a_picked_url_is_used_at_once_and_recorded_nowhere() -> None:
    """Its call is the next of the account; all of the ledger is without it."""
    hands = Hands()
    hands.own()
    one = created(hands)
    hands.answer(one, DONE, b"")

    assert (only(hands).volatile, only(hands).cursor) == (DONE.volatile, DONE.next_cursor)
    hands.answer(one)
    assert [end.calls for end in hands.ends] == [3]
    assert not any("https" in repr(write) for write in hands.done(WriteStep))
    assert "https" not in repr(one)


def test_a_picked_url_that_grew_old_is_forgotten() -> None:
    """A limit may keep its call for longer than it lives."""
    hands = Hands()
    hands.own()
    one = created(hands)
    partition = hands.partition()
    partition.limiter.block(one.scopes[-1], VOLATILE_SECONDS + 1.0, hands.now)
    hands.answer(one, DONE, b"")
    assert hands.calls == []

    hands.go(VOLATILE_SECONDS + 2.0)
    assert (only(hands).volatile, only(hands).cursor) == ({}, DONE.next_cursor)


@pytest.mark.parametrize("refused", [EXPIRED, Verdict(outcome=Outcome.TRANSIENT)])
def test_a_refused_url_is_asked_for_anew(refused: Verdict) -> None:
    """It is an attempt; good polls in between do not wash it off."""
    hands = Hands()
    hands.own()
    one = created(hands)
    for attempt in range(RETRY.attempts - 1):
        hands.answer(one, DONE, b"")
        hands.answer(one, refused)
        assert (one.volatile, one.attempts, one.state) == ({}, attempt + 1, State.BACKOFF)
        hands.go(9.0)

    hands.answer(one, DONE, b"")
    hands.answer(one, refused)
    assert one.state is State.HELD
    assert len(hands.done(WriteStep)) == 1


def test_a_failed_report_is_made_anew_a_few_times() -> None:
    """Each is an attempt although its create was answered well; then it is held, not for ever."""
    hands = Hands()
    hands.own()
    one = created(hands)
    for restart in range(1, RETRY.attempts + 1):
        assert (one.restarts, one.cursor["step"]) == (restart - 1, "poll")
        hands.answer(one, FAILED)
        assert (one.cursor, one.picked, one.steps) == ({}, {}, [])
        if restart < RETRY.attempts:
            hands.go(9.0)
            hands.answer(one, CREATED, b"")
            hands.go(6.0)

    assert one.state is State.HELD
    assert [write.step.attempt for write in hands.done(WriteStep)] == [0, 1, 2]
    for _ in range(40):
        hands.go(64.0)
        if hands.calls:
            hands.answer(one, CREATED if not one.cursor else FAILED, b"")
    assert hands.states() == [("a", "dead")]


def test_a_new_owner_polls_what_was_created() -> None:
    """The ledger brings back cursor and picks; no second create."""
    hands = Hands()
    one = request()
    record = step(
        one.id, cursor={"step": "poll"}, file="", bytes=0, picked={"report": "r-1"}, offset=4
    )
    hands.own(records=[record], start=4, high=5)
    hands.put(message(one, 4))

    assert (only(hands).cursor, only(hands).picked) == ({"step": "poll"}, {"report": "r-1"})


def test_what_is_too_big_goes_on_in_parts() -> None:
    """The parts are recorded, and at once begun; nothing was an attempt."""
    hands = Hands()
    hands.own()
    hands.put(request())
    one = only(hands)
    hands.answer(one, replace(HALVED, dropped=2), b"too big")

    (write,) = hands.done(WriteStep)
    assert (write.step.cursor, write.step.dropped, write.step.file) == (HALVED.next_cursor, 2, "")
    assert (only(hands).cursor, one.attempts) == (HALVED.next_cursor, 0)
    assert hands.done(Finish) == []


TWO_DAYS = {"first_day": "2026-11-20"}


def halved() -> Hands:
    """Return a worker that was told that two days are too big for the account."""
    hands = Hands()
    hands.own()
    hands.put(request(**TWO_DAYS))
    hands.answer(only(hands), HALVED)
    hands.answer(only(hands))
    return hands


def test_the_size_that_worked_is_remembered() -> None:
    """The account's next request of the report is cut to it; others are not."""
    hands = halved()
    of = {"run": "daily/2026-11-23T04:00Z#1", **TWO_DAYS}
    hands.put(
        request(**of), request("b", **of), request(report="other", **of), request(run=of["run"])
    )

    found = {(c.request.account, c.request.report, len(c.request.days())): c for c in hands.calls}
    assert found["a", "stats", 2].cursor == HALVED.next_cursor
    assert found["b", "stats", 2].cursor == {}
    assert found["a", "other", 2].cursor == {}
    assert found["a", "stats", 1].cursor == {}


def test_after_a_day_more_is_tried() -> None:
    """What was too big need not be so for ever."""
    hands = halved()
    hands.go(86_400.0)

    hands.put(request(run="daily/2026-11-23T04:00Z#1", **TWO_DAYS))

    assert only(hands).cursor == {}


def test_an_answer_without_rows_needs_no_spool() -> None:
    """No data for one item of a list: its step alone is recorded."""
    hands = Hands()
    hands.own()
    hands.put(request())
    nothing = Verdict(outcome=Outcome.OK, next_cursor={"step": "each", "item": "1"}, empty=True)
    hands.answer(only(hands), nothing, b"")

    assert hands.done(Spool) == []
    hands.answer(only(hands), OK)
    assert hands.states() == [("a", "result")]
