"""The observer's process: looks at the board and the broker, answers over HTTP. One a VM.

Four threads: the main one puts the document together and beats, one talks to the broker, one
accepts askers, one sees to runs that are over. None of them decides anything about the work.
"""

import select
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from reportd import metrics
from reportd.board import Board, Slot
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.clock import Clock
from reportd.config.load import Config
from reportd.model.vm import Vm
from reportd.observer.asking import Asking
from reportd.observer.brief import summary
from reportd.observer.brokerwatch import BrokerSight, BrokerWatch, Clients
from reportd.observer.clients import connect, connect_finisher
from reportd.observer.exposition import Counted, Gauges
from reportd.observer.finisher import Finisher, FinisherClients
from reportd.observer.lacking import Lacks
from reportd.observer.machine import is_running, private_bytes
from reportd.observer.neighbours import Neighbours
from reportd.observer.page import page
from reportd.observer.progress import Progress
from reportd.observer.screen import screen
from reportd.observer.slots import Slots
from reportd.observer.status import Sight, document, told
from reportd.observer.telling import Telling
from reportd.observer.views import DaemonView, daemon_view, worker_view
from reportd.observer.web import Pages, Web
from reportd.sinks.store import Marks
from reportd.transport.client import Client

TURN_SECONDS = 1.0
COUNT_SECONDS = 3.0
"""How often the workers' counters are read ..."""
COUNT_REST = 20.0
"""... or so many times as long as reading them takes."""
MEMORY_SECONDS = 15.0
SUPERVISOR_SILENT_SECONDS = 20.0


class Stop(Protocol):
    """Whether a stop was asked (`reportd.supervisor.child.Stop`)."""

    def requested(self) -> bool: ...  # noqa: D102  # see there
    def fileno(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the observer looks at."""

    config: Config
    me: Vm
    board: Board
    supervisor_slot: int
    """The supervisor's slot of the board; its snapshot names the children's."""
    metrics_folder: Path
    partners: Collection[str]
    open_marks: Callable[[], Marks]
    """Opens the output for what is said of runs; raises `OutputError`."""
    sunsets: Mapping[str, float] = field(default_factory=dict)
    """By partner: when it refuses the version that its file speaks (epoch)."""
    allowed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By partner and kind of scope: calls a second that it allows to one."""


class Backlog(Protocol):
    """What is known of runs that need somebody (`reportd.observer.finisher.Finisher`)."""

    def lacks(self) -> Lacks: ...  # noqa: D102  # see there
    def stuck(self) -> Mapping[str, str]: ...  # noqa: D102


class Observer:
    """Puts the document together, turn by turn."""

    def __init__(
        self,
        watched: Watched,
        broker: Callable[[], BrokerSight],
        runs: Backlog,
        counters: Collector,
        clock: Clock,
    ) -> None:
        """Look at ``watched``; ``broker`` returns what the broker last told."""
        self._watched = watched
        self._broker = broker
        self._runs = runs
        self._counters = counters
        self._clock = clock
        self._progress = Progress()
        self._private: dict[str, int] = {}
        self._private_at = float("-inf")
        self._counts: dict[str, float] = {}
        self._counted_at = float("-inf")
        self._count_seconds = COUNT_SECONDS
        self._document: dict[str, Any] = {}
        self._slots = Slots(watched.config.settings.schedules_folder)
        self.counted = Counted()
        self.gauges = Gauges()

    def turn(self) -> None:
        """Look at everything once; raises what ended the broker's thread."""
        now = self._clock.monotonic()
        sight = self._look(now)
        ended = self._ended(now)
        self._note(sight, ended)
        found = document(sight, ended, self._progress)
        for partner, one in found["partners"].items():
            self._progress.tick(partner, now, one["remaining"])
        self._document = found
        self.gauges.show(found)

    def status(self) -> bytes:
        """Return the document as JSON."""
        return orjson.dumps(self._document)

    def page(self) -> bytes:
        """Return the document as a page for people."""
        return page(screen(self._document)).encode()

    def summary(self) -> bytes:
        """Return the observer's own snapshot for the board: what the supervisor needs of it.

        The status line's words, and which worker must join the group anew since when (boottime).
        """
        name, since = self._broker().joins_anew
        return orjson.dumps({"summary": summary(self._document), "joins_anew": [name, since]})

    def me(self) -> Vm:
        """Return what this VM tells the others of itself."""
        return self._watched.me.model_copy(update=told(self._document))

    def workers(self) -> dict[str, Slot]:
        """Return the slots of the workers that live."""
        board = self._watched.board
        daemon = daemon_view(board.slot(self._watched.supervisor_slot).read())
        return {
            child.name: board.slot(child.slot)
            for child in daemon.children
            if child.pid and child.name.startswith("worker")
        }

    def ill(self) -> str:
        """Return why the daemon is not alive; empty: it is."""
        beat = self._watched.board.slot(self._watched.supervisor_slot).last_beat()
        silent = self._clock.boottime() - (beat or 0.0)
        if silent > SUPERVISOR_SILENT_SECONDS:
            return f"the supervisor has been silent for {silent:.0f} s"
        return ""

    def not_ready(self) -> str:
        """Return why this VM is not ready, one problem a line."""
        return "\n".join(self._document["troubles"])

    def _look(self, now: float) -> Sight:
        board = self._watched.board
        daemon = daemon_view(board.slot(self._watched.supervisor_slot).read())
        views = {name: worker_view(slot.read()) for name, slot in self.workers().items()}
        broker = self._broker()
        return Sight(
            wall=self._clock.wall(),
            me=self._watched.me,
            daemon=daemon,
            workers={name: view for name, view in views.items() if view is not None},
            private_bytes=self._memory(daemon, now),
            offsets=broker.offsets,
            broker_age_seconds=None if broker.at is None else now - broker.at,
            broker_error=broker.error,
            runs=broker.runs,
            older=broker.older,
            finished=broker.finished,
            over=broker.over,
            lacks=self._runs.lacks(),
            stuck=self._runs.stuck(),
            vms=broker.vms,
            agree=broker.agree,
            unowned=broker.unowned,
            forsaken=broker.forsaken,
            sunsets=self._watched.sunsets,
            allowed=self._watched.allowed,
            slots=self._slots.passed(now, self._clock.wall(), broker.runs)
            if broker.at is not None
            else {},  # whether they were enqueued is not known yet
        )

    def _memory(self, daemon: DaemonView, now: float) -> dict[str, int]:
        if now - self._private_at >= MEMORY_SECONDS:
            self._private_at = now
            found = {child.name: private_bytes(child.pid) for child in daemon.children if child.pid}
            self._private = {name: size for name, size in found.items() if size is not None}
        return self._private

    def _ended(self, now: float) -> dict[str, float]:
        """Return the ends that all workers of this daemon counted, by partner."""
        if now - self._counted_at < self._count_seconds:
            return self._counts
        families = tuple(self._counters.collect())
        self._counted_at = self._clock.monotonic()
        self._count_seconds = max(COUNT_SECONDS, COUNT_REST * (self._counted_at - now))
        self.counted.show(families)
        found: dict[str, float] = {}
        for family in families:
            for sample in family.samples:
                if sample.name == metrics.REQUESTS_ENDED.name:
                    partner = sample.labels["partner"]
                    found[partner] = found.get(partner, 0.0) + sample.value
        self._counts = found
        return found

    def _note(self, sight: Sight, ended: dict[str, float]) -> None:
        """Tell the progress what ended: here by the counters, elsewhere by the commits."""
        for partner in {*ended, *sight.offsets.partners()}:
            self._progress.note(partner, "here", ended.get(partner, 0.0))
        owned = {
            (view.topic, view.partition)
            for worker in sight.workers.values()
            for view in worker.partitions
        }
        for part, lag in sight.offsets.lags.items():
            source = f"{part[0]}[{part[1]}]"
            if part in owned:
                self._progress.forget(lag.partner, source)
            else:
                self._progress.note(lag.partner, source, lag.start)


def run(watched: Watched, slot: Slot, stop: Stop, clock: Clock) -> int:
    """Be the observer until a stop is asked; return the exit status."""
    settings = watched.config.settings
    topics = Topics(settings.kafka.prefix)

    def clients() -> Clients:
        return connect(client_settings(settings.kafka), topics)

    def finisher_clients() -> FinisherClients:
        return connect_finisher(client_settings(settings.kafka), topics, watched.open_marks())

    neighbours = Neighbours(watched.me, is_running)
    workers = settings.workers
    broker = BrokerWatch(
        clients,
        topics,
        watched.me,
        neighbours,
        clock,
        partners=watched.partners,
        drain_seconds=min(workers.drain_seconds, workers.session_timeout_seconds / 2),
    )
    telling = Telling(settings.runs, lambda: Client(1).send)
    finisher = Finisher(broker.known, finisher_clients, telling, watched.me.machine, clock)
    counters = metrics.read_files(watched.metrics_folder)
    observer = Observer(watched, broker.sight, finisher, counters, clock)
    observer.turn()
    broker.say(observer.me())
    asking = Asking(slot, observer.workers, clock, threading.Event().wait)
    registry = CollectorRegistry()
    registry.register(observer.counted)
    registry.register(observer.gauges)
    pages = Pages(
        registry=registry,
        status=observer.status,
        page=observer.page,
        ill=observer.ill,
        not_ready=observer.not_ready,
        requests=lambda question: orjson.dumps(asking.ask(question)),
    )
    web = Web(settings.metrics, pages)
    web.start()
    broker.start()
    finisher.start()
    while not stop.requested():
        observer.turn()
        broker.say(observer.me())
        slot.publish(observer.summary())
        slot.beat(clock.boottime())
        select.select([stop], [], [], TURN_SECONDS)
    web.stop()
    finisher.stop()
    broker.stop()
    return 0
