"""Signals as a queue: handlers only enqueue, the supervisor's loop does the work."""

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager

LEAVE = signal.SIGUSR2
"""Tells a child to stop for good: what it has is for others, nobody takes its place."""
HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGCHLD,
)


class Inbox:
    """The signals that have come and were not handled yet, in order."""

    def __init__(self) -> None:
        """Start empty; nothing is installed before `listening`."""
        self._queue: queue.SimpleQueue[int] = queue.SimpleQueue()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Collect signals while the block runs; main thread only. Restores what was before."""
        # SimpleQueue.put is reentrant: safe in a handler, even inside another put or a get.
        before = {
            number: signal.signal(number, lambda got, _frame: self._queue.put(got))
            for number in HANDLED
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def next(self, timeout_seconds: float) -> list[int]:
        """Wait for a signal; return all that have come, or nothing after the timeout."""
        try:
            found = [self._queue.get(timeout=max(0.0, timeout_seconds))]
        except queue.Empty:
            return []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return found


@contextmanager
def blocked() -> Iterator[None]:
    """Hold the handled signals back while the block runs (a fork and what belongs to it).

    A child that is forked inside never leaves the block: it installs its own handlers first
    and then calls `unblock`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*HANDLED, LEAVE))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock() -> None:
    """Let the handled signals through again; in a child, once its handlers are in place."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*HANDLED, LEAVE))
