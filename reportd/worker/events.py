"""What happened elsewhere, on its way to the engine: from threads and callbacks to the loop."""

import queue
from collections.abc import Callable, Iterator
from typing import TypeAlias

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

    def take(self, timeout_seconds: float) -> Iterator[Event]:
        """Yield what is there, after waiting for a first one for at most ``timeout_seconds``."""
        try:
            if timeout_seconds > 0:
                yield self._queue.get(timeout=timeout_seconds)
            while True:
                yield self._queue.get_nowait()
        except queue.Empty:
            return
