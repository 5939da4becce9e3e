"""Observers that see to runs and kill themselves at each step; run by test_finisher.

One process forks them all, as the supervisor does. The n-th enqueues and ends run n, and dies right
before its n-th step; another one goes on. Every second run is partial: its day's mark flips.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from confluent_kafka import Consumer, TopicPartition

from reportd.broker.producer import Producer
from reportd.broker.settings import ClientSettings, client_settings
from reportd.broker.topics import Topics
from reportd.clock import Clock, SystemClock
from reportd.config.settings import KafkaSettings
from reportd.model.id_set import IdSet, number_of
from reportd.model.ledger import End, PublishedFile
from reportd.model.request import Request
from reportd.model.run import Finished, Manifest, RunId, TopicSpan
from reportd.model.vm import Vm
from reportd.observer.brokerwatch import BrokerWatch
from reportd.observer.clients import connect, connect_finisher
from reportd.observer.finisher import Finisher, FinisherClients
from reportd.observer.neighbours import Neighbours
from tests.integration.sinks.publishing import store_at

DAY = "2026-11-21"
STEPS = 7
"""List, file, the other mark goes, mark, record, told, record; the first run's day has no mark."""
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it plays."""

    servers: str
    prefix: str
    where: str
    told: Path

    @property
    def settings(self) -> ClientSettings:
        return client_settings(KafkaSettings(servers=self.servers, prefix=self.prefix))

    @property
    def topics(self) -> Topics:
        return Topics(self.prefix)


def run_name(number: int) -> str:
    """Return the n-th run."""
    return str(RunId("daily", datetime(2026, 11, 22, number, tzinfo=UTC), 1))


def request_of(number: int, account: str) -> Request:
    """Return one of the n-th run's requests."""
    fields: dict[str, Any] = {"v": 1, "run": run_name(number), "partner": "acme"}
    fields |= {"report": "stats", "account": account, "formats": ("parquet",)}
    return Request.model_validate(fields | {"first_day": DAY, "last_day": DAY})


def end_of(request: Request, topic: str, offset: int, *, dead: bool, replay: int = 0) -> End:
    """Return how a request ended."""
    file = PublishedFile(
        path=f"acme/stats/date={DAY}/{request.account}.parquet",
        day=DAY,
        format="parquet",
        rows=5,
        bytes=100,
        checksum="sha256:ab",
    )
    return End(
        id=request.id,
        replay=replay,
        topic=topic,
        offset=offset,
        state="dead" if dead else "result",
        run=request.run,
        account=request.account,
        report=request.report,
        first_day=DAY,
        last_day=DAY,
        files=() if dead else (file,),
        ended_at=time.time(),
        reason="permanent: HTTP 404" if dead else "",
    )


def enqueue(stage: Stage, number: int, *, dead: bool, expected: int = 2) -> Manifest:
    """Write the n-th run, the ends of its two requests, its manifest, and commit."""
    producer, topics = Producer(stage.settings), stage.topics
    topic = topics.requests("acme")
    offsets: list[int] = []
    ids = IdSet()
    requests = [request_of(number, account) for account in ("good", "bad")]

    def lies(offset: object) -> None:
        assert isinstance(offset, int)
        offsets.append(offset)

    for request in requests:
        ids.add(number_of(request.id))
        producer.send(topic, request.to_json(), key=b"k", partition=0, on_done=lies)
    assert producer.flush(PATIENCE_SECONDS) == 0
    for request, offset in zip(requests, offsets, strict=True):
        end = end_of(request, topic, offset, dead=dead and request.account == "bad")
        producer.send(topics.ledger("acme"), end.to_json(), key=b"k", partition=0)
    span = TopicSpan(topic=topic, requests=2, spans={0: (offsets[0], offsets[-1] + 1)})
    manifest = Manifest(
        run=run_name(number),
        requests=2,
        ids_hash=ids.hash,
        topics=[span],
        account_days={"acme.stats": expected},
        enqueued_at=time.time(),
    )
    producer.send(topics.runs, manifest.to_json(), key=manifest.run.encode())
    assert producer.flush(PATIENCE_SECONDS) == 0
    commit(stage, offsets[-1] + 1)
    return manifest


def commit(stage: Stage, offset: int) -> None:
    """Commit as a worker does."""
    consumer = Consumer({**stage.settings, "group.id": stage.prefix})
    parts = [TopicPartition(stage.topics.requests("acme"), 0, offset)]
    consumer.commit(offsets=parts, asynchronous=False)
    consumer.close()


class Told:
    """Who is told: a file, a line each time."""

    is_wanted = True
    longest_seconds = 0.0

    def __init__(self, file: Path, step: Callable[[], None]) -> None:
        self._file = file
        self._step = step

    def tell(self, finished: Finished) -> list[str]:
        self._step()
        with self._file.open("a") as file:
            file.write(f"{finished.event}\n")
        return []


class HastyClock(SystemClock):
    """An hour passes in every second, for whoever asks what time it is."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def wall(self) -> float:
        return time.time() + 3600.0 * (time.monotonic() - self._began)


def observe(
    stage: Stage,
    is_over: Callable[[BrokerWatch], T],
    die_at: int = 0,
    clock: Clock | None = None,
) -> T:
    """Be an observer until something is over; die before the n-th step."""
    steps, clock = count(1), clock or SystemClock()

    def step() -> None:
        if next(steps) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any) -> Any:
            step()
            return real(*args)

        return stepped

    def clients() -> FinisherClients:
        made = connect_finisher(stage.settings, stage.topics, store_at(stage.where).marks)
        for name in ("create", "replace", "remove"):
            setattr(made.marks, name, dying(getattr(made.marks, name)))
        return replace(made, write=dying(made.write))

    me = Vm(machine="me", incarnation="i", started_at=1.0)
    watch = BrokerWatch(
        lambda: connect(stage.settings, stage.topics),
        stage.topics,
        me,
        Neighbours(me, lambda _pid, _started: False),
        clock,
        partners={"acme"},
        drain_seconds=1.0,
    )
    finisher = Finisher(watch.known, clients, Told(stage.told, step), "me", clock)
    talking = connect(stage.settings, stage.topics)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        watch.turn(talking)
        if found := is_over(watch):
            return found
        finisher.turn()
        select.select([], [], [], 0.05)
    raise TimeoutError(watch.known())


def until_told(run: str, mend: int = 0) -> Callable[[BrokerWatch], bool]:
    """Return whether everybody was told of a run."""

    def is_over(watch: BrokerWatch) -> bool:
        found = watch.known().finished.get("daily")
        return found is not None and (found.run, found.mend, found.notified) == (run, mend, True)

    return is_over


def child(what: Callable[[], object]) -> None:
    """Do something in a process of its own; print how that ended."""
    pid = os.fork()  # noqa: TID251 - plays the supervisor, which forks
    if pid == 0:
        _end_with(what)
    _, status = os.waitpid(pid, 0)
    sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
    sys.stdout.flush()


def _end_with(what: Callable[[], object]) -> NoReturn:
    try:
        what()
    except BaseException as error:  # noqa: BLE001 - a child must not go on as its parent
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def main(servers: str, prefix: str, where: str, told: str) -> None:
    """Play all runs."""
    stage = Stage(servers, prefix, where, Path(told))
    for number in range(1, STEPS + 2):

        def first(number: int = number) -> None:
            enqueue(stage, number, dead=number % 2 == 1)
            observe(stage, until_told(run_name(number)), die_at=number)

        child(first)

        def second(number: int = number) -> None:
            observe(stage, until_told(run_name(number)))

        child(second)


if __name__ == "__main__":
    main(*sys.argv[1:])
