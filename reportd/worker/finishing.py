"""The thread that stores answers: parse, write, fsync, rename; and the one that looks.

One finishing thread a process: threads that parse and write side by side cost more than they give
(DESIGN.md, "Facts checked"). Looking at receipts has a thread of its own, so that a request that
is about to start does not wait behind those that end.
"""

import logging
import queue
import threading
from typing import Protocol

from reportd.errors import FencedError, OutputError, UnexpectedAnswerError
from reportd.model.ledger import PublishedFile
from reportd.worker.actions import Finish, LookAt, Spool, Sweep
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.events import Event, Events
from reportd.worker.partition import Looked

logger = logging.getLogger(__name__)

Job = Finish | Spool | LookAt | Sweep


class Storing(Protocol):
    """The output as the worker uses it.

    Each method blocks; raises `OutputError` when the output is away, `FencedError` when the lease
    has run out.
    """

    def look(self, entry: Entry) -> Looked:
        """Say what stands there for a request; publishes its complete temp files."""
        ...

    def spool(self, entry: Entry, body: bytes) -> tuple[str, int, str]:
        """Store one answer durably: file, size in bytes, checksum."""
        ...

    def publish(self, entry: Entry, body: bytes) -> tuple[tuple[PublishedFile, ...], str]:
        """Parse the answers and publish the files; the run that had newer ones, if all were.

        Raises `UnexpectedAnswerError`.
        """
        ...

    def sweep(self, request_id: str, replay: int) -> None:
        """Delete a request's spool and temp files."""
        ...


class StoreThread:
    """Does store jobs one after the other and tells the engine what became of them."""

    def __init__(self, name: str, storing: Storing, engine: Engine, events: Events) -> None:
        """Start the thread with its first job."""
        self._storing = storing
        self._engine = engine
        self._events = events
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def add(self, job: Job) -> None:
        """Do a job after those before it."""
        if not self._started:
            self._started = True
            self._thread.start()
        self._queue.put(job)

    def stop(self) -> None:
        """Let the thread end after the jobs it has."""
        self._queue.put(None)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            event = self._done(job)
            if event is not None:
                self._events.put(event)

    def _done(self, job: Job) -> Event | None:
        engine = self._engine
        if isinstance(job, Sweep):
            self._sweep(job)
            return None
        entry = job.entry
        try:
            return self._do(job)
        except FencedError:
            return lambda now: engine.fenced(entry, job, now)
        except OutputError as error:
            reason = str(error)
            logger.warning("the output is away: %s", reason, extra={"action": "output_away"})
            return lambda now: engine.not_stored(entry, job, reason, now)
        except UnexpectedAnswerError as error:
            reason = str(error)
            return lambda now: engine.unparsable(entry, reason, now)
        except Exception as error:
            logger.exception(
                "storing the answer of request %s failed unexpectedly",
                entry.request.id,
                extra={"action": "store_failed"},
            )
            reason = f"{type(error).__name__} while storing: {error}"
            if isinstance(job, LookAt):
                return lambda now: engine.not_stored(entry, job, reason, now)
            return lambda now: engine.unparsable(entry, reason, now)

    def _do(self, job: Finish | Spool | LookAt) -> Event:
        engine, entry = self._engine, job.entry
        if isinstance(job, LookAt):
            looked = self._storing.look(entry)
            return lambda now: engine.looked(entry, looked, now)
        if isinstance(job, Spool):
            file, size, checksum = self._storing.spool(entry, job.body)
            return lambda now: engine.spooled(entry, file, size, checksum, now)
        files, newer = self._storing.publish(entry, job.body)
        return lambda now: engine.published(entry, files, newer, now)

    def _sweep(self, job: Sweep) -> None:
        try:
            self._storing.sweep(job.request_id, job.replay)
        except OutputError as error:
            extra = {"action": "sweep_failed", "request": job.request_id}
            logger.warning("left-over spool stays for now: %s", error, extra=extra)
