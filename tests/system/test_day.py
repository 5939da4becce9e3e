"""A day with a shortened clock: what goes wrong is told, and told no more when it is over.

A real Prometheus scrapes a real daemon, with the rules of etc/prometheus, a second of which is two
minutes of theirs. The partner does what the test says.
"""

import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from reportd.cli import reportctl
from reportd.demo.scene import DemoAccount
from tests.prometheus import Prometheus
from tests.system.conftest import MakeStage, Watch
from tests.system.stage import Stage, Vm, quick_scene, stopped, until

QUICKLY = 120
QUOTA_SECONDS = 25
LONG_SECONDS = 180.0
"""On a machine that has much else to do."""
ACCOUNTS = 8
PARTNER = """\
hosts = ["127.0.0.1:PORT"]
allow_private = true
auth = { bearer = { secret = "acme-{{ account.credential }}" } }
limits = [{ per = "account", calls = 50, seconds = 1 }]
partitions = 2
retry = { attempts = 8, base_seconds = 0.2, max_seconds = 1, hold_seconds = 1 }
quota = [{ status = 429, wait_seconds = WAIT }]

[reports.campaigns]
get = "http://127.0.0.1:PORT/stats?account={{ account.id }}&from={{ from }}"
rows = "data[]"
day_column = "date"

[reports.campaigns.columns]
date = "date"
name = "string"
"""


class Acme:
    """A partner with moods: what it answers to whom."""

    def __init__(self) -> None:
        self.answer: Callable[[str], int] = lambda _account: 200
        """The status for an account."""
        handler = type("Handler", (_Handler,), {"acme": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def says(self, status: int) -> None:
        """Answer everybody so from now on."""
        self.answer = lambda _account: status


class _Handler(BaseHTTPRequestHandler):
    acme: ClassVar[Acme]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
        """Say nothing."""

    def do_GET(self) -> None:
        asks = parse_qs(urlsplit(self.path).query)
        status = self.acme.answer(asks["account"][0])
        row = {"date": asks["from"][0], "name": asks["account"][0]}
        body = orjson.dumps({"data": [row]} if status == 200 else {"error": status})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def acme() -> Iterator[Acme]:
    """Give the partner."""
    made = Acme()
    yield made
    made.server.shutdown()
    made.server.server_close()


@dataclass
class Day:
    """One VM, its Prometheus, and the runs of the day."""

    stage: Stage
    vm: Vm
    prometheus: Prometheus
    runs: int = 0

    def enqueue(self, deadline_seconds: float) -> None:
        """Ask a day of every account, as a run of its own."""
        self.runs += 1
        run = f"daily/2026-11-27T{3 + self.runs:02d}:00Z#1"
        role = self.stage.scene.roles[0]
        for number in range(ACCOUNTS):
            account = DemoAccount("acme", f"acc-{number}", "UTC", "EUR", "north", gone=False)
            self.stage.ask(account, role, self.runs, run=run)
        self.stage.confirm()
        self.stage.enqueued(run, deadline=time.time() + deadline_seconds)

    def fires(self, *wanted: str) -> None:
        """Wait until exactly these alerts fire."""
        seen: set[str] = set()

        def do() -> bool:
            nonlocal seen
            seen = self.prometheus.firing()
            return seen == set(wanted)

        try:
            until(do, str(wanted), 90)
        except pytest.fail.Exception:
            pytest.fail(f"{sorted(seen)} fire, not {sorted(wanted)}")

    def tells(self, *wanted: str) -> None:
        """Wait until these alerts fire, whatever else does."""
        until(lambda: set(wanted) <= self.prometheus.firing(), f"{wanted} to fire", LONG_SECONDS)

    def tells_no_more(self, *names: str) -> None:
        """Wait until none of these alerts fires."""
        until(
            lambda: not set(names) & self.prometheus.firing(), f"{names} to be over", LONG_SECONDS
        )

    def shows(self, *words: str) -> None:
        """Wait until the status page says so: it is as old as the observer's last look."""
        until(lambda: all(each in self.page() for each in words), f"{words} on the page")

    def page(self) -> str:
        """Return the status page."""
        address = f"http://127.0.0.1:{self.vm.metrics_port}/"
        with urllib.request.urlopen(address, timeout=60) as answer:
            found: bytes = answer.read()
        return found.decode()

    def ended(self) -> None:
        """Wait until every request has ended."""
        until(self.stage.all_ended, "every request to end", 90)


def begun(make_a_stage: MakeStage, acme: Acme, watch: Watch) -> Day:
    """Start a daemon that asks the partner, and its Prometheus."""
    text = PARTNER.replace("PORT", str(acme.server.server_address[1]))
    text = text.replace("WAIT", str(QUOTA_SECONDS))
    scene = quick_scene()
    scene = replace(scene, roles=(replace(scene.roles[0], days=1),))
    stage = make_a_stage(scene, lambda _name, _text: text)
    due(stage.place.schedule)
    vm = stage.start(stage.vm("vm-a"))
    return Day(stage, vm, watch(vm.metrics_port, quickly=QUICKLY))


def due(schedule: Path) -> None:
    """Write a schedule with one slot, and wait for that: none is due before a file is there."""
    at = 0.0
    for ahead in (2, 20, 60):  # a machine may stall just here
        if schedule.stat().st_ctime >= at:
            slot = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=ahead)
            at = slot.timestamp()
            words = f'calendar = "{slot:%F %T}"'
            schedule.write_text(re.sub("calendar = .*", words, schedule.read_text()))
    until(lambda: time.time() > at, "the slot", 90)


@pytest.mark.long  # half a minute of the same clock
@pytest.mark.timeout(900)
def test_a_morning(make_a_stage: MakeStage, acme: Acme, watch: Watch) -> None:
    """A dead letter is replayed, an outage lasts until the deadline has passed: told, and over.

    What else may be told meanwhile, on a machine that stalls, is the whole day's business.
    """
    day = begun(make_a_stage, acme, watch)
    acme.answer = lambda account: 404 if account == "acc-3" else 200
    day.enqueue(3600)
    day.ended()
    day.tells("ReportdDeadLetters", "ReportdMissingAccountDays")
    day.shows("partial")
    acme.says(200)
    replay = ["dead", "replay", "--account", "acc-3", "--config", str(day.vm.config)]
    assert reportctl.main(replay) == 0
    day.tells_no_more("ReportdMissingAccountDays")

    acme.says(503)
    day.enqueue(5)
    day.tells("ReportdPartnerOutage", "ReportdDeadlineMissed")
    day.shows("calls are held back (outage")
    acme.says(200)
    day.ended()
    day.tells_no_more("ReportdPartnerOutage", "ReportdDeadlineMissed")
    stopped(day.vm)


@pytest.mark.soak  # two minutes and a half of a clock that runs 120 times too fast
@pytest.mark.timeout(600)
def test_a_day(make_a_stage: MakeStage, acme: Acme, watch: Watch) -> None:
    """Each alert fires when its time has come, alone, and is quiet when it is mended."""
    day = begun(make_a_stage, acme, watch)
    stage, vm = day.stage, day.vm

    # The schedule was due a moment ago, and nobody has enqueued it
    day.fires("ReportdNotEnqueued")

    # A run with an account that is gone: a dead letter, and days that are missing until a replay
    acme.answer = lambda account: 404 if account == "acc-3" else 200
    day.enqueue(3600)
    day.ended()
    day.fires("ReportdDeadLetters", "ReportdMissingAccountDays")
    day.shows("partial")
    acme.says(200)
    replay = ["dead", "replay", "--account", "acc-3", "--config", str(vm.config)]
    assert reportctl.main(replay) == 0
    day.fires()

    # The partner is away until after the deadline
    acme.says(503)
    day.enqueue(20)
    day.fires("ReportdPartnerOutage", "ReportdDeadlineMissed")
    day.shows("calls are held back (outage", " late")
    acme.says(200)
    day.ended()
    day.fires()

    # A permission is lost
    acme.says(403)
    day.enqueue(3600)
    day.fires("ReportdSuspiciousRefusals")
    day.shows("requests held")
    acme.says(200)
    day.ended()
    day.fires()

    # A credential is refused
    acme.says(401)
    day.enqueue(3600)
    day.fires("ReportdCredentialRefused")
    acme.says(200)
    day.ended()
    day.fires()

    # A quota is spent: nothing moves for longer than is told of otherwise, and only that is told
    acme.says(429)
    day.enqueue(3600)
    waiting = 'sum(reportd_open_requests{state="quota"})'
    until(lambda: day.prometheus.value(waiting) == ACCOUNTS, "the quota wait")
    acme.says(200)
    told: set[str] = set()

    def has_reset() -> bool:
        told.update(day.prometheus.firing())
        return stage.all_ended()

    until(has_reset, "the reset", 90)
    assert told == {"ReportdQuotaTooSmall"}
    day.fires()
    assert len(stage.requests) == 5 * ACCOUNTS
    stopped(vm)
