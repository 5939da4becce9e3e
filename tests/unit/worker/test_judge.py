"""What follows from a refusal."""

from dataclasses import replace
from random import Random

import pytest

from reportd.limits.limiter import Scope
from reportd.partners.verdict import Growing, Outcome, Verdict
from reportd.worker.entry import Entry, State
from reportd.worker.judge import DeadError, Judge
from reportd.worker.partition import Partition, RetryRules
from tests.unit.worker.making import RETRY, at, entry, partition

THROTTLED = Verdict(outcome=Outcome.THROTTLED)
TRANSIENT = Verdict(outcome=Outcome.TRANSIENT, reason="HTTP 503")
PERMANENT = Verdict(outcome=Outcome.PERMANENT, reason="HTTP 404")
UNEXPECTED = Verdict(outcome=Outcome.UNEXPECTED, reason="not JSON")
AUTH = Verdict(outcome=Outcome.AUTH, reason="HTTP 401")


class Case:
    """One partition, one open request, one judge."""

    def __init__(self, retry: RetryRules = RETRY) -> None:
        self.partition: Partition = partition(retry=retry)
        self.entry = self.open(entry("a"))
        self.judge = Judge(Random(7))

    def open(self, one: Entry) -> Entry:
        self.partition.entries[one.identity] = one
        return one

    def refuse(self, verdict: Verdict, seconds: float = 0.0) -> float:
        """Judge a refusal of a call that started just before; return how long it waits."""
        self.judge.started(self.partition, self.entry)
        self.judge.refused(self.partition, self.entry, verdict, at(seconds))
        return self.entry.due - seconds

    def works_for(self, account: str, seconds: float) -> None:
        """Let a call of another request succeed."""
        self.partition.circuits.succeeded(entry(account).request, seconds)


def test_throttled_is_no_attempt_and_waits_as_told() -> None:
    """Retry-After is obeyed to the second, by its scope and by no other."""
    case = Case()
    told = Verdict(outcome=Outcome.THROTTLED, wait_seconds=17.0, scope="account")
    assert case.refuse(told) == 17.0

    limiter = case.partition.limiter
    assert (case.entry.attempts, case.entry.state) == (0, State.LIMIT)
    assert limiter.blocked((Scope("account", "a"),), at(16.0)) is not None
    assert limiter.blocked((Scope("account", "b"), Scope("partner", "acme")), at(0.0)) is None


def test_throttled_without_a_time_doubles_up_to_a_minute() -> None:
    """A partner that only says "slow down" is given more and more time."""
    case = Case()

    waits = [case.refuse(THROTTLED) for _ in range(8)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize("told", [0.0, 0.001])
def test_a_wait_of_nothing_is_none(told: float) -> None:
    """``Retry-After: 0``, or a reset that is past: who obeys calls as fast as it is refused."""
    case, other = Case(), Case()
    waits = [case.refuse(replace(THROTTLED, wait_seconds=told)) for _ in range(4)]
    assert waits == [1.0, 2.0, 4.0, 8.0]

    away = replace(TRANSIENT, wait_seconds=told)
    assert other.refuse(away) > 0.1
    assert other.refuse(replace(away, growing=Growing(5, 2, 60))) == 10.0


def test_throttled_for_ever_is_never_dead() -> None:
    """However often a partner says so, the request stays open."""
    case = Case()
    for _ in range(100):
        case.refuse(THROTTLED)

    assert (case.entry.attempts, case.entry.ended) == (0, False)


@pytest.mark.parametrize(("told", "waits"), [(3_600.0, 3_600.0), (None, RETRY.quota.first_seconds)])
def test_a_spent_quota_waits_for_its_reset(told: float | None, waits: float) -> None:
    """It is shown apart, is no attempt, and blocks the scope that it is of."""
    case = Case()
    quota = Verdict(outcome=Outcome.QUOTA, wait_seconds=told, scope="credential")

    assert case.refuse(quota) == waits
    assert (case.entry.attempts, case.entry.state) == (0, State.QUOTA)
    blocked = case.partition.limiter.blocked((Scope("credential", "main"),), at(0.0))
    assert blocked is not None
    assert blocked.wait_seconds == waits


def test_transient_backs_off_with_full_jitter() -> None:
    """The n-th wait is anywhere between nothing and base * 2 ** (n - 1), at most the most."""
    retry = RetryRules(attempts=10_000, base_seconds=1.0, max_seconds=8.0)
    for times, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0)):
        waits = []
        for seed in range(60):
            case = Case(retry)
            case.judge = Judge(Random(seed))
            case.entry.attempts = times - 1
            waits.append(case.refuse(TRANSIENT))
        assert 0.0 <= min(waits) < 0.15 * most
        assert 0.85 * most < max(waits) <= most


def test_transient_is_an_attempt_and_waits_as_told() -> None:
    """A 503 with Retry-After waits that long, and counts."""
    case = Case()
    told = Verdict(outcome=Outcome.TRANSIENT, reason="HTTP 503", wait_seconds=9.0)

    assert case.refuse(told) == 9.0
    assert (case.entry.attempts, case.entry.state) == (1, State.BACKOFF)


def test_transient_n_times_while_others_succeed_is_dead() -> None:
    """After its attempts a request that fails alone is given up."""
    case = Case()
    for second in (1.0, 2.0):
        case.refuse(TRANSIENT, second)
    case.works_for("b", 2.5)

    with pytest.raises(DeadError, match="503") as caught:
        case.refuse(TRANSIENT, 3.0)
    assert caught.value.error == "transient"


def test_transient_n_times_with_nobody_else_is_held() -> None:
    """Where nothing shows that it is alone, its attempts are not all there is."""
    case = Case()
    for second in range(RETRY.attempts):
        case.refuse(TRANSIENT, float(second))

    assert (case.entry.state, case.entry.attempts) == (State.HELD, 0)


def test_an_outage_uses_up_no_attempts() -> None:
    """While everybody fails nobody's attempts are counted and nobody is given up."""
    case = Case()
    entries = [case.open(entry(f"account-{number}")) for number in range(4)]
    for second in range(200):
        case.entry = entries[second % 4]
        case.refuse(TRANSIENT, float(second))

    assert case.partition.circuits.outage.is_open
    assert all(one.attempts == 0 and not one.ended for one in entries)


def test_refusals_of_different_kinds_share_one_patience() -> None:
    """A partner that answers 404 and 401 by turns does not keep a request for ever."""
    case = Case()
    for number, seconds in enumerate(range(0, int(RETRY.give_up_seconds), 100)):
        case.refuse((PERMANENT, AUTH)[number % 2], float(seconds))

    with pytest.raises(DeadError):
        case.refuse(PERMANENT, RETRY.give_up_seconds)


def test_an_outage_of_one_account_keeps_none_of_it_for_ever() -> None:
    """Only it fails, now with 500 and now with 404: it may be itself that is broken."""
    case = Case()
    for _ in range(20):
        case.partition.circuits.outage.failed("a", "HTTP 500", 0.0)
    for number, seconds in enumerate(range(0, int(RETRY.give_up_seconds), 100)):
        case.refuse((PERMANENT, TRANSIENT)[number % 2], float(seconds))

    assert case.partition.circuits.outage.is_open
    with pytest.raises(DeadError):
        case.refuse(PERMANENT, RETRY.give_up_seconds)


def test_an_outage_of_several_accounts_gives_nobody_up() -> None:
    """A partner that is down answers this and that, for as long as it likes."""
    case = Case()
    for account in "ab" * 10:
        case.partition.circuits.outage.failed(account, "HTTP 500", 0.0)
    for number, seconds in enumerate(range(0, 3 * int(RETRY.give_up_seconds), 100)):
        case.refuse((PERMANENT, TRANSIENT)[number % 2], float(seconds))

    assert not case.entry.ended


def test_a_refused_credential_gives_no_request_up() -> None:
    """However long until somebody mends it: the circuit is open, and says so."""
    case = Case()
    case.partition.circuits.credential("main").open(0.0)
    for seconds in range(0, 3 * int(RETRY.give_up_seconds), 100):
        case.refuse(AUTH, float(seconds))

    assert (case.entry.state, case.entry.ended) == (State.HELD, False)


def test_a_404_is_held_until_another_account_has_succeeded() -> None:
    """The first refusal proves nothing: it may be everybody's."""
    case = Case()

    assert 0.75 * RETRY.hold_seconds <= case.refuse(PERMANENT) <= RETRY.hold_seconds
    assert case.entry.state is State.HELD
    assert not case.judge.is_alone(case.partition, case.entry)
    case.works_for("b", 1.0)
    assert case.judge.is_alone(case.partition, case.entry)


def test_a_404_is_dead_when_it_comes_again_after_another_accounts_success() -> None:
    """Success elsewhere, then the same refusal, twice over: it is this request's own."""
    case = Case()
    case.refuse(PERMANENT, 0.0)
    case.works_for("b", 1.0)
    case.refuse(PERMANENT, 2.0)
    assert case.entry.state is State.HELD
    case.works_for("b", 3.0)

    with pytest.raises(DeadError) as caught:
        case.refuse(PERMANENT, 4.0)
    assert (caught.value.error, caught.value.reason) == ("permanent", "HTTP 404")


def test_what_is_proven_for_an_account_holds_for_its_other_requests() -> None:
    """The second request of a gone account is dead at its first refusal, until one works."""
    case = Case()
    for second in (0.0, 2.0):
        case.refuse(PERMANENT, second)
        case.works_for("b", second + 1.0)
    with pytest.raises(DeadError):
        case.refuse(PERMANENT, 4.0)
    case.entry = case.open(entry(case.entry.request.account))
    with pytest.raises(DeadError):
        case.refuse(PERMANENT, 5.0)

    case.works_for(case.entry.request.account, 6.0)
    case.entry = case.open(entry(case.entry.request.account))
    case.refuse(PERMANENT, 7.0)
    assert case.entry.state is State.HELD


def test_a_success_before_the_first_404_is_no_proof() -> None:
    """What worked before the refusals began may have stopped working since."""
    case = Case()
    case.works_for("b", 1.0)
    case.open(entry("b"))
    for second in range(2, 40):
        case.refuse(PERMANENT, float(second))

    assert not case.entry.ended


def test_what_succeeds_while_the_call_is_under_way_is_no_proof() -> None:
    """An outage that ends meanwhile would condemn whoever was refused last in it."""
    case = Case()
    case.refuse(PERMANENT, 0.0)
    case.judge.started(case.partition, case.entry)
    case.works_for("b", 10.0)
    case.judge.refused(case.partition, case.entry, PERMANENT, at(15.0))

    assert case.entry.proofs == 0


def test_a_failure_of_another_kind_begins_no_proof() -> None:
    """Others' successes after a 503 say nothing about the 404 that comes next."""
    case = Case()
    case.refuse(TRANSIENT, 0.0)
    case.works_for("b", 1.0)
    case.refuse(PERMANENT, 2.0)

    assert case.entry.proofs == 0


def test_a_404_is_dead_when_nobody_is_left_to_prove_it() -> None:
    """The day's last request does not wait for ever: others have succeeded, none is open."""
    case = Case()
    case.works_for("b", 1.0)
    for second in (2.0, 50.0):
        case.refuse(PERMANENT, second)

    with pytest.raises(DeadError):
        case.refuse(PERMANENT, 103.0)


def test_a_partner_with_one_account_has_a_time_limit() -> None:
    """Where no other account exists, refusals end when they have lasted long enough."""
    case = Case()
    for second in (0.0, 400.0, 999.0):
        case.refuse(PERMANENT, second)

    with pytest.raises(DeadError, match="for 1000 s or more"):
        case.refuse(PERMANENT, 1_000.0)


def test_holds_become_longer_up_to_the_most() -> None:
    """A held request asks more and more rarely."""
    case = Case()
    waits = [case.refuse(PERMANENT, float(second)) for second in range(6)]

    for wait, most in zip(waits, [10.0, 20.0, 40.0, 64.0, 64.0, 64.0], strict=True):
        assert 0.75 * most <= wait <= most


def test_unexpected_is_tried_twice_more_then_as_permanent() -> None:
    """An answer that does not parse starts over twice; then it is held, or dead."""
    case = Case()
    states = []
    for second in (0.0, 1.0, 2.0):
        case.refuse(UNEXPECTED, second)
        states.append(case.entry.state)
    assert states == [State.BACKOFF, State.BACKOFF, State.HELD]

    case.works_for("b", 3.0)
    with pytest.raises(DeadError) as caught:
        case.refuse(UNEXPECTED, 4.0)
    assert caught.value.error == "unexpected"


def test_401_opens_the_credentials_circuit_and_gives_up_nobody() -> None:
    """Refused accounts of one credential are held; the credential's circuit opens."""
    case = Case()
    entries = [case.open(entry(f"account-{number}")) for number in range(8)]
    for case.entry in entries:
        case.refuse(AUTH)

    assert case.partition.circuits.credential("main").is_open
    assert not case.partition.circuits.outage.is_open
    assert {one.state for one in entries} == {State.HELD}


def test_the_sample_of_the_last_refusal_is_kept() -> None:
    """The dead letter shows what the partner said."""
    case = Case()
    case.refuse(Verdict(outcome=Outcome.TRANSIENT, sample=b"<html>sorry"))

    assert case.entry.sample == b"<html>sorry"


def test_a_revoked_credential_opens_its_circuit_at_once() -> None:
    """What the token server refuses is certain; other credentials go on."""
    case = Case()
    revoked = Verdict(outcome=Outcome.AUTH, reason="invalid_grant", unsent=True)

    case.refuse(revoked)

    circuits = case.partition.circuits
    assert not circuits.lets_through(entry("b").request, 0.5)
    assert circuits.lets_through(entry("b", credential="second").request, 0.5)
    assert circuits.credential("main").reason == "invalid_grant"


def test_one_401_does_not_open_it() -> None:
    """It may be the account's own."""
    case = Case()

    case.refuse(AUTH)

    assert case.partition.circuits.lets_through(entry("b").request, 0.5)


def test_a_token_that_is_not_there_is_no_slow_down_of_the_partner() -> None:
    """The wait does not grow what the partner's next silence means."""
    case = Case()
    unsent = Verdict(outcome=Outcome.THROTTLED, wait_seconds=0.25, scope="credential", unsent=True)
    for _ in range(5):
        assert case.refuse(unsent) == 0.25

    assert (case.entry.attempts, case.entry.state) == (0, State.LIMIT)
    assert case.refuse(Verdict(outcome=Outcome.THROTTLED, scope="credential")) == 1.0


def test_a_wait_that_grows_by_the_files_rule() -> None:
    """Amazon's long back-off: what the rule says instead of a minute at most."""
    case = Case()
    slow = Verdict(outcome=Outcome.THROTTLED, scope="partner", growing=Growing(60, 2, 3600))

    assert [case.refuse(slow) for _ in range(8)] == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    case.partition.throttled_times.clear()  # what a good answer does
    assert case.refuse(slow) == 60


def test_what_grows_is_the_files_by_class() -> None:
    """Where neither answer nor rule say how long."""
    case = Case(replace(RETRY, slow_down=Growing(5, 3, 50), quota=Growing(600, 2, 1500)))
    quota = Verdict(outcome=Outcome.QUOTA, scope="credential")

    assert [case.refuse(THROTTLED) for _ in range(4)] == [5, 15, 45, 50]
    assert [case.refuse(quota) for _ in range(3)] == [600, 1200, 1500]


def test_a_transient_rule_may_grow_too() -> None:
    """Without the jitter of a back-off that nobody asked for."""
    case = Case()
    slow = Verdict(outcome=Outcome.TRANSIENT, growing=Growing(10, 3, 100))

    assert [case.refuse(slow), case.refuse(slow)] == [10, 30]


def test_one_request_alone_waits() -> None:
    """Scope ``call``: the account's others go on; its wait grows by itself."""
    case = Case()
    alone = Verdict(outcome=Outcome.THROTTLED, scope="call")

    assert [case.refuse(alone) for _ in range(3)] == [1, 2, 4]
    assert case.partition.limiter.blocked(case.entry.scopes, at(0.0)) is None
    assert case.partition.throttled_times == {}
