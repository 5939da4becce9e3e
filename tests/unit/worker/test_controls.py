"""The engine does what people ask for: pause, slow down, cancel."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from reportd.broker.keys import partition_of
from reportd.broker.message import Message
from reportd.limits.limiter import LimitRule
from reportd.model.request import Request
from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.actions import Finish, LookAt, Read, StartCall, WriteEnd
from reportd.worker.book import Paused
from reportd.worker.entry import State
from reportd.worker.partition import Looked
from reportd.worker.snapshot import snapshot
from tests.unit.worker.hands import Hands
from tests.unit.worker.making import BACKFILL, CONTROL, WALL, message, record, request

RUN = "daily/2026-11-22T04:00Z#1"
NEXT = Verdict(outcome=Outcome.OK, next_cursor={"page": "2"})


def hands_of(*told: Message, **more: Any) -> Hands:
    """Own a partition when this had been asked for before."""
    hands = Hands(**more)
    end = told[-1].offset + 1 if told else 0
    hands.engine.controlled(CONTROL, told, end, hands.now)
    hands.own()
    return hands


def ask(hands: Hands, scope: str, action: str = "", **fields: Any) -> None:
    """Ask for something while the worker works."""
    hands.put(record(scope, action, **fields))


def read_again(hands: Hands, *messages: Message) -> None:
    """Deliver what the engine wants to read again."""
    wanted = min(action.offset for action in hands.done(Read) if action.at != CONTROL)
    hands.put(*(one for one in messages if one.offset >= wanted))


def test_the_topic_is_read_on_from_where_the_restore_ended() -> None:
    """No record is missed between the two."""
    told = record("acme/a", "pause")
    hands = hands_of(told)

    assert hands.done(Read)[0] == Read(CONTROL, told.offset + 1)


@pytest.mark.parametrize("scope", ["acme", "acme/a", "acme.stats", "class:daily"])
def test_what_was_paused_before_is_not_called(scope: str) -> None:
    """A new worker knows before its first call; the request is shown as paused, not failed."""
    hands = hands_of(record(scope, "pause"))
    hands.put(message(request("a"), 0))
    hands.go(100.0)

    assert (hands.calls, hands.ends, hands.shown()) == ([], [], {"paused": 1})


def test_others_go_on_behind_what_is_paused() -> None:
    """However many are paused: they take no room in memory, and their offsets stay open."""
    hands = hands_of(record("acme/a", "pause"), window_requests=4)
    days = [f"2026-11-{day:02d}" for day in range(1, 21)]
    hands.put(
        *(message(request("a", first_day=day, last_day=day), n) for n, day in enumerate(days)),
        message(request("b"), 20),
    )
    hands.answer(hands.calls[0])

    assert hands.states() == [("b", "result")]
    assert (hands.shown(), hands.offset()) == ({"paused": 20}, 0)
    assert not hands.partition().entries


def test_a_resumed_scope_is_read_again() -> None:
    """Nothing of the pause is left."""
    hands = hands_of(record("acme/a", "pause"))
    one = message(request("a"), 0)
    hands.put(one)
    ask(hands, "acme/a")
    read_again(hands, one)
    hands.answer(hands.calls[0])

    assert (hands.states(), hands.offset()) == ([("a", "result")], 1)


def test_a_pause_ends_by_itself() -> None:
    """At the time given, with no further record."""
    hands = hands_of(record("acme", "pause", until=WALL + 60.0))
    one = message(request("a"), 0)
    hands.put(one)
    hands.go(50.0)
    assert not [action for action in hands.done(Read) if action.at != CONTROL][2:]

    assert hands.engine.next_wake(hands.now) <= 60.0
    hands.go(15.0)
    read_again(hands, one)
    assert hands.asked() == ["a"]


def test_of_two_pauses_both_must_end() -> None:
    """A request waits as long as any of its scopes is paused."""
    hands = hands_of(record("acme/a", "pause"), record("class:daily", "pause"))
    one = message(request("a"), 0)
    hands.put(one)
    ask(hands, "acme/a")
    read_again(hands, one)
    assert dict(hands.partition().books[one.topic].parked_first()) == {
        Paused("class:daily", RUN): 0
    }

    ask(hands, "class:daily")
    read_again(hands, one)
    assert hands.asked() == ["a"]


def test_a_call_under_way_is_finished() -> None:
    """Its answer counts: it is not asked for again."""
    hands = hands_of()
    hands.put(request("a"))
    ask(hands, "acme", "pause")
    hands.answer(hands.calls[0])

    assert hands.states() == [("a", "result")]


def test_what_waits_for_a_limit_is_put_aside() -> None:
    """It leaves its line; those of other accounts start as before."""
    hands = hands_of(limits=[LimitRule(per="account", calls=1, seconds=10.0)])
    hands.go(20.0)
    one, two = (
        request("a", first_day=day, last_day="2026-11-21") for day in ("2026-11-20", "2026-11-21")
    )
    hands.put(one, two)
    ask(hands, "acme/a", "pause")
    hands.put(request("b"))
    hands.go(60.0)

    assert hands.asked() == ["a", "b"]
    assert hands.shown() == {"in_flight": 2, "paused": 1}
    assert hands.partition().scheduler.ready_count == 0


def test_a_flow_is_put_aside_between_two_calls() -> None:
    """What is recorded stays: it goes on at its second page."""
    hands = hands_of()
    hands.put(request("a"))
    ask(hands, "acme", "pause")
    (entry,) = hands.calls
    hands.answer(entry, NEXT)
    hands.go(10.0)
    assert (hands.calls, entry.state, hands.shown()) == ([], State.PAUSED, {"paused": 1})

    ask(hands, "acme")
    assert (hands.calls, entry.cursor) == ([entry], {"page": "2"})


def test_what_backs_off_is_shown_as_paused_and_stays_so() -> None:
    """The end of its wait starts no call."""
    hands = hands_of()
    hands.put(request("a"))
    hands.answer(hands.calls[0], Verdict(outcome=Outcome.TRANSIENT, wait_seconds=5.0))
    ask(hands, "acme/a", "pause")
    assert hands.shown() == {"paused": 1}
    hands.go(10.0)

    assert (hands.calls, hands.shown()) == ([], {"paused": 1})


def test_a_suspect_is_paused_too() -> None:
    """It keeps nobody else back meanwhile."""
    one = request("a")
    hands = hands_of(record("acme/a", "pause"), strikes={one.id: 1})
    hands.put(one, request("b"))

    assert (hands.asked(), hands.shown()) == (["b"], {"in_flight": 1, "paused": 1})


def test_a_cancelled_run_ends() -> None:
    """Whatever its requests wait for; the end says who wanted it and why."""
    hands = hands_of()
    later = request("later", not_before=WALL + 1e6)
    hands.put(
        request("flight"),
        request("quota"),
        later,
        request("other", run="daily/2026-11-23T04:00Z#1"),
    )
    hands.answer(hands.calls[1], Verdict(outcome=Outcome.QUOTA, wait_seconds=9e4))
    ask(hands, f"run:{RUN}", "cancel", who="ada", reason="wrong accounts")

    assert hands.states() == [("quota", "cancelled"), ("later", "cancelled")]
    assert {end.reason for end in hands.ends} == {"by ada: wrong accounts"}
    assert hands.asked() == ["flight", "other"]


def test_a_call_under_way_of_a_cancelled_run_ends_as_it_ends() -> None:
    """A result counts; a refusal is waited for no more."""
    hands = hands_of()
    hands.put(request("good"), request("refused"), request("pages"))
    ask(hands, f"run:{RUN}", "cancel")
    good, refused, pages = hands.calls
    hands.answer(refused, Verdict(outcome=Outcome.QUOTA, wait_seconds=9e4))
    hands.answer(good)
    hands.answer(pages, NEXT)

    assert hands.states() == [("refused", "cancelled"), ("good", "result"), ("pages", "cancelled")]
    assert not hands.calls


def test_what_is_read_later_ends_when_it_is_read() -> None:
    """With no call; but what a crash had left finished stays finished."""
    hands = hands_of(record(f"run:{RUN}", "cancel"))
    hands.looks["done"] = Looked(files=())
    hands.put(request("a"), request("b", not_before=WALL + 1e6))

    assert hands.states() == [("a", "cancelled"), ("b", "cancelled")]
    assert len(hands.done(LookAt)) == 2


def test_a_cancelled_run_ends_in_spite_of_a_pause() -> None:
    """It is read again for that, and of others nothing."""
    hands = hands_of(record("acme", "pause"))
    one = message(request("a"), 0)
    hands.put(one, message(request("b", run="daily/2026-11-23T04:00Z#1"), 1))
    ask(hands, f"run:{RUN}", "cancel")
    read_again(hands, one)

    assert (hands.states(), hands.shown()) == ([("a", "cancelled")], {"paused": 1})


def test_a_replay_that_is_asked_for_later_runs() -> None:
    """Whoever replays a dead letter of a cancelled run means it."""
    told = record(f"run:{RUN}", "cancel")
    hands = hands_of(told)
    replays = [
        Message(one.topic, 0, one.offset, one.key, one.value, one.headers, told.timestamp + later)
        for one, later in (
            (message(request("a"), replay="1"), -1.0),
            (message(request("b"), replay="1"), 1.0),
        )
    ]
    hands.put(*replays)

    assert (hands.states(), hands.asked()) == ([("a", "cancelled")], ["b"])


def test_a_slow_down_lowers_the_limit_of_its_scope() -> None:
    """At half the rate there are half the calls; others keep theirs, and it ends."""
    hands = hands_of(
        record("acme/a", "slow", rate=0.5), limits=[LimitRule(per="account", calls=1, seconds=1.0)]
    )
    hands.go(10.0)
    days = [f"2026-11-{day:02d}" for day in range(1, 31)]
    for account in "ab":
        hands.put(*(request(account, first_day=day, last_day=day) for day in days))
    calls: dict[str, int] = {"a": 0, "b": 0}
    for _ in range(20):
        for entry in list(hands.calls):
            calls[entry.request.account] += 1
            hands.answer(entry)
        hands.go(1.0)

    assert calls["a"] / calls["b"] == pytest.approx(0.5, abs=0.15)

    ask(hands, "acme/a")
    assert all(
        not scope.per.startswith("slowed")
        for e in hands.partition().entries.values()
        for scope in e.scopes
    )


def test_a_slow_down_that_is_lifted_keeps_nobody_waiting() -> None:
    """However far its next call was: what waited for it goes by its own limits at once."""
    limit = LimitRule(per="account", calls=100, seconds=86_400.0, meter="sliding")
    hands = hands_of(record("acme", "slow", rate=0.5), limits=[limit])
    hands.go(86_401.0)
    hands.put(*(request("a", params={"n": f"{n}"}) for n in range(3)))
    assert len(hands.calls) == 1

    ask(hands, "acme")
    assert len(hands.calls) == 3


def test_a_share_of_a_divided_limit_is_slowed_down() -> None:
    """Half of what this partition may use, not of the whole."""
    limit = LimitRule(per="partner", calls=8, seconds=1.0, burst=4.0, divide=True)
    hands = Hands(limits=[limit])
    told = record("acme", "slow", rate=0.5)
    hands.engine.controlled(CONTROL, [told], told.offset + 1, hands.now)
    hands.own(partitions=4)
    account = next(f"{n}" for n in range(100) if partition_of(f"{n}".encode(), 4) == 0)
    hands.put(*(request(account, params={"n": f"{n}"}) for n in range(60)))
    began, calls = hands.seconds, 0
    while hands.seconds < began + 20.0:
        for entry in list(hands.calls):
            calls += 1
            hands.answer(entry)
        hands.go(0.25)

    assert calls == pytest.approx(20, abs=5)


def test_of_each_kind_the_shortest_limit_is_lowered() -> None:
    """A quota of a day is not spread over the day."""
    hands = hands_of(record("class:daily", "slow", rate=0.25))
    limits = [
        LimitRule(per="account", calls=10, seconds=1.0, meter="sliding"),
        LimitRule(per="account", calls=1000, seconds=86_400.0, meter="fixed"),
        LimitRule(per="partner", calls=5, seconds=1.0, counts="errors"),
    ]
    (rule,) = hands.engine.controls.rules(limits)

    assert (rule.calls, rule.seconds, rule.meter) == (10, 4.0, "bucket")


def test_what_is_no_control_is_passed_over() -> None:
    """A hostile record changes nothing, and does not end the worker."""
    hands = hands_of()
    hands.put(replace(record("acme"), value=b"{not json"), request("a"))

    assert hands.asked() == ["a"]


def test_an_old_record_does_not_count_again() -> None:
    """The restore of a second partition reads all of the topic again."""
    hands = hands_of()
    told = [record("acme", "pause"), record("acme")]
    hands.put(*told)
    hands.engine.controlled(CONTROL, told[:1], told[0].offset + 1, hands.now)
    hands.put(request("a"))

    assert hands.asked() == ["a"]


def test_a_backfill_is_paused_by_its_class() -> None:
    """The daily requests of the same account go on."""
    hands = hands_of(record("class:backfill", "pause"))
    old: Request = request("a", **{"class": "backfill"})
    hands.put(message(old, 0, BACKFILL), request("a", first_day="2026-11-20"))

    assert (len(hands.calls), hands.shown()) == (1, {"in_flight": 1, "paused": 1})


def test_in_force_is_shown_with_who_and_why() -> None:
    """What has ended by itself is not."""
    hands = hands_of(
        record("acme", "pause", who="ada", reason="a new login"),
        record("bolt", "pause", until=WALL - 1.0),
    )
    shown = orjson.loads(snapshot(hands.engine, hands.fence, hands.now))["controls"]

    assert [(one["scope"], one["who"], one["reason"]) for one in shown] == [
        ("acme", "ada", "a new login")
    ]


def test_an_answer_that_cannot_be_stored_is_kept_through_a_cancel() -> None:
    """It is published when the output is back: finished is finished."""
    hands = hands_of()
    hands.kept = (StartCall, Finish)
    hands.put(request("a"))
    hands.answer(hands.calls[0])
    ask(hands, f"run:{RUN}", "cancel")

    assert not hands.done(WriteEnd)
