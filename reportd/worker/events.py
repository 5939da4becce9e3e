"""What happened elsewhere, on its way to the engine: from threads and callbacks to the loop."""

import functools
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

from reportd.errors import BrokerError, Halt, ThreadError
from reportd.limits.limiter import Now

Event: TypeAlias = Callable[[Now], None]
"""Called by the loop with the present instant; what it raises ends the worker."""


class Events:
    """A queue that any thread may put into and the loop alone takes from."""

    def __init__(self) -> None:
        """Begin empty."""
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        """Add an event; safe from any thread and from a callback."""
        self._queue.put(event)

    def guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        """Return ``run`` for a thread: what it raises ends the worker, and is not lost with it."""

        def guarded() -> None:
            try:
                run()
            except BaseException as error:  # noqa: BLE001 - the loop raises it again
                self.put(ending(error))

        return guarded

    def take(self, timeout_seconds: float) -> Iterator[Event]:
        """Yield what is there, after waiting for a first one for at most ``timeout_seconds``."""
        try:
            if timeout_seconds > 0:
                yield self._queue.get(timeout=timeout_seconds)
            while True:
                yield self._queue.get_nowait()
        except queue.Empty:
            return


def ending(error: BaseException) -> Event:
    """Return an event that ends the worker with what this thread met, and where.

    What a bug says is left out: it may be an answer's text, and a secret in it.
    """
    if not isinstance(error, Halt | BrokerError):
        name = f"{type(error).__name__} in the thread {threading.current_thread().name}"
        error = ThreadError(name).with_traceback(error.__traceback__)
    return functools.partial(_raise, error)


def _raise(error: BaseException, _now: Now) -> None:
    raise error
