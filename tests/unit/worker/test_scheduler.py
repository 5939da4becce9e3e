"""Who is next: fair among accounts and classes, nobody behind a blocked one."""

from collections import Counter
from collections.abc import Sequence

import pytest

from reportd.limits.limiter import Limiter, LimitRule, Scope
from reportd.worker.entry import Entry, State
from reportd.worker.scheduler import Scheduler
from tests.unit.worker.making import at, entry

MANY = 1_000


def scheduler(*limits: LimitRule) -> tuple[Scheduler, Limiter]:
    """Return a scheduler and its rested limiter."""
    limiter = Limiter(limits)
    limiter.start(at(-100_000.0))
    return Scheduler(limiter), limiter


def take(of: Scheduler, count: int, most: int = MANY, seconds: float = 0.0) -> list[Entry]:
    """Take up to ``count`` requests whose calls are over at once."""
    taken = []
    for _ in range(count):
        found = of.next(at(seconds), most)
        if found is None:
            break
        of.call_over(found)
        taken.append(found)
    return taken


def accounts(entries: Sequence[Entry]) -> list[str]:
    """Return whose requests they are."""
    return [one.request.account for one in entries]


def test_accounts_take_turns() -> None:
    """An account with a thousand requests does not delay one with two."""
    one, _ = scheduler()
    for _ in range(50):
        one.add(entry("big"))
    one.add(entry("small"))
    one.add(entry("small"))

    assert accounts(take(one, 4)) == ["big", "small", "big", "small"]


def test_an_accounts_requests_go_in_order() -> None:
    """The oldest goes first, unless one goes on with what it had begun."""
    one, _ = scheduler()
    first, second, begun = entry(), entry(), entry()
    one.add(first)
    one.add(second)
    one.add(begun, first=True)

    assert take(one, 3) == [begun, first, second]


def test_classes_share_by_weight() -> None:
    """While all have work, daily, restatement and backfill go 16 : 4 : 1."""
    one, _ = scheduler()
    for class_ in ("daily", "restatement", "backfill"):
        for _ in range(400):
            one.add(entry(class_[0], class_=class_))

    assert Counter(accounts(take(one, 210))) == {"d": 160, "r": 40, "b": 10}


def test_no_class_starves() -> None:
    """Within one round of all weights each class goes at least once."""
    one, _ = scheduler()
    for class_ in ("daily", "backfill"):
        for _ in range(100):
            one.add(entry(class_, class_=class_))

    assert "backfill" in accounts(take(one, 17))


def test_what_is_put_back_costs_its_class_no_turn() -> None:
    """Nobody called: the others have not had more of their share for it."""
    one, _ = scheduler()
    for _ in range(40):
        one.add(entry("a", strikes=0, **{"class": "daily"}))
        one.add(entry("b", strikes=0, **{"class": "backfill"}))
    take(one, 1)
    for _ in range(20):
        found = one.next(at(0.0), MANY)
        assert found is not None
        assert found.request.class_ == "backfill", "its turn, until it has had it"
        one.put_back(found)


def test_what_one_class_leaves_the_others_use() -> None:
    """Backfill alone gets every turn, and has no debt to pay when daily work comes."""
    one, _ = scheduler()
    for _ in range(300):
        one.add(entry("b", class_="backfill"))
    assert len(take(one, 100)) == 100

    for _ in range(300):
        one.add(entry("d"))
    assert Counter(accounts(take(one, 170)))["b"] in (9, 10, 11)


def test_an_idle_class_saves_no_turns() -> None:
    """A class that had nothing to do for long does not hold up the others afterwards."""
    one, _ = scheduler()
    for _ in range(2_000):
        one.add(entry("d"))
    take(one, 1_600)
    for _ in range(100):
        one.add(entry("b", class_="backfill"))

    assert Counter(accounts(take(one, 170)))["b"] <= 11


def test_a_blocked_account_delays_nobody() -> None:
    """Requests behind an account that was told to wait are passed by; it goes on in time."""
    one, limiter = scheduler()
    limiter.block(Scope("account", "slow"), 60.0, at(0.0))
    for _ in range(3):
        one.add(entry("slow"))
        one.add(entry("quick"))

    assert accounts(take(one, 6)) == ["quick"] * 3
    assert one.next_turn() == 60.0
    assert accounts(take(one, 6, seconds=60.0)) == ["slow"] * 3


def test_a_slow_report_delays_no_other_of_its_account() -> None:
    """What was told of one report does not keep an account's other reports."""
    one, limiter = scheduler()
    limiter.block(Scope("report", "slow"), 60.0, at(0.0))
    for report in ("slow", "slow", "quick"):
        one.add(entry("a", report=report))

    assert [found.request.report for found in take(one, 3)] == ["quick"]
    assert [found.request.report for found in take(one, 3, seconds=60.0)] == ["slow"] * 2


def test_a_spent_limit_of_the_partner_blocks_everything_until_its_time() -> None:
    """With the partner's own limit spent nobody goes, and it is known when to look again."""
    one, _ = scheduler(LimitRule(per="partner", calls=1, seconds=10.0))
    for account in ("a", "b", "c"):
        one.add(entry(account))

    assert accounts(take(one, 3)) == ["a"]
    assert one.next_turn() == 10.0
    assert accounts(take(one, 3, seconds=10.0)) == ["b"]


def test_the_limits_are_charged_when_a_request_is_taken() -> None:
    """An account's limit lets one go; its second waits, other accounts do not."""
    one, _ = scheduler(LimitRule(per="account", calls=1, seconds=60.0))
    for account in ("a", "a", "b"):
        one.add(entry(account))
    taken = take(one, 3)

    assert accounts(taken) == ["a", "b"]
    assert all(found.grant is not None for found in taken)


def test_slow_calls_of_one_account_leave_threads_to_others() -> None:
    """An account has at most so many calls under way; it goes on when one is over."""
    one, _ = scheduler()
    for account in ("slow", "slow", "slow", "quick"):
        one.add(entry(account))
    under_way = [one.next(at(0.0), 2) for _ in range(4)]
    assert [found and found.request.account for found in under_way] == [
        "slow", "quick", "slow", None,
    ]  # fmt: skip

    assert under_way[0] is not None
    one.call_over(under_way[0])
    assert accounts(take(one, 2, most=2)) == ["slow"]


@pytest.mark.parametrize("state", [State.BACKOFF, State.QUOTA, State.LIMIT, State.HELD])
def test_a_wait_is_over_when_it_is_due(state: State) -> None:
    """A request that waits is not to be had before its time, and then once."""
    one, _ = scheduler()
    waiting = entry()
    one.add_later(waiting, state, 5.0)

    assert (one.next_due(), list(one.due(at(4.9)))) == (5.0, [])
    assert list(one.due(at(5.0))) == [waiting]
    assert list(one.due(at(6.0))) == []


def test_a_wait_that_was_cut_short_ends_once() -> None:
    """A held request that is woken early does not come again at its first time."""
    one, _ = scheduler()
    waiting = entry()
    one.add_later(waiting, State.HELD, 50.0)
    one.add_later(waiting, State.HELD, 5.0)
    assert list(one.due(at(5.0))) == [waiting]
    one.add(waiting)

    assert list(one.due(at(50.0))) == []


def test_what_ended_while_it_waited_does_not_come_back() -> None:
    """A request that ended is not tried again when its wait would be over."""
    one, _ = scheduler()
    waiting = entry()
    one.add_later(waiting, State.BACKOFF, 5.0)
    waiting.ended = True

    assert list(one.due(at(5.0))) == []


def test_lines_are_forgotten_when_they_are_empty() -> None:
    """Memory does not grow with the accounts ever seen."""
    one, _ = scheduler()
    for number in range(20):
        one.add(entry(str(number)))
    take(one, 20)
    one.next(at(0.0), MANY)

    assert (one.lines_count(), one.ready_count) == (0, 0)


def test_a_call_that_ends_lets_the_next_go() -> None:
    """Nothing says when a place will be free: whoever ends frees it, and who waits goes first."""
    one, limiter = scheduler(
        LimitRule(per="credential", calls=1, seconds=1.0, meter="concurrent"),
    )
    for name in ("a", "b", "c"):
        one.add(entry(name))
    first = one.next(at(0.0), MANY)
    assert first is not None
    assert first.grant is not None
    assert one.next(at(0.0), MANY) is None
    assert one.next_turn() == float("inf")

    limiter.answered(first.grant)
    one.call_over(first)
    one.freed(first.scopes)
    second = one.next(at(0.0), MANY)
    assert second is not None
    assert second.request.account == "b"


def test_who_waits_for_a_shared_limit_is_not_looked_at_for_every_call() -> None:
    """A thousand accounts behind one credential's limit: each call looks at a few of them."""
    one, limiter = scheduler(LimitRule(per="credential", calls=10, seconds=1.0))
    looks = Counter[str]()
    asked = limiter.blocked

    def counting(scopes, now):  # type: ignore[no-untyped-def]
        looks["all"] += 1
        return asked(scopes, now)

    limiter.blocked = counting  # type: ignore[method-assign]
    for number in range(1_000):
        for _ in range(3):
            one.add(entry(f"a{number}"))
    taken = []
    for tenth in range(1_500):
        taken += accounts(take(one, 5, seconds=tenth * 0.1001))

    assert len(taken) == 1_500
    assert set(Counter(taken).values()) == {1, 2}
    assert looks["all"] < 5 * 1_500


def test_a_blocked_line_of_one_class_keeps_its_turn_before_those_behind_it() -> None:
    """Accounts that wait for a shared limit go in the order in which they came."""
    one, _ = scheduler(LimitRule(per="credential", calls=1, seconds=1.0))
    for name in ("a", "b", "c", "d"):
        one.add(entry(name))
        one.add(entry(name))
    order = []
    for second in range(8):
        order += accounts(take(one, 1, seconds=float(second)))
        take(one, 1, seconds=second + 0.5)

    assert order == ["a", "b", "c", "d"] * 2


def test_a_line_that_was_emptied_keeps_nobody_behind_it() -> None:
    """What a scope with room again lets out is a line with work: others' was taken away."""
    one, _ = scheduler(LimitRule(per="credential", calls=1, seconds=10.0))
    for account in ("a", "b", "c", "d"):
        one.add(entry(account))
    assert accounts(take(one, 4)) == ["a"]

    rest = one.take_all()
    assert (accounts(rest), one.ready_count) == (["b", "c", "d"], 0)
    one.add(rest[-1])
    assert (accounts(take(one, 4, seconds=10.0)), one.lines_count()) == (["d"], 0)
