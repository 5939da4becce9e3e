"""The engine: calls, refusals, many-call requests, files."""

import pytest

from reportd.limits.limiter import LimitRule
from reportd.partners.verdict import Outcome, Pace, Verdict
from reportd.worker.actions import Finish, LookAt, Release, Spool, StartCall, Sweep, WriteStep
from reportd.worker.circuits import OUTAGE_FAILURES
from reportd.worker.entry import State
from reportd.worker.partition import Looked, Misfit
from tests.unit.worker.hands import FILE, OK, Hands
from tests.unit.worker.making import REQUESTS, RETRY, end, message, request, step

NEXT = Verdict(outcome=Outcome.OK, next_cursor={"page": "2"})
TRANSIENT = Verdict(outcome=Outcome.TRANSIENT, reason="HTTP 503")
PERMANENT = Verdict(outcome=Outcome.PERMANENT, reason="HTTP 404", sample=b"no such account")
THROTTLED = Verdict(outcome=Outcome.THROTTLED, wait_seconds=30.0, scope="account")


def test_each_answer_is_spooled_and_its_step_confirmed_before_the_next_call() -> None:
    """Answer, spool file, step record, next call: in that order."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, Spool, WriteStep)
    hands.put(request())
    one = hands.calls[0]
    hands.answer(one, NEXT, b"page 1")
    assert ([s.body for s in hands.done(Spool)], hands.calls) == ([b"page 1"], [])
    hands.engine.spooled(one, "f", 6, "sha256:1", hands.now)
    hands.go()
    (write,) = hands.done(WriteStep)
    assert (write.step.attempt, write.step.step, write.step.cursor) == (0, 1, {"page": "2"})
    assert hands.calls == []

    hands.confirm(write)
    hands.go()
    assert [called.cursor for called in hands.calls] == [{"page": "2"}]


def test_a_new_owner_goes_on_where_the_steps_end() -> None:
    """With its spool whole, a request goes on at the page after the last durable one."""
    hands = Hands()
    one = request()
    records = [step(one.id, number=number, offset=4) for number in (1, 2)]
    hands.own(records=records, start=4, high=5)
    hands.put(message(one, 4))
    (called,) = hands.calls
    assert (called.cursor, called.calls, len(called.steps)) == ({"page": "3"}, 2, 2)

    hands.answer(called)
    assert hands.ends[0].calls == 3


def test_a_request_whose_spool_is_gone_starts_over() -> None:
    """It is asked from its first page, and its steps are a new attempt's."""
    hands = Hands()
    one = request()
    hands.own(records=[step(one.id, offset=4)], start=4, high=5)
    hands.looks["a"] = Looked(spool_fits=False)
    hands.put(message(one, 4))
    (called,) = hands.calls
    assert (called.cursor, called.steps) == ({}, [])

    hands.answer(called, NEXT)
    (write,) = hands.done(WriteStep)
    assert (write.step.attempt, write.step.step) == (1, 1)


def test_the_spool_is_deleted_after_the_commit_that_closes_the_request() -> None:
    """As long as an earlier offset is open or the commit is refused, a crash may need it."""
    hands = Hands()
    hands.own()
    one = request("b")
    hands.put(message(request("a"), 0), message(one, 1))
    hands.answer(hands.calls[1], NEXT)
    hands.answer(hands.calls[1])
    hands.go(12.0)
    assert hands.done(Sweep) == []
    hands.commit_error = "away"
    hands.answer(hands.calls[0])
    hands.go(3.0)
    assert hands.done(Sweep) == []

    hands.commit_error = None
    hands.go(3.0)
    assert hands.done(Sweep) == [Sweep(one.id, 0)]


def test_r_covers_the_steps_of_a_request_under_way() -> None:
    """However many ends come after them, the next owner reads from its first step on."""
    hands = Hands()
    hands.own()
    hands.put(message(request("pages"), 0), message(request("b"), 1))
    hands.answer(hands.calls[0], NEXT)
    hands.answer(next(one for one in hands.calls if one.request.account == "b"))
    hands.go(12.0)
    assert hands.committed[(REQUESTS, 0)] == (0, "1 0 ab12")

    hands.answer(hands.calls[0])
    hands.go(2.0)
    assert hands.committed[(REQUESTS, 0)] == (2, "1 3 ab12")


def test_answers_that_do_not_parse_start_over() -> None:
    """The request is asked again from its beginning, twice, then held."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, Finish)
    hands.put(request())
    states = []
    for _ in range(3):
        one = hands.calls[0]
        hands.answer(one, OK, b"<html>")
        hands.engine.unparsable(one, Misfit("no column clicks", b"<html>", "kept"), hands.now)
        states.append(one.state)
        hands.go(5.0)

    assert states == [State.BACKOFF, State.BACKOFF, State.HELD]
    assert (one.sample, one.answer) == (b"<html>", "kept")


def test_throttled_is_no_attempt_and_delays_no_other_account() -> None:
    """The account waits as told and is then asked again; others go on."""
    hands = Hands()
    hands.own()
    hands.put(request("a"), request("a", report="ads"))
    for called in list(hands.calls):
        hands.answer(called, THROTTLED)
    hands.put(request("b"))
    assert hands.asked() == ["b"]

    hands.go(31.0)
    assert sorted(hands.asked()) == ["a", "a", "b"]
    assert {called.attempts for called in hands.calls} == {0}


def test_a_spent_quota_is_shown_apart() -> None:
    """Until the reset the request is open in a state of its own, and nothing is asked."""
    hands = Hands()
    part = hands.own()
    hands.put(request())
    quota = Verdict(outcome=Outcome.QUOTA, wait_seconds=3_600.0, scope="account")
    hands.answer(hands.calls[0], quota)
    hands.go(3_590.0)
    assert [one.state for one in part.entries.values()] == [State.QUOTA]
    assert hands.offset() < part.books[REQUESTS].position

    hands.go(15.0)
    assert hands.asked() == ["a"]


def test_a_transient_failure_is_tried_again() -> None:
    """Back-off, another call, a result: its end counts both calls."""
    hands = Hands()
    hands.own()
    hands.put(request())
    hands.answer(hands.calls[0], TRANSIENT)
    assert hands.calls == []
    hands.go(2.0)
    hands.answer(hands.calls[0])

    assert (hands.states(), hands.ends[0].calls) == ([("a", "result")], 2)


def test_a_404_is_dead_once_another_account_has_succeeded_and_it_came_again() -> None:
    """Held first; each success of another wakes it; the second refusal after one ends it."""
    hands = Hands()
    part = hands.own()
    hands.put(request("bad"))
    hands.answer(hands.calls[0], PERMANENT)
    assert (len(part.held), hands.calls) == (1, [])
    hands.go(1.0)
    hands.put(request("good"))
    hands.answer(hands.calls[0])
    hands.go()
    assert hands.asked() == ["bad"]

    hands.answer(hands.calls[0], PERMANENT)
    assert hands.states() == [("good", "result")]
    hands.go(1.0)
    hands.put(request("fine"))
    hands.answer(hands.calls[0])
    hands.go()
    hands.answer(hands.calls[0], PERMANENT)
    assert hands.states() == [("good", "result"), ("fine", "result"), ("bad", "dead")]
    assert hands.ends[2].reason == "permanent: HTTP 404"


def test_a_404_of_everyone_dead_letters_nothing() -> None:
    """Lost permission or a firewall: all are held, for as long as it lasts."""
    hands = Hands()
    part = hands.own()
    hands.put(request("ok"))
    hands.answer(hands.calls[0])
    hands.put(*(request(str(number)) for number in range(6)))
    for _ in range(30):
        for called in list(hands.calls):
            hands.answer(called, PERMANENT)
        hands.go(20.0)
        if len(hands.ends) > 1:
            break
    assert hands.states() == [("ok", "result")]
    assert len(part.entries) == 6


def outage(hands: Hands, accounts: int) -> None:
    """Let everybody fail, one after the other, until the circuit opens."""
    hands.put(*(request(str(number)) for number in range(accounts)))
    for called in list(hands.calls)[:OUTAGE_FAILURES]:
        hands.answer(called, TRANSIENT)


def test_an_outage_opens_the_circuit_and_probes_one_at_a_time() -> None:
    """After eight failures in a row only one call at a time gets through."""
    hands = Hands()
    hands.own()
    outage(hands, OUTAGE_FAILURES)
    hands.go(0.9)
    assert hands.calls == []

    hands.go(10.0)
    assert len(hands.calls) == 1


def test_an_outage_of_hours_leaves_everything_open() -> None:
    """Attempts are not used up and nobody is dead; when it ends, all is done."""
    hands = Hands()
    part = hands.own()
    outage(hands, OUTAGE_FAILURES)
    for _ in range(120):
        for called in list(hands.calls):
            hands.answer(called, TRANSIENT)
        hands.go(60.0)
    assert (hands.ends, len(part.entries)) == ([], OUTAGE_FAILURES)
    for _ in range(200):
        for called in list(hands.calls):
            hands.answer(called)
        hands.go(2.0)

    assert [end.state for end in hands.ends] == ["result"] * OUTAGE_FAILURES


def test_when_an_outage_is_over_attempts_count_anew() -> None:
    """What somebody failed before the circuit opened was the outage already."""
    hands = Hands()
    part = hands.own()
    outage(hands, OUTAGE_FAILURES)
    assert {one.attempts for one in part.entries.values()} == {0, 1}
    hands.go(10.0)
    hands.answer(hands.calls[0])

    assert {one.attempts for one in part.entries.values()} == {0}


def test_an_outage_of_one_partner_is_not_anothers() -> None:
    """The other partner's requests go on."""
    hands = Hands(partners=("acme", "other"))
    hands.own("acme")
    hands.own("other")
    outage(hands, OUTAGE_FAILURES)
    hands.put(message(request("x", partner="other"), 0, "requests.other"))

    assert hands.asked() == ["x"]


def test_a_refused_credential_leaves_the_others_alone() -> None:
    """A 401 opens its credential's circuit; accounts of another one are asked."""
    hands = Hands()
    hands.own()
    hands.put(*(request(str(number)) for number in range(OUTAGE_FAILURES)))
    for called in list(hands.calls):
        hands.answer(called, Verdict(outcome=Outcome.AUTH, reason="HTTP 401"))
    hands.put(request("same"), request("x", credential="other"))

    assert hands.asked() == ["x"]


def test_a_probe_of_a_credential_that_meets_an_error_is_not_the_last() -> None:
    """A 500 says nothing of the credential: it is asked again, and works."""
    hands = Hands()
    hands.own()
    hands.put(*(request(str(number)) for number in range(OUTAGE_FAILURES)))
    for called in list(hands.calls):
        hands.answer(called, Verdict(outcome=Outcome.AUTH, reason="HTTP 401"))
    hands.go(12.0)
    (probe,) = hands.calls
    hands.answer(probe, TRANSIENT)

    for _ in range(100):
        hands.go(1.0)
        for called in list(hands.calls):
            hands.answer(called)
    assert len(hands.ends) == OUTAGE_FAILURES


def test_what_worked_before_a_restart_is_known_by_its_end() -> None:
    """A VM that starts again with a 404 as the last open request does not hold it for hours."""
    done = request("done")
    hands = Hands()
    hands.own(records=[end(done.id, offset=1)], high=2)
    hands.put(message(request("gone"), 0), message(done, 1))

    while hands.calls:
        assert hands.seconds < RETRY.give_up_seconds / 2
        hands.answer(hands.calls[0], PERMANENT)
        hands.go(RETRY.max_seconds)
    assert hands.states() == [("gone", "dead")]


def test_calls_keep_to_the_limit_and_use_it() -> None:
    """Of a minute's work at one call a second, one goes each second, the first excepted."""
    hands = Hands(limits=[LimitRule(per="account", calls=1, seconds=1.0)])
    hands.own()
    hands.put(*(request(params={"n": str(number)}) for number in range(100)))
    for _ in range(60):
        for called in list(hands.calls):
            hands.answer(called)
        hands.go(1.0)

    assert hands.seconds - 1.0 <= len(hands.done(StartCall)) <= hands.seconds


def test_a_call_that_was_not_sent_gives_its_grant_back() -> None:
    """Its place in the limit is free at once, and it is the first to use it."""
    hands = Hands(limits=[LimitRule(per="account", calls=1, seconds=60.0, meter="sliding")])
    hands.own()
    hands.go(60.0)
    hands.put(request(), request(report="ads"))
    (one,) = hands.calls
    hands.calls.clear()
    hands.engine.not_sent(one, hands.now)
    hands.go()

    assert hands.calls == [one]


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(outcome=Outcome.AUTH, reason="HTTP 401", is_renewed=True),
        Verdict(outcome=Outcome.OK, next_cursor={}, empty=True, volatile={"redirected": ["u"]}),
    ],
)
def test_a_call_that_is_made_again_takes_from_the_limits_again(verdict: Verdict) -> None:
    """With a renewed credential, or to where a redirect leads: the partner counts both."""
    hands = Hands(limits=[LimitRule(per="account", calls=1, seconds=60.0)])
    hands.own()
    hands.go(60.0)
    hands.put(request())
    hands.answer(hands.calls[0], verdict, b"")
    hands.go(58.0)
    assert hands.calls == []

    hands.go(2.0)
    (again,) = hands.calls
    hands.answer(again)
    assert (hands.states(), again.calls, again.attempts) == ([("a", "result")], 2, 0)


def test_one_accounts_slow_calls_leave_threads_to_others() -> None:
    """An account with many requests has at most half of the threads."""
    hands = Hands(threads=4)
    hands.own()
    hands.put(*(request("slow", params={"n": str(number)}) for number in range(10)))
    assert hands.asked() == ["slow", "slow"]

    hands.put(request("quick"))
    assert hands.asked() == ["slow", "slow", "quick"]


def test_one_partners_slow_calls_leave_threads_to_another() -> None:
    """A partner has at most three quarters of the threads while there is another."""
    hands = Hands(threads=4, partners=("acme", "other"))
    hands.own("acme")
    hands.own("other")
    hands.put(*(request(str(number)) for number in range(10)))
    assert len(hands.calls) == 3

    hands.put(message(request("x", partner="other"), 0, "requests.other"))
    assert hands.asked()[-1] == "x"


def test_a_suspect_runs_alone() -> None:
    """Nothing starts beside it, and it starts beside nothing."""
    one = request("suspect")
    hands = Hands(strikes={one.id: 1})
    hands.own()
    hands.put(request("a"))
    hands.put(one, request("b"))
    assert hands.asked() == ["a"]
    hands.answer(hands.calls[0])
    assert hands.asked() == ["suspect"]

    hands.answer(hands.calls[0])
    assert hands.asked() == ["b"]


def test_three_strikes_are_a_dead_letter_without_a_call() -> None:
    """What has killed three workers does not get a fourth."""
    one = request()
    hands = Hands(strikes={one.id: 3})
    hands.own()
    hands.put(one)

    assert (hands.states(), hands.calls) == ([("a", "dead")], [])
    assert hands.ends[0].reason.startswith("crash: 3 workers died")


def test_a_suspects_calls_give_its_account_no_more_threads() -> None:
    """A suspect of many pages does not let its account's others take every thread."""
    one = request("a")
    hands = Hands(strikes={one.id: 1}, threads=4)
    hands.own()
    others = [request("a", params={"n": str(number)}) for number in range(10)]
    hands.put(one, *others)
    for _ in range(4):
        assert [called.request for called in hands.calls] == [one]
        hands.answer(hands.calls[0], NEXT)
        hands.go()
    hands.answer(hands.calls[0])

    assert len(hands.calls) == 2


@pytest.mark.parametrize("verdict", [OK, TRANSIENT, THROTTLED, PERMANENT])
def test_what_is_no_longer_in_hand_is_said(verdict: Verdict) -> None:
    """A request that ended or waits again is taken out of the table of suspects-to-be."""
    hands = Hands()
    hands.own()
    one = request()
    hands.put(one)
    hands.answer(hands.calls[0], verdict)

    assert hands.done(Release)[-1] == Release(one.id)


def test_a_dead_letter_carries_what_happened() -> None:
    """The copy's headers say where it came from, why, how often, and what was answered."""
    one = request("a")
    hands = Hands()
    hands.own()
    hands.put(message(one, 7))
    hands.answer(hands.calls[0], PERMANENT)
    for other in ("b", "c"):
        hands.go(1.0)
        hands.put(request(other))
        hands.answer(hands.calls[0])
        hands.go()
        hands.answer(hands.calls[0], PERMANENT)
    copy = hands.dead_letter()

    said = {name: value.decode() for name, value in copy.headers.items()}
    assert said == {
        "error": "permanent", "reason": "HTTP 404", "attempts": "3", "sample": "no such account",
        "id": one.id, "replay": "0", "topic": REQUESTS, "partition": "0", "offset": "7",
        "run": one.run, "account": "a", "report": "stats",
    }  # fmt: skip
    assert copy.entry.message.value == one.to_json()


def test_looking_comes_before_the_first_call_only() -> None:
    """A request that backs off is not looked for again."""
    hands = Hands()
    hands.own()
    hands.put(request())
    for _ in range(RETRY.attempts - 1):
        hands.answer(hands.calls[0], TRANSIENT)
        hands.go(10.0)

    assert len(hands.done(LookAt)) == 1


def test_an_end_beyond_the_commit_keeps_its_first_life() -> None:
    """A restored result is not overwritten by what comes later under the same id."""
    hands = Hands()
    one = request()
    hands.own(records=[end(one.id, "result", offset=9, files=(FILE,))], start=3, high=10)
    hands.put(message(one, 3), message(one, 9))

    assert (hands.offset(), hands.ends) == (10, [])


def test_a_call_whose_token_is_not_there_takes_nothing_from_the_limit() -> None:
    """Its grant is given back, and it is no call."""
    hands = Hands(limits=[LimitRule(per="account", calls=1, seconds=60.0, meter="sliding")])
    hands.own()
    hands.go(60.0)
    hands.put(request())
    (one,) = hands.calls
    unsent = Verdict(outcome=Outcome.THROTTLED, wait_seconds=0.25, scope="credential", unsent=True)

    hands.answer(one, unsent)
    assert hands.calls == []
    hands.go(0.25)

    assert hands.calls == [one]
    hands.answer(one)
    assert hands.ends[0].calls == 1


def test_a_scope_slows_down_before_it_is_refused() -> None:
    """A good answer that says that the account's limit is nearly spent: others go on."""
    hands = Hands()
    hands.own()
    hands.put(request(), request("b"))
    one, two = hands.calls
    busy = Verdict(outcome=Outcome.OK, paces=(Pace("account", 30.0),))
    hands.answer(one, busy)
    hands.put(request(report="ads"), request("b", report="ads"))

    assert sorted(hands.asked()) == ["b", "b"]
    assert hands.states() == [("a", "result")]
    hands.go(30.0)
    assert sorted(hands.asked()) == ["a", "b", "b"]
    assert two in hands.calls


def test_a_limit_of_errors_holds_new_calls_when_it_is_spent() -> None:
    """Two errors an hour: the third call waits for the hour, good answers cost nothing."""
    rule = LimitRule(per="account", calls=2, seconds=3600.0, meter="sliding", counts="errors")
    hands = Hands(limits=[rule], threads=8)
    hands.own()
    hands.go(3601.0)
    for number in range(5):
        hands.put(request(params={"n": f"{number}"}))
        hands.answer(hands.calls[0])
    assert len(hands.ends) == 5

    failed = Verdict(outcome=Outcome.TRANSIENT, reason="HTTP 500", is_server_error=True)
    hands.put(*(request(params={"bad": f"{number}"}) for number in range(2)))
    for called in list(hands.calls):
        hands.answer(called, failed)
    hands.go(1800.0)
    assert hands.calls == []
    hands.go(1801.0)
    assert len(hands.calls) == 2
