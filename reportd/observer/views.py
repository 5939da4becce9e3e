"""What workers and supervisor put on the board, as the observer reads it. Pure.

Written by another process of the same version; still parsed with care: a field that is missing or
strange loses that one snapshot, never the observer.
"""

import logging
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from reportd.model.vm import LimitUse, QuotaLeft

logger = logging.getLogger(__name__)


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


V = TypeVar("V", bound=_View)


class PartitionView(_View):
    """One topic's partition as its worker sees it."""

    topic: str
    partition: int
    partner: str
    position: int | None = None
    """Where the worker reads next."""
    committed: int | None = None
    open: int = 0
    most_open: int = 0
    """The most requests that wait for their turn of one account, of all topics' partitions."""
    states: dict[str, int] = {}
    oldest_open: float | None = None
    """Epoch seconds."""


class CircuitView(_View):
    """A circuit that is open: calls are held back."""

    partner: str
    kind: str
    credential: str = ""
    reason: str = ""


class HeldView(_View):
    """Requests that are held, and why one of them is."""

    partner: str
    report: str
    reason: str = ""
    account: str = ""
    requests: int = 0


class ControlView(_View):
    """What somebody asked for: a pause, a slow down, a cancelled run."""

    scope: str
    action: str
    rate: float = 1.0
    until: float | None = None
    at: float = 0.0
    who: str = ""
    reason: str = ""


class WorkerView(_View):
    """One worker's snapshot."""

    at: float
    fence_open: bool = True
    commit_age_seconds: float | None = None
    """Since the last accepted commit was sent."""
    output_away: str | None = None
    """Why the output cannot be written; None or empty: it can."""
    in_flight: int = 0
    partitions: tuple[PartitionView, ...] = ()
    limits: tuple[LimitUse, ...] = ()
    quotas: tuple[QuotaLeft, ...] = ()
    circuits: tuple[CircuitView, ...] = ()
    held: tuple[HeldView, ...] = ()
    controls: tuple[ControlView, ...] = ()
    left_out: dict[str, int] = {}
    """Of what there is more than is shown, and how many more."""


class ChildView(_View):
    """One child as the supervisor sees it."""

    name: str
    slot: int
    pid: int = 0
    state: str = ""
    up: bool = False
    started_at: float = 0.0
    restarts: int = 0
    last_exit: str = ""


class ReloadView(_View):
    """How the last reload went."""

    ok: bool = True
    at: float = 0.0
    problems: tuple[str, ...] = ()


class DaemonView(_View):
    """The supervisor's snapshot."""

    phase: str = "starting"
    children: tuple[ChildView, ...] = ()
    reload: ReloadView = ReloadView()
    strikes: int = 0


def worker_view(data: bytes) -> WorkerView | None:
    """Parse a worker's snapshot; None if there is none, or none that can be read."""
    return _parsed(WorkerView, data)


def daemon_view(data: bytes) -> DaemonView:
    """Parse the supervisor's snapshot."""
    return _parsed(DaemonView, data) or DaemonView()


def _parsed(model: type[V], data: bytes) -> V | None:
    if not data:
        return None
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        logger.warning(
            "a snapshot cannot be read: %d problems",
            error.error_count(),
            extra={"action": "snapshot_unreadable"},
        )
        return None
