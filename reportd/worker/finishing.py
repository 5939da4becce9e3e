"""The threads that store answers, and those that look.

One thread a process parses: threads that do so side by side cost more than they give (DESIGN.md,
"Facts checked"). What is large has one of its own, so that minutes of it hold up nothing else.
Another one waits for the disk, for all that is written by then at once; a
bucket is waited for by many, each for one request. Looking at receipts has threads of its own, so
that a request that is about to start does not wait behind those that end.
"""

import logging
import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from reportd.errors import FencedError, OutputError, UnexpectedAnswerError
from reportd.model.content import Content
from reportd.model.ledger import PublishedFile
from reportd.sinks.publish import Prepared
from reportd.worker.actions import Finish, LookAt, Spool, Sweep
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry
from reportd.worker.events import Event, Events
from reportd.worker.partition import Looked, Misfit

logger = logging.getLogger(__name__)

Outcome: TypeAlias = tuple[tuple[PublishedFile, ...], str] | Exception
"""The files, and the run that had newer ones if all were; or what was raised."""

TOGETHER_MOST = 32
"""Requests whose files are published in one go."""

LARGE_BYTES = 2 * 1024 * 1024
"""Answers of more, as they came or were spooled, are parsed beside the others."""

HANDED_ON_MOST = 4
"""Requests that are parsed before their files are handed on: whoever is woken to publish wants the
interpreter from the thread that parses, so it is not woken for each."""


class Storing(Protocol):
    """The output as the worker uses it.

    Each method blocks; raises `OutputError` when the output is away, `FencedError` when the lease
    has run out.
    """

    def look(self, entry: Entry) -> Looked:
        """Say what stands there for a request; publishes its complete temp files."""
        ...

    def spool(self, entry: Entry, body: Content) -> tuple[str, int, str]:
        """Store one answer durably: file, size in bytes, checksum."""
        ...

    def prepare(self, entry: Entry, body: Content) -> Prepared:
        """Parse the answers and stage the files; raises `UnexpectedAnswerError`."""
        ...

    def publish_all(self, prepared: Sequence[Prepared]) -> list[Outcome]:
        """Publish what was prepared, and say what became of each."""
        ...

    def sweep(self, request_id: str, replay: int) -> None:
        """Delete a request's spool and temp files."""
        ...

    def misfit(self, entry: Entry, reason: str, body: Content) -> Misfit:
        """Keep an answer that does not fit, and return what people may see of it."""
        ...


T = TypeVar("T")


class _Jobs(Generic[T]):
    """Threads that do what waits for them: one takes up to `TOGETHER_MOST`, each of many one."""

    def __init__(
        self, name: str, do: Callable[[Sequence[T]], None], events: Events, threads: int = 1
    ) -> None:
        self._do = do
        self._together_most = TOGETHER_MOST if threads == 1 else 1
        self._queue: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=events.guarded(self._run), name=name, daemon=True)
            for _ in range(threads)
        ]
        self._started = False
        self._starting = threading.Lock()

    def put(self, job: T) -> None:
        if not self._started:
            with self._starting:
                if not self._started:
                    self._started = True
                    for thread in self._threads:
                        thread.start()
        self._queue.put(job)

    def stop(self) -> None:
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            jobs = [job]
            going = True
            while going and len(jobs) < self._together_most:
                try:
                    another = self._queue.get_nowait()
                except queue.Empty:
                    break
                if another is None:
                    going = False
                else:
                    jobs.append(another)
            self._do(jobs)
            if not going:
                return


class Finishing:
    """Stores answers: what one thread has parsed and staged, others make durable and publish.

    ``threads``: one for a disk (all that waits shares a wait), many for a store with long ways.
    """

    def __init__(
        self, storing: Storing, engine: Engine, events: Events, *, threads: int = 1
    ) -> None:
        """Start the threads with their first job."""
        self._storing = storing
        self._engine = engine
        self._events = events
        self._answers: _Jobs[Finish] = _Jobs("finishing", self._prepare, events)
        self._large: _Jobs[Finish] = _Jobs("finishing-large", self._prepare, events)
        self._files: _Jobs[tuple[Finish, Prepared] | Spool | Sweep] = _Jobs(
            "publishing", self._publish, events, threads
        )

    def add(self, job: Finish | Spool | Sweep) -> None:
        """Do a job after those before it."""
        if isinstance(job, Finish):
            (self._large if _is_large(job) else self._answers).put(job)
        else:
            self._files.put(job)

    def stop(self) -> None:
        """Let the threads end after the jobs they have."""
        self._answers.stop()
        self._large.stop()
        self._files.stop()

    def _prepare(self, jobs: Sequence[Finish]) -> None:
        for start in range(0, len(jobs), HANDED_ON_MOST):
            for ready in [self._prepared(job) for job in jobs[start : start + HANDED_ON_MOST]]:
                if ready is not None:
                    self._files.put(ready)

    def _prepared(self, job: Finish) -> tuple[Finish, Prepared] | None:
        try:
            return job, self._storing.prepare(job.entry, job.body)
        except Exception as error:  # noqa: BLE001 - told apart there
            self._events.put(self._failed(job, error))
            return None

    def _publish(self, jobs: Sequence[tuple[Finish, Prepared] | Spool | Sweep]) -> None:
        together = []
        for job in jobs:
            if isinstance(job, Sweep):
                self._sweep(job)
            elif isinstance(job, Spool):
                self._events.put(self._spooled(job))
            else:
                together.append(job)
        if not together:
            return
        outcomes = self._storing.publish_all([prepared for _, prepared in together])
        for (finish, _), outcome in zip(together, outcomes, strict=True):
            self._events.put(self._published(finish, outcome))

    def _published(self, job: Finish, outcome: Outcome) -> Event:
        engine, entry = self._engine, job.entry
        if isinstance(outcome, Exception):
            return self._failed(job, outcome)
        files, newer = outcome
        return lambda now: engine.published(entry, files, newer, now)

    def _spooled(self, job: Spool) -> Event:
        engine, entry = self._engine, job.entry
        try:
            file, size, checksum = self._storing.spool(entry, job.body)
        except Exception as error:  # noqa: BLE001 - told apart there
            return self._failed(job, error)
        return lambda now: engine.spooled(entry, file, size, checksum, now)

    def _failed(self, job: Finish | Spool, error: Exception) -> Event:
        engine, entry = self._engine, job.entry
        kept = _kept(engine, job, error)
        if kept is not None:
            return kept
        reason = str(error)
        if not isinstance(error, UnexpectedAnswerError):
            reason = _unforeseen(entry, error)
        try:
            misfit = self._storing.misfit(entry, reason, job.body)
        except Exception as bug:  # noqa: BLE001 - people see less of one answer, that is all
            misfit = Misfit(_unforeseen(entry, bug))
        return lambda now: engine.unparsable(entry, misfit, now)

    def _sweep(self, job: Sweep) -> None:
        try:
            self._storing.sweep(job.request_id, job.replay)
        except OutputError as error:
            extra = {"action": "sweep_failed", "request": job.request_id}
            logger.warning("left-over spool stays for now: %s", error, extra=extra)


def _is_large(job: Finish) -> bool:
    return len(job.body) + sum(step.bytes for step in job.entry.steps) > LARGE_BYTES


class Looking:
    """Looks at receipts, as many requests at once as there are threads, and tells the engine."""

    def __init__(
        self, storing: Storing, engine: Engine, events: Events, *, threads: int = 1
    ) -> None:
        """Start the thread with its first job."""
        self._storing = storing
        self._engine = engine
        self._events = events
        self._jobs: _Jobs[LookAt] = _Jobs("looking", self._look, events, threads)

    def add(self, job: LookAt) -> None:
        """Do a job after those before it."""
        self._jobs.put(job)

    def stop(self) -> None:
        """Let the thread end after the jobs it has."""
        self._jobs.stop()

    def _look(self, jobs: Sequence[LookAt]) -> None:
        for job in jobs:
            self._events.put(self._looked(job))

    def _looked(self, job: LookAt) -> Event:
        engine, entry = self._engine, job.entry
        try:
            looked = self._storing.look(entry)
        except Exception as error:  # noqa: BLE001 - told apart there
            kept = _kept(engine, job, error)
            if kept is not None:
                return kept
            reason = _unforeseen(entry, error)
            return lambda now: engine.not_stored(entry, job, reason, now)
        return lambda now: engine.looked(entry, looked, now)


def _kept(engine: Engine, job: Finish | Spool | LookAt, error: Exception) -> Event | None:
    """Return what the engine is told of a job to be done again; None: the request's own fault."""
    entry, reason = job.entry, str(error)
    if isinstance(error, FencedError):
        return lambda now: engine.fenced(entry, job, now)
    if isinstance(error, OutputError):
        return lambda now: engine.not_stored(entry, job, reason, now)
    return None


def _unforeseen(entry: Entry, error: Exception) -> str:
    """Log where it happened; what the error says may be the answer's, and a secret in it."""
    name = type(error).__name__
    logger.error(
        "storing the answer of request %s failed unexpectedly: %s\n%s",
        entry.request.id,
        name,
        "".join(traceback.format_tb(error.__traceback__)),
        extra={"action": "store_failed", **entry.request.log_fields()},
    )
    return f"{name} while storing"
