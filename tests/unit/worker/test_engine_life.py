"""The engine: the output or the broker away, drains, losses, the window."""

from collections.abc import Mapping

from reportd.limits.limiter import LimitRule
from reportd.worker.actions import (
    Finish,
    LookAt,
    Pause,
    Read,
    Release,
    Spool,
    StartCall,
    WriteEnd,
    WriteStep,
)
from reportd.worker.circuits import LONE_FAILURES
from reportd.worker.partition import Looked
from tests.unit.worker.hands import FILE, OK, Hands
from tests.unit.worker.making import BACKFILL, REQUESTS, at, message, request
from tests.unit.worker.test_engine_calls import NEXT, TRANSIENT


def test_nothing_is_called_before_the_fence_is_open() -> None:
    """Until the first commit is accepted another worker may still be at it."""
    hands = Hands(is_fenced=True)
    hands.own()
    hands.put(request())
    assert hands.calls == []

    hands.commit_error = None
    hands.go(2.0)
    assert hands.asked() == ["a"]


def test_a_closed_fence_starts_no_call() -> None:
    """A broker that takes no commit for a lease may have given the partition away."""
    hands = Hands()
    hands.own()
    hands.commit_error = "away"
    hands.go(41.0)
    hands.put(request())
    assert hands.calls == []

    hands.commit_error = None
    hands.go(2.0)
    assert hands.asked() == ["a"]


def test_an_answer_that_met_a_closed_fence_is_kept_and_published_later() -> None:
    """It is not asked again, and its files are published if the fence opens."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, Finish)
    hands.put(request())
    hands.answer(hands.calls[0])
    (finish,) = hands.done(Finish)
    hands.engine.fenced(finish.entry, finish, hands.now)
    hands.go(5.0)

    assert hands.done(Finish) == [finish, finish]
    assert hands.calls == []


def test_with_the_output_away_nothing_new_starts_and_nothing_is_lost() -> None:
    """The answer is kept and tried again, ever more rarely; nobody is dead-lettered."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, Finish)
    hands.put(request("a"))
    hands.answer(hands.calls[0])
    tries: list[float] = []
    for _ in range(400):
        finishes = hands.done(Finish)
        if len(finishes) > len(tries):
            tries.append(hands.seconds)
            one = finishes[-1]
            hands.engine.not_stored(one.entry, one, "no space left", hands.now)
            hands.put(request(str(len(tries))))
        hands.go(0.5)

    assert (hands.calls, hands.ends) == ([], [])
    assert hands.engine.outlet.reason == "no space left"
    assert tries[1] - tries[0] <= 1.5
    assert 14.0 <= tries[-1] - tries[-2] <= 17.0


def test_when_the_output_is_back_everything_goes_on() -> None:
    """The kept answer is published and new calls start."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, Finish)
    hands.put(request("a"))
    hands.answer(hands.calls[0])
    (finish,) = hands.done(Finish)
    hands.engine.not_stored(finish.entry, finish, "no space left", hands.now)
    hands.put(request("b"))
    assert hands.calls == []
    hands.kept = (StartCall,)
    hands.go(2.0)

    assert hands.engine.outlet.reason == ""
    assert hands.states() == [("a", "result")]
    assert hands.asked() == ["b"]


def with_files_of_acme(strikes: Mapping[str, int] | None = None) -> tuple[Hands, Finish]:
    """Return two partners, and the files of one that are about to be stored."""
    hands = Hands(partners=("acme", "other"), strikes=strikes)
    hands.own("acme")
    hands.own("other")
    hands.kept = (StartCall, Finish)
    hands.put(request("a"))
    hands.answer(hands.calls[0])
    (finish,) = hands.done(Finish)
    return hands, finish


def test_files_that_are_not_taken_stop_their_own_partner_alone() -> None:
    """A folder that nobody may write to is no output that is away: others' calls go on."""
    hands, finish = with_files_of_acme()
    for number in range(5):
        hands.engine.not_stored(finish.entry, finish, "acme: Permission denied", hands.now)
        hands.put(request(f"a{number}"))
        hands.put(message(request(f"x{number}", partner="other"), number, "requests.other"))
        hands.kept = (StartCall,)
        hands.answer(hands.calls[0])
        hands.kept = (StartCall, Finish)
        hands.go(20.0)

    assert hands.states() == [(f"x{number}", "result") for number in range(5)]
    assert hands.calls == []
    assert hands.engine.outlet.trouble(hands.now) == "acme: Permission denied"
    assert hands.done(Pause) == [Pause((REQUESTS, 0)), Pause((BACKFILL, 0))]
    assert hands.done(Finish).count(finish) == 6
    assert hands.engine.next_wake(hands.now) > hands.now.mono, "it would turn for nothing"


def test_a_suspect_whose_files_are_not_taken_holds_nobody_back() -> None:
    """Its turn comes when they are."""
    hands, finish = with_files_of_acme(strikes={request("s").id: 1})
    hands.engine.not_stored(finish.entry, finish, "acme: Permission denied", hands.now)
    hands.put(request("s"), message(request("x", partner="other"), 0, "requests.other"))
    assert hands.asked() == ["x"]
    hands.kept = (StartCall,)
    hands.answer(hands.calls[0])
    hands.go(2.0)

    assert (hands.states(), hands.asked()) == ([("x", "result"), ("a", "result")], ["s"])


def test_an_answer_of_a_many_call_request_is_kept_too() -> None:
    """A page that could not be spooled is spooled later; it is not asked again."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, Spool)
    hands.put(request())
    hands.answer(hands.calls[0], NEXT, b"page 1")
    (spool,) = hands.done(Spool)
    hands.engine.not_stored(spool.entry, spool, "away", hands.now)
    hands.kept = (StartCall,)
    hands.go(2.0)

    assert [one.body for one in hands.done(Spool)] == [b"page 1"] * 2
    assert [called.cursor for called in hands.calls] == [{"page": "2"}]


def test_reading_stops_while_the_output_is_away() -> None:
    """Memory does not fill up with what cannot be done."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, LookAt)
    hands.put(request())
    (look,) = hands.done(LookAt)
    hands.engine.not_stored(look.entry, look, "away", hands.now)
    hands.go(0.25)

    assert hands.done(Pause) == [Pause((REQUESTS, 0)), Pause((BACKFILL, 0))]


def test_a_drain_finishes_what_is_under_way_and_starts_nothing() -> None:
    """The call in flight comes back, its files and end are written; the rest stays open."""
    hands = Hands(threads=1)
    hands.own()
    hands.put(message(request("a"), 0), message(request("b"), 1))
    hands.engine.stop()
    hands.go(5.0)
    assert not hands.engine.is_drained(hands.engine.partitions())
    hands.answer(hands.calls[0])
    hands.go(5.0)

    assert hands.engine.is_drained(hands.engine.partitions())
    assert (hands.states(), hands.calls) == ([("a", "result")], [])
    assert hands.engine.offsets_of(hands.engine.partitions()).offsets[(REQUESTS, 0)][0] == 1


def test_a_partition_that_comes_during_a_drain_starts_nothing() -> None:
    """A rebalance may bring one while the worker is on its way out."""
    hands = Hands()
    hands.own()
    hands.engine.stop()
    hands.own(index=1, partitions=1)
    hands.engine.message(message(request("a"), 0, partition=1, forwards="3"), hands.now)
    hands.go(5.0)

    assert (len(hands.done(LookAt)), hands.calls) == (1, [])


def test_a_revoked_partition_drains_while_another_works() -> None:
    """Only what is given away stops."""
    hands = Hands(partners=("acme", "other"))
    hands.own("acme")
    hands.own("other")
    hands.engine.revoking([("acme", 0)])
    hands.put(request("a"), message(request("x", partner="other"), 0, "requests.other"))

    assert hands.asked() == ["x"]


def test_a_drain_does_not_wait_for_what_waits() -> None:
    """Requests in back-off, at a limit or held are the next owner's."""
    hands = Hands()
    hands.own()
    hands.put(request())
    hands.answer(hands.calls[0], TRANSIENT)

    assert hands.engine.is_drained(hands.engine.partitions())


def test_late_events_of_a_dropped_partition_are_ignored() -> None:
    """Answer, spool, files and confirmations of a lost partition change nothing."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, Finish, Spool, WriteEnd, WriteStep)
    hands.put(*(request(account) for account in "abcd"))
    a, b, c, d = hands.calls
    hands.answer(a)
    hands.answer(b, NEXT)
    hands.answer(c)
    hands.engine.published(c, (FILE,), "", hands.now)
    hands.go()
    (write,) = hands.done(WriteEnd)
    hands.engine.drop([("acme", 0)])
    hands.log.clear()
    hands.engine.published(a, (FILE,), "", hands.now)
    hands.engine.spooled(b, "f", 1, "x", hands.now)
    hands.confirm(write)
    hands.answer(d, OK)
    hands.go(30.0)

    assert [action for action in hands.log if not isinstance(action, Release)] == []
    assert (hands.engine.in_flight, hands.engine.outlet.storing_count) == (0, 0)


def test_a_lost_partitions_threads_are_free_again() -> None:
    """Calls of a dropped partition count as in flight until they are over, then no more."""
    hands = Hands(threads=2)
    hands.own()
    hands.put(request("a"), request("b"))
    old = list(hands.calls)
    hands.engine.drop([("acme", 0)])
    hands.own()
    hands.put(request("c"), request("d"))
    assert hands.asked() == ["a", "b"]
    for called in old:
        hands.answer(called)

    assert hands.asked() == ["c", "d"]
    assert hands.ends == []


def test_a_dropped_partition_ends_its_stall() -> None:
    """The output may be fine: what did not fit went with the partition."""
    hands = Hands(partners=("acme", "other"))
    hands.own("acme")
    hands.own("other")
    hands.kept = (StartCall, Finish)
    hands.put(request())
    hands.answer(hands.calls[0])
    (finish,) = hands.done(Finish)
    hands.engine.not_stored(finish.entry, finish, "away", hands.now)
    hands.engine.drop([("acme", 0)])

    assert hands.engine.outlet.reason == ""


def test_what_was_in_hand_is_released_when_it_is_lost() -> None:
    """A crash from now on is not its fault."""
    hands = Hands()
    hands.own()
    one = request()
    hands.put(one)
    hands.engine.drop([("acme", 0)])
    hands.go()

    assert hands.done(Release) == [Release(one.id)]


def test_the_window_of_requests_is_bounded() -> None:
    """Reading pauses once enough is in memory, and goes on when it has been worked off."""
    hands = Hands(window_requests=20, threads=1)
    part = hands.own()
    offset = 0
    while REQUESTS in part.reading and offset < 1_000:
        hands.put(message(request(str(offset)), offset))
        offset += 1
    assert 10 <= offset <= 40
    for _ in range(offset):
        hands.answer(hands.calls[0])
    hands.go(1.0)

    assert part.reading == {REQUESTS, BACKFILL}


def test_the_window_is_bounded_where_nothing_may_start() -> None:
    """Requests that only wait fill memory up to twice the window, not more."""
    never = LimitRule(per="account", calls=1, seconds=1e6)
    hands = Hands(window_requests=20, threads=4, limits=[never])
    part = hands.own()
    offset = 0
    while REQUESTS in part.reading and offset < 100:
        hands.put(message(request(str(offset)), offset))
        offset += 1

    assert offset == 40


def test_the_window_of_bytes_is_bounded() -> None:
    """Large messages fill the window sooner."""
    hands = Hands(window_bytes=5_000)
    part = hands.own()
    for number in range(5):
        hands.put(request(str(number), attributes={"note": "x" * 1_000}))

    assert part.reading == set()
    assert part.window_bytes <= 6_500


def test_behind_a_full_account_the_others_are_read() -> None:
    """Messages of an account with enough in memory are parked; others are admitted."""
    hands = Hands(window_requests=40, threads=4)
    part = hands.own()
    hands.put(*(message(request("big", params={"n": str(n)}), n) for n in range(60)))
    hands.put(*(message(request(f"small-{n}"), 60 + n) for n in range(3)))
    book = part.books[REQUESTS]

    assert book.parked_count == 60 - (len(part.entries) - 3) > 0
    assert {"small-0", "small-1"} <= set(hands.asked())


def test_parked_messages_are_read_again_and_all_end() -> None:
    """When the account's line gets short its parked offsets are read again; none is lost."""
    hands = Hands(window_requests=20, threads=4)
    part = hands.own()
    topic = [message(request("big", params={"n": str(n)}), n) for n in range(100)]
    read_to = reads = 0
    for _ in range(4_000):
        seen = hands.done(Read)
        if len(seen) > reads:
            reads = len(seen)
            read_to = next((r.offset for r in reversed(seen) if r.at[0] == REQUESTS), read_to)
        if REQUESTS in part.reading and read_to < len(topic):
            hands.put(topic[read_to])
            read_to += 1
        elif hands.calls:
            hands.answer(hands.calls[0])
        else:
            hands.go(1.0)

    assert (len(hands.ends), hands.offset(), part.books[REQUESTS].parked_count) == (100, 100, 0)
    assert len({end.id for end in hands.ends}) == 100


def test_a_closing_partition_is_not_read() -> None:
    """What is given away is read no further."""
    hands = Hands()
    part = hands.own()
    hands.engine.revoking([("acme", 0)])
    hands.go(1.0)

    assert part.reading == set()


def test_a_partition_taken_anew_is_restored_anew() -> None:
    """Nothing is remembered of a partition's first stay here."""
    hands = Hands()
    first = hands.own()
    hands.put(request())
    second = hands.own()

    assert (first.is_alive, second.is_alive, second.entries) == (False, True, {})


def test_a_restore_that_comes_too_late_is_ignored() -> None:
    """The partition is gone, or was restored before."""
    hands = Hands()
    part = hands.own()
    hands.engine.restored("acme", 0, topics=[], image=part.image, partition_count=1, now=hands.now)
    hands.engine.restored("acme", 5, topics=[], image=part.image, partition_count=1, now=hands.now)

    assert (list(part.books), hands.engine.partitions()) == ([REQUESTS, BACKFILL], [part])


def test_the_loop_may_sleep_until_the_next_wait_is_over() -> None:
    """Between events the engine says when it has something to do by itself."""
    hands = Hands()
    part = hands.own()
    hands.put(request())
    hands.answer(hands.calls[0], TRANSIENT)
    (waiting,) = part.entries.values()

    wake = hands.engine.next_wake(hands.now)
    assert hands.seconds < wake <= max(waiting.due, hands.seconds + 1.0)


def test_a_worker_is_quiet_once_everything_has_ended() -> None:
    """With open requests it is not; then only a message or a rebalance can change that."""
    hands = Hands()
    hands.own()
    assert hands.engine.is_quiet()
    hands.put(request())
    assert not hands.engine.is_quiet()

    hands.answer(hands.calls[0])
    assert hands.engine.is_quiet()


def test_the_limits_of_a_moved_partition_start_spent() -> None:
    """What the last owner sent just before is not known here."""
    hands = Hands()
    hands.seconds = 500.0
    part = hands.own()

    assert part.limiter._born == at(500.0)


def test_a_look_at_what_stands_there_resumes_after_the_output_was_away() -> None:
    """A request whose look failed is looked for again, and then asked."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, LookAt)
    hands.put(request())
    (look,) = hands.done(LookAt)
    hands.engine.not_stored(look.entry, look, "away", hands.now)
    hands.go(2.0)
    assert hands.done(LookAt) == [look, look]
    hands.engine.looked(look.entry, Looked(), hands.now)
    hands.go()

    assert hands.asked() == ["a"]


def test_a_probe_of_a_lost_partition_is_over() -> None:
    """Its answer says nothing any more; the outage goes on being probed, not for ever held."""
    hands = Hands()
    hands.own()
    circuit = hands.partition().circuits.outage
    for number in range(LONE_FAILURES):
        circuit.failed("a", "HTTP 503", float(number) / 100)
    hands.put(request())
    hands.go(3.0)
    (probe,) = hands.calls
    hands.engine.drop([("acme", 0)])
    hands.answer(probe)

    hands.own()
    hands.put(request("b"))
    hands.go(3.0)
    assert hands.asked() == ["b"]


def test_an_account_with_very_many_requests_delays_nobody() -> None:
    """Those behind its window are parked; who comes after 20,000 of them is asked at once."""
    limit = LimitRule(per="account", calls=1, seconds=3_600.0, meter="sliding")
    hands = Hands(limits=[limit], window_requests=50)
    partition = hands.own()
    hands.seconds += 3_601.0
    hands.go(1.0)
    for offset in range(20_000):
        of = request("big", params={"n": str(offset)})
        hands.engine.message(message(of, offset), hands.now)
    hands.put(message(request("small"), 20_000))
    hands.go(1.0)

    assert "small" in hands.asked()
    assert len(partition.entries) <= 2 * 50
    assert partition.books[REQUESTS].parked_count > 19_000
    assert partition.books[REQUESTS].parked_spans == 1


def test_what_lies_far_behind_a_bulk_is_read_without_the_bulk() -> None:
    """Once the small account has room again, its messages are gone to, not read up to."""
    limit = LimitRule(per="account", calls=1, seconds=1.0, meter="sliding")
    hands = Hands(limits=[limit], window_requests=40, parked_most=30)
    partition = hands.own()
    topic = [message(request("big", params={"n": str(n)}), n) for n in range(5_000)]
    topic += [message(request("small", params={"n": str(n)}), 5_000 + n) for n in range(40)]
    topic += [message(request(f"other-{n}"), 5_040 + n) for n in range(30)]
    read_to = seen = delivered = 0
    while sum(end.account != "big" for end in hands.ends) < 70:
        for action in hands.log[seen:]:
            if isinstance(action, Read) and action.at[0] == REQUESTS:
                read_to = action.offset
        seen = len(hands.log)
        if REQUESTS in partition.reading and read_to < len(topic):
            hands.engine.message(topic[read_to], hands.now)
            read_to += 1
            delivered += 1
            hands.go(0.001)
        elif hands.calls:
            hands.answer(hands.calls[0])
        else:
            hands.go(1.0)

    assert hands.seconds < 60.0
    assert delivered < 2 * len(topic)


def test_of_accounts_that_are_done_nothing_is_left() -> None:
    """They may come without end."""
    hands = Hands()
    part = hands.own()
    hands.put(*(request(str(number)) for number in range(50)))
    while hands.calls:
        hands.answer(hands.calls[0])
        hands.go()

    assert len(hands.ends) == 50
    assert (len(part.looking), len(part.scheduler.lengths())) == (0, 0)
