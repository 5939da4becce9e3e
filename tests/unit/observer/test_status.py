"""The document, the status line, the gauges."""

import re
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from reportd import metrics
from reportd.model.run import Covered, Finished, Manifest, TopicSpan
from reportd.model.vm import Vm
from reportd.observer.exposition import Gauges, bounded
from reportd.observer.offsets import Lag, Offsets
from reportd.observer.progress import Progress
from reportd.observer.status import MOST_TOLD, Sight, document, told
from reportd.observer.views import DaemonView, WorkerView, daemon_view, worker_view

WALL = 1_700_000_000.0
REQUESTS = "p.requests.acme"


def worker(**more: Any) -> WorkerView:
    """Return a worker that owns partition 0."""
    part = {
        "topic": REQUESTS,
        "partition": 0,
        "partner": "acme",
        "position": 80,
        "committed": 60,
        "open": 12,
        "states": {"ready": 5, "in_flight": 3, "scheduled": 4},
        "oldest_open": WALL - 100,
    }
    limits = [
        {"partner": "acme", "per": "account", "scopes": 3, "share": 0.5},
        {"partner": "acme", "per": "account", "scopes": 2, "share": 0.9},
    ]
    given = {
        "at": WALL,
        "in_flight": 3,
        "commit_age_seconds": 4.0,
        "partitions": [part],
        "limits": limits,
    } | more
    return WorkerView.model_validate(given)


def daemon(phase: str = "running", *, up: bool = True) -> DaemonView:
    """Return a supervisor's view with one worker."""
    child = {
        "name": "worker-0",
        "slot": 2,
        "pid": 7,
        "state": "running" if up else "waiting",
        "up": up,
        "restarts": 2,
        "last_exit": "killed by SIGKILL",
    }
    return DaemonView.model_validate({"phase": phase, "children": [child]})


def sight(**more: Any) -> Sight:
    """Return a sight in which all is well: one partition here, one elsewhere."""
    given: dict[str, Any] = {
        "wall": WALL,
        "me": Vm(machine="vm-1", incarnation="i", config="c1"),
        "daemon": daemon(),
        "workers": {"worker-0": worker()},
        "private_bytes": {"worker-0": 3_000_000},
        "offsets": Offsets(
            {(REQUESTS, 0): Lag("acme", 60, 100), (REQUESTS, 1): Lag("acme", 0, 30)}
        ),
        "broker_age_seconds": 1.0,
        "runs": {
            "daily": Manifest(
                run="daily/2026-11-22T04:00Z#1",
                requests=50,
                ids_hash="0",
                topics=[TopicSpan(topic=REQUESTS, requests=50, spans={0: (50, 100)})],
                deadline=WALL + 3600,
                enqueued_at=WALL - 60,
            )
        },
    }
    return Sight(**(given | more))


def over(**missing: int) -> dict[str, Finished]:
    """Return runs that are over, partial: by schedule, how much is missing."""
    return {schedule: finished(schedule, count) for schedule, count in missing.items()}


def finished(schedule: str, missing: int) -> Finished:
    """Return a run that is over, partial."""
    return Finished(
        run=f"{schedule}/2026-11-21T04:00Z#1",
        state="partial",
        ids_hash="0",
        requests=3,
        reports={"acme.stats": Covered(expected=21, missing=missing)},
        file="",
        finished_at=WALL - 7200,
    )


def made(found: Sight) -> dict[str, Any]:
    """Return the document."""
    return document(found, {"acme": 33.0}, Progress())


def test_states_and_lag_of_a_partner() -> None:
    """Own states, what is unread, what others own; waiting for a day is not work to do."""
    acme = made(sight())["partners"]["acme"]

    assert acme["states"] == {"ready": 5, "in_flight": 3, "scheduled": 4, "unread": 20}
    assert acme["open"] == 32
    assert acme["elsewhere"] == 30
    assert acme["remaining"] == 5 + 3 + 20 + 30
    assert acme["lag"] == 40 + 30
    assert acme["oldest_open"] == WALL - 100
    assert acme["ended"] == 33.0


def test_partition_without_a_broker() -> None:
    """While the broker has not answered the workers' states are still shown."""
    parts = made(sight(offsets=Offsets(), broker_age_seconds=None))["partitions"]

    assert [(p["partner"], p["owner"], p["lag"]) for p in parts] == [("acme", "worker-0", None)]
    assert parts[0]["states"]["ready"] == 5


def test_the_quota_with_the_least_left_is_shown() -> None:
    """Of all scopes and workers one a partner: the next that has to wait."""

    def left(calls: float) -> dict[str, Any]:
        return {"partner": "acme", "per": "account", "value": "1", "calls": calls, "resets_at": 5.0}

    both = {"worker-0": worker(quotas=[left(9.0)]), "worker-1": worker(quotas=[left(2.0)])}

    assert made(sight(workers=both))["quotas"] == [left(2.0)]


def test_limits_are_joined() -> None:
    """The busiest scope speaks for a limit."""
    assert made(sight())["limits"] == [
        {
            "partner": "acme",
            "per": "account",
            "scopes": 5,
            "share": 0.9,
            "busiest": "",
            "waiting": 0,
            "workers": ["worker-0"],
        }
    ]


def test_what_a_vm_tells_of_its_limits_is_shown_on_the_others() -> None:
    """One document shows the whole fleet's limits, and who says nothing of them."""
    left = {"partner": "acme", "per": "account", "value": "1", "calls": 2.0, "resets_at": 5.0}
    there = Vm(machine="vm-2", incarnation="j").model_copy(
        update=told(made(sight(workers={"worker-0": worker(quotas=[left])})))
    )
    older = Vm(machine="vm-3", incarnation="k")
    heard = tuple(Vm.from_json(vm.to_json()) for vm in (there, older))

    found = made(sight(vms=heard))

    (limit,) = found["elsewhere"]["limits"]
    assert (limit["vm"], limit["workers"]) == ("vm-2", ("worker-0",))
    assert (limit["partner"], limit["per"], limit["share"]) == ("acme", "account", 0.9)
    assert found["elsewhere"]["quotas"] == [left | {"vm": "vm-2"}]
    assert found["elsewhere"]["silent"] == ["vm-3"]
    assert not any("limits" in vm for vm in found["vms"])


def test_what_is_told_of_limits_is_bounded() -> None:
    """It goes to everybody every ten seconds: the busiest do."""
    many = [
        {"partner": f"p{number}", "per": "account", "scopes": 1, "share": number / 100}
        for number in range(MOST_TOLD + 1)
    ]

    said = told(made(sight(workers={"worker-0": worker(limits=many)})))["limits"]

    assert [one.partner for one in said] == [f"p{number}" for number in range(MOST_TOLD, 0, -1)]


def test_runs_that_need_somebody_are_named() -> None:
    """What older ones lack is added up by report; what cannot be finished says why."""
    older = {
        "daily/2026-11-21T04:00Z#1": {"acme.stats": 3},
        "daily/2026-11-20T04:00Z#1": {"acme.stats": 1, "acme.ads": 2},
    }
    stuck = {"daily/2026-11-19T04:00Z#1": "disk full", "daily/2026-11-18T04:00Z#1": "disk full"}
    found = made(sight(lacks=older, stuck=stuck))
    gauges = Gauges()
    gauges.show(found)
    registry = CollectorRegistry()
    registry.register(gauges)

    labels = {"partner": "acme", "report": "stats"}
    assert registry.get_sample_value("reportd_older_missing_account_days", labels) == 4
    assert registry.get_sample_value("reportd_stuck_runs", {"schedule": "daily"}) == 2
    said = "\n".join(found["warnings"])
    assert "run daily/2026-11-20T04:00Z#1 still lacks 3 account-days" in said
    assert "daily/2026-11-19T04:00Z#1 seems to be over and cannot be finished: disk full" in said


def test_what_is_left_out_is_said() -> None:
    """A worker that has more than it can show says so, and an alertable number does."""
    found = made(sight(workers={"worker-0": worker(left_out={"controls": 7})}))
    gauges = Gauges()
    gauges.show(found)
    registry = CollectorRegistry()
    registry.register(gauges)

    assert "a worker has 7 more controls than are shown here" in found["warnings"]
    assert registry.get_sample_value("reportd_status_left_out", {"slot": "worker-0"}) == 7


def test_an_outage_that_every_worker_sees_is_shown_once() -> None:
    """One partner, one line, however many workers have found it out."""
    circuit = {"partner": "acme", "kind": "outage", "reason": "503"}
    both = {name: worker(circuits=[circuit]) for name in ("worker-0", "worker-1")}

    assert len(made(sight(workers=both))["circuits"]) == 1


@pytest.mark.parametrize(
    ("declared", "more", "wanted"),
    [
        (metrics.OFFSET_LAG, 0, {("t", "0"): 1.0}),
        (metrics.OFFSET_LAG, 1, {("t", "other"): 501.0}),
        (metrics.OLDEST_OPEN, 1, {("other",): 1.0}),
        (metrics.LIMIT_SHARE, 1, {("t", "other"): 1.0}),
    ],
)
def test_a_gauge_has_no_series_without_end(
    declared: metrics.Declared, more: int, wanted: dict[tuple[str, ...], float]
) -> None:
    """Beyond the bound it is told without its last label, as its numbers add up."""
    width = len(declared.labels)
    values = {
        (*["t"] * (width - 1), str(number)): 1.0 for number in range(metrics.MAX_SERIES + more)
    }

    found = bounded(declared, values)

    assert len(found) <= metrics.MAX_SERIES
    assert found | wanted == found


def test_a_cancelled_run_is_listed_until_it_is_over() -> None:
    """Then nothing of it is open; a cancel that came later is about a replay."""
    run = "daily/2026-11-22T04:00Z#1"
    asked = {"scope": f"run:{run}", "action": "cancel", "at": WALL - 9000}
    busy = worker(controls=[asked])
    record = finished("daily", 1)

    assert [one["scope"] for one in made(sight(workers={"w": busy}))["controls"]] == [f"run:{run}"]
    assert made(sight(workers={"w": busy}, over={run: record}))["controls"] == []
    later = worker(controls=[{**asked, "at": WALL}])
    assert made(sight(workers={"w": later}, over={run: record}))["controls"]


@pytest.mark.parametrize(
    ("allowed", "rate"),
    [
        ({"account": 5.0}, 25.0),
        ({"account": 5.0, "partner": 20.0}, 25.0),
        ({"partner": 20.0}, None),
        ({}, None),
    ],
)
def test_allowed_rate(allowed: dict[str, float], rate: float | None) -> None:
    """As many calls as the scopes in use may make together; nothing is known of unused ones."""
    acme = made(sight(allowed={"acme": allowed}))["partners"]["acme"]

    assert acme["allowed_calls_per_second"] == rate


def test_the_eta_waits_for_the_largest_account() -> None:
    """600 of one account at 5 a second take two minutes, however fast the others end."""
    progress = Progress()
    for second in range(60):
        progress.note("acme", "here", float(second * 100))
        progress.tick("acme", float(second), remaining=58)
    view = worker()
    parts = [part.model_copy(update={"most_open": 600}) for part in view.partitions]
    full = view.model_copy(update={"partitions": parts})
    known = sight(workers={"worker-0": full}, allowed={"acme": {"account": 5.0}})

    assert document(known, {}, progress)["partners"]["acme"]["eta_seconds"] == 120.0


@pytest.mark.parametrize(
    ("states", "eta"), [({}, 0.0), ({"paused": 3}, None), ({"quota": 1}, None)]
)
def test_what_waits_for_the_world_has_no_eta(states: dict[str, int], eta: float | None) -> None:
    """Nobody knows when a pause ends: not now, in any case."""
    view = worker()
    parts = [part.model_copy(update={"states": states}) for part in view.partitions]
    waiting = view.model_copy(update={"partitions": parts})
    known = sight(offsets=Offsets(), workers={"worker-0": waiting})

    assert made(known)["partners"]["acme"]["eta_seconds"] == eta


def test_runs_are_shown() -> None:
    """A run shows what is open of it at most, and each partner's part of it is done."""
    found = made(sight())
    (run,) = found["runs"]
    gauges = Gauges()
    gauges.show(found)
    registry = CollectorRegistry()
    registry.register(gauges)

    assert (run["run"], run["open_at_most"]) == ("daily/2026-11-22T04:00Z#1", 40)
    assert run["partners"] == {"acme": {"requests": 50, "open_at_most": 40}}
    labels = {"schedule": "daily", "partner": "acme"}
    assert registry.get_sample_value("reportd_run_requests", labels) == 50
    assert registry.get_sample_value("reportd_run_done_requests", labels) == 10


def test_nothing_is_open_of_what_is_over() -> None:
    """Though others hold its commits up; what was added since is open."""
    (manifest,) = sight().runs.values()
    record = finished("daily", 1)
    before = record.model_copy(update={"ids_hash": "1"})
    (run,) = made(sight(over={manifest.run: record}))["runs"]
    (added,) = made(sight(over={manifest.run: before}))["runs"]

    assert (run["open_at_most"], run["partners"]["acme"]["open_at_most"]) == (0, 0)
    assert added["open_at_most"] == 40


def test_what_is_missing_of_runs_is_summed() -> None:
    """Each schedule's last run that is over says what is missing; a report's are added up."""
    gauges = Gauges()
    gauges.show(made(sight(finished=over(daily=2, weekly=1))))
    registry = CollectorRegistry()
    registry.register(gauges)

    labels = {"partner": "acme", "report": "stats"}
    assert registry.get_sample_value("reportd_missing_account_days", labels) == 3
    daily = {"schedule": "daily"}
    assert registry.get_sample_value("reportd_run_partial", daily) == 1
    assert registry.get_sample_value("reportd_run_complete_timestamp_seconds", daily) == WALL - 7200


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, None),
        ({"daemon": daemon("starting")}, "the daemon is starting"),
        ({"daemon": daemon(up=False)}, "worker-0 is waiting (killed by SIGKILL)"),
        ({"daemon": daemon("reloading", up=False)}, None),
        ({"workers": {"worker-0": worker(output_away="disk full")}}, "cannot write: disk full"),
        ({"workers": {"worker-0": worker(fence_open=False)}}, "has lost its lease"),
        ({"workers": {"worker-0": worker(fence_open=False, partitions=[])}}, None),
        ({"broker_age_seconds": 31.0, "broker_error": "down"}, "not answered for 31 s: down"),
    ],
)
def test_readiness(more: dict[str, Any], words: str | None) -> None:
    """Each trouble is named; a rolling reload is none."""
    found = made(sight(**more))

    assert found["ready"] == (words is None)
    assert (words or "") in "\n".join(found["troubles"])


def test_every_gauge_is_exposed() -> None:
    """Each declared gauge has a value in a full document, under its own name and labels."""
    circuit = {"partner": "acme", "kind": "outage", "reason": "503 for everyone"}
    quota = {"partner": "acme", "per": "account", "value": "1", "calls": 7.0, "resets_at": WALL}
    full = worker(circuits=[circuit], quotas=[quota])
    progress = Progress()
    for second in range(10):
        progress.note("acme", "here", float(second))
        progress.tick("acme", float(second), remaining=58)
    gauges = Gauges()
    ends = {"acme": WALL + 10 * 86400}
    known = sight(
        workers={"worker-0": full},
        sunsets=ends,
        finished=over(daily=1),
        lacks={"daily/2026-11-21T04:00Z#1": {"acme.stats": 3}},
        stuck={"daily/2026-11-20T04:00Z#1": "disk full"},
        slots={"daily": WALL - 600},
        allowed={"acme": {"account": 5.0, "partner": 100.0}},
        unowned=frozenset({(REQUESTS, 1)}),
        forsaken={("p.requests.gone", 0): 7},
    )
    gauges.show(document(known, {}, progress))
    registry = CollectorRegistry()
    registry.register(gauges)

    text = generate_latest(registry).decode()

    for declared in metrics.OBSERVED:
        assert re.search(rf"^{declared.name}(\{{| )", text, re.MULTILINE), declared.name
    assert 'reportd_open_requests{partner="acme",state="ready"} 5.0' in text
    assert 'reportd_offset_lag{partition="1",topic="p.requests.acme"} 30.0' in text
    assert 'reportd_worker_restarts_total{slot="worker-0"} 2.0' in text
    assert "reportd_config_last_reload_successful 1.0" in text
    assert "reportd_unowned_partitions 2.0" in text
    sunset = registry.get_sample_value(metrics.SUNSET.name, {"partner": "acme"})
    assert sunset == ends["acme"]
    assert 'reportd_allowed_calls_per_second{partner="acme"} 25.0' in text


def test_gauges_of_the_dead_vanish() -> None:
    """A worker that is gone leaves no gauge behind; its restart count stays."""
    gauges = Gauges()
    gauges.show(made(sight()))
    gauges.show(made(sight(daemon=daemon(up=False), workers={}, private_bytes={})))
    registry = CollectorRegistry()
    registry.register(gauges)

    text = generate_latest(registry).decode()

    assert "reportd_open_requests{" not in text
    assert "reportd_private_memory_bytes{" not in text
    assert 'reportd_child_up{slot="worker-0"} 0.0' in text
    assert 'reportd_worker_restarts_total{slot="worker-0"} 2.0' in text


def test_document_is_json() -> None:
    """The document can be sent."""
    assert orjson.loads(orjson.dumps(made(sight())))["v"] == 1


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b'{"at": "x"}', b'{"partitions": 5}'])
def test_strange_snapshots_lose_nothing_else(data: bytes) -> None:
    """A snapshot that cannot be read is as good as none."""
    assert worker_view(data) is None
    assert daemon_view(data).children == ()
