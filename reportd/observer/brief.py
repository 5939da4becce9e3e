"""The document in a few words: one line for ``systemctl status``, and what to look at. Pure.

Most urgent first: a terminal cuts the line.
"""

from collections.abc import Iterator, Mapping
from typing import Any

WAITING_FOR_THE_WORLD = frozenset({"scheduled", "quota", "pending", "held", "paused"})
"""States that no amount of work ends: they do not count for the ETA."""
WAITING = {
    "limit": "for a limit",
    "scheduled": "for their day",
    "quota": "for a quota",
    "backoff": "to try again",
    "pending": "for partners' reports",
    "held": "held",
    "paused": "paused",
}
"""What requests wait for, by state, in words."""
MOST_SAID = 3
SUNSET_WARNING_DAYS = 45


def warnings(found: Mapping[str, Any]) -> list[str]:
    """Return what somebody should look at although this VM works, one line each.

    Not a refused reload: the supervisor says that itself.
    """
    return [
        *(f"{one['partner']}: calls are held back ({_why(one)})" for one in found["circuits"]),
        *(
            f"{one['partner']}.{one['report']}: {one['requests']:,} requests held ({one['reason']})"
            for one in found["held"]
        ),
        *_late_runs(found),
        *_partial_runs(found),
        *_older_runs(found),
        *_stuck_runs(found),
        *_sunsets(found),
        *_other_configurations(found),
        *_unowned(found),
        *_forsaken(found),
        *_idle(found),
        *(
            f"a worker has {count:,} more {name} than are shown here"
            for name, count in found["left_out"].items()
        ),
    ]


def phase_trouble(phase: str) -> str:
    """Return the trouble that a daemon has which is not all there."""
    return f"the daemon is {phase}"


def summary(found: Mapping[str, Any]) -> str:
    """Return troubles, how much is open, how fast it ends, what it waits for, warnings.

    Not the daemon's phase: the supervisor says that itself, and knows it first.
    """
    by_partner = found["partners"].values()
    troubles = [each for each in found["troubles"] if each != phase_trouble(found["phase"])]
    parts = [f"NOT READY: {_few(troubles)}"] if troubles else []
    parts.append(", ".join(_work(by_partner)))
    if waiting := _waiting(by_partner):
        parts.append(f"waiting: {waiting}")
    if found["warnings"]:
        parts.append(f"WARNING: {_few(found['warnings'])}")
    return "; ".join(parts)


def _work(by_partner: Any) -> Iterator[str]:
    elsewhere = sum(one["elsewhere"] for one in by_partner)
    total = sum(one["open"] for one in by_partner) + elsewhere
    if not total:
        yield "nothing open"
        return
    yield f"{total:,} open" + (f" ({elsewhere:,} elsewhere)" if elsewhere else "")
    at_work = [one for one in by_partner if one["remaining"]]
    rates = [one["ended_per_second"] for one in at_work if one["ended_per_second"] is not None]
    if rates:
        yield f"{sum(rates):,.1f}/s"
    etas = [one["eta_seconds"] for one in at_work]
    if etas and None not in etas:
        remaining = sum(one["remaining"] for one in at_work)
        yield f"ETA {_span(max(etas))}" + (f" for {remaining:,}" if remaining < total else "")
    elif 0.0 in rates:
        yield "no ETA: some partner ends none"


def _waiting(by_partner: Any) -> str:
    counts = {state: sum(one["states"].get(state, 0) for one in by_partner) for state in WAITING}
    found = [f"{counts[state]:,} {words}" for state, words in WAITING.items() if counts[state]]
    return ", ".join(found)


def _why(circuit: Mapping[str, Any]) -> str:
    return ", ".join(
        text for text in (circuit["kind"], circuit["credential"], circuit["reason"]) if text
    )


def _late_runs(found: Mapping[str, Any]) -> Iterator[str]:
    for run in (*found["runs"], *found["older"][:MOST_SAID]):
        late = run["deadline"] is not None and found["at"] > run["deadline"]
        if late and run["open_at_most"]:
            yield f"run {run['run']} is late: at most {run['open_at_most']:,} open"


def _partial_runs(found: Mapping[str, Any]) -> Iterator[str]:
    for run in found["finished"]:
        if run["state"] == "partial":
            missing = sum(run["missing"].values())
            yield f"run {run['run']} is over but partial: {missing:,} account-days missing"


def _older_runs(found: Mapping[str, Any]) -> Iterator[str]:
    older = found["lacks"]
    for run in older[:MOST_SAID]:
        yield f"run {run['run']} still lacks {sum(run['missing'].values()):,} account-days"
    if len(older) > MOST_SAID:
        yield f"{len(older) - MOST_SAID:,} more runs still lack account-days"


def _stuck_runs(found: Mapping[str, Any]) -> Iterator[str]:
    for run in found["stuck"][:MOST_SAID]:
        yield f"run {run['run']} seems to be over and cannot be finished: {run['why']}"


def _sunsets(found: Mapping[str, Any]) -> Iterator[str]:
    for one in found["sunsets"]:
        days = one["days"]
        if days <= 0:
            yield f"{one['partner']}: the version of its interface is switched off; update its file"
        elif days < SUNSET_WARNING_DAYS:
            yield (
                f"{one['partner']}: the version of its interface is switched off in {days:.0f} days"
            )


def _other_configurations(found: Mapping[str, Any]) -> Iterator[str]:
    mine = found["config"]["hash"]
    others = [one["machine"] for one in found["vms"] if one["config"] != mine]
    if others:
        yield f"another configuration runs on {', '.join(others[:MOST_SAID])}" + (
            f" and {len(others) - MOST_SAID} more VMs" if len(others) > MOST_SAID else ""
        )


def _unowned(found: Mapping[str, Any]) -> Iterator[str]:
    if found["unowned"]:
        yield f"nobody has {_few(found['unowned'])}: a worker joins anew if it stays so"


def _forsaken(found: Mapping[str, Any]) -> Iterator[str]:
    if found["forsaken"]:
        yield (
            f"{sum(found['forsaken'].values()):,} requests of runs lie in"
            f" {_few(list(found['forsaken']))}, and no VM has that partner's file: put it back"
        )


def _idle(found: Mapping[str, Any]) -> Iterator[str]:
    idle = [one["name"] for one in found["children"] if one["up"] and one["partitions"] == 0]
    if idle and found["phase"] == "running":
        yield f"{', '.join(idle[:MOST_SAID])}: no partition, nothing to do"


def _few(lines: list[str]) -> str:
    more = len(lines) - MOST_SAID
    return ", ".join(lines[:MOST_SAID]) + (f", {more} more" if more > 0 else "")


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
