"""Every panel of Grafana's dashboards, asked in a real Prometheus that has scraped two real VMs.

Each must give the numbers that the test knows of what it had them do; none of them is zero.
"""

import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reportd.broker.message import Part
from reportd.broker.topics import Topics
from reportd.cli import reportctl
from reportd.config.calendar import Calendar, last_slot
from reportd.demo.scene import Scene, demo_scene
from reportd.demo.simulator.config import Faults, Latency
from reportd.model.ledger import End
from reportd.model.request import Request
from reportd.model.run import Finished, Manifest, TopicSpan, parse_run_record
from reportd.observer.panels import RATE
from reportd.partners.waits import RESET_MARGIN_SECONDS
from reportd.worker.stamps import STEP_SECONDS
from tests.chromium import Chromium
from tests.loopback import free_port
from tests.pictures import picture
from tests.prometheus import Labels, Points, Prometheus, labels
from tests.system.conftest import MakeStage, Watch
from tests.system.stage import Stage, Vm, accounts_of, stopped, unlimited, until

ROOT = Path(__file__).parents[2]
BOARDS = ROOT / "etc" / "grafana" / "dashboards"
WINDOW_SECONDS = 20.0
AROUND = 0.1
"""Prometheus extrapolates an increase to the ends of its window; the extra is less."""
HOUR = 3600.0
SLOTS = "*-*-* 04:00 Europe/Zurich"
"""The demo's calendar."""


@dataclass(frozen=True)
class Between:
    """A number that the test knows within bounds: it moves on while it is asked for."""

    low: float
    high: float

    def __eq__(self, other: object) -> bool:
        """Say whether a number lies between."""
        return isinstance(other, float) and self.low <= other <= self.high

    __hash__ = None  # type: ignore[assignment]


@dataclass
class AtLeast:
    """Series that have to be there, whatever others are."""

    wanted: dict[Labels, object]

    def __eq__(self, other: object) -> bool:
        """Say whether they are."""
        return isinstance(other, dict) and all(
            series in other and other[series] == value for series, value in self.wanted.items()
        )

    __hash__ = None  # type: ignore[assignment]


def as_asked(query: str) -> str:
    """Return a query as Grafana asks it with everything chosen."""
    return re.sub(r'=~"\$\w+"', '=~".+"', query)


def panels() -> dict[tuple[str, str], str]:
    """Return every panel's query, as Grafana asks with everything chosen."""
    found = {}
    for file in sorted(BOARDS.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            query = as_asked(panel["targets"][0]["expr"])
            found[file.stem.removeprefix("reportd-"), panel["title"]] = query
    return found


def monitored_scene() -> Scene:
    """Return three partners: one quick with an account that is gone, one away, one narrow."""
    acme, bolt, crux = demo_scene().roles
    quick = Latency(median_seconds=0.01)
    return Scene(
        (
            replace(
                acme,
                accounts=16,
                partner=replace(
                    acme.partner,
                    limits=(),
                    faults=Faults(),
                    latency=quick,
                    gone_accounts=("acme-03",),
                ),
            ),
            replace(bolt, accounts=4),
            replace(
                crux,
                accounts=4,
                partner=replace(
                    crux.partner, limits=(), faults=Faults(), latency=quick, paging="none"
                ),
            ),
        )
    )


QUOTA = 100_000
SUNSET = datetime(2099, 1, 1, tzinfo=UTC)


def monitored_file(dead_port: int) -> Callable[[str, str], str]:
    """Return what makes the partner files fit: nobody listens for bolt, crux lets in few."""

    def edit(name: str, text: str) -> str:
        if name == "bolt":
            return re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{dead_port}", text)
        if name == "crux":
            narrow = '{ per = "partner", calls = 4, seconds = 8 }'
            return re.sub(r"limits = \[.*?\]\n", f"limits = [{narrow}]\n", text, flags=re.S)
        quota = f'{{ per = "account", calls = {QUOTA}, meter = "day" }}'
        text = unlimited(name, text).replace("limits = [", f"limits = [{quota}, ")
        return f'api_version = "v9"\nsunset = {SUNSET.date()}\n{text}'

    return edit


EARLY = "hourly/2026-11-26T04:00Z#1"
LATE = "daily/2026-11-27T04:00Z#1"
OLDER = "hourly/2026-11-26T03:00Z#1"
"""Of other days than the early one, and of the same schedule: what it lacks stays missing."""
STUCK = "weekly/2026-11-23T04:00Z#1"
"""One whose requests nobody has."""
ACCOUNTS, GONE = 16, 1
NARROW, NARROW_CALLS, NARROW_SECONDS = 60, 4, 8
MOVING = {
    ("fleet", "Left over at the deadline"),
    ("fleet", "Time until done"),
    ("fleet", "Limit in use"),
}
"""What there is only while something moves: asked before all that does is paused."""


@dataclass
class Story:
    """What two VMs did, and what the test knows of it."""

    stage: Stage
    prometheus: Prometheus

    def ask(self, partner: str, number: int, run: str, **how: Any) -> int:
        """Ask one request of every account of a partner; return how many."""
        asked = [one for one in accounts_of(self.stage.scene) if one[0].partner == partner]
        for account, role in asked:
            self.stage.ask(account, role, number, run=run, **how)
        self.stage.confirm()
        return len(asked)

    def forward(self, number: int, run: str) -> None:
        """Write a request into a partition that is not its key's."""
        account, role = next(one for one in accounts_of(self.stage.scene))
        own = self.stage.parts_of[self.stage.ask(account, role, number, run=run).id][1]
        self.stage.ask(account, role, number + 1, run=run, partition=(own + 1) % 4)
        self.stage.confirm()

    def ends(self, partner: str, run: str) -> list[End]:
        """Return the ends of a partner's requests of a run."""
        found = []
        for name, written in self.stage.follow().ends.items():
            request = self.stage.requests[name]
            record = written[0].record
            if (request.partner, request.run) == (partner, run) and isinstance(record, End):
                found.append(record)
        return found

    def committed(self) -> dict[Part, tuple[int, int]]:
        """Return where each partition of requests is committed, and where it ends."""
        reader, topics = self.stage.reader, self.stage.topics
        counts = {name: partner.partitions for name, partner in self.stage.partners.items()}
        parts = [
            (topic(name), number)
            for name, count in counts.items()
            for topic in (topics.requests, topics.backfill)
            for number in range(count)
        ]
        found = {}
        for part, commit in reader.committed(parts).items():
            low, end = reader.watermarks(part)
            found[part] = (low if commit.offset is None else commit.offset, end)
        return found

    def open_since(self, partner: str) -> float:
        """Return when the oldest open request of a partner was written."""
        unended = self.stage.open_ids()
        return min(
            message.timestamp
            for message in self.stage.reader.read_all(self.stage.topics.requests(partner))
            if Request.from_json(message.value).id in unended
        )

    def over_since(self, run: str) -> float:
        """Return when a run was found to be over."""
        records = [
            parse_run_record(m.value) for m in self.stage.reader.read_all(self.stage.topics.runs)
        ]
        return next(
            one.finished_at for one in records if isinstance(one, Finished) and one.run == run
        )

    def pause(self, partner: str) -> None:
        """Have nothing of a partner move any more, and wait until all of it is seen so."""
        config = next(iter(self.stage.vms.values())).config
        assert reportctl.main(["pause", partner, "--config", str(config)]) == 0
        paused = f'sum(reportd_open_requests{{partner="{partner}",state="paused"}})'

        def stands_still() -> bool:
            shown = self.prometheus.value(paused)
            self.stage.follow()
            of_partner = [
                one for one in self.stage.open_ids() if self.stage.requests[one].partner == partner
            ]
            return shown == len(of_partner)

        until(stands_still, f"{partner} to stand still", 120)

    def knows(self, query: str, value: float, what: str) -> None:
        """Wait until Prometheus gives a value."""
        given: list[float | None] = []

        def is_known() -> bool:
            given[:] = [self.prometheus.value(query)]
            return given == [value]

        try:
            until(is_known, f"Prometheus to see {what}", 120)
        except pytest.fail.Exception:
            pytest.fail(f"{query} is {given}, not {value}: {what}")


def named(legend: str, series: Labels) -> str:
    """Return a series' name as Grafana makes it."""
    found = dict(series)
    return re.sub(r"{{(\w+)}}", lambda match: found[match[1]], legend)


def draw(prometheus: Prometheus, since: float, folder: Path) -> None:
    """Draw each dashboard, for the docs: REPORTD_PICTURES names their folder."""
    folder.mkdir(exist_ok=True)
    for file in sorted(BOARDS.glob("*.json")):
        board = json.loads(file.read_text())
        given: dict[str, dict[str, Points]] = {}
        for panel in board["panels"]:
            target = panel["targets"][0]
            query = as_asked(target["expr"]).replace(RATE, "[15s]")
            legend = target["legendFormat"]
            given[panel["title"]] = {
                named(legend, series): points
                for series, points in prometheus.range(query, since, 1.0).items()
            }
        (folder / f"{file.stem}.svg").write_text(picture(board, given))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_panel_shows_what_happened(
    make_a_stage: MakeStage, watch: Watch, tmp_path: Path
) -> None:
    """A night of two VMs: an early run with a dead letter is over, a late one is under way.

    A partner is away, another one lets in few calls, a worker was killed.
    """
    stage = make_a_stage(monitored_scene(), monitored_file(free_port()))
    vms = [stage.vm(name, processes=2, vms=2) for name in ("vm-a", "vm-b")]
    for vm in vms:
        stage.start(vm)
    until(lambda: all(len(vm.all_parts()) > 0 for vm in vms), "both to have partitions")
    prometheus = watch(*(vm.metrics_port for vm in vms))
    story = Story(stage, prometheus)
    since = time.time()
    story.knows('sum(reportd_requests_ended_total{state="dead"}) + 1', 1.0, "the zeros")

    # The early run: one account is gone, a message lies wrong; all counters come into being
    asked = story.ask("acme", 0, EARLY) + story.ask("crux", 0, EARLY)
    asked += story.ask("acme", 20, OLDER)
    story.forward(1, EARLY)
    asked += 2
    until(stage.all_ended, "the early run to end", 120)
    stage.enqueued(OLDER)
    early = stage.enqueued(EARLY, deadline=time.time() + HOUR)
    nobodys = Manifest(run=STUCK, requests=1, ids_hash="f", topics=[], enqueued_at=time.time())
    stage.producer.send(stage.topics.runs, nobodys.to_json(), key=STUCK.encode())
    stage.confirm()
    story.knows("sum(reportd_requests_ended_total)", float(asked), "the early run")
    story.knows("count(reportd_rows_total)", 3.0, "the rows of both VMs")
    story.knows("count(max by (schedule) (reportd_run_complete_timestamp_seconds))", 1.0, "its end")
    began = time.time()  # what has ended so far is seen, so nothing of it is in the window
    story.knows("max(reportd_older_missing_account_days)", 3.0, "what the older one lacks")
    story.knows("max(reportd_stuck_runs)", 1.0, "a run that cannot be finished")

    # A worker dies
    vms[0].daemon.kill_child(vms[0].workers()["worker-0"])
    story.knows("sum(reportd_worker_restarts_total)", 1.0, "a death")
    story.knows("sum(reportd_child_up)", 6.0, "all alive again")

    # The late run
    late = story.ask("acme", 4, LATE)
    story.forward(5, LATE)
    late += 2
    waiting = story.ask("acme", 8, LATE, not_before=time.time() + HOUR)
    away = story.ask("bolt", 0, LATE)
    narrow = sum(story.ask("crux", number, LATE) for number in range(1, 1 + NARROW // 4))
    deadline = time.time() + 2 * HOUR
    newest = stage.enqueued(LATE, deadline=deadline)
    until(lambda: len(story.ends("acme", LATE)) == late, "acme's part of the late run", 120)
    story.knows("sum(reportd_requests_ended_total{partner='acme'})", asked - 4.0 + late, "it")
    done = 'max(reportd_run_done_requests{schedule="daily",partner="acme"})'
    story.knows(f"{done} >= bool {late}", 1.0, "its commits")
    story.knows('max(reportd_circuit_open{partner="bolt"})', 1.0, "that bolt is away")
    story.knows('count(max(reportd_eta_seconds{partner="crux"} > 0))', 1.0, "an ETA")

    story.knows(
        "count(max by (partner) (reportd_oldest_open_request_timestamp_seconds))", 3.0, "it"
    )
    given = {key: prometheus.ask(query) for key, query in panels().items() if key in MOVING}
    moving = time.time()
    story.pause("crux")
    ended = 4.0 + len(story.ends("crux", LATE))
    story.knows("sum(reportd_requests_ended_total{partner='crux'})", ended, "all of crux's ends")
    # Longer than the half second that Prometheus adds at each end of its window
    until(lambda: time.time() - began > WINDOW_SECONDS, "the window")
    window, asked_at = 0, 0.0
    committed: dict[Part, tuple[int, int]] = {}

    def asked_while_nothing_is_committed() -> bool:
        nonlocal window, asked_at, committed
        committed = story.committed()
        left = sum(open_of(topic, committed) for topic in newest.topics)
        if prometheus.value('max(reportd_run_open_requests{schedule="daily"})') != left:
            return False
        asked_at = time.time()
        window = math.ceil(asked_at - began)
        given.update(
            (key, prometheus.ask(query.replace(RATE, f"[{window}s]"), asked_at))
            for key, query in panels().items()
            if key not in MOVING
        )
        return story.committed() == committed

    until(asked_while_nothing_is_committed, "the last commits", 120)
    night = Night(
        acme=story.ends("acme", LATE),
        crux=story.ends("crux", LATE),
        waiting=waiting,
        away=away,
        narrow=narrow,
        runs={"daily": newest, "hourly": early, "weekly": nobodys},
        over=story.over_since(EARLY),
        oldest={name: story.open_since(name) for name in ("acme", "bolt", "crux")},
        committed=committed,
        moving=moving,
        asked_at=asked_at,
        window=window,
        topics=stage.topics,
        vms={f"127.0.0.1:{vm.metrics_port}": vm for vm in vms},
    )
    assert given.keys() == night.known().keys()
    wrong = [
        f"{key}: {given[key]}, not {wanted}"
        for key, wanted in night.known().items()
        if given[key] != wanted
    ]
    assert not wrong, "\n".join(wrong)
    folder = Path(os.environ.get("REPORTD_PICTURES") or tmp_path)
    draw(prometheus, since, folder)
    with Chromium(tmp_path / "chromium") as browser:
        browser.open(f"http://127.0.0.1:{vms[0].metrics_port}/")
        until(lambda: "calls are held back" in browser.text(), "the status page")
        browser.picture(folder / "status.png")
        assert browser.complaints == []
    for vm in vms:
        stopped(vm)


def open_of(topic: TopicSpan, committed: Mapping[Part, tuple[int, int]]) -> int:
    """Return how many offsets of a run's part are not committed."""
    spans = [(topic.topic, number, *span) for number, span in topic.spans.items()]
    return sum(max(0, end - max(first, committed[name, at][0])) for name, at, first, end in spans)


@dataclass(kw_only=True)
class Night:
    """What the test knows of the late run; what every panel gives follows from it."""

    acme: list[End]
    crux: list[End]
    waiting: int
    away: int
    narrow: int
    runs: dict[str, Manifest]
    """By schedule, the newest."""
    over: float
    oldest: dict[str, float]
    committed: dict[Part, tuple[int, int]]
    moving: float
    """When it was asked for what moves."""
    asked_at: float
    """When it was asked for all else."""
    window: int
    topics: Topics
    vms: dict[str, Vm]
    """By the name that Prometheus gives them."""

    def rate(self, count: float) -> object:
        """Return a rate over the window."""
        return pytest.approx(count / self.window, rel=AROUND)

    def since(self, instant: float) -> object:
        """Return how long ago it was when it was asked for."""
        return pytest.approx(self.asked_at - instant, abs=0.01)

    def since_second(self, instant: float) -> Between:
        """Return it of what is known to the second."""
        passed = self.asked_at - instant
        return Between(passed - 0.01, passed + STEP_SECONDS)

    def since_slot(self) -> Between:
        """Return how long ago the daily schedule was due, as the observer last looked it up."""
        calendar = Calendar.parse(SLOTS)
        slots = [last_slot(calendar, moment) for moment in self._looks()]
        found = [self.asked_at - slot.timestamp() for slot in slots if slot is not None]
        return Between(min(found) - 0.01, max(found) + 0.01)

    def until_midnight(self) -> Between:
        """Return when a day's quota is whole again: a minute after it begins."""
        days = [
            moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment in self._looks()
        ]
        whole = [(day + timedelta(days=1)).timestamp() + RESET_MARGIN_SECONDS for day in days]
        return Between(min(whole) - self.asked_at - 0.01, max(whole) - self.asked_at + 0.01)

    def _looks(self) -> list[datetime]:
        """Return when what changes once a day may have been looked up: the same, but then."""
        return [datetime.fromtimestamp(self.asked_at - ago, UTC) for ago in (0.0, 120.0)]

    def until(self, instant: float | None) -> object:
        """Return how long it is until then."""
        assert instant is not None
        return pytest.approx(instant - self.asked_at, abs=0.01)

    def open_of(self, schedule: str, partner: str = "") -> int:
        """Return how many offsets of a run are not committed, of a partner or of all."""
        wanted = self.topics.requests(partner) if partner else ""
        topics = self.runs[schedule].topics
        return sum(open_of(one, self.committed) for one in topics if wanted in ("", one.topic))

    def done_of(self, partner: str) -> float:
        """Return which share of the newest runs' requests is done."""
        topic = self.topics.requests(partner)
        parts = [one for run in self.runs.values() for one in run.topics if one.topic == topic]
        asked = sum(one.requests for one in parts)
        return (asked - sum(open_of(one, self.committed) for one in parts)) / asked

    def known(self) -> dict[tuple[str, str], Any]:
        """Return what each panel gives."""
        return {
            **{("fleet", title): wanted for title, wanted in self.fleet().items()},
            **{("partner", title): wanted for title, wanted in self.partner().items()},
            **{("process", title): wanted for title, wanted in self.process().items()},
            **{("enqueue", title): wanted for title, wanted in self.enqueue().items()},
        }

    def fleet(self) -> dict[str, Any]:
        """Return it for the fleet."""
        deadline = self.runs["daily"].deadline
        assert deadline is not None
        left = deadline - self.moving
        return {
            "Open of the newest runs": {
                labels(schedule=name): float(self.open_of(name)) for name in self.runs
            },
            "Time to the deadline": {
                labels(schedule=name): self.until(self.runs[name].deadline)
                for name in ("daily", "hourly")
            },
            "Missing account-days": {
                labels(partner="acme", report="campaigns"): 3.0,
                labels(partner="crux", report="spend"): 0.0,
            },
            "Fails for everyone": {labels(partner="bolt", kind="outage"): 1.0},
            "VMs": {labels(): 2.0},
            "Done of the newest runs": {
                labels(partner=name): self.done_of(name) for name in ("acme", "bolt", "crux")
            },
            "Left over at the deadline": AtLeast(
                {labels(schedule="daily", partner="crux"): Between(left - 1000, left - 10)}
            ),
            "Still missing of older runs": {labels(partner="acme", report="campaigns"): 3.0},
            "Open requests, and what they wait for": self.open(),
            "Requests that end": {
                labels(partner="acme"): self.rate(len(self.acme)),
                labels(partner="bolt"): 0.0,
                labels(partner="crux"): self.rate(len(self.crux)),
            },
            "Time until done": AtLeast({labels(partner="crux"): Between(10, 1000)}),
            "Limit in use": {
                labels(partner="acme", per="account"): Between(0, 1),
                labels(partner="bolt", per="partner"): Between(0, 1),
                labels(partner="crux", per="partner"): Between(0.5, 1),
            },
            "Dead letters": {
                labels(partner="acme"): self.rate(1),
                labels(partner="bolt"): 0.0,
                labels(partner="crux"): 0.0,
            },
        }

    def open(self) -> Any:
        """Return a matcher of the open requests by partner and state."""
        return OpenRequests(self.waiting, self.away, self.narrow - len(self.crux))

    def partner(self) -> dict[str, Any]:
        """Return it for partners."""
        results = [end for end in self.acme if end.state == "result"]
        states = ("result", "dead", "superseded", "cancelled")
        names = ("acme", "bolt", "crux")
        still = {labels(partner=name, state=state): 0.0 for name in names for state in states}
        calls = Counter(dict.fromkeys(states, 0))
        for end in self.acme:
            calls[end.state] += end.calls
        made = {"acme": results, "crux": self.crux}
        files = {name: [file for end in ends for file in end.files] for name, ends in made.items()}
        return {
            "Open by state": self.open(),
            "Ended by state": {
                **still,
                labels(partner="acme", state="result"): self.rate(len(results)),
                labels(partner="acme", state="dead"): self.rate(1),
                labels(partner="crux", state="result"): self.rate(len(self.crux)),
            },
            "Calls by outcome": AtLeast(
                {
                    labels(partner="acme", outcome="ok"): self.rate(calls["result"]),
                    labels(partner="acme", outcome="permanent"): self.rate(calls["dead"]),
                    labels(partner="bolt", outcome="ok"): 0.0,
                    labels(partner="bolt", outcome="transient"): Between(1 / self.window, 10),
                    labels(partner="crux", outcome="ok"): self.rate(len(self.crux)),
                }
            ),
            "Calls that are allowed": {
                labels(partner="acme"): pytest.approx(100 * ACCOUNTS),
                labels(partner="bolt"): pytest.approx(40 / 1.03),
                labels(partner="crux"): pytest.approx(NARROW_CALLS / NARROW_SECONDS),
            },
            "Quota that is left": {labels(partner="acme"): Between(QUOTA / 2, QUOTA)},
            "Until the quota is whole": {labels(partner="acme"): self.until_midnight()},
            "Duration of calls": {labels(partner=name): Between(0.001, 10) for name in names},
            "Duration of requests": {
                labels(partner="acme"): Between(0.001, 60),
                labels(partner="crux"): Between(0.001, 300),
            },
            "Age of the oldest open request": {
                labels(partner=name): self.since_second(self.oldest[name]) for name in names
            },
            "Rows": {
                labels(partner=name): self.rate(sum(end.rows for end in ends))
                for name, ends in made.items()
            },
            "Files": {
                labels(partner=name, format=form): self.rate(
                    sum(file.format == form for file in files[name])
                )
                for name, form in (("acme", "parquet"), ("crux", "parquet"), ("crux", "csv.gz"))
            },
            "Answers": {
                labels(partner="acme"): Between(100, 1e6),
                labels(partner="crux"): Between(10, 1e6),
            },
            "Output": {
                labels(partner=name): self.rate(sum(file.bytes for file in files[name]))
                for name in made
            },
            "Until the version is refused": {
                labels(partner="acme"): self.until(SUNSET.timestamp())
            },
        }

    def process(self) -> dict[str, Any]:
        """Return it for processes."""
        workers = ("worker-0", "worker-1")
        first = next(iter(self.vms))

        def every(wanted: object, *more: str) -> dict[Labels, object]:
            return {
                labels(instance=vm, slot=slot): wanted
                for vm in self.vms
                for slot in (*workers, *more)
            }

        parts = {
            labels(instance=name, slot=slot): 2.0 * len(found)
            for name, vm in self.vms.items()
            for slot, found in vm.parts().items()
        }
        return {
            "Alive": every(1.0, "observer"),
            "Deaths": {
                **every(0.0, "observer"),
                labels(instance=first, slot="worker-0"): self.rate(1),
            },
            "Memory": every(Between(1e6, 1e9), "observer"),
            "Partitions": parts,
            "Age of the last commit": every(Between(0, 30)),
            "Commits": AtLeast(
                {labels(instance=vm, outcome="accepted"): Between(0.1, 10) for vm in self.vms}
            ),
            "May call": every(1.0),
            "Can write": every(1.0),
            "Rebalances": AtLeast({labels(instance=first, event="assigned"): Between(0.02, 1)}),
            "Age of Kafka's answer": {labels(instance=vm): Between(0, 30) for vm in self.vms},
            "Same configuration": {labels(): 1.0},
            "Configuration is right": {labels(instance=vm): 1.0 for vm in self.vms},
        }

    def enqueue(self) -> dict[str, Any]:
        """Return it for enqueuing."""
        of_run = self.fleet()["Open of the newest runs"]
        return {
            "Since it was due": {labels(schedule="daily"): self.since_slot()},
            "Since the newest run": {
                labels(schedule=name): self.since(run.enqueued_at)
                for name, run in self.runs.items()
            },
            "Since a run was over": {labels(schedule="hourly"): self.since(self.over)},
            "Open of the newest run": of_run,
            "Cannot be finished": {labels(schedule="weekly"): 1.0},
            "Something is missing": {labels(schedule="hourly"): 1.0},
            "Wait for their day to end": {labels(partner="acme"): float(self.waiting)},
            "Offsets not committed": {
                labels(topic=name): float(
                    sum(
                        end - commit
                        for (topic, _), (commit, end) in self.committed.items()
                        if topic == name
                    )
                )
                for name in {topic for topic, _ in self.committed}
            },
            "In the wrong partition": {labels(partner="acme"): self.rate(1)},
        }


@dataclass
class OpenRequests:
    """Open requests by partner and state: bolt's change theirs all the time."""

    waiting: int
    away: int
    narrow: int

    def __eq__(self, other: object) -> bool:
        """Say whether the sums fit."""
        if not isinstance(other, dict):
            return False
        sums: Counter[str] = Counter()
        for series, count in other.items():
            sums[dict(series)["partner"]] += count
        scheduled = other.get(labels(partner="acme", state="scheduled"))
        return (
            scheduled == sums["acme"] == self.waiting
            and sums["bolt"] == self.away
            and sums["crux"] == self.narrow
        )

    __hash__ = None  # type: ignore[assignment]
