"""Requests that were in hand when a worker died run alone."""

from reportd.limits.limiter import LimitRule, Scope
from reportd.worker.entry import Entry
from reportd.worker.suspects import Suspects
from tests.unit.worker.making import at, entry, partition


def suspects(*entries: Entry) -> Suspects:
    """Return suspects of a partition without limits."""
    made = Suspects({}, alone_seconds=5.0)
    of = partition()
    for one in entries:
        made.add(of, one)
    return made


def test_strikes_are_the_supervisors() -> None:
    """How often a worker died with a request in hand is known by its id."""
    made = Suspects({"x": 2}, 5.0)

    assert (made.strikes_of("x"), made.strikes_of("y")) == (2, 0)


def test_nobody_is_held_back_without_a_suspect() -> None:
    """Everybody works as long as nothing is suspected."""
    assert not suspects().holds_others_back(at(0.0))


def test_a_suspect_runs_alone() -> None:
    """From before it starts until it is over nobody else may start."""
    one = entry(strikes=1)
    made = suspects(one)
    assert made.holds_others_back(at(0.0))
    found = made.next(at(0.0))
    assert found is not None
    assert found[1] is one
    assert made.holds_others_back(at(100.0))

    made.over(one)
    assert not made.holds_others_back(at(100.0))


def test_those_with_the_fewest_strikes_go_first() -> None:
    """The one that has killed twice is tried last."""
    twice, once = entry("a", strikes=2), entry("b", strikes=1)
    made = suspects(twice, once)

    assert made.waiting() == [once, twice]


def test_a_url_in_hand_does_not_wait_for_other_suspects() -> None:
    """It lives for minutes; its turn would come when it is dead."""
    one, polled = entry("a", strikes=1), entry("b", strikes=2)
    polled.volatile = {"url": "https://a.example/"}

    assert suspects(one, polled).waiting() == [polled, one]


def test_suspects_and_others_take_turns() -> None:
    """After five seconds of suspects the others have five seconds."""
    made = suspects(entry(strikes=1))
    assert made.holds_others_back(at(0.0))
    assert made.holds_others_back(at(5.0))

    assert not made.holds_others_back(at(5.1))
    assert not made.holds_others_back(at(10.0))
    assert made.holds_others_back(at(10.2))


def test_a_suspect_that_may_not_start_holds_nobody_back() -> None:
    """While its account is blocked, a suspect waits and the others work."""
    made, of = Suspects({}, 5.0), partition()
    made.add(of, entry("a", strikes=1))
    of.limiter.block(Scope("account", "a"), 60.0, at(0.0))

    assert not made.holds_others_back(at(0.0))
    assert made.holds_others_back(at(60.0))


def test_a_suspects_limits_are_charged() -> None:
    """It runs alone, but not beyond the limits."""
    made = Suspects({}, 5.0)
    of = partition(LimitRule(per="account", calls=1, seconds=60.0))
    for _ in range(2):
        made.add(of, entry("a", strikes=1))
    found = made.next(at(0.0))
    assert found is not None
    assert found[1].grant is not None
    made.over(found[1])

    assert made.next(at(59.0)) is None
    assert made.next(at(60.0)) is not None


def test_a_lost_partitions_suspects_are_forgotten() -> None:
    """They are their next owner's."""
    made, of = Suspects({}, 5.0), partition()
    one = entry(strikes=1)
    one.alive = of.alive
    made.add(of, one)
    made.add(of, entry(strikes=1))
    made.next(at(0.0))
    of.is_alive = False
    made.drop(of)

    assert (made.alone, made.waiting(), made.holds_others_back(at(0.0))) == (None, [], False)
