"""The thread that tidies up: what becomes of trouble in it."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from reportd.broker.admin import Admin
from reportd.errors import OutputError, ThreadError
from reportd.limits.limiter import Now
from reportd.sinks.local import LocalStore
from reportd.sinks.spool import Spool
from reportd.worker.events import Events
from reportd.worker.tidying import Tidier, Tidy

DEADLINE_SECONDS = 10.0
NOTHING = Tidy({}, {}, frozenset())


class Troubled(LocalStore):
    """An output that cannot be swept."""

    error: Exception

    def sweep(
        self, _older_than_seconds: float, _now: float, _is_open: Callable[[str], bool]
    ) -> int:
        raise self.error


def no_admin() -> Admin:
    """Stand for a client that is not needed."""
    raise NotImplementedError


def tidier(root: Path, error: Exception, events: Events) -> Tidier:
    """Return one that never gets as far as the broker."""
    store = Troubled(root)
    store.error = error
    return Tidier(no_admin, store, Spool(store), lambda: 0.0, events)


def test_an_output_that_is_away_is_tidied_an_hour_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and nothing else."""
    events = Events()
    with caplog.at_level(logging.WARNING):
        tidier(tmp_path, OutputError("away"), events).tidy(NOTHING)

    assert [record.getMessage() for record in caplog.records] == ["tidying up has to wait: away"]
    assert list(events.take(0.0)) == []


def test_a_thread_that_a_bug_ends_ends_the_worker(tmp_path: Path) -> None:
    """Were it lost, topics and staging would grow for ever."""
    events = Events()
    tidier(tmp_path, ZeroDivisionError(), events).add(NOTHING)
    (event,) = events.take(DEADLINE_SECONDS)

    with pytest.raises(ThreadError, match="ZeroDivisionError in the thread tidying"):
        event(Now(0.0, 0.0, 0.0))
