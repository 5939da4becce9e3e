"""The document on one screen: what needs a person, runs, partners, limits, workers. Pure.

`reportctl status` and `top` print it, the status page shows it: all three say the same. A document
of an older or newer observer is shown as far as it goes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reportd.observer.words import duration, instant

STATES = (
    "ready",
    "in_flight",
    "limit",
    "backoff",
    "quota",
    "pending",
    "scheduled",
    "held",
    "paused",
    "parked",
)
CONTROL_WORDS = {"pause": "paused", "slow": "slowed down", "cancel": "cancelled"}
_LAST_COLUMNS = ("unread", "elsewhere", "oldest", "ended", "per second", "ETA", "offset lag")

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; numbers are still numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What is to be seen, most urgent first."""

    headline: str
    is_ready: bool
    needed: tuple[str, ...]
    """What needs a person, one line each."""
    tables: tuple[Table, ...]
    """Those with rows."""


def screen(found: Document) -> Screen:
    """Return the screen of a document."""
    ready = "ready" if found.get("ready") else "NOT READY"
    at = instant(found.get("at"))
    tables = (
        _runs(found),
        _partners(found),
        _held(found),
        controls_table(found.get("controls", ())),
        _limits(found),
        _workers(found),
        _vms(found),
    )
    return Screen(
        headline=f"{found.get('machine', '')}: {found.get('phase', '')}, {ready}, at {at}",
        is_ready=bool(found.get("ready")),
        needed=tuple(_needed(found)),
        tables=tuple(table for table in tables if table.rows),
    )


def controls_table(controls: Iterable[Document]) -> Table:
    """Return what people have asked for: records of the topic ``control``."""
    return Table(
        ("scope", "", "to", "since", "until", "who", "reason"),
        tuple(
            (
                one["scope"],
                CONTROL_WORDS.get(one["action"], one["action"]),
                f"{one['rate']:.0%}" if one["action"] == "slow" else "",
                instant(one["at"]),
                instant(one["until"]),
                one["who"],
                one["reason"],
            )
            for one in controls
        ),
    )


def _needed(found: Document) -> Iterable[str]:
    yield from found.get("troubles", ())
    yield from (f"warning: {each}" for each in found.get("warnings", ()))
    reload = found.get("reload", {})
    if not reload.get("ok", True):
        yield "warning: the configuration on disk is refused, the one before runs on:"
        yield from (f"  {problem}" for problem in reload.get("problems", ()))


def _runs(found: Document) -> Table:
    over = {one["run"]: one for one in found.get("finished", ())}
    at = found.get("at") or 0.0
    rows = [
        (
            run["run"],
            run["requests"],
            run["open_at_most"],
            _state(run, at) if (done := over.pop(run["run"], None)) is None else done["state"],
            None if done is None else _missing(done),
            instant(run.get("deadline")),
        )
        for run in (*found.get("runs", ()), *found.get("older", ()))
    ]
    before = [(run, None, None, one["state"], _missing(one), "") for run, one in over.items()]
    columns = ("run", "requests", "open at most", "state", "missing", "deadline")
    return Table(columns, (*rows, *before))


def _missing(over: Document) -> int:
    return sum(over["missing"].values())


def _state(run: Document, at: float) -> str:
    deadline = run.get("deadline")
    if deadline is None:
        return "open"
    return f"{duration(deadline - at)} left" if deadline > at else f"{duration(at - deadline)} late"


def _partners(found: Document) -> Table:
    at = found.get("at") or 0.0
    partners = found.get("partners", {})
    seen = [state for state in STATES if any(one["states"].get(state) for one in partners.values())]
    return Table(
        ("partner", "open", *(state.replace("_", " ") for state in seen), *_LAST_COLUMNS),
        tuple(
            (
                name,
                one["open"],
                *(one["states"].get(state, 0) for state in seen),
                one["states"].get("unread", 0),
                one["elsewhere"],
                duration(at - one["oldest_open"]) if one.get("oldest_open") else "",
                round(one["ended"]),
                one.get("ended_per_second"),
                duration(one.get("eta_seconds")),
                one["lag"],
            )
            for name, one in sorted(partners.items())
        ),
    )


def _held(found: Document) -> Table:
    return Table(
        ("held", "requests", "one account", "why"),
        tuple(
            (f"{one['partner']}.{one['report']}", one["requests"], one["account"], one["reason"])
            for one in found.get("held", ())
        ),
    )


def _limits(found: Document) -> Table:
    return Table(
        ("limit", "per", "scopes", "in use", "VM"),
        tuple(
            (one["partner"], one["per"], one["scopes"], f"{one['share']:.0%}", one.get("vm", ""))
            for one in (*found.get("limits", ()), *found.get("elsewhere", {}).get("limits", ()))
        ),
    )


def _workers(found: Document) -> Table:
    return Table(
        ("process", "state", "partitions", "in flight", "MB", "restarts", "last exit"),
        tuple(
            (
                one["name"],
                one["state"],
                one.get("partitions"),
                one.get("in_flight"),
                round((one.get("private_bytes") or 0) / 1e6),
                one["restarts"],
                one["last_exit"],
            )
            for one in found.get("children", ())
        ),
    )


def _vms(found: Document) -> Table:
    vms = found.get("vms", ())
    mine = found.get("config", {}).get("hash")
    return Table(
        ("VM", "since", "configuration"),
        tuple(
            (
                one["machine"],
                instant(one.get("started_at")),
                "the same" if one["config"] == mine else "ANOTHER",
            )
            for one in vms
        )
        if len(vms) > 1
        else (),
    )
