"""What the observer knows, put together as one document: /status. Pure; docs/processes.rst.

Everything that is counted twice on purpose is said so there: states are this VM's, offsets and
runs are the whole group's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reportd.broker.message import Part
from reportd.model.control import RUN, is_past
from reportd.model.run import Finished, Manifest, RunId, order_of
from reportd.model.vm import LimitUse, QuotaLeft, Vm
from reportd.observer.brief import WAITING_FOR_THE_WORLD, phase_trouble, warnings
from reportd.observer.offsets import Offsets
from reportd.observer.progress import Progress
from reportd.observer.runs import open_at_most, progress_by_partner
from reportd.observer.views import (
    CircuitView,
    DaemonView,
    PartitionView,
    WorkerView,
)

BROKER_PATIENCE_SECONDS = 30.0
MOST_TOLD = 50
"""So many limits, and so many quotas, are told to the other VMs: the busiest."""
MOST_OLDER = 10
"""So many runs are shown that are open beside newer ones."""
DAY_SECONDS = 86400.0
WORKER_FIELDS = (
    "in_flight",
    "partitions",
    "fence_open",
    "commit_age_seconds",
    "output_away",
    "left_out",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """All that one document is made of."""

    wall: float
    me: Vm
    daemon: DaemonView
    workers: Mapping[str, WorkerView] = field(default_factory=dict)
    """By child's name; only living ones."""
    private_bytes: Mapping[str, int] = field(default_factory=dict)
    offsets: Offsets = field(default_factory=Offsets)
    broker_age_seconds: float | None = None
    """Age of ``offsets``; None: the broker has not answered yet."""
    broker_error: str = ""
    runs: Mapping[str, Manifest] = field(default_factory=dict)
    older: tuple[Manifest, ...] = ()
    """Runs before those that are not over, the newest first."""
    finished: Mapping[str, Finished] = field(default_factory=dict)
    over: Mapping[str, Finished] = field(default_factory=dict)
    """By run, all that are over and not forgotten."""
    lacks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By run that is not its schedule's newest, by ``partner.report``: account-days."""
    stuck: Mapping[str, str] = field(default_factory=dict)
    """By run: why it cannot be finished although it seems to be over."""
    vms: tuple[Vm, ...] = ()
    agree: bool = True
    unowned: frozenset[Part] = frozenset()
    """Partitions that no worker of the group has."""
    forsaken: Mapping[Part, int] = field(default_factory=dict)
    """Those of partners that no VM has a file of, and how many requests of runs at most."""
    sunsets: Mapping[str, float] = field(default_factory=dict)
    """By partner: when it refuses the version that its file speaks (epoch)."""
    allowed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By partner and kind of scope: calls a second that it allows to one."""
    slots: Mapping[str, float] = field(default_factory=dict)
    """By schedule: the last instant of its calendar that has passed (epoch)."""


def troubles(sight: Sight) -> list[str]:
    """Return why this VM is not ready to work, one line each."""
    found = []
    if sight.daemon.phase not in {"running", "reloading"}:
        found.append(phase_trouble(sight.daemon.phase))
    if sight.daemon.phase == "running":
        found += [
            f"{child.name} is {child.state}" + (f" ({child.last_exit})" if child.last_exit else "")
            for child in sight.daemon.children
            if not child.up
        ]
    for name, worker in sight.workers.items():
        if worker.output_away:
            found.append(f"{name} cannot write: {worker.output_away}")
        if worker.partitions and not worker.fence_open:
            found.append(f"{name} has lost its lease: no commit was accepted in time")
    if (age := sight.broker_age_seconds) is not None and age > BROKER_PATIENCE_SECONDS:
        found.append(f"the broker has not answered for {age:.0f} s: {sight.broker_error}")
    return found


def partitions(sight: Sight) -> list[dict[str, Any]]:
    """Return every partition of the group: its offsets, and its states if it is owned here."""
    owned = _owned(sight)
    found = []
    for part in sorted({*sight.offsets.lags, *owned}):
        lag = sight.offsets.lags.get(part)
        name, view = owned.get(part, (None, None))
        end = lag.end if lag is not None else None
        states = dict(view.states) if view is not None else {}
        if view is not None and view.position is not None and end is not None:
            states["unread"] = max(0, end - view.position)
        found.append(
            {
                "topic": part[0],
                "partition": part[1],
                "partner": lag.partner if lag is not None else view.partner if view else "",
                "owner": name,
                "start": lag.start if lag is not None else None,
                "end": end,
                "lag": lag.lag if lag is not None else None,
                "states": states,
                "oldest_open": view.oldest_open if view is not None else None,
            }
        )
    return found


def partners(
    sight: Sight, parts: list[dict[str, Any]], ended: Mapping[str, float], progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return the partners' sums over ``parts``; ``ended`` are this VM's counts since its start."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        one = found.setdefault(part["partner"], _empty_partner())
        one["lag"] += part["lag"] or 0
        if part["owner"] is None:
            one["elsewhere"] += part["lag"] or 0
            one["remaining"] += part["lag"] or 0
        for state, count in part["states"].items():
            one["states"][state] = one["states"].get(state, 0) + count
            one["open"] += count
            if state not in WAITING_FOR_THE_WORLD:
                one["remaining"] += count
        if part["oldest_open"] is not None:
            one["oldest_open"] = min(one["oldest_open"] or part["oldest_open"], part["oldest_open"])
    most_open = _most_open(sight)
    held = limits(sight)
    for partner, one in found.items():
        rates = sight.allowed.get(partner, {})
        one["ended"] = ended.get(partner, 0.0)
        one["ended_per_second"] = progress.rate(partner)
        slowest_seconds = most_open.get(partner, 0) / rates.get("account", float("inf"))
        if one["remaining"] or not one["open"]:  # what waits for the world takes who knows how long
            one["eta_seconds"] = progress.eta_seconds(partner, one["remaining"], slowest_seconds)
        one["allowed_calls_per_second"] = _allowed(held, partner, rates)
    return found


def _most_open(sight: Sight) -> dict[str, int]:
    """Return by partner how much the account has to do that has the most here."""
    found: dict[str, int] = {}
    for worker in sight.workers.values():
        for view in worker.partitions:
            found[view.partner] = max(found.get(view.partner, 0), view.most_open)
    return found


def _allowed(held: list[dict[str, Any]], partner: str, rates: Mapping[str, float]) -> float | None:
    """Return the calls a second that a partner allows to this VM; None: nothing limits them yet."""
    return min(
        (
            rates[one["per"]] * one["scopes"]
            for one in held
            if one["partner"] == partner and one["per"] in rates and one["scopes"]
        ),
        default=None,
    )


def limits(sight: Sight) -> list[dict[str, Any]]:
    """Return each limit: the busiest scope and its share, what waits, and who holds it."""
    found: dict[tuple[str, str], list[tuple[str, LimitUse]]] = {}
    for name, worker in sight.workers.items():
        for limit in worker.limits:
            found.setdefault((limit.partner, limit.per), []).append((name, limit))
    return [
        {
            "partner": partner,
            "per": per,
            "scopes": sum(limit.scopes for _, limit in held),
            "share": max(limit.share for _, limit in held),
            "busiest": max((limit.share, limit.busiest) for _, limit in held)[1],
            "waiting": sum(limit.waiting for _, limit in held),
            "workers": sorted({name for name, _ in held}),
        }
        for (partner, per), held in sorted(found.items())
    ]


def quotas(sight: Sight) -> list[dict[str, Any]]:
    """Return of each partner the scope whose quota has the least left."""
    found: dict[str, QuotaLeft] = {}
    for worker in sight.workers.values():
        for quota in worker.quotas:
            known = found.setdefault(quota.partner, quota)
            found[quota.partner] = min(known, quota, key=lambda one: one.calls)
    return [quota.model_dump() for _, quota in sorted(found.items())]


def told(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the other VMs are told of this one's limits: fields of its record."""
    busiest = sorted(found["limits"], key=lambda one: -one["share"])[:MOST_TOLD]
    spent = sorted(found["quotas"], key=lambda one: one["calls"])[:MOST_TOLD]
    return {
        "limits": tuple(LimitUse.model_validate(one) for one in busiest),
        "quotas": tuple(QuotaLeft.model_validate(one) for one in spent),
    }


def elsewhere(sight: Sight) -> dict[str, Any]:
    """Return what other VMs say of their limits, and which of them say nothing."""
    others = [vm for vm in sight.vms if vm.machine != sight.me.machine]
    used = [(vm.machine, one) for vm in others for one in vm.limits or ()]
    left = [(vm.machine, one) for vm in others for one in vm.quotas]
    return {
        "limits": [one.model_dump() | {"vm": machine} for machine, one in used],
        "quotas": [one.model_dump() | {"vm": machine} for machine, one in left],
        "silent": [vm.machine for vm in others if vm.limits is None],
    }


def runs(sight: Sight) -> list[dict[str, Any]]:
    """Return each schedule's newest run."""
    return [_run(sight, *one) for one in sorted(sight.runs.items())]


def older(sight: Sight) -> list[dict[str, Any]]:
    """Return the newest of those that are not over although a newer one was enqueued."""
    return [
        _run(sight, RunId.parse(manifest.run).schedule, manifest)
        for manifest in sight.older[:MOST_OLDER]
    ]


def _run(sight: Sight, schedule: str, manifest: Manifest) -> dict[str, Any]:
    """Return one; of what is over nothing is open, though others may hold its commits up."""
    over = sight.over.get(manifest.run)
    is_over = over is not None and over.ids_hash == manifest.ids_hash
    partners = progress_by_partner(manifest, sight.offsets)
    return {
        "schedule": schedule,
        "run": manifest.run,
        "slot": RunId.parse(manifest.run).slot.timestamp(),
        "requests": manifest.requests,
        "open_at_most": 0 if is_over else open_at_most(manifest, sight.offsets),
        "deadline": manifest.deadline,
        "enqueued_at": manifest.enqueued_at,
        "partners": {
            partner: {"requests": requests, "open_at_most": 0 if is_over else left}
            for partner, (requests, left) in sorted(partners.items())
        },
    }


def finished(sight: Sight) -> list[dict[str, Any]]:
    """Return each schedule's newest run that is over, with what is missing."""
    return [
        {
            "schedule": schedule,
            "run": record.run,
            "state": record.state,
            "at": record.finished_at,
            "file": record.file,
            "missing": {name: covered.missing for name, covered in record.reports.items()},
        }
        for schedule, record in sorted(sight.finished.items())
    ]


def lacks(sight: Sight) -> list[dict[str, Any]]:
    """Return what runs before each schedule's newest still lack, the newest first."""
    return [
        {"run": run, "missing": dict(sorted(sight.lacks[run].items()))}
        for run in sorted(sight.lacks, key=order_of, reverse=True)
    ]


def stuck(sight: Sight) -> list[dict[str, Any]]:
    """Return the runs that seem to be over and cannot be finished, the oldest first."""
    return [
        {"schedule": RunId.parse(run).schedule, "run": run, "why": sight.stuck[run]}
        for run in sorted(sight.stuck, key=order_of)
    ]


def sunsets(sight: Sight) -> list[dict[str, Any]]:
    """Return how long each partner takes the version that its file speaks, soonest first."""
    ends = sorted(sight.sunsets.items(), key=lambda one: (one[1], one[0]))
    return [
        {"partner": partner, "at": at, "days": round((at - sight.wall) / DAY_SECONDS, 2)}
        for partner, at in ends
    ]


def circuits(sight: Sight) -> list[dict[str, Any]]:
    """Return the circuits that are open, each once: every worker finds out for itself."""
    found: dict[tuple[str, str, str], CircuitView] = {}
    for worker in sight.workers.values():
        for one in worker.circuits:
            found.setdefault((one.partner, one.kind, one.credential), one)
    return [one.model_dump() for one in found.values()]


def left_out(sight: Sight) -> dict[str, int]:
    """Return of what a worker has more than it shows, and the most that one leaves out."""
    found: dict[str, int] = {}
    for worker in sight.workers.values():
        for name, count in worker.left_out.items():
            found[name] = max(found.get(name, 0), count)
    return dict(sorted(found.items()))


def controls(sight: Sight) -> list[dict[str, Any]]:
    """Return what people have asked for, as the workers have heard it.

    Not that a run is cancelled which was over after that: nothing of it is open.
    """
    found = {one.scope: one for worker in sight.workers.values() for one in worker.controls}
    return [
        one.model_dump()
        for _, one in sorted(found.items())
        if not is_past(one.action, one.at, sight.over.get(one.scope.removeprefix(RUN)))
    ]


def document(sight: Sight, ended: Mapping[str, float], progress: Progress) -> dict[str, Any]:
    """Return /status."""
    parts = partitions(sight)
    found = troubles(sight)
    workers = sight.workers
    made = {
        "v": 1,
        "at": sight.wall,
        "machine": sight.me.machine,
        "phase": sight.daemon.phase,
        "ready": not found,
        "troubles": found,
        "partners": partners(sight, parts, ended, progress),
        "partitions": parts,
        "unowned": [f"{topic}[{number}]" for topic, number in sorted(sight.unowned)],
        "forsaken": {
            f"{topic}[{number}]": count for (topic, number), count in sorted(sight.forsaken.items())
        },
        "limits": limits(sight),
        "quotas": quotas(sight),
        "elsewhere": elsewhere(sight),
        "circuits": circuits(sight),
        "held": [held.model_dump() for one in workers.values() for held in one.held],
        "controls": controls(sight),
        "left_out": left_out(sight),
        "runs": runs(sight),
        "older": older(sight),
        "finished": finished(sight),
        "lacks": lacks(sight),
        "stuck": stuck(sight),
        "slots": dict(sorted(sight.slots.items())),
        "sunsets": sunsets(sight),
        "children": [
            {
                **child.model_dump(),
                "private_bytes": sight.private_bytes.get(child.name),
                **_worker(workers.get(child.name)),
            }
            for child in sight.daemon.children
        ],
        "crash_strikes": sight.daemon.strikes,
        "reload": sight.daemon.reload.model_dump(),
        "config": {"hash": sight.me.config, "agrees": sight.agree},
        "store": {"id": sight.me.store, "shared": sight.me.shared},
        "vms": [vm.model_dump(exclude={"limits", "quotas"}) for vm in (sight.me, *sight.vms)],
        "broker": {"answer_age_seconds": sight.broker_age_seconds, "error": sight.broker_error},
    }
    return made | {"warnings": warnings(made)}


def _worker(view: WorkerView | None) -> dict[str, Any]:
    if view is None:
        return dict.fromkeys(WORKER_FIELDS)
    return {
        "in_flight": view.in_flight,
        "partitions": len(view.partitions),
        "fence_open": view.fence_open,
        "commit_age_seconds": view.commit_age_seconds,
        "output_away": view.output_away or "",
        "left_out": sum(view.left_out.values()),
    }


def _owned(sight: Sight) -> dict[Part, tuple[str, PartitionView]]:
    return {
        (view.topic, view.partition): (name, view)
        for name, worker in sight.workers.items()
        for view in worker.partitions
    }


def _empty_partner() -> dict[str, Any]:
    return {
        "open": 0,
        "states": {},
        "elsewhere": 0,
        "remaining": 0,
        "lag": 0,
        "oldest_open": None,
        "eta_seconds": None,
    }
