"""A scrape: what it shows, and what it costs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from reportd import metrics
from reportd.board import Board
from reportd.errors import OutputError
from reportd.metrics import Metrics
from reportd.model.vm import Vm
from reportd.observer.brokerwatch import BrokerSight
from reportd.observer.lacking import Lacks
from reportd.observer.main import COUNT_REST, COUNT_SECONDS, Observer, Watched
from reportd.sinks.store import Marks

WORKERS, PARTNERS = 64, 14
"""The largest VM that is thought of."""
MOST_SERIES = 1_500


@dataclass
class HandClock:
    """A clock that tests move."""

    now: float = 1000.0

    def monotonic(self) -> float:
        """Return it."""
        return self.now

    boottime = wall = monotonic


@dataclass
class Files:
    """The workers' files; reading them takes ``seconds``."""

    folder: Path
    clock: HandClock
    seconds: float = 0.0
    readings: list[float] = field(default_factory=list)

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        self.readings.append(self.clock.now)
        yield from metrics.read_files(self.folder).collect()
        self.clock.now += self.seconds


def no_output() -> Marks:
    """Say that there is none: this daemon has no run."""
    raise OutputError


class NoRuns:
    """No run needs anybody."""

    def lacks(self) -> Lacks:
        """Return nothing."""
        return {}

    def stuck(self) -> dict[str, str]:
        """Return nothing."""
        return {}


def observer(files: Files, tmp_path: Path) -> Observer:
    """Return an observer of a daemon without children, before a silent broker."""
    config: Any = SimpleNamespace(settings=SimpleNamespace(schedules_folder=tmp_path / "none"))
    watched = Watched(
        config=config,
        me=Vm(machine="vm-1", incarnation="i"),
        board=Board(2),
        supervisor_slot=0,
        metrics_folder=files.folder,
        partners={"acme"},
        open_marks=no_output,
    )
    return Observer(watched, BrokerSight, NoRuns(), files, files.clock)


def counted(folder: Path) -> None:
    """Count in every worker for every partner."""
    metrics.empty_folder(folder)
    for number in range(WORKERS):
        book = Metrics.of_process(folder, f"worker-{number}")
        for partner in (f"partner-{n}" for n in range(PARTNERS)):
            for outcome in ("ok", "throttled", "transient", "auth", "permanent", "pending"):
                book.calls.inc(partner, outcome)
            book.call_seconds.observe(0.2, partner)
            book.request_seconds.observe(0.2, partner)
            book.requests_ended.inc(partner, "result")


def test_a_scrape_reads_no_file(tmp_path: Path) -> None:
    """However often it is scraped, and by however many: 64 workers' files are read once."""
    counted(tmp_path / "metrics")
    files = Files(tmp_path / "metrics", HandClock())
    looking = observer(files, tmp_path)
    looking.turn()
    registry = CollectorRegistry()
    registry.register(looking.counted)
    registry.register(looking.gauges)

    texts = {generate_latest(registry).decode() for _ in range(5)}

    assert len(files.readings) == 1
    (text,) = texts
    assert f'reportd_calls_total{{outcome="ok",partner="partner-0"}} {WORKERS}.0' in text
    series = [line for line in text.splitlines() if not line.startswith("#")]
    assert PARTNERS * 6 < len(series) < MOST_SERIES


def test_reading_takes_a_small_share_of_the_time(tmp_path: Path) -> None:
    """Many workers' files take long to read: then it is done less often."""
    clock = HandClock()
    metrics.empty_folder(tmp_path / "metrics")
    files = Files(tmp_path / "metrics", clock)
    looking = observer(files, tmp_path)
    looking.turn()
    clock.now += COUNT_SECONDS
    files.seconds = 1.0
    looking.turn()
    done_at = clock.now

    clock.now = done_at + COUNT_REST - 1
    looking.turn()
    assert len(files.readings) == 2
    clock.now = done_at + COUNT_REST
    looking.turn()
    assert len(files.readings) == 3
