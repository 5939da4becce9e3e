"""Quotas of a day in the engine: recorded before use, waited for apart, known to the next owner."""

from collections import Counter

import orjson

from reportd.limits.limiter import LimitRule
from reportd.model.ledger import Grant
from reportd.partners.verdict import Outcome, Verdict
from reportd.worker.actions import StartCall, WriteGrant
from reportd.worker.partition import parse_metadata
from reportd.worker.snapshot import snapshot
from tests.unit.worker.hands import Hands
from tests.unit.worker.making import REQUESTS, WALL, message, request

QUOTA = LimitRule(per="account", calls=3, seconds=86_400.0, meter="day", margin_seconds=60.0)
MIDNIGHT = WALL // 86_400.0 * 86_400.0 + 86_400.0


def spent(hands: Hands) -> None:
    """Ask five times for an account that has three calls a day, and once for another."""
    for number in range(5):
        hands.put(message(request("a", run=f"daily/2025-11-22T04:00Z#{number + 1}"), number))
    hands.put(message(request("b"), 5))
    while hands.calls:
        hands.answer(hands.calls[0])
    hands.go(2.0)


def test_a_call_waits_for_the_record_of_its_grant() -> None:
    """Nothing leaves before the ledger has what pays for it."""
    hands = Hands(limits=[QUOTA])
    hands.kept = (StartCall, WriteGrant)
    hands.own()
    hands.put(request())
    hands.go(2.0)
    assert hands.calls == []

    [grant] = hands.done(WriteGrant)
    hands.confirm(grant)
    hands.go()
    assert len(hands.calls) == 1


def test_a_spent_quota_waits_for_the_reset_and_delays_nobody() -> None:
    """Others of the account are shown as quota, nothing of them ends; a minute after it they go."""
    hands = Hands(limits=[QUOTA])
    hands.own()
    spent(hands)

    shown = orjson.loads(snapshot(hands.engine, hands.fence, hands.now))
    assert Counter(hands.states()) == {("a", "result"): 3, ("b", "result"): 1}
    assert shown["partitions"][0]["states"] == {"quota": 2}
    assert [(one["calls"], one["resets_at"]) for one in shown["quotas"]] == [(0.0, MIDNIGHT + 60)]

    hands.seconds += MIDNIGHT + 59 - (WALL + hands.seconds)
    hands.go()
    assert hands.calls == []
    hands.go(302.0)
    assert hands.asked() == ["a", "a"]


def test_the_next_owner_knows_what_was_granted() -> None:
    """What an earlier owner has recorded counts: nothing of it is called for again."""
    before = Hands(limits=[QUOTA])
    before.own()
    spent(before)

    after = Hands(limits=[QUOTA])
    after.own(records=before.grants)
    after.put(message(request("a", run="daily/2025-11-23T04:00Z#1"), 9))
    after.go(5.0)
    assert after.calls == []


def test_grants_stay_in_the_ledger_while_their_window_runs() -> None:
    """R names the first grant of today, although no request needs it; a day later it does not."""
    hands = Hands(limits=[QUOTA])
    hands.own()
    spent(hands)
    first = hands.position - len(hands.grants) - 4
    hands.go(20.0)
    needed, _ = parse_metadata(hands.committed[REQUESTS, 0][1])
    assert needed == first == 0

    hands.seconds += MIDNIGHT + 4_000 - (WALL + hands.seconds)
    hands.go(20.0)
    needed, _ = parse_metadata(hands.committed[REQUESTS, 0][1])
    assert needed is not None
    assert needed > 0


def test_what_a_partner_calls_a_spent_quota_is_the_same_state() -> None:
    """Requests of its scope that were not sent yet are shown as quota, too; the gauge says 0."""
    hands = Hands()
    hands.own()
    hands.put(message(request("a"), 0))
    hands.answer(
        hands.calls[0], Verdict(outcome=Outcome.QUOTA, wait_seconds=900.0, scope="account")
    )
    hands.put(message(request("a", run="daily/2025-11-23T04:00Z#1"), 1))
    hands.go(1.0)

    shown = orjson.loads(snapshot(hands.engine, hands.fence, hands.now))
    assert shown["partitions"][0]["states"] == {"quota": 2}
    assert shown["quotas"][0]["calls"] == 0.0


def test_a_grant_of_a_limit_that_is_gone_keeps_nothing() -> None:
    """The ledger may be trimmed although the file has no such quota any more."""
    hands = Hands()
    hands.own(records=[Grant(scope="account a", window="day UTC 738000", units=5, at=WALL)])

    assert hands.partition().image.first_needed() == 1
