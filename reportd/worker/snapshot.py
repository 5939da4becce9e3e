"""What a worker shows of itself on the board, once a second: open requests, limits, circuits."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from reportd.limits.limiter import Now
from reportd.worker.complaints import held_in
from reportd.worker.controls import SLOWED, Controls
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry, State
from reportd.worker.fence import Fence
from reportd.worker.partition import Partition

MOST_BYTES = 250_000
MOST_SHOWN = {"circuits": 20, "held": 20, "controls": 200}
"""So many of a partner are shown: what matters most of them. The rest is counted."""
PAUSED = State.PAUSED.value
SCHEDULED = State.SCHEDULED.value
HELD = State.HELD.value


def snapshot(engine: Engine, fence: Fence, now: Now) -> bytes:
    """Return the JSON that the observer reads; docs/processes.rst lists its fields."""
    partitions = engine.partitions()
    shown: dict[str, Any] = {
        "at": now.wall,
        "fence_open": fence.is_open(now.boot),
        "commit_age_seconds": fence.commit_age_seconds(now.boot),
        "output_away": engine.outlet.trouble(now),
        "in_flight": engine.in_flight,
        "partitions": [one for part in partitions for one in _topics(part, engine.controls, now)],
        "limits": _limits(partitions, now),
        "quotas": [one for part in partitions for one in _quotas(part, now)],
        "circuits": _circuits(partitions),
        "held": _held(partitions),
        "controls": _controls(engine.controls, now),
    }
    shown["left_out"] = _bounded(shown)
    return _fitting(shown)


def _bounded(shown: dict[str, Any]) -> dict[str, int]:
    """Keep the first so many of each partner; return how many others there are."""
    left_out = {}
    for name, most in MOST_SHOWN.items():
        seen: Counter[str] = Counter()
        kept = []
        for one in shown[name]:
            seen[one.get("partner", "")] += 1
            if seen[one.get("partner", "")] <= most:
                kept.append(one)
        if len(kept) < len(shown[name]):
            left_out[name] = len(shown[name]) - len(kept)
        shown[name] = kept
    return left_out


def _fitting(shown: Mapping[str, Any]) -> bytes:
    """Return a snapshot that fits the board, and says what it leaves out for that."""
    data = orjson.dumps(shown)
    if len(data) <= MOST_BYTES:
        return data
    left_out = Counter(shown["left_out"])
    for name in MOST_SHOWN:
        left_out[name] += len(shown[name])
    fewer = {**shown, **dict.fromkeys(MOST_SHOWN, ()), "left_out": +left_out}
    while len(data := orjson.dumps(fewer)) > MOST_BYTES and fewer["partitions"]:
        half = len(fewer["partitions"]) // 2
        left_out["partitions"] += len(fewer["partitions"]) - half
        fewer |= {"partitions": fewer["partitions"][:half], "left_out": +left_out}
    return data


def _topics(partition: Partition, controls: Controls, now: Now) -> list[dict[str, Any]]:
    states: dict[str, dict[str, int]] = {topic: {} for topic in partition.books}
    for entry in partition.entries.values():
        topic = entry.message.topic
        name = state_of(partition, entry, controls, now)
        states[topic][name] = states[topic].get(name, 0) + 1
    shown = []
    most_open = partition.most_open()
    for topic, book in partition.books.items():
        counts = states[topic]
        parked = book.parked_count
        for name, count in (
            (PAUSED, book.paused_count),
            (SCHEDULED, book.later_count),
            (HELD, book.refused_count),
        ):
            if count:
                counts[name] = counts.get(name, 0) + count
                parked -= count
        if parked:
            counts["parked"] = parked
        shown.append(
            {
                "topic": topic,
                "partition": partition.index,
                "partner": partition.partner,
                "position": book.position,
                "committed": book.committed,
                "open": book.open_count,
                "most_open": most_open,
                "states": counts,
                "oldest_open": book.oldest_open,
            }
        )
    return shown


def state_of(partition: Partition, entry: Entry, controls: Controls, now: Now) -> str:
    """Return the state of an open request as people see it."""
    state, request = entry.state, entry.request
    if state in (State.FINISHING, State.ENDING, State.IN_FLIGHT):
        return State.IN_FLIGHT.value
    if controls.pause_of(request) is not None:
        return PAUSED
    if state is State.READY:
        shown = partition.scheduler.state_of(request.class_, request.account, now)
        is_refused = shown is State.LIMIT and partition.circuits.is_refused(request.credential)
        return (State.HELD if is_refused else shown).value
    return State.READY.value if state is State.LOOKING else state.value


def _limits(partitions: Iterable[Partition], now: Now) -> list[dict[str, Any]]:
    """Return the use of each partner's kinds of scopes, over all of the worker's partitions."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for partition in partitions:
        waiting = partition.scheduler.waiting_for(now)
        for per, use in partition.limiter.shares(now).items():
            if per.startswith(SLOWED):
                continue
            empty = {"partner": partition.partner, "per": per, "scopes": 0, "share": -1.0}
            one = found.setdefault((partition.partner, per), empty | {"waiting": 0})
            one["scopes"] += use.scopes
            one["waiting"] += waiting[per]
            if use.share > one["share"]:
                one |= {"share": round(use.share, 4), "busiest": use.busiest}
    return list(found.values())


def _quotas(partition: Partition, now: Now) -> list[dict[str, Any]]:
    """Return the scope with the least left, and when that is reset."""
    left = min(partition.limiter.quotas_left(now), key=lambda one: one.calls, default=None)
    if left is None:
        return []
    found = {"partner": partition.partner, "calls": left.calls, "resets_at": left.resets_at}
    return [{**found, "per": left.scope.per, "value": left.scope.value}]


def _circuits(partitions: Iterable[Partition]) -> list[dict[str, Any]]:
    """Return what is open, each once: outages, then credentials."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for partition in partitions:
        for kind, name, reason in _open_circuits(partition):
            one = {"partner": partition.partner, "kind": kind, "credential": name}
            found.setdefault((partition.partner, kind, name), one | {"reason": reason[:200]})
    return sorted(found.values(), key=lambda one: one["kind"] != "outage")


def _open_circuits(partition: Partition) -> list[tuple[str, str, str]]:
    circuits = partition.circuits
    found = [("outage", "", circuits.outage)]
    found += [("credential", name, one) for name, one in circuits.credentials.items()]
    return [(kind, name, one.reason) for kind, name, one in found if one.is_open]


def _held(partitions: Sequence[Partition]) -> list[dict[str, Any]]:
    """Return what is held by kind, the most requests first."""
    found = sorted(held_in(partitions).values(), key=lambda one: -one.requests)
    return [asdict(one) for one in found]


def _controls(controls: Controls, now: Now) -> list[dict[str, Any]]:
    """Return what is asked for, the newest first."""
    found = sorted(controls.in_force(now), key=lambda one: -one.at)
    return [one.model_dump() for one in found]
