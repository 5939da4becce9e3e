"""What is read while nothing gets on, with topics that are read as the engine asks."""

import dataclasses
from typing import Any

import pytest

from reportd.broker.keys import partition_of
from reportd.limits.limiter import LimitRule
from reportd.model.question import Question
from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.actions import Forward, Read
from reportd.worker.inquiry import answer
from tests.unit.worker.hands import OK, Hands
from tests.unit.worker.making import BACKFILL, CONTROL, REQUESTS, WALL, message, record, request

FAILED = Verdict(outcome=Outcome.TRANSIENT, reason="HTTP 500")


class Topics:
    """Both topics of a partition, and a partner that fails for some accounts."""

    def __init__(self, hands: Hands, failing: frozenset[str]) -> None:
        self.hands = hands
        self.failing = failing
        self.fails_as = FAILED
        self.fields: list[tuple[str, str, Any]] = []
        """Accounts' beginnings, and what their requests have."""
        self.headers: dict[str, str] = {}
        self.part = hands.own()
        self.accounts: dict[str, list[str]] = {REQUESTS: [], BACKFILL: []}
        self._positions = dict.fromkeys(self.accounts, 0)
        self._seen = 0

    def go(self, seconds: int) -> None:
        """Let time pass; each second messages are delivered, then all calls come back."""
        for _ in range(seconds):
            for topic in self.accounts:
                self._deliver(topic)
            for entry in list(self.hands.calls):
                fails = entry.request.account in self.failing
                self.hands.answer(entry, self.fails_as if fails else OK)
            self.hands.go(1.0)

    def _deliver(self, topic: str) -> None:
        accounts = self.accounts[topic]
        while True:
            for action in self.hands.log[self._seen :]:
                if isinstance(action, Read):
                    self._positions[action.at[0]] = action.offset
            self._seen = len(self.hands.log)
            offset = self._positions[topic]
            if topic not in self.part.reading or offset >= len(accounts):
                return
            self._positions[topic] = offset + 1
            of = request(accounts[offset], params={"n": str(offset)}, **self.more(accounts[offset]))
            self.hands.put(message(of, offset, topic, 0, **self.headers))

    def more(self, account: str) -> dict[str, Any]:
        """Return what else the requests of an account have."""
        return {key: value for name, key, value in self.fields if account.startswith(name)}


@pytest.mark.parametrize("topic", [REQUESTS, BACKFILL])
def test_an_account_that_fails_alone_does_not_stop_the_others(topic: str) -> None:
    """It looks like an outage until others are asked: they are read, and close the circuit."""
    topics = Topics(Hands(window_requests=50, threads=4), frozenset({"bad"}))
    topics.accounts[topic] += ["bad"] * 150
    topics.go(120)
    assert topics.part.circuits.outage.is_open
    topics.accounts[topic].append("good-1")
    topics.accounts[REQUESTS] += ["good-2", "good-3"]
    topics.go(600)

    done = {end.account for end in topics.hands.ends if end.state == "result"}
    assert done == {"good-1", "good-2", "good-3"}


def test_probes_go_to_one_account_after_the_other() -> None:
    """Accounts that fail do not keep the probes from one that is well, wherever it lies."""
    failing = frozenset(f"bad-{n}" for n in range(5))
    topics = Topics(Hands(window_requests=50, threads=4), failing)
    topics.accounts[BACKFILL] += [f"bad-{n % 5}" for n in range(200)]
    topics.accounts[BACKFILL].append("good")
    topics.go(900)

    assert [("good", "result")] == [one for one in topics.hands.states() if one[1] == "result"]


@pytest.mark.parametrize(
    ("accounts", "window", "seconds", "kept"),
    [
        pytest.param(400, 50, 120, 100, id="fills-no-more-than-twice-the-window"),
        pytest.param(1_000, 600, 60, 300, id="of-many-accounts-is-not-read-on"),
    ],
)
def test_an_outage_is_not_read_for_ever(
    accounts: int, window: int, seconds: int, kept: int
) -> None:
    """Reading ends, however many accounts there are; soon, where enough of them could start."""
    names = [f"bad-{n}" for n in range(accounts)]
    topics = Topics(Hands(window_requests=window, threads=4), frozenset(names))
    topics.accounts[REQUESTS] += names
    topics.go(seconds)

    assert topics.part.circuits.outage.is_open
    assert topics.part.reading == set()
    assert len(topics.part.entries) == kept


def test_a_refused_credential_does_not_stop_the_others() -> None:
    """Its requests stay in Kafka, but for some of each account; asked again, all of them end."""
    refused = [f"refused-{n % 5}" for n in range(400)]
    topics = Topics(Hands(window_requests=50, threads=4), frozenset(refused))
    topics.fails_as = Verdict(outcome=Outcome.AUTH, reason="HTTP 401")
    topics.fields = [("refused", "credential", "old")]
    topics.accounts[REQUESTS] += refused
    topics.go(60)
    topics.accounts[REQUESTS] += ["well-1", "well-2"] * 20
    topics.go(120)

    assert topics.hands.states() == [(f"well-{n % 2 + 1}", "result") for n in range(40)]
    assert len(topics.part.entries) < 2 * 50
    topics.failing = frozenset()
    topics.go(900)
    assert len(topics.hands.ends) == 440
    assert topics.hands.offset() == 440


@pytest.mark.parametrize("accounts", [3, 60, 400])
def test_a_refused_credential_that_filled_the_window_leaves_it(accounts: int) -> None:
    """However many accounts it has: others are read, and all is as before when it works again."""
    refused = [f"refused-{n % accounts}" for n in range(400)]
    topics = Topics(Hands(window_requests=50, threads=4), frozenset(refused))
    topics.fails_as = Verdict(outcome=Outcome.AUTH, reason="HTTP 401")
    topics.fields = [("refused", "credential", "old")]
    topics.accounts[REQUESTS] += [*refused, *["well-1", "well-2"] * 20]
    topics.go(120)

    assert sorted(topics.hands.states()) == [(f"well-{n // 20 + 1}", "result") for n in range(40)]
    assert topics.hands.shown() == {"held": 400}
    said = answer(topics.hands.engine, Question(account="well-1"), topics.hands.now)["partitions"]
    assert [one["held"] >= 350 for one in said] == [True, False]
    reads = len(topics.hands.done(Read))
    topics.go(600)
    assert len(topics.hands.done(Read)) - reads < 10
    topics.failing = frozenset()
    topics.go(900)
    assert len(topics.hands.ends) == 440
    assert topics.hands.offset() == 440


def test_a_cancelled_runs_refused_requests_end_at_once() -> None:
    """Nobody waits for their credential."""
    hands = Hands(window_requests=50, threads=4)
    topics = Topics(hands, frozenset({"refused"}))
    topics.fails_as = Verdict(outcome=Outcome.AUTH, reason="HTTP 401")
    topics.accounts[REQUESTS] += ["refused"] * 200
    topics.go(60)
    said = record(f"run:{request().run}", "cancel")
    hands.engine.controlled(CONTROL, [said], said.offset + 1, hands.now)
    topics.go(60)

    assert [state for _, state in hands.states()] == ["cancelled"] * 200


def test_a_refused_credentials_requests_are_shown_as_held() -> None:
    """They wait in line: as held, not as if a limit kept them."""
    topics = Topics(Hands(window_requests=50, threads=4), frozenset({"refused"}))
    topics.fails_as = Verdict(outcome=Outcome.AUTH, reason="HTTP 401")
    topics.accounts[REQUESTS] += ["refused"] * 20
    topics.go(60)

    assert topics.hands.shown() == {"held": 20}


def test_requests_whose_days_are_not_over_do_not_stop_the_others() -> None:
    """They wait in Kafka, and are read in the minute after their time has come."""
    topics = Topics(Hands(window_requests=50, threads=4), frozenset())
    topics.fields = [("early", "not_before", topics.hands.now.wall + 3600.5)]
    topics.accounts[REQUESTS] += [f"early-{n % 5}" for n in range(400)] + ["well"] * 20
    topics.go(60)

    assert topics.hands.states() == [("well", "result")] * 20
    assert topics.hands.shown() == {"scheduled": 400}
    topics.go(3_500)
    assert len(topics.hands.ends) == 20
    topics.go(300)
    assert len(topics.hands.ends) == 420
    assert topics.hands.offset() == 420


def test_a_cancelled_runs_early_requests_end_at_once() -> None:
    """Wherever they wait: nobody wants to wait for their day."""
    hands = Hands(window_requests=50, threads=4)
    topics = Topics(hands, frozenset())
    topics.fields = [("early", "not_before", hands.now.wall + 86_400.0)]
    topics.accounts[REQUESTS] += ["early"] * 200
    topics.go(5)
    said = record(f"run:{request().run}", "cancel")
    hands.engine.controlled(CONTROL, [said], said.offset + 1, hands.now)
    topics.go(30)

    assert [state for _, state in hands.states()] == ["cancelled"] * 200


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_replay_of_a_cancelled_run_is_not_read_again_and_again(is_paused: bool) -> None:
    """It was asked for after the cancellation, and waits for something else."""
    hands = Hands(window_requests=10, threads=4)
    hands.own()
    told = [record(f"run:{request().run}", "cancel")]
    told += [record("acme", "pause")] if is_paused else []
    hands.engine.controlled(CONTROL, told, told[-1].offset + 1, hands.now)
    for number in range(20):
        of = request(params={"n": str(number)}, not_before=hands.now.wall + 86_400.0)
        again = message(of, number, replay="1")
        hands.put(dataclasses.replace(again, timestamp=again.timestamp + 60.0))
    hands.go(60)

    assert [one.offset for one in hands.done(Read) if one.at[0] == REQUESTS] == [0]
    assert hands.shown().total() == 20


@pytest.mark.parametrize("accounts", [12, 30, 60])
def test_many_blocked_accounts_do_not_stop_the_others(accounts: int) -> None:
    """However much each of them has to do: few of each are in memory, the longer the fewer."""
    limits = [LimitRule(per="account", calls=1, seconds=1e6)]
    topics = Topics(Hands(window_requests=50, threads=4, limits=limits), frozenset())
    topics.accounts[REQUESTS] += [f"blocked-{n % accounts}" for n in range(800)] + ["well"]
    topics.go(20)

    book = topics.part.books[REQUESTS]
    assert book.position == 801
    assert len(topics.part.entries) < 2 * 50


def test_an_account_moved_to_another_credential_is_asked_at_once() -> None:
    """Its old requests wait for the refused one, with those of all others: its new ones do not."""
    refused = [f"refused-{n % 20}" for n in range(60)]
    topics = Topics(Hands(threads=4), frozenset(refused))
    topics.fails_as = Verdict(outcome=Outcome.AUTH, reason="HTTP 401")
    topics.fields = [("refused", "credential", "old")]
    topics.accounts[REQUESTS] += refused
    topics.go(120)
    topics.hands.put(message(request("refused-7", credential="new"), 60))

    assert [one.request.credential for one in topics.hands.calls] == ["new"]


def test_a_parked_message_of_another_partition_is_forwarded_once() -> None:
    """Where a topic has grown meanwhile: it is closed here, and not read again."""
    hands = Hands(window_requests=4, threads=2)
    part = hands.own()
    account = next(f"a{n}" for n in range(50) if partition_of(f"a{n}".encode(), 2) == 1)
    early = {"not_before": hands.now.wall + 200.0}
    messages = [message(request(account, params={"n": str(n)}, **early), n) for n in range(6)]
    hands.put(*messages)
    assert part.books[REQUESTS].parked_count == 4
    hands.own(index=1, partitions=2)
    hands.put(*messages[2:])

    assert (len(hands.done(Forward)), part.books[REQUESTS].parked_count) == (4, 0)


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_replay_that_waits_is_cancelled_with_its_run(is_paused: bool) -> None:
    """It was asked for before: whatever it waits for, it ends at once."""
    hands = Hands(window_requests=10, threads=4)
    topics = Topics(hands, frozenset())
    topics.headers = {"replay": "1"}
    topics.fields = [("early", "not_before", hands.now.wall + 86_400.0)]
    said = [record("acme", "pause"), record(f"run:{request().run}", "cancel", at=WALL + 60.0)]
    hands.engine.controlled(CONTROL, said[:is_paused], said[0].offset + 1, hands.now)
    topics.accounts[REQUESTS] += ["early"] * 20
    topics.go(5)
    hands.put(dataclasses.replace(said[1], timestamp=WALL + 60.0))
    topics.go(30)

    assert [state for _, state in hands.states()] == ["cancelled"] * 20


def test_a_refused_credential_is_probed_by_whoever_is_left() -> None:
    """All of it that was in memory is cancelled: what waits in Kafka is read, and tries it."""
    topics = Topics(Hands(window_requests=20, threads=4), frozenset({"a", "b", "c"}))
    topics.fails_as = Verdict(outcome=Outcome.AUTH, reason="HTTP 401")
    topics.fields = [("b", "run", "other/2026-11-22T04:00Z#1")]
    topics.accounts[REQUESTS] += ["a", "c"] * 15
    topics.hands.engine.controlled(CONTROL, [], record("acme").offset + 1, topics.hands.now)
    topics.go(60)
    topics.accounts[REQUESTS] += ["b"] * 30
    topics.go(10)
    topics.hands.put(record(f"run:{request().run}", "cancel"))
    topics.go(10)
    assert (len(topics.hands.ends), topics.hands.shown()) == (30, {"held": 30})
    assert not topics.part.entries
    topics.failing = frozenset()
    topics.go(900)

    assert topics.hands.offset() == 60


def test_a_credential_refused_when_the_window_is_full_makes_room() -> None:
    """A hundred accounts of it wait for their limits when it is refused: others are read."""
    limits = [LimitRule(per="account", calls=1, seconds=2_000.0)]
    topics = Topics(Hands(window_requests=50, threads=4, limits=limits), frozenset())
    topics.fails_as = Verdict(outcome=Outcome.AUTH, reason="HTTP 401")
    topics.fields = [("old", "credential", "old")]
    many = [f"old-{n}" for n in range(120)]
    topics.accounts[REQUESTS] += many * 2 + ["well"]
    topics.go(1_900)
    assert len(topics.part.entries) == 100
    assert topics.part.reading == set()
    topics.failing = frozenset(many)
    topics.go(500)

    assert topics.part.circuits.is_refused("old")
    assert "well" in {end.account for end in topics.hands.ends} | set(topics.hands.asked())
