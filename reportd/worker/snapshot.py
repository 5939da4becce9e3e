"""What a worker shows of itself on the board, once a second: open requests, limits, circuits."""

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
PAUSED = State.PAUSED.value


def snapshot(engine: Engine, fence: Fence, now: Now) -> bytes:
    """Return the JSON that the observer reads; docs/processes.rst lists its fields."""
    partitions = engine.partitions()
    shown = {
        "at": now.wall,
        "fence_open": fence.is_open(now.boot),
        "commit_age_seconds": fence.commit_age_seconds(now.boot),
        "output_away": engine.output_trouble(now),
        "in_flight": engine.in_flight,
        "partitions": [one for part in partitions for one in _topics(part, engine.controls, now)],
        "limits": [one for part in partitions for one in _limits(part, now)],
        "quotas": [one for part in partitions for one in _quotas(part, now)],
        "circuits": [one for part in partitions for one in _circuits(part)],
        "held": [asdict(one) for one in held_in(partitions).values()],
        "controls": [one.model_dump() for one in engine.controls.in_force(now)],
    }
    data = orjson.dumps(shown)
    if len(data) > MOST_BYTES:
        data = orjson.dumps({**shown, "limits": [], "circuits": [], "held": [], "controls": []})
    return data


def _topics(partition: Partition, controls: Controls, now: Now) -> list[dict[str, Any]]:
    states: dict[str, dict[str, int]] = {topic: {} for topic in partition.books}
    oldest: dict[str, float] = {}
    for entry in partition.entries.values():
        topic = entry.message.topic
        name = state_of(partition, entry, controls, now)
        states[topic][name] = states[topic].get(name, 0) + 1
        oldest[topic] = min(oldest.get(topic, entry.message.timestamp), entry.message.timestamp)
    shown = []
    most_open = partition.most_open()
    for topic, book in partition.books.items():
        counts = states[topic]
        if paused := book.paused_count:
            counts[PAUSED] = counts.get(PAUSED, 0) + paused
        if parked := book.parked_count - paused:
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
                "oldest_open": oldest.get(topic),
            }
        )
    return shown


def state_of(partition: Partition, entry: Entry, controls: Controls, now: Now) -> str:
    """Return the state of an open request as people see it."""
    state, request = entry.state, entry.request
    if state in (State.FINISHING, State.ENDING, State.IN_FLIGHT):
        return State.IN_FLIGHT.value
    if controls.pauses(request) is not None:
        return PAUSED
    if state is State.READY:
        return partition.scheduler.state_of(request.class_, request.account, now).value
    return State.READY.value if state is State.LOOKING else state.value


def _limits(partition: Partition, now: Now) -> list[dict[str, Any]]:
    waiting = partition.scheduler.waiting_for(now)
    return [
        {
            "partner": partition.partner,
            "per": per,
            "scopes": use.scopes,
            "share": round(use.share, 4),
            "busiest": use.busiest,
            "waiting": waiting[per],
        }
        for per, use in partition.limiter.shares(now).items()
        if not per.startswith(SLOWED)
    ]


def _quotas(partition: Partition, now: Now) -> list[dict[str, Any]]:
    """Return the scope with the least left, and when that is reset."""
    left = min(partition.limiter.quotas_left(now), key=lambda one: one.calls, default=None)
    if left is None:
        return []
    found = {"partner": partition.partner, "calls": left.calls, "resets_at": left.resets_at}
    return [{**found, "per": left.scope.per, "value": left.scope.value}]


def _circuits(partition: Partition) -> list[dict[str, Any]]:
    circuits = partition.circuits
    found = [("outage", "", circuits.outage)]
    found += [("credential", name, one) for name, one in circuits.credentials.items()]
    return [
        {"partner": partition.partner, "kind": kind, "credential": name, "reason": one.reason[:200]}
        for kind, name, one in found
        if one.is_open
    ]
