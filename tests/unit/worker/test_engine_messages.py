"""The engine: what becomes of a message."""

from dataclasses import replace
from typing import Any

import pytest

from reportd.broker.keys import partition_of
from reportd.model.ledger import EndState
from reportd.worker.actions import Finish, Forward, LookAt, StartCall, WriteDead, WriteEnd
from reportd.worker.entry import State
from reportd.worker.partition import Looked
from tests.unit.worker.hands import FILE, Hands
from tests.unit.worker.making import BACKFILL, REQUESTS, WALL, end, entry, message, request


def test_a_request_ends_once_its_end_is_confirmed() -> None:
    """Call, publish, end record; only its confirmation closes the offset."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, WriteEnd)
    hands.put(message(request(), 0))
    hands.answer(hands.calls[0])
    (write,) = hands.done(WriteEnd)
    assert (write.end.state, write.end.files, write.end.rows) == ("result", (FILE,), 3)
    assert hands.offset() == 0

    hands.confirm(write)
    assert hands.offset() == 1


def test_the_commit_goes_out_with_r_and_the_store() -> None:
    """What is committed is the first unfinished offset; R covers the end beyond it."""
    hands = Hands()
    hands.own()
    hands.put(message(request("a"), 0), message(request("b"), 1), message(request("c"), 5))
    for account in ("c", "a"):
        hands.answer(next(one for one in hands.calls if one.request.account == account))
    hands.go(2.0)

    assert hands.committed[(REQUESTS, 0)] == (1, "1 0 ab12")


@pytest.mark.parametrize("state", ["result", "superseded", "cancelled"])
def test_what_has_an_end_is_not_asked_again(state: EndState) -> None:
    """A restored end closes its message, with no look and no call."""
    hands = Hands()
    one = request()
    hands.own(records=[end(one.id, state, offset=4)], start=4, high=5)
    hands.put(message(one, 4))

    assert (hands.done(LookAt), hands.calls, hands.offset()) == ([], [], 5)


def test_a_restored_dead_letter_is_copied_not_called() -> None:
    """A crash between end and copy: the copy is written again, then the offset closes."""
    hands = Hands()
    one = request()
    record = end(one.id, "dead", offset=4, reason="permanent: HTTP 404", calls=7)
    hands.own(records=[record], start=4, high=5)
    hands.kept = (WriteDead,)
    hands.put(message(one, 4))
    (copy,) = hands.done(WriteDead)
    assert (copy.headers["error"], copy.headers["reason"]) == (b"permanent", b"HTTP 404")
    assert (hands.calls, hands.offset()) == ([], 4)

    hands.confirm(copy)
    assert (hands.offset(), hands.done(WriteEnd)) == (5, [])


def test_a_second_copy_of_a_dead_request_is_neither_copied_nor_called() -> None:
    """The dead letter stands: another message of the id ends with it."""
    hands = Hands()
    one = request()
    hands.own(records=[end(one.id, "dead", offset=4)], start=6, high=7)
    hands.put(message(one, 6))

    assert (hands.calls, hands.done(WriteDead), hands.offset()) == ([], [], 7)


def test_a_second_copy_of_an_id_waits_and_ends_with_the_first() -> None:
    """One id runs once at a time; both offsets close with its one end."""
    hands = Hands()
    hands.own()
    hands.put(message(request(), 0), message(request(), 1))
    assert hands.asked() == ["a"]
    assert hands.offset() == 0
    assert [len(one.value) for one in hands.calls[0].copies] == [0], "its place is enough"

    hands.answer(hands.calls[0])
    assert (hands.states(), hands.offset()) == ([("a", "result")], 2)


def test_a_copy_in_the_backfill_topic_ends_with_the_first_too() -> None:
    """Both topics of a partition share one ledger."""
    hands = Hands()
    hands.own()
    hands.put(message(request(), 0), message(request(), 0, BACKFILL))
    hands.answer(hands.calls[0])

    assert (hands.offset(REQUESTS), hands.offset(BACKFILL), len(hands.ends)) == (1, 1, 1)


def test_a_replay_is_asked_although_its_first_life_is_dead() -> None:
    """A replayed dead letter runs again, and its end names the replay."""
    hands = Hands()
    one = request()
    hands.own(records=[end(one.id, "dead")], start=4, high=5)
    hands.put(message(one, 4, replay="1"))
    hands.answer(hands.calls[0])

    assert [(e.id, e.replay, e.state) for e in hands.ends] == [(one.id, 1, "result")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "not JSON"),
        (b"{}", "v: "),
        (request(report="unknown").to_json(), "report: "),
        (request(partner="other").to_json(), "partner: "),
    ],
)
def test_a_message_that_does_not_validate_is_a_dead_letter(data: bytes, reason: str) -> None:
    """Poison ends with its original bytes and a reason; what follows it is not delayed."""
    hands = Hands()
    hands.own()
    hands.put(message(data, 0), message(request(), 1))
    (copy,) = hands.done(WriteDead)

    assert copy.entry.message.value == data
    assert copy.headers["error"] == b"poison"
    assert reason.encode() in copy.headers["reason"]
    assert (hands.asked(), hands.offset()) == (["a"], 1)


def test_a_request_that_the_partners_file_refuses_ends_for_its_run() -> None:
    """Its report was taken out of the file since, say: whoever waits for the run hears of it."""
    hands = Hands()
    hands.own()
    refused = request(report="unknown")
    hands.put(message(refused, 7))
    (record,), (copy,) = hands.ends, hands.done(WriteDead)

    assert (record.id, record.stands_for) == (f"poison-{REQUESTS}-0-7", refused.id)
    assert (record.run, record.account, record.report) == (refused.run, "a", "unknown")
    assert (record.first_day, record.last_day) == ("2026-11-21", "2026-11-21")
    assert (copy.headers["run"], copy.headers["account"]) == (refused.run.encode(), b"a")


def test_a_message_as_it_should_be_is_not_the_one_that_was_refused() -> None:
    """When it may begin is in no id: the message that follows has the same, and is right."""
    hands = Hands()
    hands.own()
    hands.put(request(not_before=WALL + 401 * 86_400.0), request())
    hands.answer(hands.calls[0])

    assert [one.state for one in hands.ends] == ["dead", "result"]
    assert hands.ends[0].stands_for == hands.ends[1].id


def test_restored_poison_is_copied_again_not_ended_again() -> None:
    """Poison has no id of its own: its place stands for it."""
    hands = Hands()
    record = end(f"poison-{REQUESTS}-0-4", "dead", offset=4, reason="poison: not JSON")
    hands.own(records=[record], start=4, high=5)
    hands.put(message(b"?", 4))

    assert (len(hands.done(WriteDead)), hands.done(WriteEnd), hands.offset()) == (1, [], 5)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"run": "daily/2062-11-22T04:00Z#1"}, b"run: "),
        ({"not_before": WALL + 401 * 86_400.0}, b"not_before: "),
    ],
)
def test_nothing_is_newest_or_open_for_ever(fields: dict[str, Any], reason: bytes) -> None:
    """A run of the far future would supersede all that come; a wait without end holds the commit.

    When the broker took the message decides: this VM's clock may be wrong.
    """
    hands = Hands()
    hands.own()
    hands.seconds = 50 * 366 * 86_400.0
    hands.put(message(request(**fields), 0))
    (copy,) = hands.done(WriteDead)

    assert copy.headers["reason"].startswith(reason)
    assert hands.offset() == 1


def test_a_run_of_no_known_form_or_without_a_time_is_taken() -> None:
    """Other producers are welcome; a record without the broker's time is not judged."""
    hands = Hands()
    hands.own()
    hands.put(message(request("a", run="by hand"), 0))
    hands.put(replace(message(request("b", run="x/2062-11-22T04:00Z#1"), 1), timestamp=0.0))

    assert hands.asked() == ["a", "b"]


def test_a_message_in_the_wrong_partition_is_forwarded_and_closed_here() -> None:
    """Another producer's partitioner, or a topic that grew: the message goes where it belongs."""
    hands = Hands()
    account = next(name for name in "abcdefgh" if partition_of(name.encode(), 2) == 1)
    hands.own(partitions=2)
    hands.kept = (Forward,)
    hands.put(message(request(account), 0))
    (forward,) = hands.done(Forward)
    assert (forward.key, hands.offset(), hands.calls) == (account, 0, [])

    hands.engine.forwarded(forward.message)
    assert hands.offset() == 1


def test_a_message_that_is_too_large_to_be_forwarded_is_a_dead_letter() -> None:
    """A key makes it longer than the topic takes: it ends here, alone, with its bytes."""
    hands = Hands()
    hands.own(partitions=2)
    account = next(name for name in "abcdef" if partition_of(name.encode(), 2) == 1)
    hands.kept = (StartCall, Forward)
    hands.put(message(request(account), 0))
    (forward,) = hands.done(Forward)
    hands.engine.not_forwarded(forward.message, hands.now)
    hands.go()
    (copy,) = hands.done(WriteDead)

    assert (copy.headers["error"], copy.entry.message) == (b"poison", forward.message)
    assert hands.offset() == 1


@pytest.mark.parametrize("times", ["3", "1000000", "-1", "x", ""])
def test_a_message_that_was_forwarded_too_often_stays(times: str) -> None:
    """Two workers that disagree about the partition count do not play ball for ever."""
    hands = Hands()
    account = next(name for name in "abcdefgh" if partition_of(name.encode(), 2) == 1)
    hands.own(partitions=2)
    hands.put(message(request(account), 0, forwards=times))

    assert (hands.done(Forward), hands.asked()) == ([], [account])


def test_a_published_request_ends_without_a_call() -> None:
    """A crash between rename and end record: the receipt says that it is done."""
    hands = Hands()
    hands.own()
    hands.looks["a"] = Looked(files=(FILE,))
    hands.put(request())

    assert (hands.states(), hands.calls) == ([("a", "result")], [])
    assert (hands.ends[0].files, hands.ends[0].calls) == ((FILE,), 0)


def test_a_request_overtaken_by_a_newer_run_ends_superseded_without_a_call() -> None:
    """Cheap catch-up: what a newer run has published is not asked for."""
    hands = Hands()
    hands.own()
    hands.looks["a"] = Looked(newer_run="daily/2026-11-23T04:00Z#1")
    hands.put(request())

    assert (hands.states(), hands.calls) == ([("a", "superseded")], [])
    assert "2026-11-23" in hands.ends[0].reason


def test_a_request_overtaken_while_it_was_called_ends_superseded() -> None:
    """All its files were found to be newer ones when it came to publish them."""
    hands = Hands()
    hands.own()
    hands.put(request())
    open_one = hands.calls[0]
    hands.kept = (Finish,)
    hands.answer(open_one)
    hands.engine.published(open_one, (), "daily/2026-11-23T04:00Z#1", hands.now)
    hands.go()

    assert hands.states() == [("a", "superseded")]


def test_what_is_not_before_its_time_waits_as_scheduled() -> None:
    """Until its day is over and the report can be complete, nothing is asked."""
    hands = Hands()
    part = hands.own()
    hands.put(request(not_before=WALL + 100.0))
    assert [one.state for one in part.entries.values()] == [State.SCHEDULED]
    hands.go(99.0)
    assert hands.done(LookAt) == []

    hands.go(31.0)
    assert hands.asked() == ["a"]


def test_a_message_of_a_partition_that_is_gone_is_passed_over() -> None:
    """The consumer may still hand over what it had fetched."""
    hands = Hands()
    hands.own()
    hands.engine.drop([("acme", 0)])
    hands.put(request())

    assert hands.calls == []


@pytest.mark.parametrize("text", ["", "x", "-1", "99999999", "1.5", "²"])
def test_headers_that_are_no_numbers_are_none(text: str) -> None:
    """Headers come from outside like everything else."""
    hands = Hands()
    hands.own()
    hands.put(message(request(), 0, replay=text, forwards=text))

    assert hands.asked() == ["a"]


def test_an_entry_of_nobody_changes_nothing() -> None:
    """Events of a request whose partition was never here are ignored."""
    hands = Hands()
    stranger = entry()
    stranger.message = replace(stranger.message, topic="requests.other")
    hands.engine.looked(stranger, Looked(files=(FILE,)), hands.now)
    hands.go()

    assert hands.ends == []
