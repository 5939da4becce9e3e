"""What a worker shows of itself on the board, once a second: open requests, limits, circuits."""

from dataclasses import asdict
from typing import Any

import orjson

from reportd.limits.limiter import Now
from reportd.model.request import RequestClass
from reportd.worker.complaints import held_in
from reportd.worker.engine import Engine
from reportd.worker.entry import State
from reportd.worker.fence import Fence
from reportd.worker.partition import Partition

MOST_BYTES = 250_000


def snapshot(engine: Engine, fence: Fence, now: Now) -> bytes:
    """Return the JSON that the observer reads; docs/processes.rst lists its fields."""
    partitions = engine.partitions()
    shown = {
        "at": now.wall,
        "fence_open": fence.is_open(now.boot),
        "commit_age_seconds": fence.commit_age_seconds(now.boot),
        "output_away": engine.output_trouble(now),
        "in_flight": engine.in_flight,
        "partitions": [one for part in partitions for one in _topics(part, now)],
        "limits": [one for part in partitions for one in _limits(part, now)],
        "quotas": [one for part in partitions for one in _quotas(part, now)],
        "circuits": [one for part in partitions for one in _circuits(part)],
        "held": [asdict(one) for one in held_in(partitions).values()],
    }
    data = orjson.dumps(shown)
    if len(data) > MOST_BYTES:
        data = orjson.dumps({**shown, "limits": [], "circuits": [], "held": []})
    return data


def _topics(partition: Partition, now: Now) -> list[dict[str, Any]]:
    states: dict[str, dict[str, int]] = {topic: {} for topic in partition.books}
    oldest: dict[str, float] = {}
    for entry in partition.entries.values():
        topic = entry.message.topic
        name = _state(partition, entry.state, entry.request.class_, entry.request.account, now)
        states[topic][name] = states[topic].get(name, 0) + 1
        oldest[topic] = min(oldest.get(topic, entry.message.timestamp), entry.message.timestamp)
    shown = []
    for topic, book in partition.books.items():
        if book.parked_count:
            states[topic]["parked"] = book.parked_count
        shown.append(
            {
                "topic": topic,
                "partition": partition.index,
                "partner": partition.partner,
                "position": book.position,
                "committed": book.committed,
                "open": book.open_count,
                "states": states[topic],
                "oldest_open": oldest.get(topic),
            }
        )
    return shown


def _state(partition: Partition, state: State, class_: RequestClass, account: str, now: Now) -> str:
    if state is State.READY:
        return partition.scheduler.state_of(class_, account, now).value
    if state in (State.FINISHING, State.ENDING):
        return State.IN_FLIGHT.value
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
