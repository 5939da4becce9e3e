"""A scrape of the largest VM that is thought of: 64 workers, 14 partners, all their partitions.

Over HTTP, as Prometheus does it, from the observer's own server; the workers' files and the
document are what such a VM has.
"""

import http.client
import os
import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from reportd import metrics
from reportd.broker.message import Part
from reportd.config.settings import MetricsSettings
from reportd.metrics import Metrics
from reportd.model.vm import Vm
from reportd.observer.exposition import Counted, Gauges
from reportd.observer.offsets import Lag, Offsets
from reportd.observer.progress import Progress
from reportd.observer.status import Sight, document
from reportd.observer.views import DaemonView, WorkerView
from reportd.observer.web import Pages, Web

WORKERS = 64
PARTNERS = 14
PARTITIONS = 16
"""Of each partner's requests, and as many of its backfill."""
AIM_SECONDS = 0.050
OUTCOMES = ("ok", "throttled", "transient", "auth", "permanent", "pending")


@dataclass(frozen=True)
class Scrapes:
    """What some scrapes took."""

    scrapes: int
    bytes: int
    median_seconds: float
    most_seconds: float
    """Of 95 in a hundred."""
    longest_seconds: float
    cpu_seconds: float
    """Of one, asker and answerer together: what it takes when nobody else wants the processors."""
    aim_seconds: float = AIM_SECONDS

    def as_dict(self) -> dict[str, Any]:
        """Return it for the file."""
        return asdict(self)


def measure(folder: Path, scrapes: int) -> Scrapes:
    """Scrape so often, one after the other."""
    work = folder / f"scrape.{os.getpid()}"
    work.mkdir(parents=True)
    try:
        web = Web(MetricsSettings(listen="127.0.0.1:0"), _pages(work))
        web.start()
        try:
            before = time.process_time()
            taken, size = _asked(web.address, scrapes)
            cpu_seconds = (time.process_time() - before) / scrapes
        finally:
            web.stop()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Scrapes(
        scrapes=scrapes,
        bytes=size,
        median_seconds=statistics.median(taken),
        most_seconds=statistics.quantiles(taken, n=20)[-1],
        longest_seconds=max(taken),
        cpu_seconds=cpu_seconds,
    )


def _asked(address: str, scrapes: int) -> tuple[list[float], int]:
    taken, size = [], 0
    for _ in range(scrapes):
        began = time.perf_counter()
        connection = http.client.HTTPConnection(address, timeout=30.0)
        connection.request("GET", "/metrics")
        size = len(connection.getresponse().read())
        connection.close()
        taken.append(time.perf_counter() - began)
    return taken, size


def _pages(work: Path) -> Pages:
    counted, gauges, registry = Counted(), Gauges(), CollectorRegistry()
    _count(work)
    counted.show(metrics.read_files(work).collect())
    gauges.show(document(_sight(), {}, Progress()))
    registry.register(counted)
    registry.register(gauges)
    return Pages(
        registry=registry,
        status=bytes,
        page=bytes,
        ill=str,
        not_ready=str,
        requests=lambda _question: b"",
    )


def _names() -> list[str]:
    return [f"partner-{number}" for number in range(PARTNERS)]


def _count(work: Path) -> None:
    """Count in every worker for every partner, as workers do."""
    metrics.empty_folder(work)
    for number in range(WORKERS):
        book = Metrics.of_process(work, f"worker-{number}")
        for partner in _names():
            for outcome in OUTCOMES:
                book.calls.inc(partner, outcome)
            for state in ("result", "dead", "superseded", "cancelled"):
                book.requests_ended.inc(partner, state)
            book.call_seconds.observe(0.2, partner)
            book.request_seconds.observe(0.2, partner)
            book.rows.inc(partner)
            book.files.inc(partner, "parquet")
            book.file_bytes.inc(partner)
            book.answer_bytes.inc(partner)
        book.commits.inc("accepted")


def _sight() -> Sight:
    """Return what the observer of such a VM looks at."""
    parts = [
        (f"p.{kind}.{partner}", number, partner)
        for partner in _names()
        for kind in ("requests", "backfill")
        for number in range(PARTITIONS)
    ]
    lags: dict[Part, Lag] = {
        (topic, number): Lag(partner, 0, 1000) for topic, number, partner in parts
    }
    workers = {
        f"worker-{index}": WorkerView.model_validate(
            {
                "at": 1.0,
                "commit_age_seconds": 1.0,
                "partitions": [
                    {
                        "topic": topic,
                        "partition": number,
                        "partner": partner,
                        "position": 900,
                        "states": {"ready": 5, "limit": 7, "in_flight": 1, "scheduled": 80},
                        "oldest_open": 1.0,
                    }
                    for topic, number, partner in parts[index::WORKERS]
                ],
                "limits": [
                    {"partner": partner, "per": per, "scopes": 9, "share": 0.9}
                    for partner in _names()
                    for per in ("account", "partner")
                ],
            }
        )
        for index in range(WORKERS)
    }
    children = [
        {"name": name, "slot": slot, "pid": 1, "state": "running", "up": True}
        for slot, name in enumerate(workers)
    ]
    return Sight(
        wall=1_700_000_000.0,
        me=Vm(machine="vm-a", incarnation="i"),
        daemon=DaemonView.model_validate({"phase": "running", "children": children}),
        workers=workers,
        offsets=Offsets(lags),
        broker_age_seconds=1.0,
    )
