"""The threads that make calls: as many as calls may be in flight, started as they are needed.

None of them waits for a limit or a back-off: what they are handed may start at once. They read
entries and never change them; what came back goes to the loop as events.
"""

import logging
import queue
import threading
import traceback
from typing import Protocol

from reportd.clock import Clock
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.exchange import Answer, Failure, FailureKind
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.events import Event, Events
from reportd.worker.fence import Fence

logger = logging.getLogger(__name__)


class Caller(Protocol):
    """Makes one call of an entry's flow and judges the answer; thread-safe.

    Never raises for what a partner or a network does.
    """

    def call(self, entry: Entry) -> tuple[Answer | Failure, Verdict]:
        """Block until the call is over."""
        ...


class Hand(Protocol):
    """The table of what is in hand, which outlives the process."""

    def take(self, request: str) -> bool:
        """Note a request's id."""
        ...

    def release(self, request: str) -> None:
        """Forget it."""
        ...


class CallLog(Protocol):
    """Who counts calls."""

    def called(self, partner: str, outcome: Outcome, answer: Answer | Failure) -> None:
        """Count one call; from any thread."""
        ...


class Executor:
    """Threads with one queue; in hand: what one of them, or the finishing thread, works on."""

    def __init__(
        self,
        *,
        threads: int,
        caller: Caller,
        engine: Engine,
        events: Events,
        fence: Fence,
        clock: Clock,
        hand: Hand,
        log: CallLog,
        grant_seconds: float,
    ) -> None:
        """Start no thread yet."""
        self._most = threads
        self._caller = caller
        self._engine = engine
        self._events = events
        self._fence = fence
        self._clock = clock
        self._hand = hand
        self._log = log
        self._grant_seconds = grant_seconds
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, entry: Entry, in_flight: int) -> None:
        """Make the next call of an entry in one of the threads."""
        self._hand.take(entry.request.id)
        if len(self._threads) < min(in_flight, self._most):
            thread = threading.Thread(
                target=self._events.guarded(self._run),
                name=f"call-{len(self._threads)}",
                daemon=True,
            )
            self._threads.append(thread)
            thread.start()
        self._queue.put(entry)

    def stop(self) -> None:
        """Let the threads end once they have nothing to do; calls in flight are not waited for."""
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            self._events.put(self._made(entry))

    def _made(self, entry: Entry) -> Event:
        sent_at = self._clock.monotonic()
        late = sent_at - entry.granted_at > self._grant_seconds
        if late or not entry.alive() or not self._fence.is_open(self._clock.boottime()):
            return lambda now: self._engine.not_sent(entry, now)
        answer, verdict = self._called(entry)
        # When it really left: rendering it, and waiting for the interpreter, came before
        sent_at = max(sent_at, self._clock.monotonic() - answer.seconds)
        if not verdict.unsent:
            self._log.called(entry.request.partner, verdict.outcome, answer)
        body = answer.body if isinstance(answer, Answer) and not verdict.empty else b""
        return lambda now: self._engine.answered(entry, verdict, body, sent_at, now)

    def _called(self, entry: Entry) -> tuple[Answer | Failure, Verdict]:
        try:
            return self._caller.call(entry)
        except Exception as error:  # noqa: BLE001 - a bug costs one request's try, not the thread
            logger.error(  # noqa: TRY400 - the error's own text may hold a secret
                "calling for request %s failed unexpectedly: %s\n%s",
                entry.request.id,
                type(error).__name__,
                "".join(traceback.format_tb(error.__traceback__)),
                extra={"action": "call_failed", **entry.request.log_fields()},
            )
            reason = f"{type(error).__name__} while calling"
            failure = Failure(kind=FailureKind.RESET, detail=reason, seconds=0.0)
            return failure, Verdict(outcome=Outcome.UNEXPECTED, reason=reason)
