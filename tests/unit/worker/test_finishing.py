"""The threads that look, stage and publish: what they tell the engine."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import pytest

from reportd.errors import FencedError, OutputError, ThreadError, UnexpectedAnswerError
from reportd.model.content import Content, whole
from reportd.sinks.publish import Prepared
from reportd.worker.actions import Finish, LookAt, Spool, StartCall, Sweep
from reportd.worker.entry import Entry, State
from reportd.worker.events import Events
from reportd.worker.finishing import LARGE_BYTES, Finishing, Looking, Outcome
from reportd.worker.partition import Looked, Misfit
from tests.unit.worker.hands import FILE, Hands
from tests.unit.worker.making import entry, request
from tests.unit.worker.test_engine_calls import NEXT

DEADLINE_SECONDS = 10.0


class Storing:
    """An output that takes everything, unless a test says what it raises."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        """What each method raises; ``publish:a``: for the account ``a`` alone."""
        self.done: list[tuple[str, str]] = []
        self.together: list[int] = []

    def _do(self, what: str, one: str) -> None:
        if what in self.errors:
            raise self.errors[what]
        self.done.append((what, one))

    def look(self, entry: Entry) -> Looked:
        self._do("look", entry.request.account)
        return Looked()

    def spool(self, entry: Entry, body: Content) -> tuple[str, int, str]:
        self._do("spool", entry.request.account)
        return "file", len(body), "sha256:00"

    def prepare(self, entry: Entry, body: Content) -> Prepared:
        self._do("prepare", entry.request.account)
        return cast("Prepared", entry)

    def publish_all(self, prepared: Sequence[Prepared]) -> list[Outcome]:
        self.together.append(len(prepared))
        outcomes: list[Outcome] = []
        for one in cast("Sequence[Entry]", prepared):
            error = self.errors.get(f"publish:{one.request.account}")
            outcomes.append(error or ((FILE,), ""))
        return outcomes

    def sweep(self, request_id: str, replay: int) -> None:
        self._do("sweep", request_id)

    def misfit(self, entry: Entry, reason: str, body: Content) -> Misfit:
        self._do("misfit", entry.request.account)
        return Misfit(f"shown: {reason}", whole(body)[:3], "kept")


class Bench:
    """The threads between an engine and an output that a test plays."""

    def __init__(self) -> None:
        self.hands = Hands()
        self.hands.kept = (StartCall, Finish, Spool, LookAt, Sweep)
        self.hands.own()
        self.storing = Storing()
        self.events = Events()
        self.finishing = Finishing(self.storing, self.hands.engine, self.events)
        self.looking = Looking(self.storing, self.hands.engine, self.events)

    def asked(self, account: str = "a") -> Entry:
        """Take a request as far as its call."""
        self.hands.put(request(account))
        self.looking.add(self.hands.done(LookAt)[-1])
        self.wait(lambda: bool(self.hands.calls))
        return self.hands.calls[0]

    def answered(self, account: str = "a") -> Finish:
        """Take a request as far as its answer."""
        self.hands.answer(self.asked(account))
        finish = self.hands.done(Finish)[-1]
        assert isinstance(finish, Finish)
        return finish

    def wait(self, done: Callable[[], bool]) -> None:
        """Carry events to the engine until something has come about."""
        while not done():
            came = list(self.events.take(DEADLINE_SECONDS))
            assert came, "it did not come about"
            for event in came:
                event(self.hands.now)
            self.hands.go()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a bench; its threads end with the test."""
    made = Bench()
    yield made
    made.finishing.stop()
    made.looking.stop()


def test_an_answer_is_prepared_and_published(bench: Bench) -> None:
    """Its request ends with the files that stand."""
    bench.finishing.add(bench.answered())
    bench.wait(lambda: bool(bench.hands.ends))

    assert bench.hands.ends[0].files == (FILE,)


def test_what_is_written_by_then_is_published_together(bench: Bench) -> None:
    """Several answers wait for the disk once, and one that fails stops no other."""
    bench.storing.errors["publish:b"] = OutputError("b: no space left")
    jobs = [bench.answered(account) for account in "abc"]
    for job in jobs:
        bench.finishing.add(job)
    bench.wait(lambda: bench.hands.engine.outlet.storing_count == 0)

    assert sorted(bench.hands.states()) == [("a", "result"), ("c", "result")]
    assert sum(bench.storing.together) == 3


def test_some_are_parsed_before_anybody_is_woken_to_publish_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four at a time of those that wait."""
    parsing, go = threading.Event(), threading.Event()
    done: list[str] = []

    def prepare(entry: Entry, _body: Content) -> Prepared:
        parsing.set()
        assert go.wait(DEADLINE_SECONDS)
        done.append(f"parsed {entry.request.account}")
        return cast("Prepared", entry)

    files = bench.finishing._files
    put = files.put

    def hand_on(job: tuple[Finish, Prepared] | Spool | Sweep) -> None:
        assert isinstance(job, tuple)
        done.append(f"handed on {job[0].entry.request.account}")
        put(job)

    monkeypatch.setattr(bench.storing, "prepare", prepare)
    monkeypatch.setattr(files, "put", hand_on)
    jobs = [bench.answered(account) for account in "abcdef"]
    bench.finishing.add(jobs[0])
    assert parsing.wait(DEADLINE_SECONDS)
    for job in jobs[1:]:
        bench.finishing.add(job)
    go.set()
    bench.wait(lambda: bench.hands.engine.outlet.storing_count == 0)

    assert done[:2] == ["parsed a", "handed on a"]
    assert done[2:10] == [f"{what} {one}" for what in ("parsed", "handed on") for one in "bcde"]
    assert done[10:] == ["parsed f", "handed on f"]


def test_a_large_answer_holds_up_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is parsed beside them, and while it is they end."""
    go = threading.Event()

    def prepare(entry: Entry, _body: Content) -> Prepared:
        if entry.request.account == "a":
            assert go.wait(DEADLINE_SECONDS)
        return cast("Prepared", entry)

    monkeypatch.setattr(bench.storing, "prepare", prepare)
    bench.hands.answer(bench.asked("a"), body=bytes(LARGE_BYTES + 1))
    bench.finishing.add(bench.hands.done(Finish)[-1])
    bench.finishing.add(bench.answered("b"))
    bench.wait(lambda: bool(bench.hands.ends))
    assert bench.hands.states() == [("b", "result")]
    go.set()
    bench.wait(lambda: bench.hands.engine.outlet.storing_count == 0)

    assert sorted(bench.hands.states()) == [("a", "result"), ("b", "result")]


def test_for_a_store_with_long_ways_several_threads_wait(bench: Bench) -> None:
    """One that is held up by the network holds up no other request's publication."""
    both = threading.Barrier(2)

    def publish_all(prepared: Sequence[Prepared]) -> list[Outcome]:
        both.wait(DEADLINE_SECONDS)
        return [((FILE,), "") for _ in prepared]

    bench.storing.publish_all = publish_all  # type: ignore[method-assign]  # a test's own double
    bench.finishing = Finishing(bench.storing, bench.hands.engine, bench.events, threads=2)
    jobs = [bench.answered(account) for account in "ab"]
    for job in jobs:
        bench.finishing.add(job)
    bench.wait(lambda: bench.hands.engine.outlet.storing_count == 0)

    assert sorted(bench.hands.states()) == [("a", "result"), ("b", "result")]


def test_a_page_is_spooled(bench: Bench) -> None:
    """Its step record follows."""
    bench.hands.answer(bench.asked(), NEXT, b"page")
    (spool,) = bench.hands.done(Spool)
    bench.finishing.add(spool)
    bench.wait(lambda: bool(bench.hands.calls))

    assert [step.bytes for step in bench.hands.calls[0].steps] == [4]


def test_an_answer_that_does_not_parse_starts_over(bench: Bench) -> None:
    """The request backs off; the thread goes on."""
    bench.storing.errors["prepare"] = UnexpectedAnswerError("no column clicks")
    finish = bench.answered()
    bench.finishing.add(finish)
    bench.wait(lambda: finish.entry.state is State.BACKOFF)

    assert finish.entry.unexpected == 1
    assert finish.entry.sample == whole(finish.body)[:3], "kept as nobody made it fit to be seen"


@pytest.mark.parametrize("what", ["prepare", "publish:a"])
def test_an_output_that_is_away_keeps_the_answer(bench: Bench, what: str) -> None:
    """The same job is asked for again, and done once the output is back."""
    bench.storing.errors[what] = OutputError("no space left")
    finish = bench.answered()
    bench.finishing.add(finish)
    bench.wait(lambda: bench.hands.engine.outlet.reason == "no space left")
    bench.storing.errors.clear()
    bench.hands.go(2.0)
    assert bench.hands.done(Finish) == [finish, finish]
    bench.finishing.add(finish)
    bench.wait(lambda: bool(bench.hands.ends))

    assert bench.hands.engine.outlet.reason == ""


@pytest.mark.parametrize("what", ["prepare", "publish:a"])
def test_a_closed_fence_is_no_fault_of_the_output(bench: Bench, what: str) -> None:
    """The answer is kept for when it opens again; nothing says that the output is away."""
    bench.storing.errors[what] = FencedError()
    finish = bench.answered()
    bench.finishing.add(finish)
    bench.wait(lambda: bench.hands.engine.outlet.storing_count == 0)
    bench.hands.go(2.0)

    assert bench.hands.done(Finish) == [finish, finish]
    assert bench.hands.engine.outlet.reason == ""


def test_a_bug_while_storing_is_the_requests_own(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw is logged with where it was, not what it says; the thread goes on."""
    bench.storing.errors["prepare"] = ZeroDivisionError("what a partner sent")
    finish = bench.answered()
    with caplog.at_level(logging.ERROR):
        bench.finishing.add(finish)
        bench.wait(lambda: finish.entry.state is State.BACKOFF)
    (record,) = caplog.records
    assert "ZeroDivisionError" in record.getMessage()
    assert "in prepare" in record.getMessage()
    assert "what a partner sent" not in caplog.text

    bench.storing.errors.clear()
    bench.finishing.add(bench.answered("b"))
    bench.wait(lambda: bench.hands.states() == [("b", "result")])


def test_an_answer_that_cannot_even_be_shown_is_tried_again(bench: Bench) -> None:
    """Nothing of it is kept, and the thread goes on."""
    bench.storing.errors["prepare"] = UnexpectedAnswerError("what a partner sent")
    bench.storing.errors["misfit"] = ZeroDivisionError("what a partner sent")
    finish = bench.answered()
    bench.finishing.add(finish)
    bench.wait(lambda: finish.entry.state is State.BACKOFF)
    assert finish.entry.sample == b""

    bench.storing.errors.clear()
    bench.finishing.add(bench.answered("b"))
    bench.wait(lambda: bench.hands.states() == [("b", "result")])


def test_a_thread_that_a_bug_ends_ends_the_worker(bench: Bench) -> None:
    """Were it lost, the answers behind it would wait for ever."""
    bench.storing.errors["sweep"] = ZeroDivisionError()
    bench.finishing.add(Sweep("ab", 0))

    with pytest.raises(ThreadError, match="ZeroDivisionError in the thread publishing"):
        bench.wait(lambda: False)


def test_a_look_that_fails_is_asked_again(bench: Bench) -> None:
    """Nothing is called as long as it is not known what stands there."""
    bench.storing.errors["look"] = OutputError("away")
    bench.hands.put(request())
    (look,) = bench.hands.done(LookAt)
    bench.looking.add(look)
    bench.wait(lambda: bool(bench.hands.engine.outlet.reason))
    bench.hands.go(2.0)

    assert (bench.hands.done(LookAt), bench.hands.calls) == ([look, look], [])


def test_a_sweep_that_fails_is_left_to_the_next(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left over goes by its age; what comes after it is done."""
    bench.storing.errors["sweep"] = OutputError("away")
    finish = bench.answered()
    bench.finishing.add(Sweep("ab", 0))
    bench.finishing.add(finish)
    bench.wait(lambda: bool(bench.hands.ends))

    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_jobs_handed_over_before_the_end_are_done(bench: Bench) -> None:
    """Stopping lets the threads finish what they have."""
    finish = bench.answered()
    bench.looking.add(LookAt(entry("z")))
    bench.looking.stop()
    bench.finishing.add(Sweep("ab", 0))
    bench.finishing.add(finish)
    bench.wait(lambda: bool(bench.hands.ends))

    assert ("sweep", "ab") in bench.storing.done
