"""`reportctl wait` while Kafka is away, in no time."""

from dataclasses import dataclass, field

import pytest

from reportd.broker.message import Message
from reportd.cli.commands.wait import waited
from reportd.cli.run_names import RunName
from reportd.errors import EXIT_TIMEOUT, BrokerError
from reportd.model.run import Finished, Manifest

RUN = "daily/2026-11-22T04:00Z#1"


@dataclass
class Hours:
    """Time that passes with each pause, and a broker that is away between two instants."""

    away: tuple[float, float]
    now: float = 0.0
    waiting: list[Manifest | Finished] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def new(self) -> list[Message]:
        if self.away[0] <= self.now < self.away[1]:
            raise BrokerError("all brokers are down")
        found, self.waiting = self.waiting, []
        return [Message("p.runs", 0, 0, None, record.to_json()) for record in found]


def test_an_outage_is_waited_out(capsys: pytest.CaptureFixture[str]) -> None:
    """However long it takes, it is said once, and then the run is found to be over."""
    over = Finished(run=RUN, state="complete", ids_hash="0", requests=1, file="f", finished_at=1.0)
    manifest = Manifest(run=RUN, requests=1, ids_hash="0", topics=[], enqueued_at=0.0)
    hours = Hours((0.0, 3600.0), waiting=[manifest, over])

    name = RunName.parse(RUN)
    assert waited(name, hours, float("inf"), hours, hours.pause, as_json=False) == 0

    said = capsys.readouterr()
    assert said.out == f"{RUN} is complete\n"
    assert said.err == ("Kafka does not answer: all brokers are down; still waiting\nit answers\n")
    assert 3600.0 <= hours.now < 3700.0


def test_what_was_added_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was over is not, once its manifest names other requests."""
    over = Finished(run=RUN, state="complete", ids_hash="0", requests=1, file="f", finished_at=1.0)
    manifest = Manifest(run=RUN, requests=1, ids_hash="0", topics=[], enqueued_at=0.0)
    added = manifest.model_copy(update={"ids_hash": "1", "requests": 2})
    hours = Hours((0.0, 0.0), waiting=[manifest, over, added])

    name = RunName.parse(RUN)
    assert waited(name, hours, 100.0, hours, hours.pause, as_json=False) == EXIT_TIMEOUT
    assert capsys.readouterr().out == f"{RUN} is not over yet\n"

    hours.waiting = [manifest, over, added, over.model_copy(update={"mend": 1, "ids_hash": "1"})]
    assert waited(name, hours, 100.0, hours, hours.pause, as_json=False) == 0


def test_what_there_is_not_yet_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has misspelled its schedule waits for ever, and sees it here."""
    manifest = Manifest(run=RUN, requests=1, ids_hash="0", topics=[], enqueued_at=0.0)
    hours = Hours((0.0, 0.0), waiting=[manifest])

    name = RunName.parse("dayly/2026-11-22T04:00Z")
    assert waited(name, hours, 100.0, hours, hours.pause, as_json=False) == EXIT_TIMEOUT
    said = capsys.readouterr()
    assert said.err == (f"{name} is not enqueued yet, waiting; there are runs of: daily\n")
    assert said.out == f"{name} is not enqueued yet\n"


def test_the_timeout_counts_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no error of the broker's then, and nothing is said of the run that is not known."""
    hours = Hours((0.0, 3600.0))

    name = RunName.parse(RUN)
    assert waited(name, hours, 100.0, hours, hours.pause, as_json=False) == EXIT_TIMEOUT

    assert hours.now == 100.0
    assert capsys.readouterr().out == f"{RUN}: not known, Kafka does not answer\n"
