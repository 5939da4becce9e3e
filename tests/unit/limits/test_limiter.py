"""Several limits at once: all grant, or none is charged."""

from collections import Counter

import pytest

from reportd.limits import limiter as limiter_module
from reportd.limits.limiter import Blocked, Limiter, LimitRule, MeterName, Now, Scope, joined

PARTNER = Scope("partner", "acme")
ACCOUNT = Scope("account", "1")
OTHER = Scope("account", "2")
RULES = (
    LimitRule(per="partner", calls=10, seconds=1.0),
    LimitRule(per="account", calls=1, seconds=60.0, meter="sliding"),
)


def at(seconds: float) -> Now:
    """Return an instant."""
    return Now(seconds, 1_000_000.0 + seconds, seconds)


def rested() -> Limiter:
    """Return a limiter whose owner began long ago."""
    limiter = Limiter(RULES)
    limiter.start(at(-1_000.0))
    return limiter


def test_one_full_limit_charges_no_other() -> None:
    """A call that its account's limit blocks takes nothing from the partner's."""
    limiter = rested()
    limiter.take((PARTNER, ACCOUNT), at(0.0))

    assert limiter.blocked((PARTNER, ACCOUNT), at(1.0)) == Blocked(59.0, ACCOUNT)
    assert limiter.blocked((PARTNER, OTHER), at(1.0)) is None


def test_the_longest_wait_counts() -> None:
    """Of several blocked scopes the one that takes longest is named."""
    limiter = rested()
    limiter.take((PARTNER, ACCOUNT), at(0.0))
    blocked = limiter.blocked((ACCOUNT, PARTNER), at(0.0))

    assert blocked == Blocked(60.0, ACCOUNT)


def test_a_new_owner_finds_every_limit_spent() -> None:
    """Right after a start neither limit lets a call go, however long the process lives."""
    limiter = Limiter(RULES)
    limiter.start(at(5_000.0))

    assert limiter.blocked((PARTNER,), at(5_000.0)) is not None
    assert limiter.blocked((ACCOUNT,), at(5_000.0)) == Blocked(60.0, ACCOUNT)


def test_a_scope_met_late_was_last_used_before_the_start() -> None:
    """An account that is first met a minute after the start need not wait again."""
    limiter = Limiter(RULES)
    limiter.start(at(0.0))

    assert limiter.blocked((ACCOUNT,), at(59.0)) is not None
    assert limiter.blocked((OTHER,), at(60.0)) is None


def test_giving_back_restores_every_limit() -> None:
    """What was taken from several limits is returned to all of them."""
    limiter = rested()
    grant = limiter.take((PARTNER, ACCOUNT), at(0.0))
    limiter.give_back(grant)

    assert limiter.blocked((PARTNER, ACCOUNT), at(0.0)) is None


def test_a_late_call_moves_its_window() -> None:
    """A call that left late occupies the sliding window until a window after it left."""
    limiter = rested()
    grant = limiter.take((PARTNER, ACCOUNT), at(0.0))
    limiter.answered(grant, sent_at=0.5)

    assert limiter.blocked((ACCOUNT,), at(60.0)) == Blocked(0.5, ACCOUNT)


def test_a_block_holds_its_scope_and_no_other() -> None:
    """What a partner said of one account concerns that account."""
    limiter = rested()
    limiter.block(ACCOUNT, 30.0, at(0.0))

    assert limiter.blocked((PARTNER, ACCOUNT), at(29.0)) == Blocked(1.0, ACCOUNT)
    assert limiter.blocked((PARTNER, OTHER), at(0.0)) is None
    assert limiter.blocked((PARTNER, ACCOUNT), at(30.0)) is None


def test_a_shorter_block_never_shortens_a_longer_one() -> None:
    """Answers come in any order: the longest wait that was told holds."""
    limiter = rested()
    limiter.block(ACCOUNT, 30.0, at(0.0))
    limiter.block(ACCOUNT, 1.0, at(0.0))

    assert limiter.blocked((ACCOUNT,), at(2.0)) == Blocked(28.0, ACCOUNT)


def test_a_scope_without_a_limit_can_be_told_to_wait() -> None:
    """Retry-After is obeyed where the partner file states no limit."""
    limiter = Limiter(())
    limiter.block(ACCOUNT, 5.0, at(0.0))

    assert limiter.blocked((ACCOUNT,), at(0.0)) == Blocked(5.0, ACCOUNT)


def test_shares_are_shown_by_kind() -> None:
    """The largest used share of each kind is shown, and how many scopes it has."""
    limiter = rested()
    limiter.take((PARTNER, ACCOUNT), at(0.0))
    limiter.blocked((OTHER,), at(0.0))

    assert limiter.shares(at(0.0)) == {"partner": (1, 1.0, "acme"), "account": (2, 1.0, "1")}


@pytest.mark.parametrize("meter", ["bucket", "sliding", "fixed"])
def test_every_kind_of_meter_is_made_spent(meter: MeterName) -> None:
    """Whatever the meter, a limiter's first call waits."""
    limiter = Limiter([LimitRule(per="account", calls=5, seconds=7.0, meter=meter, burst=3)])
    limiter.start(at(1.0))

    assert limiter.blocked((ACCOUNT,), at(1.0)) is not None


@pytest.mark.parametrize("meter", ["bucket", "sliding", "fixed"])
def test_meters_at_rest_are_forgotten(meter: MeterName, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts without end cost no memory without end; what is in use, or was lately, counts on."""
    monkeypatch.setattr(limiter_module, "METERS_MOST", 10)
    limiter = Limiter([LimitRule(per="account", calls=2, seconds=60.0, meter=meter, burst=2)])
    limiter.start(at(0.0))
    for number in range(100):
        limiter.take((Scope("account", f"{number}"),), at(200.0 + number * 10))
    used = limiter.shares(at(1_190.0))["account"]
    assert used[0] < 40

    last = (Scope("account", "99"),)
    limiter.take(last, at(1_190.0))
    for number in range(100):
        limiter.blocked((Scope("account", f"new-{number}"),), at(1_191.0))
    assert limiter.blocked(last, at(1_191.0)) is not None


def test_nothing_is_forgotten_while_the_start_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A meter made anew would be spent, although the one before had room again."""
    monkeypatch.setattr(limiter_module, "METERS_MOST", 2)
    limiter = Limiter([LimitRule(per="account", calls=9, seconds=60.0, meter="sliding")])
    limiter.start(at(0.0))
    for number in range(9):
        limiter.blocked((Scope("account", f"{number}"),), at(100.0))

    assert limiter.shares(at(100.0))["account"][0] == 9


def test_scopes_without_a_limit_have_no_share() -> None:
    """Status and metrics show what is limited."""
    limiter = Limiter([LimitRule(per="account", calls=2, seconds=60.0)])
    limiter.start(at(-1_000.0))
    limiter.take((PARTNER, ACCOUNT), at(0.0))

    assert list(limiter.shares(at(0.0))) == ["account"]


ERRORS = (
    LimitRule(per="account", calls=10, seconds=3600.0, meter="sliding", counts="errors"),
    LimitRule(per="partner", calls=1_000, seconds=1.0),
)


def errors() -> Limiter:
    """Return a limiter of errors whose owner began long ago."""
    limiter = Limiter(ERRORS)
    limiter.start(at(-10_000.0))
    return limiter


def test_only_errors_cost_what_errors_are_allowed() -> None:
    """A thousand good answers leave all ten places; ten errors close the scope for the hour."""
    limiter = errors()
    for number in range(1_000):
        limiter.answered(limiter.take((ACCOUNT, PARTNER), at(number)), is_error=False)
    assert limiter.blocked((ACCOUNT,), at(1_000.0)) is None

    for number in range(10):
        limiter.answered(limiter.take((ACCOUNT,), at(1_000.0 + number)), is_error=True)

    assert limiter.blocked((ACCOUNT,), at(1_010.0)) == Blocked(3_590.0, ACCOUNT)
    assert limiter.blocked((OTHER,), at(1_010.0)) is None
    assert limiter.blocked((ACCOUNT,), at(4_600.0)) is None


@pytest.mark.parametrize("meter", ["sliding", "fixed"])
def test_calls_under_way_may_all_fail(meter: MeterName) -> None:
    """No more are under way than may fail: however the answers come, no limit is exceeded."""
    rule = LimitRule(per="account", calls=3, seconds=3600.0, meter=meter, counts="errors")
    limiter = Limiter([rule])
    limiter.start(at(-10_000.0))
    grants = [limiter.take((ACCOUNT,), at(1_000.0)) for _ in range(3)]

    assert limiter.blocked((ACCOUNT,), at(1_001.0)) is not None
    limiter.answered(grants[0], is_error=True)
    limiter.answered(grants[1], is_error=False)
    limiter.take((ACCOUNT,), at(1_002.0))
    assert limiter.blocked((ACCOUNT,), at(1_003.0)) is not None


def test_a_call_that_was_not_sent_is_no_error() -> None:
    """Its place is free again."""
    limiter = errors()
    grants = [limiter.take((ACCOUNT,), at(0.0)) for _ in range(10)]
    for grant in grants:
        limiter.give_back(grant)

    assert limiter.blocked((ACCOUNT,), at(0.0)) is None


def test_a_new_owner_has_half_of_the_errors() -> None:
    """What the last one met is not known; with none left nothing could be done for an hour."""
    limiter = Limiter(ERRORS)
    limiter.start(at(0.0))
    grants = []
    while limiter.blocked((ACCOUNT,), at(1.0)) is None:
        grants.append(limiter.take((ACCOUNT,), at(1.0)))

    assert len(grants) == 5


def test_sending_late_moves_no_error() -> None:
    """Only meters of calls count from when a call left."""
    limiter = errors()
    grant = limiter.take((ACCOUNT,), at(0.0))
    limiter.answered(grant, sent_at=5.0, is_error=False)
    for _ in range(9):
        limiter.take((ACCOUNT,), at(6.0))

    assert limiter.blocked((ACCOUNT,), at(6.0)) is None


@pytest.mark.parametrize("end", ["answered", "given back"])
def test_a_place_is_free_when_its_call_is_over(end: str) -> None:
    """Whatever becomes of a call: its place goes to the next."""
    limiter = Limiter([LimitRule(per="account", calls=1, seconds=30.0, meter="concurrent")])
    limiter.start(at(-1_000.0))
    grant = limiter.take((ACCOUNT,), at(0.0))
    assert limiter.blocked((ACCOUNT,), at(5.0)) == Blocked(float("inf"), ACCOUNT)

    if end == "answered":
        limiter.answered(grant, sent_at=0.1, is_error=True)
    else:
        limiter.give_back(grant)
    assert limiter.blocked((ACCOUNT,), at(5.0)) is None


def test_an_answer_says_what_its_call_cost() -> None:
    """Only the limit that the answer names is corrected."""
    tokens = LimitRule(per="account", calls=100, seconds=60.0, meter="sliding", cost=40, number=0)
    calls = LimitRule(per="account", calls=4, seconds=60.0, meter="sliding", number=1)
    limiter = Limiter([tokens, calls])
    limiter.start(at(-1_000.0))
    grants = [limiter.take((ACCOUNT,), at(0.0)) for _ in range(2)]
    assert limiter.blocked((ACCOUNT,), at(1.0)) is not None

    limiter.answered(grants[0], costs=[(0, 3.0)])
    assert limiter.blocked((ACCOUNT,), at(1.0)) is None
    limiter.answered(grants[1], costs=[(0, 90.0)])
    assert limiter.blocked((ACCOUNT,), at(1.0)) is not None


def test_old_and_new_limits_hold_until_a_reload_is_over() -> None:
    """Whichever is the smaller; then the new one alone, with what it has counted."""
    old = LimitRule(per="account", calls=1, seconds=60.0, meter="sliding", number=0)
    new = LimitRule(per="account", calls=5, seconds=10.0, meter="sliding", number=0)
    limiter = Limiter(joined([new], [old]))
    limiter.start(at(-1_000.0))
    limiter.take((ACCOUNT,), at(0.0))
    assert limiter.blocked((ACCOUNT,), at(11.0)) == Blocked(49.0, ACCOUNT)

    limiter.settle()
    assert limiter.blocked((ACCOUNT,), at(11.0)) is None
    for _ in range(5):
        limiter.take((ACCOUNT,), at(11.0))
    assert limiter.blocked((ACCOUNT,), at(11.0)) == Blocked(10.0, ACCOUNT)


def test_a_limit_that_stays_is_kept_once() -> None:
    """Its place in the file may have changed; a quota's use is known, whatever it was before."""
    rule = LimitRule(per="account", calls=1, seconds=60.0, number=0)
    moved = LimitRule(per="account", calls=1, seconds=60.0, number=3)
    quota = LimitRule(per="account", calls=100, seconds=86_400.0, meter="day", number=1)

    assert joined([moved], [rule, quota]) == (moved,)


@pytest.mark.parametrize("step", [-0.5, 0.5, -3600.25, 3600.25])
def test_a_wall_clock_that_is_set_exceeds_no_window(step: float) -> None:
    """Wherever the partner's windows lie now: ten calls in each, and still nearly all of them."""
    rule = LimitRule(per="account", calls=10, seconds=1.0, meter="fixed")
    limiter = Limiter([rule])
    limiter.start(at(0.0))
    sent: list[float] = []
    for tick in range(600):
        seconds = tick / 20
        now = at(seconds)
        if seconds >= 10.0:
            now = now._replace(wall=now.wall + step)
        # In every other second calls come late in the partner's window, in the others early
        while tick % 40 >= 10 and limiter.blocked((ACCOUNT,), now) is None:
            limiter.take((ACCOUNT,), now)
            sent.append(seconds)

    as_it_was = Counter(int(seconds) for seconds in sent)
    as_it_is = Counter(int(seconds + step) for seconds in sent if seconds >= 10.0)
    assert max(as_it_was.values()) == max(as_it_is.values()) == 10
    assert len([seconds for seconds in sent if seconds > 15.0]) >= 0.9 * 150


def test_a_stall_between_two_clocks_is_no_clock_that_was_set() -> None:
    """A worker that slept after it had looked at one of them keeps the windows that it knows."""
    limiter = Limiter([LimitRule(per="account", calls=10, seconds=1.0, meter="fixed")])
    limiter.start(at(0.0))
    now = at(5.5)
    assert limiter.blocked((ACCOUNT,), now._replace(wall=now.wall - 0.3)) is None
    for _ in range(10):
        limiter.take((ACCOUNT,), now)

    assert limiter.blocked((ACCOUNT,), at(5.6)) is not None
    assert limiter.blocked((ACCOUNT,), at(6.0)) is None
