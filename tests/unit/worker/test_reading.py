"""What is read while nothing gets on, with topics that are read as the engine asks."""

import pytest

from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.actions import Read
from tests.unit.worker.hands import OK, Hands
from tests.unit.worker.making import BACKFILL, REQUESTS, message, request

FAILED = Verdict(outcome=Outcome.TRANSIENT, reason="HTTP 500")


class Topics:
    """Both topics of a partition, and a partner that fails for some accounts."""

    def __init__(self, hands: Hands, failing: frozenset[str]) -> None:
        self.hands = hands
        self.failing = failing
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
                self.hands.answer(entry, FAILED if fails else OK)
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
            of = request(accounts[offset], params={"n": str(offset)})
            self.hands.put(message(of, offset, topic))


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


def test_an_outage_fills_no_more_than_twice_the_window() -> None:
    """However many accounts there are: reading ends."""
    accounts = [f"bad-{n}" for n in range(400)]
    topics = Topics(Hands(window_requests=50, threads=4), frozenset(accounts))
    topics.accounts[REQUESTS] += accounts
    topics.go(120)

    assert topics.part.circuits.outage.is_open
    assert topics.part.reading == set()
    assert len(topics.part.entries) == 100


def test_an_outage_of_many_accounts_is_not_read_on() -> None:
    """Nobody is looked for behind so many that fail: what could start is enough."""
    accounts = [f"bad-{n}" for n in range(1_000)]
    topics = Topics(Hands(window_requests=600, threads=4), frozenset(accounts))
    topics.accounts[REQUESTS] += accounts
    topics.go(60)

    assert topics.part.circuits.outage.is_open
    assert topics.part.reading == set()
    assert len(topics.part.entries) == 300
