"""The threads that call: what they check before a call, and what comes back."""

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from reportd.errors import ThreadError
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.exchange import Answer, Failure, FailureKind
from reportd.worker.entry import Entry, State
from reportd.worker.events import Events
from reportd.worker.executor import Executor
from tests.unit.worker.hands import OK, Hands
from tests.unit.worker.making import StoppedClock, request

DEADLINE_SECONDS = 10.0
ANSWER = Answer(status=200, headers={}, body=b"rows", seconds=0.1)

Reply = tuple[Answer | Failure, Verdict]


class Answering(Protocol):
    """What a test lets a partner do."""

    def __call__(self, entry: Entry) -> Reply: ...


class Bench:
    """An executor between an engine and a partner that a test plays."""

    def __init__(self, call: Answering, threads: int = 2) -> None:
        self.hands = Hands()
        self.hands.own()
        self.clock = StoppedClock()
        self.events = Events()
        self.taken: list[str] = []
        self.counted: list[Outcome] = []
        self.call = call
        self.executor = Executor(
            threads=threads,
            caller=self,
            engine=self.hands.engine,
            events=self.events,
            fence=self.hands.fence,
            clock=self.clock,
            hand=self,  # type: ignore[arg-type]  # `release` is the loop's
            log=self,
            grant_seconds=1.0,
        )

    def take(self, request: str) -> bool:
        self.taken.append(request)
        return True

    def called(self, _partner: str, outcome: Outcome, _answer: Answer | Failure) -> None:
        self.counted.append(outcome)

    def start(self) -> Entry:
        """Hand the first call that the engine asked for to the threads."""
        entry = self.hands.calls.pop(0)
        self.executor.start(entry, self.hands.engine.in_flight)
        return entry

    def wait(self, done: Callable[[], bool]) -> None:
        """Carry events to the engine until something has come about."""
        while not done():
            came = list(self.events.take(DEADLINE_SECONDS))
            assert came, "it did not come about"
            for event in came:
                event(self.hands.now)
            self.hands.go()


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    """Give a way to make benches; their threads end with the test."""
    made: list[Bench] = []

    def one(call: Answering = lambda entry: (ANSWER, OK), threads: int = 2) -> Bench:
        made.append(Bench(call, threads))
        return made[-1]

    yield one
    for bench in made:
        bench.executor.stop()


def test_an_answer_comes_back_as_an_event(make: Callable[..., Bench]) -> None:
    """A call is made, counted, judged, and its request ends."""
    bench = make()
    one = request()
    bench.hands.put(one)
    bench.start()
    bench.wait(lambda: bool(bench.hands.ends))

    assert (bench.taken, bench.counted) == ([one.id], [Outcome.OK])
    assert bench.hands.states() == [("a", "result")]


def test_the_request_is_in_hand_before_the_call(make: Callable[..., Bench]) -> None:
    """If the answer kills the worker, the supervisor knows who was in hand."""
    seen = []

    def call(entry: Entry) -> Reply:
        seen.append(list(bench.taken))
        return ANSWER, OK

    bench = make(call)
    one = request()
    bench.hands.put(one)
    bench.start()
    bench.wait(lambda: bool(bench.hands.ends))

    assert seen == [[one.id]]


@pytest.mark.parametrize("why", ["late", "fence", "lost"])
def test_what_may_not_be_sent_any_more_is_not_sent(make: Callable[..., Bench], why: str) -> None:
    """A grant older than a second, a closed fence, a lost partition: no call leaves."""
    bench = make(lambda entry: pytest.fail("it was called"))
    bench.hands.put(request())
    if why == "late":
        bench.clock.seconds = bench.hands.seconds + 1.1
    elif why == "fence":
        bench.hands.fence.close()
    else:
        bench.hands.partition().is_alive = False
    entry = bench.start()
    bench.wait(lambda: bench.hands.engine.in_flight == 0 or bool(bench.hands.calls))

    assert (bench.counted, entry.calls) == ([], 0)


def test_a_failure_is_judged_like_an_answer(make: Callable[..., Bench]) -> None:
    """No answer at all is a verdict too: the request backs off."""
    failure = Failure(kind=FailureKind.TIMEOUT, detail="too slow", seconds=60.0)
    bench = make(lambda entry: (failure, Verdict(outcome=Outcome.TRANSIENT, reason="timeout")))
    bench.hands.put(request())
    entry = bench.start()
    bench.wait(lambda: entry.state is State.BACKOFF)

    assert entry.attempts == 1


def test_a_bug_in_a_call_costs_neither_thread_nor_worker(make: Callable[..., Bench]) -> None:
    """What nobody foresaw is the request's own trouble: it is tried again, others go on."""

    def call(entry: Entry) -> Reply:
        if entry.request.account == "bug":
            raise ZeroDivisionError("nobody foresaw it")
        return ANSWER, OK

    bench = make(call, threads=1)
    bench.hands.put(request("bug"))
    entry = bench.start()
    bench.wait(lambda: entry.state is State.BACKOFF)
    assert (bench.hands.engine.in_flight, entry.unexpected) == (0, 1)

    bench.hands.put(request("a"))
    bench.start()
    bench.wait(lambda: bench.hands.states() == [("a", "result")])


def test_a_thread_that_a_bug_ends_ends_the_worker(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it lost, its call would be in flight for ever."""

    def called(_partner: str, _outcome: Outcome, _answer: Answer | Failure) -> None:
        raise ZeroDivisionError

    bench = make()
    monkeypatch.setattr(bench, "called", called)
    bench.hands.put(request())
    bench.start()

    with pytest.raises(ThreadError, match="ZeroDivisionError in the thread call-0"):
        bench.wait(lambda: bool(bench.hands.ends))


def test_calls_run_side_by_side(make: Callable[..., Bench]) -> None:
    """As many calls as there are threads are under way at once."""
    together = threading.Barrier(3, timeout=DEADLINE_SECONDS)

    def call(entry: Entry) -> Reply:
        together.wait()
        return ANSWER, OK

    bench = make(call, threads=3)
    bench.hands.put(*(request(account) for account in "abc"))
    for _ in range(3):
        bench.start()
    bench.wait(lambda: len(bench.hands.ends) == 3)

    assert not together.broken


def test_an_empty_answers_body_is_not_kept(make: Callable[..., Bench]) -> None:
    """Where the partner says that there is no data, its words are not parsed."""
    verdict = Verdict(outcome=Outcome.OK, empty=True)
    bench = make(lambda entry: (ANSWER, verdict))
    bench.hands.put(request())
    bench.start()
    bench.wait(lambda: bool(bench.hands.ends))

    (finish,) = [action for action in bench.hands.log if type(action).__name__ == "Finish"]
    assert finish.body == b""  # type: ignore[union-attr]  # it is a Finish


def test_what_was_not_sent_is_not_counted_as_a_call() -> None:
    """Metrics of calls count what partners were asked."""
    failure = Failure(kind=FailureKind.REFUSED, detail="no token", seconds=0.0)
    unsent = Verdict(outcome=Outcome.AUTH, reason="no token", unsent=True)
    bench = Bench(lambda entry: (failure, unsent))
    bench.hands.put(request())
    one = bench.start()

    bench.wait(lambda: one.state is State.HELD)

    assert bench.counted == []
