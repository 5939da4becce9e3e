"""Where is it? What a worker answers about its open requests."""

from datetime import date
from typing import Any

import orjson
import pytest

from reportd.board import Board
from reportd.limits.limiter import LimitRule
from reportd.model.question import Question
from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.inquiry import MOST_REQUESTS, Inquiry, answer
from tests.unit.worker.hands import Hands
from tests.unit.worker.making import REQUESTS, WALL, message, record, request
from tests.unit.worker.test_controls import hands_of


def found(hands: Hands, account: str = "a", **fields: Any) -> dict[str, Any]:
    """Ask."""
    return answer(hands.engine, Question(account=account, **fields), hands.now)


def waits(hands: Hands, account: str = "a") -> tuple[str, str, float | None]:
    """Return state, reason and end of the wait of the only request."""
    (one,) = found(hands, account)["requests"]
    return one["state"], one["why"], one["until"]


def test_only_what_is_meant_is_told() -> None:
    """By account, and by report, day and partner where they are named."""
    hands = Hands()
    hands.own()
    hands.put(request("a"), request("a", first_day="2026-11-01"), request("b"))

    assert len(found(hands)["requests"]) == 2
    assert len(found(hands, day=date(2026, 11, 1))["requests"]) == 1
    assert len(found(hands, report="other")["requests"]) == 0
    assert len(found(hands, partner="bolt")["requests"]) == 0


def test_an_open_request_says_where_it_is() -> None:
    """Its place, its run, and how many calls were made."""
    hands = Hands()
    hands.own()
    of = request("a")
    hands.put(message(of, 7))
    hands.answer(hands.calls[0], Verdict(outcome=Outcome.OK, next_cursor={"page": "2"}))
    (one,) = found(hands)["requests"]

    assert (one["id"], one["run"], one["state"]) == (of.id, of.run, "in_flight")
    assert (one["topic"], one["partition"], one["offset"]) == (REQUESTS, 0, 7)
    assert (one["calls"], one["steps"]) == (1, 1)


@pytest.mark.parametrize(
    ("verdict", "state", "why"),
    [
        (Verdict(outcome=Outcome.QUOTA, wait_seconds=50.0), "quota", "quota is spent"),
        (Verdict(outcome=Outcome.TRANSIENT, wait_seconds=50.0), "backoff", "1 failed tries"),
        (Verdict(outcome=Outcome.PENDING, wait_seconds=50.0, jitter=0.0), "pending", "makes"),
    ],
)
def test_a_wait_has_a_reason_and_an_end(verdict: Verdict, state: str, why: str) -> None:
    """Until when is in seconds since the epoch."""
    hands = Hands()
    hands.own()
    hands.put(request("a"))
    hands.answer(hands.calls[0], verdict)
    shown = waits(hands)

    assert shown[0] == state
    assert why in shown[1]
    assert shown[2] == pytest.approx(WALL + 50.0, abs=1.0)


def test_a_held_request_says_what_it_was_refused_for() -> None:
    """Whoever asks need not look at the log."""
    hands = Hands()
    hands.own()
    hands.put(request("a"))
    hands.answer(hands.calls[0], Verdict(outcome=Outcome.PERMANENT, reason="HTTP 404"))

    assert waits(hands)[:2] == ("held", "permanent: HTTP 404")


def test_a_limit_names_its_scope() -> None:
    """And when it has room again."""
    hands = Hands(limits=[LimitRule(per="account", calls=1, seconds=1e6)])
    hands.own()
    hands.put(request("a"))
    state, why, until = waits(hands)

    assert (state, why) == ("limit", "limit per account a")
    assert until is not None
    assert until > WALL


def test_a_request_that_is_not_due_says_from_when_on() -> None:
    """Its days are not over."""
    hands = Hands()
    hands.own()
    hands.put(request("a", not_before=WALL + 1e4))

    assert waits(hands) == ("scheduled", "its days are not over yet", WALL + 1e4)


def test_a_pause_says_who_and_why() -> None:
    """What is out of memory is counted: whose it is stands in Kafka alone."""
    hands = hands_of()
    hands.put(request("a"))
    hands.answer(hands.calls[0], Verdict(outcome=Outcome.TRANSIENT, wait_seconds=5.0))
    hands.put(record("acme/a", "pause", who="ada", reason="new login", until=WALL + 1e4))
    hands.put(request("a", first_day="2026-11-20"))
    said = found(hands)

    assert waits(hands) == ("paused", "acme/a is paused by ada: new login", WALL + 1e4)
    assert [one["paused"] for one in said["partitions"]] == [1, 0]


def test_an_answer_is_bounded() -> None:
    """It fits the board, however many are open."""
    hands = Hands(window_requests=10_000)
    hands.own()
    hands.engine.is_stopping = True  # all of them wait
    for number in range(MOST_REQUESTS + 20):
        hands.put(request("a", params={"n": f"{number:01000d}"}))
    said = found(hands)

    assert (len(said["requests"]), said["more"]) == (MOST_REQUESTS, 20)
    assert len(orjson.dumps(said)) < 60_000


def test_an_answer_that_does_not_fit_the_board_has_fewer_requests() -> None:
    """What a partner says may be of long letters; a question must not end the worker."""
    board = Board(2)
    hands = Hands(window_requests=10_000)
    hands.own()
    inquiry = Inquiry(board.slot(0), board.slot(1))
    reason = "\N{SNOWMAN}" * 300
    for number in range(MOST_REQUESTS):
        hands.put(request("a", params={"n": str(number)}))
        for entry in list(hands.calls):
            hands.answer(entry, Verdict(outcome=Outcome.PERMANENT, reason=reason))
    board.slot(0).write_letter(Question(account="a").to_json())
    inquiry.look(hands.engine, hands.now)
    said = orjson.loads(board.slot(1).read_letter()[1])

    assert 0 < len(said["requests"]) < MOST_REQUESTS
    assert len(said["requests"]) + said["more"] == MOST_REQUESTS


def test_a_new_question_is_answered_once() -> None:
    """Through the board; what was asked before this worker was born is not."""
    board = Board(2)
    board.slot(0).write_letter(Question(account="old").to_json())
    hands = Hands()
    hands.own()
    hands.put(request("a"))
    inquiry = Inquiry(board.slot(0), board.slot(1))
    inquiry.look(hands.engine, hands.now)
    assert board.slot(1).letter_number() == 0

    number = board.slot(0).write_letter(Question(account="a").to_json())
    for _ in range(3):
        inquiry.look(hands.engine, hands.now)

    count, letter = board.slot(1).read_letter()
    assert count == 1
    assert orjson.loads(letter)["to"] == number
    assert len(orjson.loads(letter)["requests"]) == 1
