"""What the system tests play on: broker, simulator, daemons; requests are written without Spark.

Everything runs as it does for a user, but that a test may hold it by the hand: freeze processes,
look at what is durable, kill, wake.
"""

import os
import re
import select
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial, reduce
from operator import xor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from reportd.broker.admin import Admin
from reportd.broker.keys import partition_of
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings, client_settings
from reportd.broker.topics import Topics, topic_plans
from reportd.config.settings import KafkaSettings
from reportd.demo.audit import Broken, Evidence, Listing, audit
from reportd.demo.books import KafkaBooks, Ledgers, Written
from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.programs import Daemon
from reportd.demo.scene import DemoAccount, Role, Scene, demo_scene
from reportd.demo.simulator.book import Question
from reportd.demo.simulator.config import Faults, Latency, Limit
from reportd.demo.simulator.process import Simulator
from reportd.demo.workplace import Workplace
from reportd.errors import BrokerError
from reportd.model.ledger import End, Step
from reportd.model.request import Request, RequestClass
from reportd.model.run import Manifest, TopicSpan
from reportd.partners.load import load_partners
from reportd.partners.partner import Partner
from reportd.sinks.local import LocalStore
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from tests.loopback import free_port

T = TypeVar("T")

RUN = "daily/2025-11-22T04:00Z#1"
SLOT = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
PATH = "{partner}/{report}/date={date}/{account}.{ext}"
PATIENCE_SECONDS = 60.0
LATE_SECONDS = 5.0
"""How long after its waking a sleeper's records may come."""

Part = tuple[str, int]


def pause(seconds: float) -> None:
    """Let others run for a moment."""
    select.select([], [], [], seconds)


def until(found: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Wait for something to become true and return it; what the broker cannot say now is not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(BrokerError):
            if result := found():
                return result
        pause(0.05)
    pytest.fail(f"waited {seconds:g} s in vain for {what}")


# --- processes ------------------------------------------------------------------------------


def freeze(pids: Iterable[int]) -> None:
    """SIGSTOP, and wait until each stands still; those that have just ended are passed over."""
    pids = list(pids)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        until(partial(_stands_still, pid), f"{pid} to stop", 10)


def thaw(pids: Iterable[int]) -> None:
    """SIGCONT."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    return state_of(pid) in {"T", "Z", ""}


def state_of(pid: int) -> str:
    """Return a process's state as ``ps`` shows it; empty: there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


# --- one daemon -----------------------------------------------------------------------------


_ASSIGNED = re.compile(r" (worker-\d+) (assigned|revoked|lost) \2 (.*)$")
_STARTED = re.compile(r" child_started started (worker-\d+), pid (\d+)")


@dataclass
class Vm:
    """A daemon with a machine id of its own, and what is known of it."""

    name: str
    daemon: Daemon
    log: Path
    metrics_port: int
    config: Path
    worker_kills: int = 0
    """Since its supervisor was started: the strikes that requests may have."""

    def said(self) -> str:
        """Return its whole log."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def workers(self) -> dict[str, int]:
        """Return its running workers: name -> pid."""
        titles = self.daemon.children()
        found = {pid: re.search(r"reportd: worker (\d+)", titles[pid]) for pid in titles}
        return {f"worker-{match[1]}": pid for pid, match in found.items() if match}

    def parts(self) -> dict[str, set[Part]]:
        """Return what each worker has now, as the log tells."""
        found: dict[str, set[Part]] = {}
        for line in self.said().splitlines():
            if started := _STARTED.search(line):
                found[started[1]] = set()
            elif said := _ASSIGNED.search(line):
                names = re.findall(r"([^\s,]+)\[(\d+)\]", said[3])
                parts = {(topic, int(index)) for topic, index in names}
                mine = found.setdefault(said[1], set())
                if said[2] == "assigned":
                    mine |= parts
                elif said[2] == "lost":
                    mine.clear()
                else:
                    mine -= parts
        return found

    def all_parts(self) -> set[Part]:
        """Return what all its workers have."""
        return set().union(*self.parts().values())


def stopped(vm: Vm) -> None:
    """Stop a daemon as systemd does."""
    status = vm.daemon.stop()
    assert status == 0, f"{vm.name} ended with {status}:\n{vm.daemon.said()}"


# --- the stage ------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Stage:
    """Broker, simulator, configuration and books of one test."""

    place: Workplace
    scene: Scene
    simulator: Simulator
    kafka: EmbeddedKafka
    prefix: str
    books: KafkaBooks
    reader: PartitionReader
    producer: Producer
    partners: Mapping[str, Partner]
    vms: dict[str, Vm] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    parts_of: dict[str, Part] = field(default_factory=dict)
    """Where each request lies."""
    ledgers: Ledgers = field(default_factory=Ledgers)
    listings: list[Listing] = field(default_factory=list)
    output: Sequence[str] = ()
    """Lines of ``[output]`` instead of the folder's own."""
    late: list[tuple[float, float]] = field(default_factory=list)
    """When sleepers woke: see `reportd.demo.audit.Evidence.late`."""

    @property
    def topics(self) -> Topics:
        """Their names."""
        return Topics(self.prefix)

    @property
    def client(self) -> ClientSettings:
        """How a client reaches the broker."""
        return client_settings(KafkaSettings(servers=self.kafka.servers, prefix=self.prefix))

    # Daemons

    def vm(self, name: str, **settings: Any) -> Vm:
        """Configure a daemon; nothing is started. Settings are of ``[workers]``."""
        config = self.place.config.with_name(f"{name}.toml")
        port = free_port()
        vm = Vm(name, Daemon(config, self.place.log(name)), self.place.log(name), port, config)
        self.vms[name] = vm
        self.configure(vm, **settings)
        return vm

    def configure(self, vm: Vm, *, shared: bool = True, more: str = "", **settings: Any) -> None:
        """Write a daemon's ``reportd.toml``."""
        workers = {
            "processes": 2,
            "machine_id": vm.name,
            "session_timeout_seconds": 6,
            "drain_seconds": 20,
            **settings,
        }
        values = {name: f'"{v}"' if isinstance(v, str) else v for name, v in workers.items()}
        folder = (f'root = "{self.place.output}"', f"shared = {str(shared).lower()}")
        lines = [
            f'kafka = {{ servers = "{self.kafka.servers}", prefix = "{self.prefix}" }}',
            f'metrics = {{ listen = "127.0.0.1:{vm.metrics_port}" }}',
            more,
            "[workers]",
            *(f"{name} = {value}" for name, value in values.items()),
            "[output]",
            f'path = "{PATH}"',
            *(self.output or folder),
        ]
        vm.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self, vm: Vm, *, ready: bool = True) -> Vm:
        """Start a daemon and wait until all its processes run."""
        before = vm.said().count(" ready all ")
        vm.worker_kills = 0
        vm.daemon.start()
        if ready:
            until(lambda: self._is_ready(vm, before), f"{vm.name} to be ready")
        return vm

    def _is_ready(self, vm: Vm, before: int) -> bool:
        status = vm.daemon.status()
        assert status is None, f"{vm.name} ended with {status}:\n{vm.daemon.said()}"
        return vm.said().count(" ready all ") > before

    def end(self) -> None:
        """End whatever daemon still runs, frozen or not."""
        for vm in self.vms.values():
            if vm.daemon.status() is None:
                with suppress(Exception):
                    vm.daemon.kill_all()

    # Requests

    def ask(
        self,
        account: DemoAccount,
        role: Role,
        number: int,
        *,
        run: str = RUN,
        partition: int | None = None,
        not_before: float | None = None,
        class_: RequestClass = "daily",
    ) -> Request:
        """Write one request: the account's ``number``-th span of days, none asked twice."""
        nearest = 1 + number * role.days
        first, last = account.days_back(SLOT, nearest, nearest + role.days - 1)
        request = Request(
            v=1,
            run=run,
            partner=account.partner,
            report=role.report,
            account=account.account,
            first_day=first,
            last_day=last,
            formats=role.formats,
            timezone=account.timezone,
            currency=account.currency,
            credential=account.credential,
            not_before=not_before,
            class_=class_,
        )
        self.write(request, partition=partition)
        return request

    def write(self, request: Request, *, partition: int | None = None) -> None:
        """Write one message as an enqueuer does."""
        partner = self.partners[request.partner]
        key = partner.key_of(request).encode()
        of_class = self.topics.backfill if request.class_ == "backfill" else self.topics.requests
        topic = of_class(request.partner)
        own = partition_of(key, partner.partitions)
        self.requests[request.id] = request
        self.parts_of[request.id] = (topic, own)
        self.producer.send(
            topic,
            request.to_json(),
            key=key,
            partition=own if partition is None else partition,
        )

    def confirm(self) -> None:
        """Wait until every request is written."""
        assert self.producer.flush(30.0) == 0

    def enqueued(self, run: str = RUN, *, deadline: float | None = None) -> Manifest:
        """Write the manifest of a run that was asked for, as an enqueuer does."""
        found: dict[str, dict[int, list[int]]] = {}
        ids = [name for name, request in self.requests.items() if request.run == run]
        days = Counter[str]()
        for request in map(self.requests.__getitem__, ids):
            covered = (request.last_day - request.first_day).days + 1
            days[f"{request.partner}.{request.report}"] += covered
        for topic in {self.topics.requests(self.requests[name].partner) for name in ids}:
            for message in self.reader.read_all(topic):
                if Request.from_json(message.value).id in ids:
                    offsets = found.setdefault(topic, {}).setdefault(message.partition, [])
                    offsets.append(message.offset)
        manifest = Manifest(
            run=run,
            requests=len(ids),
            ids_hash=f"{reduce(xor, (int(name[:16], 16) for name in ids), 0):016x}",
            topics=[
                TopicSpan(
                    topic=topic,
                    requests=sum(map(len, parts.values())),
                    spans={number: (min(at), max(at) + 1) for number, at in parts.items()},
                )
                for topic, parts in found.items()
            ],
            account_days=days,
            deadline=deadline,
            enqueued_at=time.time(),
        )
        self.producer.send(self.topics.runs, manifest.to_json(), key=run.encode())
        self.confirm()
        return manifest

    # What is durable

    def follow(self) -> Ledgers:
        """Read on in the ledgers; leaders that were just elected take a moment."""

        def follow() -> bool:
            self.books.follow(self.ledgers)
            return True

        until(follow, "the ledgers")
        return self.ledgers

    def open_ids(self) -> set[str]:
        """Return the requests without an end, as far as the ledgers were followed."""
        return self.requests.keys() - self.ledgers.ends.keys()

    def all_ended(self) -> bool:
        """Say whether every request has ended."""
        self.follow()
        return not self.open_ids()

    def uncommitted(self, parts: Iterable[Part]) -> int:
        """Return how many requests of some partitions have ended but are not committed."""
        parts = set(parts)
        self.follow()
        commits = self.reader.committed(sorted(parts))
        count = 0
        for name, found in self.ledgers.ends.items():
            part = self.parts_of.get(name)
            record = found[0].record
            if part in parts and isinstance(record, End):
                count += record.offset >= (commits[part].offset or 0)
        return count

    def ended_lately(self, parts: Iterable[Part], seconds: float = 2.0) -> int:
        """Return how many requests of some partitions have ended within some time."""
        parts, since = set(parts), time.time() - seconds
        return sum(
            found[0].at > since and self.parts_of.get(name) in parts
            for name, found in self.ledgers.ends.items()
        )

    def list_durable(self, *, broker: bool = True) -> Listing:
        """List receipts, spooled answers with a step record, and ends: none may be asked again.

        Without the broker the ledgers are known as they were.
        """
        if broker:
            self.follow()
        ends = {name for name, found in self.ledgers.ends.items() if self._in_time(found)}
        unknown = self.requests.keys() - ends
        pages = set()
        for name in unknown & self.ledgers.steps.keys():
            steps = [one.record for one in self._in_time(self.ledgers.steps[name])]
            newest = max((step.attempt for step in steps if isinstance(step, Step)), default=0)
            pages |= {
                (name, step.step)
                for step in steps
                if isinstance(step, Step) and step.attempt == newest and self._spooled(step)
            }
        finished = ends | self._receipted(unknown)
        made = Listing(time.time(), frozenset(finished), frozenset(pages))
        self.listings.append(made)
        return made

    def woke(self) -> None:
        """Note that somebody who slept for longer than a session wakes now."""
        now = time.time()
        self.late.append((now, now + LATE_SECONDS))

    def _in_time(self, found: list[Written]) -> list[Written]:
        return [
            one for one in found if not any(since <= one.at <= until for since, until in self.late)
        ]

    def _receipted(self, names: Iterable[str]) -> set[str]:
        store = LocalStore(self.place.output)
        publisher = Publisher(store, PathTemplate(PATH))
        found = set()
        for name in names:
            targets = publisher.targets(self.requests[name])
            receipts = [store.receipt_of(one.path, one.format) for one in targets]
            if all(one is not None and one.made_by(name, 0) for one in receipts):
                found.add(name)
        return found

    def _spooled(self, step: Step) -> bool:
        file = self.place.output / "_reportd" / "spool" / step.file
        return file.is_file() and file.stat().st_size == step.bytes

    # The simulator's view

    def in_flight(self) -> int:
        """Return how many calls the partners have not answered yet."""
        return sum(one["in_flight"] for one in self.simulator.counts().values())

    def request_of(self) -> dict[Question, str]:
        """Return which request asks what."""
        return {
            (
                one.partner,
                one.report,
                one.account,
                one.first_day.isoformat(),
                one.last_day.isoformat(),
            ): name
            for name, one in self.requests.items()
        }

    def answered_not_durable(
        self, listing: Listing, parts: Iterable[Part], since: float, killed_at: float
    ) -> dict[tuple[str, int], float]:
        """Find the calls that were answered completely before a kill, and not listed after it.

        Request and page -> how many seconds before the kill it was answered.

        Times are monotonic; ``since``: answers before it belong to an earlier life.
        """
        parts = set(parts)
        names = self.request_of()
        found: dict[tuple[str, int], float] = {}
        for call in self.simulator.calls():
            name = names.get(call.question, "")
            if not call.complete or not since < call.ended <= killed_at or not name:
                continue
            durable = name in listing.finished or (name, call.page) in listing.pages
            if not durable and self.parts_of[name] in parts:
                found[name, call.page] = killed_at - call.ended
        return found

    # The end

    def evidence(self) -> Evidence:
        """Gather what the audit looks at; all daemons have ended."""
        self.follow()
        dead = {m.header("id") for m in self.books.dead()}
        stats = self.simulator.stats()
        return Evidence(
            requests=self.requests,
            ledgers=self.ledgers,
            dead_ids=frozenset(name.decode() for name in dead if name),
            calls=self.simulator.calls(),
            partners={role.partner.name: role.partner for role in self.scene.roles},
            root=self.place.output,
            listings=self.listings,
            late=self.late,
            trapped=len(stats["traps"]),
        )

    def broken(self) -> list[Broken]:
        """Return every promise that was broken."""
        return audit(self.evidence())

    def close(self) -> None:
        """End everything."""
        self.end()
        self.books.close()
        self.reader.close()


def make_stage(
    folder: Path,
    scene: Scene,
    kafka: EmbeddedKafka,
    simulator: Simulator,
    prefix: str,
    edit: Callable[[str, str], str] | None = None,
) -> Stage:
    """Write the configuration and make the topics; ``edit`` changes a partner's file."""
    place = Workplace(folder)
    place.write(scene, kafka.servers, simulator.port, free_port())
    if edit is not None:
        for file in place.partners.glob("*.toml"):
            file.write_text(edit(file.stem, file.read_text()))
    partners = load_partners(place.partners)
    settings = KafkaSettings(servers=kafka.servers, prefix=prefix)
    client = client_settings(settings)
    counts = {name: partner.partitions for name, partner in partners.items()}
    until(
        lambda: Admin(client).create(topic_plans(prefix, counts, replication=1)) or True,
        "the topics",
    )
    return Stage(
        place=place,
        scene=scene,
        simulator=simulator,
        kafka=kafka,
        prefix=prefix,
        books=KafkaBooks(kafka.servers, prefix, sorted(partners)),
        reader=PartitionReader(client, group=prefix),
        producer=Producer(client),
        partners=partners,
    )


def quick_scene(accounts: int = 4) -> Scene:
    """Return acme alone: few accounts, many calls a second, no faults."""
    acme = demo_scene().roles[0]
    partner = replace(
        acme.partner,
        limits=(Limit(per="account", calls=200, burst=200),),
        faults=Faults(),
        latency=Latency(median_seconds=0.01),
    )
    return Scene((replace(acme, partner=partner, accounts=accounts),))


def unlimited(_name: str, text: str) -> str:
    """Raise acme's limit to what `quick_scene` allows."""
    return text.replace("calls = 4, seconds = 1", "calls = 100, seconds = 1")


def accounts_of(scene: Scene) -> Iterator[tuple[DemoAccount, Role]]:
    """Yield every account with its partner's part."""
    roles = {role.partner.name: role for role in scene.roles}
    for account in scene.accounts():
        yield account, roles[account.partner]


@dataclass
class Feeder:
    """Keeps so many requests open: as many as are asked for, whatever the machine's speed.

    One at most of an account that is gone: they are held for a while, and would be all in the end.
    """

    stage: Stage
    most: int
    numbers: dict[str, int] = field(default_factory=dict)

    def feed(self) -> None:
        """Write more requests while there are not enough open ones."""
        stage = self.stage
        accounts = list(accounts_of(stage.scene))
        stage.follow()
        open_now = Counter[str]()
        for name in stage.open_ids():
            open_now.update((stage.requests[name].partner, stage.requests[name].account))
        for account, role in accounts * 20:
            if open_now[account.partner] >= self.most:
                continue
            if account.gone and open_now[account.account]:
                continue
            number = self.numbers.get(account.account, 0)
            self.numbers[account.account] = number + 1
            stage.ask(account, role, number)
            open_now.update((account.partner, account.account))
        stage.confirm()
