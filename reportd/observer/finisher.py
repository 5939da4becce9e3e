"""The observer's thread that sees to runs that are over: their file, days' marks, who is told.

Every VM's observer may do it, at once or one after the other: each step is made once, or comes to
the same. The order: the list of files, the run's file (atomic, once), the days' marks, the record
in the topic ``runs``, whoever is told, the record that they were. Whoever comes after a crash finds
what stands there and goes on. The VM that comes first in the machines' order begins; each other
one waits a while for those before it.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import orjson

from reportd.clock import Clock
from reportd.errors import BrokerError, OutputError, ReportdError
from reportd.model.run import Finished, Manifest
from reportd.observer.brokerwatch import BrokerSight
from reportd.observer.day_marks import mark_days
from reportd.observer.lacking import Lacking, Lacks, older_partial
from reportd.observer.run_file import (
    Document,
    content_mark,
    document,
    document_in,
    file_name,
    finished_of,
    list_in,
    list_name,
)
from reportd.observer.run_reader import Found
from reportd.observer.run_sum import Missing, RunSum
from reportd.observer.runs import Due
from reportd.sinks.store import Marks

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
TURN_OF_ONE_SECONDS = 30.0
"""How long each VM waits for each one before it, beside the telling ..."""
READ_A_SECOND = 5_000
"""... and the reading of so many ends a second."""
AGAIN_SECONDS = 30.0
AGAIN_MOST_SECONDS = 1800.0
TELL_SECONDS = 86400.0
"""Who could not be told of a run for so long is not told."""
LEAVE_SECONDS = 3.0
NOT_WHOLE = "not all of its requests have ended: moved to another partition, or trimmed"
OVERLAP_SECONDS = 3600.0
"""So long a run that was seen to here is compared with what other VMs saw to meanwhile ..."""
CLOCKS_SECONDS = 60.0
"""... whose clocks may differ by so much."""


class Ledgers(Protocol):
    """Where it is read what became of a run (`reportd.observer.run_reader.RunReader`)."""

    def read(self, manifest: Manifest) -> Found: ...  # noqa: D102  # see there
    def unasked(self, total: RunSum, run: str) -> list[Missing]: ...  # noqa: D102


class Tell(Protocol):
    """Who is told (`reportd.observer.telling.Telling`)."""

    @property
    def is_wanted(self) -> bool: ...  # noqa: D102  # see there
    @property
    def longest_seconds(self) -> float: ...  # noqa: D102
    def tell(self, finished: Finished) -> list[str]: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class FinisherClients:
    """What the thread talks through; made in the thread, when the first run is over."""

    ledgers: Ledgers
    write: Callable[[Finished], None]
    """Write the record and wait until it is there; raises `BrokerError`."""
    marks: Marks
    close: Callable[[], None]


@dataclass(slots=True)
class _Trial:
    """How far one due thing has come here."""

    seen_at: float
    next_at: float = 0.0
    failures: int = 0
    trouble: str = ""
    """Why the last try came to nothing."""
    done: bool = False


@dataclass(slots=True)
class _Marked:
    """A run whose days were marked here, and what else was marked by others at the same time."""

    name: str
    began: float
    until: float
    compared: set[str]
    """Events."""


class Finisher:
    """The thread, and what it knows."""

    def __init__(
        self,
        sight: Callable[[], BrokerSight],
        connect: Callable[[], FinisherClients],
        tell: Tell,
        machine: str,
        clock: Clock,
    ) -> None:
        """Wire it; `start` starts the thread. ``connect`` may raise `OutputError`."""
        self._sight = sight
        self._connect = connect
        self._tell = tell
        self._machine = machine
        self._clock = clock
        self._clients: FinisherClients | None = None
        self._trials: dict[tuple[str, int, bool, bool], _Trial] = {}
        self._marked: dict[str, _Marked] = {}
        self._lacking = Lacking()
        self._again_at: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it between two runs, or leave it where it is after a few seconds."""
        self._stop.set()
        self._thread.join(LEAVE_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.turn()
        if self._clients is not None:
            self._clients.close()

    def turn(self) -> None:
        """See to what is due, the oldest run first."""
        sight = self._sight()
        dues = {
            (due.manifest.run, due.mend, due.is_untold, due.is_held_up): due for due in sight.due
        }
        self._trials = {key: trial for key, trial in self._trials.items() if key in dues}
        before = sum(vm.machine < self._machine for vm in sight.vms)
        for key, due in dues.items():
            now = self._clock.monotonic()
            trial = self._trials.setdefault(key, _Trial(now))
            waits_until = max(trial.next_at, trial.seen_at + before * self._turn_of_one(due))
            if trial.done or now < waits_until or self._stop.is_set():
                continue
            trial.trouble = self._try(due)
            if not trial.trouble:
                trial.done = True
                continue
            trial.failures += 1
            pause = min(AGAIN_MOST_SECONDS, AGAIN_SECONDS * 2.0 ** (trial.failures - 1))
            trial.next_at = self._clock.monotonic() + pause
        self._again("compare", self._compare, sight)
        self._again("look back", self._look_back, sight)

    def _turn_of_one(self, due: Due) -> float:
        reads = due.manifest.requests / READ_A_SECOND
        return TURN_OF_ONE_SECONDS + reads + self._tell.longest_seconds

    def _again(self, name: str, look: Callable[[BrokerSight], None], sight: BrokerSight) -> None:
        """Look at runs that were seen to; a strange file among them does not end the thread."""
        now = self._clock.monotonic()
        if now < self._again_at.get(name, now):
            return
        try:
            look(sight)
        except (BrokerError, OutputError) as error:
            self._again_at[name] = now + AGAIN_SECONDS
            logger.warning("runs that are over: %s", error, extra={"action": "run_waits"})
        except Exception:
            self._again_at[name] = now + AGAIN_MOST_SECONDS
            logger.exception(
                "runs that are over cannot be looked at again", extra={"action": "run_unfinished"}
            )

    def stuck(self) -> dict[str, str]:
        """Return the runs that seem to be over and were tried in vain, with why. Any thread."""
        trials = list(self._trials.items())
        return {
            run: trial.trouble for (run, *_, held), trial in trials if trial.trouble and not held
        }

    def lacks(self) -> Lacks:
        """Return what runs before each schedule's newest still lack. Any thread."""
        return self._lacking.lacks

    def _look_back(self, sight: BrokerSight) -> None:
        now, wall = self._clock.monotonic(), self._clock.wall()
        if self._clients is None:
            if not older_partial(sight.over.values(), wall):
                return
            self._clients = self._connect()
        self._lacking.look(sight.over, self._clients.marks.read, wall, now)

    def _try(self, due: Due) -> str:
        """See to it; return why it could not be done."""
        run = due.manifest.run
        try:
            if self._clients is None:
                self._clients = self._connect()
            return self._finish(due, self._clients)
        except (BrokerError, OutputError) as error:
            trouble = str(error)
            logger.warning(
                "%s is over, but that cannot be written now: %s",
                run,
                error,
                extra={"action": "run_waits", "run": run},
            )
        except ReportdError as error:
            trouble = str(error)
            logger.error(  # noqa: TRY400  # it says what is wrong; where does not matter
                "%s: %s", run, error, extra={"action": "run_unfinished", "run": run}
            )
        except Exception as error:  # one strange run must not take the VM's metrics away
            trouble = f"{type(error).__name__}: see the log"
            logger.exception(
                "%s cannot be finished", run, extra={"action": "run_unfinished", "run": run}
            )
        return trouble

    def _finish(self, due: Due, clients: FinisherClients) -> str:
        finished = due.before
        if finished is None or not due.is_untold:
            found = self._written(due, clients)
            if found is None:
                return NOT_WHOLE
            if self._is_told(found):
                return ""
            began = self._clock.wall()
            mark_days(found, clients.marks)
            finished = finished_of(found, notified=not self._is_news(found, due))
            self._note_marked(finished, began)
            clients.write(finished)
            _say(finished)
        if finished.notified:
            return ""
        if problems := self._told(finished):
            return problems
        clients.write(finished.model_copy(update={"notified": True}))
        return ""

    def _written(self, due: Due, clients: FinisherClients) -> Document | None:
        """Return the run's file, written now if it is not there; None: not all has ended."""
        run, mend = due.manifest.run, due.mend
        while (standing := document_in(clients.marks.read(file_name(run, mend)))) is not None:
            if standing["ids_hash"] == due.manifest.ids_hash:
                return standing
            mend += 1  # of requests that were not the same: another life of the topics
        found = clients.ledgers.read(due.manifest)
        if not found.total.is_whole():
            logger.log(
                logging.DEBUG if due.is_held_up else logging.WARNING,
                "%s: its offsets are committed, but %s",
                run,
                NOT_WHOLE,
                extra={"action": "run_not_whole", "run": run},
            )
            return None
        unasked = clients.ledgers.unasked(found.total, run)
        listed = list_name(run, mend, content_mark(found.files))
        made = document(due, mend, listed, found.total, unasked, self._clock.wall())
        if due.is_held_up and not _has_changed(made, due):
            return None
        clients.marks.replace(listed, found.files)
        data = orjson.dumps(made, option=orjson.OPT_INDENT_2)
        name = file_name(run, mend)
        if clients.marks.create(name, data):
            return made
        standing = document_in(clients.marks.read(name))  # another VM was first
        if standing is None:
            raise OutputError(f"{name} is neither there nor can be made")
        if list_in(standing) != listed:  # it found less, or more
            clients.marks.remove(listed)
        return standing

    def _is_told(self, found: Document) -> bool:
        """Say whether another VM has done all of it while this one read the ledgers."""
        known = self._sight().over.get(found["run"])
        if known is None or not known.notified:
            return False
        return (known.mend, known.finished_at) == (found["mend"], found["finished_at"])

    def _note_marked(self, finished: Finished, began: float) -> None:
        until = self._clock.wall() + OVERLAP_SECONDS
        name = file_name(finished.run, finished.mend)
        self._marked[finished.event] = _Marked(name, began, until, {finished.event})

    def _compare(self, sight: BrokerSight) -> None:
        """Mark once more what two VMs marked at once: either may not have seen the other's mark.

        A mark is read, changed and written, and no store lets nobody come between.
        """
        wall = self._clock.wall()
        self._marked = {event: one for event, one in self._marked.items() if one.until > wall}
        if self._clients is None:
            return
        marks = self._clients.marks
        for mine in self._marked.values():
            for other in sight.over.values():
                at_once = other.finished_at >= mine.began - CLOCKS_SECONDS
                if at_once and other.event not in {*mine.compared, *self._marked}:
                    for name in (file_name(other.run, other.mend), mine.name):
                        if (found := document_in(marks.read(name))) is not None:
                            mark_days(found, marks)
                    mine.compared.add(other.event)

    def _is_news(self, found: Document, due: Due) -> bool:
        """Say whether anybody is to be told: not if a replay has changed nothing."""
        is_told = due.before is not None and due.before.notified
        return self._tell.is_wanted and (not is_told or _has_changed(found, due))

    def _told(self, finished: Finished) -> str:
        """Tell of it; return whom it could not be told, unless that is given up."""
        problems = "; ".join(self._tell.tell(finished))
        if not problems:
            return ""
        gives_up = self._clock.wall() - finished.finished_at > TELL_SECONDS
        logger.log(
            logging.ERROR if gives_up else logging.WARNING,
            "%s: %s%s",
            finished.event,
            problems,
            "; given up" if gives_up else "",
            extra={"action": "run_not_told", "run": finished.run},
        )
        return "" if gives_up else problems


def _has_changed(found: Document, due: Due) -> bool:
    """Say whether a run's file says something else than what was known of it before."""
    if (before := due.before) is None:
        return True
    now = finished_of(found, notified=False)
    return (before.state, before.states, before.reports) != (now.state, now.states, now.reports)


def _say(finished: Finished) -> None:
    missing = sum(covered.missing for covered in finished.reports.values())
    logger.log(
        logging.WARNING if missing else logging.INFO,
        "%s is %s%s",
        finished.event,
        finished.state,
        f": {missing} account-days are missing, see {finished.file}" if missing else "",
        extra={"action": f"run_{finished.state}", "run": finished.run},
    )
