"""The demo: everything real but the partners, killed twice in the middle, and then audited."""

import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event

from rich.console import Console

from reportd.broker.admin import Admin
from reportd.broker.settings import client_settings
from reportd.broker.topics import topic_plans
from reportd.config.settings import KafkaSettings
from reportd.demo.audit import Broken, Evidence, Listing, audit, listing
from reportd.demo.books import KafkaBooks, Ledgers
from reportd.demo.files import receipted
from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.outcome import (
    print_broken,
    print_table,
    print_where_to_look,
    summarize,
    write_summary,
)
from reportd.demo.programs import Daemon, Enqueuer, ProgramError
from reportd.demo.progress import Display, PartnerProgress, make_display
from reportd.demo.scene import Scene
from reportd.demo.simulator.process import Simulator
from reportd.demo.simulator.usage import Span
from reportd.demo.workplace import PREFIX, Workplace
from reportd.errors import BrokerError
from reportd.model.request import Request
from reportd.model.run import RunId
from reportd.partners.load import load_partners

_LOOK_SECONDS = 0.5
_KILL_WORKER_AT = 0.3
_KILL_DAEMON_AT = 0.6
_DRAIN_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that runs, and what was seen of it."""

    place: Workplace
    scene: Scene
    simulator: Simulator
    daemon: Daemon
    enqueuer: Enqueuer
    books: KafkaBooks
    display: Display
    ledgers: Ledgers = field(default_factory=Ledgers)
    listings: list[Listing] = field(default_factory=list)
    stops: list[Span] = field(default_factory=list)
    """Kill, and when the killed was started again (monotonic)."""

    @property
    def partners(self) -> list[str]:
        """Their names."""
        return [role.partner.name for role in self.scene.roles]

    @property
    def total(self) -> int:
        """How many requests there will be."""
        return sum(role.accounts * role.asks for role in self.scene.roles)


def run_demo(root: Path, scene: Scene, console: Console, seconds_limit: float, keep: bool) -> int:
    """Run it in a folder of its own, which is emptied first; return the exit status."""
    started = time.monotonic()
    place = Workplace(root)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    place.output.mkdir()
    with set_up(place, scene, console, started) as stage:
        play(stage, started + seconds_limit)
        stage.display.close()
        seconds = time.monotonic() - started
        evidence = collect(stage)
        broken = [*audit(evidence), *_scene_problems(scene, evidence.requests)]
        summaries = summarize(evidence, stage.stops, seconds)
    if not keep:
        shutil.rmtree(place.kafka, ignore_errors=True)
    write_summary(place.summary, summaries[""])
    print_table(console, summaries)
    print_where_to_look(console, place.output)
    print_broken(console, broken)
    return 1 if broken else 0


@contextmanager
def set_up(place: Workplace, scene: Scene, console: Console, started: float) -> Iterator[Stage]:
    """Start broker and simulator, write the configuration, make the topics; end all of it."""
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(scene.simulated(place.calls)))
        kafka = EmbeddedKafka(place.kafka)
        stack.callback(kafka.kill)
        kafka.start()
        place.write(scene, kafka.servers, simulator.port, _free_port())
        _make_topics(place, kafka.servers)
        names = [role.partner.name for role in scene.roles]
        books = KafkaBooks(kafka.servers, PREFIX, names)
        stack.callback(books.close)
        daemon = Daemon(place.config, place.log("daemon"))
        stack.callback(daemon.kill)
        enqueuer = Enqueuer(place.config, place.schedule, place.log("enqueue"))
        stack.callback(enqueuer.kill)
        display = make_display(console, started)
        stack.callback(display.close)
        yield Stage(
            place=place,
            scene=scene,
            simulator=simulator,
            daemon=daemon,
            enqueuer=enqueuer,
            books=books,
            display=display,
        )


def play(stage: Stage, deadline: float) -> None:
    """Enqueue, download, kill a worker, kill the daemon; return when every request has ended."""
    stage.enqueuer.start()
    stage.daemon.start()
    stage.display.say(
        f"Spark starts, which takes a while, and enqueues {stage.total} requests; reportd starts 4"
        " workers: nothing moves until it has"
    )
    kills: list[tuple[float, Callable[[Stage], None]]] = [
        (_KILL_WORKER_AT, kill_worker),
        (_KILL_DAEMON_AT, kill_daemon),
    ]
    pause = Event()
    while not _is_over(stage):
        pause.wait(_LOOK_SECONDS)
        _look(stage)
        if kills and len(stage.ledgers.ends) >= kills[0][0] * stage.total:
            kills.pop(0)[1](stage)
        if time.monotonic() > deadline:
            stage.display.say("The time is over: not every request has ended")
            break
    status = stage.daemon.stop(_DRAIN_SECONDS)
    if status != 0:
        raise ProgramError(f"reportd ended with {status}:\n{stage.daemon.said()}")


def _is_over(stage: Stage) -> bool:
    """Say whether all has ended, and the daemon can be stopped: it may have just been started."""
    return (
        len(stage.ledgers.ends) >= stage.total
        and stage.enqueuer.status() is not None
        and bool(stage.daemon.workers())
    )


def _look(stage: Stage) -> None:
    if stage.enqueuer.status() not in (None, 0):
        raise ProgramError(f"reportd-enqueue failed:\n{stage.enqueuer.said()}")
    if stage.daemon.status() is not None:
        raise ProgramError(f"reportd ended by itself:\n{stage.daemon.said()}")
    with suppress(BrokerError):  # topics that were just made; the next look sees more
        stage.books.follow(stage.ledgers)
    counts = stage.simulator.counts()
    stage.display.show(
        [
            PartnerProgress(
                role.partner.name,
                stage.ledgers.by_partner[role.partner.name],
                role.accounts * role.asks,
                counts[role.partner.name]["in_flight"],
            )
            for role in stage.scene.roles
        ],
        time.monotonic(),
    )


def kill_worker(stage: Stage) -> None:
    """SIGKILL one worker; what is durable just before must not be asked again."""
    pids = stage.daemon.workers()
    if not pids:
        raise ProgramError(f"reportd has no worker:\n{stage.daemon.said()}")
    _list_durable(stage)
    at = time.monotonic()
    Daemon.kill_child(pids[0])
    stage.stops.append((at, at))
    stage.display.say(f"SIGKILL for worker {pids[0]}")


def kill_daemon(stage: Stage) -> None:
    """SIGKILL the whole daemon, list what is durable while nothing runs, start it again."""
    flying = sum(one["in_flight"] for one in stage.simulator.counts().values())
    at = time.monotonic()
    stage.daemon.kill_all()
    _list_durable(stage)
    stage.daemon.start()
    stage.stops.append((at, time.monotonic()))
    stage.display.say(f"SIGKILL for the whole daemon with {flying} calls in flight; started again")


def _list_durable(stage: Stage) -> None:
    stage.books.follow(stage.ledgers)
    receipts = receipted(stage.place.output)
    requests = stage.books.requests()
    stage.listings.append(listing(time.time(), requests, stage.ledgers, receipts))


def collect(stage: Stage) -> Evidence:
    """Gather what the audit looks at; the daemon has ended."""
    stage.books.follow(stage.ledgers)
    dead = {Request.from_json(message.value).id for message in stage.books.dead()}
    return Evidence(
        requests=stage.books.requests(),
        ledgers=stage.ledgers,
        dead_ids=frozenset(dead),
        calls=stage.simulator.calls(),
        partners={role.partner.name: role.partner for role in stage.scene.roles},
        root=stage.place.output,
        listings=stage.listings,
        trapped=len(stage.simulator.stats()["traps"]),
    )


def _scene_problems(scene: Scene, requests: Mapping[str, Request]) -> Iterator[Broken]:
    """Compare what was enqueued with what the schedule asks, worked out independently."""
    slots: set[datetime] = {RunId.parse(request.run).slot for request in requests.values()}
    wanted = {question for slot in slots for question in scene.questions(slot)}
    got = {
        (
            one.partner,
            one.report,
            one.account,
            one.first_day.isoformat(),
            one.last_day.isoformat(),
        )
        for one in requests.values()
    }
    if got != wanted or len(slots) != 1:
        what = f"{len(wanted - got)} missing, {len(got - wanted)} too many, {len(slots)} slots"
        yield Broken("every request is enqueued once", what)


def _make_topics(place: Workplace, servers: str) -> None:
    partners = load_partners(place.partners)
    counts = {name: partner.partitions for name, partner in partners.items()}
    admin = Admin(client_settings(KafkaSettings(servers=servers, prefix=PREFIX)))
    admin.create(topic_plans(PREFIX, counts, replication=1))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
