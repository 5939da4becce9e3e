"""What threads hand the loop, their own end included."""

import threading
import traceback

import pytest

from reportd.errors import EXIT_CONFIG, BrokerError, Halt, ThreadError
from reportd.limits.limiter import Now
from reportd.worker.events import Events

NOW = Now(0.0, 0.0, 0.0)


def run_in_thread(error: BaseException) -> Events:
    """Let a thread named ``finishing`` end by an error."""

    def parse() -> None:
        raise error

    events = Events()
    thread = threading.Thread(target=events.guarded(parse), name="finishing")
    thread.start()
    thread.join()
    return events


@pytest.mark.parametrize("error", [BrokerError("away"), Halt(EXIT_CONFIG, "another store")])
def test_what_ends_a_worker_ends_it_from_any_thread(error: BaseException) -> None:
    """It is raised in the loop as it was, so that the exit status is right."""
    (event,) = run_in_thread(error).take(0.0)

    with pytest.raises(type(error)) as caught:
        event(NOW)
    assert caught.value is error


@pytest.mark.parametrize("error", [ZeroDivisionError("a secret"), SystemExit(0)])
def test_a_bug_ends_the_worker_with_where_it_was(error: BaseException) -> None:
    """The trace leads into the thread; what the error says stays out."""
    (event,) = run_in_thread(error).take(0.0)

    with pytest.raises(ThreadError, match=f"{type(error).__name__} in the thread finish") as caught:
        event(NOW)
    shown = "".join(traceback.format_exception(caught.value))
    assert "in parse" in shown
    assert "a secret" not in shown


def test_a_thread_that_ends_says_nothing() -> None:
    """It was stopped."""
    events = Events()
    events.guarded(lambda: None)()

    assert list(events.take(0.0)) == []
