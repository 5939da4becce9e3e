"""Meters: what they let through, for any course of calls."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reportd.limits.meters import AtOnce, Bucket, FixedWindow, Meter, SlidingWindow

START = 1_000_000.0

METERS: dict[str, Callable[[float], Meter]] = {
    "bucket": lambda now: Bucket(10, 10.0, 4.0, now),
    "sliding": lambda now: SlidingWindow(5, 10.0, 0.0, now),
    "fixed": lambda now: FixedWindow(5, 10.0, 0.25, now),
}
waits = st.lists(st.floats(0.0, 30.0), min_size=1, max_size=60)


def greedy(meter: Meter, pauses: Sequence[float], now: float = START) -> list[float]:
    """Start a call as soon as the meter allows it after each pause."""
    starts = []
    for pause in pauses:
        now += pause
        while (wait := meter.wait_seconds(now)) > 0.0:
            now += max(wait, 1e-6)
        meter.take(now)
        starts.append(now)
    return starts


def most_within(times: Sequence[float], seconds: float) -> int:
    """Return the largest number of times in any half-open window."""
    return max(sum(1 for t in times if at <= t < at + seconds - 1e-6) for at in times)


@pytest.mark.parametrize("kind", METERS)
def test_a_meter_starts_spent(kind: str) -> None:
    """What an earlier owner sent just before is not known: nothing goes at once."""
    assert METERS[kind](START + 1.0).wait_seconds(START + 1.0) > 0.0


@given(waits)
@settings(max_examples=40, deadline=None)
def test_a_bucket_keeps_its_rate_and_burst(pauses: list[float]) -> None:
    """In any span of s seconds go at most s / interval + burst calls, the start's included."""
    starts = greedy(METERS["bucket"](START), pauses)

    for first, at in enumerate(starts):
        for count, later in enumerate(starts[first:], 1):
            assert count <= (later - at) + 4 + 1e-6
    assert starts[0] >= START + 1.0 - 1e-6


@given(waits)
@settings(max_examples=40, deadline=None)
def test_a_sliding_window_is_strict(pauses: list[float]) -> None:
    """No window of ten seconds holds more than five calls, wherever it begins."""
    starts = greedy(METERS["sliding"](START), pauses)

    assert most_within(starts, 10.0) <= 5
    assert starts[0] >= START + 10.0


@given(waits)
@settings(max_examples=40, deadline=None)
def test_a_fixed_window_counts_per_window_off_its_edges(pauses: list[float]) -> None:
    """Each window holds at most five calls, none of them within the margin of an edge."""
    starts = greedy(METERS["fixed"](START + 3.0), pauses, START + 3.0)

    windows = [int(at // 10.0) for at in starts]
    assert max(windows.count(one) for one in windows) <= 5
    assert all(0.25 - 1e-6 <= at % 10.0 <= 9.75 + 1e-6 for at in starts)
    assert windows[0] > int(START // 10.0)


@pytest.mark.parametrize("kind", METERS)
def test_a_limit_is_used_to_the_full(kind: str) -> None:
    """While there is work, at least 99 % of what is allowed goes out."""
    calls = 1_000
    starts = greedy(METERS[kind](START), [0.0] * calls)

    rate = 1.0 if kind == "bucket" else 0.5
    assert calls / (starts[-1] - START + 10.0) >= 0.99 * rate


@pytest.mark.parametrize("kind", METERS)
def test_what_is_given_back_can_be_taken_again(kind: str) -> None:
    """A charge whose call was never sent leaves the meter as it was."""
    meter = METERS[kind](START)
    at = greedy(meter, [100.0, 0.0])[-1]
    before = meter.wait_seconds(at)
    meter.take(at)
    meter.give_back(at)

    assert meter.wait_seconds(at) == pytest.approx(before)


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), min_size=2, max_size=40))
@example([(5.0, True), (3.0, False), (0.0, False)])
@settings(max_examples=60, deadline=None)
def test_giving_back_late_opens_no_hole_in_a_bucket(course: list[tuple[float, bool]]) -> None:
    """A charge returned after others were made never lets two calls go too close together."""
    meter = Bucket(1, 1.0, 1.0, START)
    now = START
    sent: list[float] = []
    unsent: list[float] = []
    for pause, is_lost in course:
        now += pause
        if meter.wait_seconds(now) == 0.0:
            meter.take(now)
            (unsent if is_lost else sent).append(now)
        elif unsent:
            meter.give_back(unsent.pop())

    assert all(later - earlier >= 1.0 - 1e-6 for earlier, later in pairwise(sent))


def test_a_call_counts_from_when_it_left() -> None:
    """A sliding window frees a call's place counted from its sending, not from its grant."""
    meter = SlidingWindow(1, 10.0, 0.0, START)
    meter.take(START + 10.0)
    meter.settle(START + 10.0, 1.0, START + 10.9, 1.0)

    assert meter.wait_seconds(START + 20.0) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("meter", "wait_seconds"),
    [
        (SlidingWindow(1, 10.0, 0.0, START), 9.9),
        (Bucket(1, 10.0, 1.0, START), 9.9),
        (FixedWindow(1, 10.0, 0.25, START), 10.25),
    ],
    ids=["sliding", "bucket", "fixed"],
)
def test_a_call_that_leaves_late_counts_from_then_on(meter: Meter, wait_seconds: float) -> None:
    """Before its answer is here: that may come after the next call is due."""
    meter.take(START + 19.1)
    meter.left_late(START + 19.1, 1.0, 0.9)

    assert meter.wait_seconds(START + 20.1) == pytest.approx(wait_seconds - (meter.wall * 0.1))
    meter.give_back(START + 19.1 + 0.9)
    assert meter.wait_seconds(START + 20.5) == 0.0


def test_a_bucket_does_not_move_what_a_later_call_stands_on() -> None:
    """The later one was granted already: what bunches up is what the burst's half is for."""
    meter = Bucket(1, 10.0, 2.0, START)
    meter.take(START + 20.0)
    meter.take(START + 20.0 + 1e-3)
    wait = meter.wait_seconds(START + 21.0)
    meter.left_late(START + 20.0, 1.0, 0.9)

    assert meter.wait_seconds(START + 21.0) == wait


def test_a_bucket_with_a_burst_absorbs_what_is_a_bit_late() -> None:
    """The partner's burst is twice ours: moving each late call on would leave a part unused."""
    meter = Bucket(1, 10.0, 2.0, START)
    meter.take(START + 20.0)
    wait = meter.wait_seconds(START + 21.0)
    meter.left_late(START + 20.0, 1.0, 0.9)

    assert meter.wait_seconds(START + 21.0) == wait


def test_a_call_keeps_its_place_among_those_at_once() -> None:
    """It is held from the grant to the answer, whenever it leaves."""
    meter = AtOnce(1, 10.0, START)
    meter.take(START + 10.0)
    meter.left_late(START + 10.0, 1.0, 0.9)

    assert meter.wait_seconds(START + 30.0) == float("inf")


def test_a_margin_keeps_a_place_longer() -> None:
    """Calls that left a window apart may arrive closer: the margin covers that."""
    assert SlidingWindow(1, 10.0, 0.25, START).wait_seconds(START + 10.0) == pytest.approx(0.25)


def test_a_wall_clock_that_goes_back_opens_no_window_twice() -> None:
    """A full window stays full when the clock is set back into an earlier one."""
    meter = FixedWindow(1, 10.0, 0.0, START)
    meter.take(START + 10.0)

    assert meter.wait_seconds(START + 5.0) > 0.0
    assert meter.wait_seconds(START + 10.0) > 0.0


@pytest.mark.parametrize("kind", METERS)
def test_the_share_in_use_is_between_nothing_and_all(kind: str) -> None:
    """A spent meter shows 1, a rested one 0."""
    meter = METERS[kind](START)

    assert meter.share(START) == 1.0
    assert meter.share(START + 1_000.0) == 0.0


COSTLY: dict[str, Callable[[float], Meter]] = {
    "bucket": lambda now: Bucket(100, 10.0, 40.0, now),
    "sliding": lambda now: SlidingWindow(50, 10.0, 0.0, now),
    "fixed": lambda now: FixedWindow(50, 10.0, 0.25, now),
}
priced = st.lists(
    st.tuples(st.floats(0.0, 12.0), st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=40
)


@given(priced)
@example([(11.0, 10, 1)] * 12)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("kind", ["sliding", "fixed"])
def test_what_calls_really_cost_never_exceeds_a_window(
    kind: str, calls: list[tuple[float, int, int]]
) -> None:
    """Charged with the most they may cost, corrected when they are over: no window is too full."""
    meter, now, spent = COSTLY[kind](START), START, []
    for pause, most, share in calls:
        now += pause
        while (wait := meter.wait_seconds(now, most)) > 0.0:
            now += max(wait, 1e-6)
        meter.take(now, most)
        actual = min(most, share)
        meter.settle(now, most, now, actual)
        spent.append((now, actual))

    for at, _ in spent:
        start = at if kind == "sliding" else at // 10.0 * 10.0
        assert sum(cost for t, cost in spent if start <= t < start + 10.0 - 1e-6) <= 50


@pytest.mark.parametrize("kind", COSTLY)
def test_a_call_that_cost_more_keeps_others_waiting(kind: str) -> None:
    """What the answer says beyond the estimate is charged, too."""
    now = START + 100.5
    waits = []
    for actual in (10.0, 45.0):
        meter = COSTLY[kind](START)
        meter.take(now, 10.0)
        meter.settle(now, 10.0, now, actual)
        waits.append(meter.wait_seconds(now, 20.0))

    assert waits[0] == 0.0 < waits[1]


@pytest.mark.parametrize("kind", COSTLY)
def test_a_call_that_cost_less_makes_room(kind: str) -> None:
    """What the answer says below the estimate can be taken by others."""
    now = START + 100.5
    meter = COSTLY[kind](START)
    meter.take(now, 30.0)
    assert meter.wait_seconds(now, 30.0) > 0.0

    meter.settle(now, 30.0, now, 1.0)
    assert meter.wait_seconds(now, 30.0) == 0.0


def test_so_many_calls_are_under_way_at_once() -> None:
    """The next starts when one is over; nobody knows when that will be."""
    meter = AtOnce(2, 30.0, START)
    now = START + 30.0
    for _ in range(2):
        assert meter.wait_seconds(now) == 0.0
        meter.take(now)
    assert meter.wait_seconds(now) == float("inf")

    meter.settle(now, 1.0, now, 1.0)
    assert meter.wait_seconds(now) == 0.0


def test_calls_of_an_earlier_owner_may_still_be_under_way() -> None:
    """Its process died, the partner works on: places count as taken for a call's longest time."""
    meter = AtOnce(2, 30.0, START)

    assert meter.wait_seconds(START + 10.0) == 20.0
    assert meter.share(START + 10.0) == 1.0
