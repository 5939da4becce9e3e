"""Whoever wrote a wrong partner file reads why nothing comes of it."""

import logging

import pytest

from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.complaints import REPEAT_SECONDS, Complaints, held_in
from tests.unit.worker.hands import Hands
from tests.unit.worker.making import at, message, request

GONE = Verdict(outcome=Outcome.PERMANENT, reason="HTTP 404")


def refused() -> Hands:
    """Return a worker with two requests that were refused, nobody else's having worked."""
    hands = Hands()
    hands.own()
    hands.put(message(request("a")), message(request("b")))
    for _ in range(2):
        hands.answer(hands.calls[0], GONE)
    return hands


def test_held_requests_show_why() -> None:
    """One line a partner, report and class of error, with one account to look at."""
    (one,) = held_in(refused().engine.partitions()).values()

    assert ("acme", "stats", 2) == (one.partner, one.report, one.requests)
    assert "permanent: HTTP 404" == one.reason
    assert one.account in "ab"


def test_each_reason_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A partner that is away for hours fills no log."""
    partitions, complaints = refused().engine.partitions(), Complaints()
    with caplog.at_level(logging.WARNING):
        for seconds in (0.0, 1.0, REPEAT_SECONDS - 1.0):
            complaints.look(partitions, at(seconds))
        assert 1 == len(caplog.messages)
        complaints.look(partitions, at(REPEAT_SECONDS))

    assert 2 == len(caplog.messages)
    assert "acme.stats: 2 requests are held" in caplog.messages[0]
    assert "permanent: HTTP 404" in caplog.messages[0]


def test_nothing_held_is_nothing_said(caplog: pytest.LogCaptureFixture) -> None:
    """Work that goes on is no reason to complain."""
    hands = Hands()
    hands.own()
    hands.put(message(request("a")))
    Complaints().look(hands.engine.partitions(), at(0.0))

    assert [] == caplog.messages


def test_an_output_that_is_away_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However many files wait for it; and that it is back."""
    complaints = Complaints()
    with caplog.at_level(logging.INFO):
        for seconds, reason in [(0.0, "disk full"), (1.0, "disk full"), (60.0, "disk full")]:
            complaints.look_at_output(reason, at(seconds))
        for seconds in (61.0, 62.0):
            complaints.look_at_output("", at(seconds))

    away = "the output is away: disk full"
    assert [away, away, "the output takes files again"] == caplog.messages
