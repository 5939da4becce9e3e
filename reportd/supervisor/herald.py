"""What the supervisor tells: systemd by notify, the observer by the board, reportctl by a file.

READY once, after every child's first heartbeat; WATCHDOG while the supervisor's own loop turns;
EXTEND_TIMEOUT_USEC while a start, a reload or a stop goes on; STATUS in one line; the children's
states as a snapshot that /status and the metrics show.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

from reportd.board import Slot
from reportd.supervisor.reload import Reload
from reportd.supervisor.reload_file import ReloadFile
from reportd.supervisor.seat import Seat, SeatState

logger = logging.getLogger(__name__)

STATUS_SECONDS = 5.0
SNAPSHOT_SECONDS = 1.0
EXTEND_SECONDS = 30.0
"""How long a start, a reload or a stop is said to go on, three times in that time."""


class Notifier(Protocol):
    """The line to systemd (`reportd.notify.Notifier`)."""

    def ready(self, status: str = "") -> None: ...  # noqa: D102  # see reportd.notify
    def reloading(self) -> None: ...  # noqa: D102
    def stopping(self, status: str = "") -> None: ...  # noqa: D102
    def status(self, text: str) -> None: ...  # noqa: D102
    def watchdog(self) -> None: ...  # noqa: D102
    def extend(self, seconds: float) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where the daemon stands."""

    phase: str
    """starting, running, reloading or stopping."""
    seats: Sequence[Seat]
    reload: Reload
    strikes: int
    reload_seconds: float = 0.0
    """The most that a reload may take."""
    halt: str = ""
    """Why the daemon ends by itself, one reason a line."""


class Herald:
    """Tells each thing when it changed or is due; times are monotonic seconds."""

    def __init__(
        self,
        notifier: Notifier,
        slot: Slot,
        summary: Callable[[], str],
        watchdog_seconds: float,
        reload_file: ReloadFile | None = None,
    ) -> None:
        """Tell systemd through ``notifier``, the observer through ``slot``.

        ``summary`` says in a few words how the work goes; it stands in the status line. Without a
        ``reload_file`` nobody can wait for a reload.
        """
        self._notifier = notifier
        self._slot = slot
        self._summary = summary
        self._watchdog_seconds = watchdog_seconds
        self._watchdog_due = 0.0
        self._extend_due = 0.0
        self._status_due = 0.0
        self._snapshot_due = 0.0
        self._told: tuple[str, ...] = ()
        self._reload_file = reload_file
        self._is_mute = False

    def tell(self, state: State, now: float, boottime: float) -> None:
        """Tell what is new or due."""
        if self._watchdog_seconds and now >= self._watchdog_due:
            self._watchdog_due = now + self._watchdog_seconds
            self._notifier.watchdog()
        if self._told[:1] != (state.phase,):
            self._extend_due = now
        if state.phase != "running" and now >= self._extend_due:
            # How long they take depends on the configuration, which the unit does not know; that
            # they end is seen to by the loop that turns here
            self._extend_due = now + EXTEND_SECONDS / 3
            self._notifier.extend(EXTEND_SECONDS)
        marks = (state.phase, *(f"{seat.name} {seat.state} {seat.pid}" for seat in state.seats))
        changed = marks != self._told
        if changed or now >= self._snapshot_due:
            self._snapshot_due = now + SNAPSHOT_SECONDS
            self._slot.beat(boottime)
            self._slot.publish(_snapshot(state))
        if changed or now >= self._status_due:
            self._status_due = now + STATUS_SECONDS
            self._tell_status(state)
        self._told = marks
        self._tell_reloads(state)

    def _tell_status(self, state: State) -> None:
        before = self._told[0] if self._told else "starting"
        text = self._line(state)
        if state.phase == before:
            self._notifier.status(text)
        elif state.phase == "running":
            self._notifier.ready(text)
        elif state.phase == "reloading":
            self._notifier.reloading()
            self._notifier.status(text)
        elif state.phase == "stopping":
            self._notifier.stopping(text)

    def _tell_reloads(self, state: State) -> None:
        if self._reload_file is None:
            return
        try:
            self._reload_file.write(
                phase=state.phase,
                asked=state.reload.asked,
                answered=state.reload.answered,
                ok=state.reload.ok,
                problems=state.reload.problems,
                patience_seconds=state.reload_seconds,
            )
        except OSError as error:  # whoever waits for a reload waits until there is room again
            if not self._is_mute:
                extra = {"action": "reload_mute"}
                logger.warning("cannot say how reloads go: %s", error, extra=extra)
            self._is_mute = True
        else:
            self._is_mute = False

    def _line(self, state: State) -> str:
        alive = sum(seat.alive for seat in state.seats)
        if state.phase == "stopping":
            why = f"{'; '.join(state.halt.splitlines())}; " if state.halt else ""
            return f"{why}draining: {alive} of {len(state.seats)} processes left"
        parts = [f"{state.phase}: {alive} of {len(state.seats)} processes"]
        if not state.reload.ok:
            why = next(iter(state.reload.problems), "see the log")
            parts.append(f"configuration on disk refused, the one before runs on: {why}")
        if summary := self._summary():
            parts.append(summary)
        return "; ".join(parts)


def _snapshot(state: State) -> bytes:
    return orjson.dumps(
        {
            "phase": state.phase,
            "children": [_child(seat) for seat in state.seats],
            "reload": {
                "ok": state.reload.ok,
                "at": state.reload.at,
                "problems": state.reload.problems[:20],
            },
            "strikes": state.strikes,
        }
    )


def _child(seat: Seat) -> dict[str, object]:
    return {
        "name": seat.name,
        "slot": seat.spec.slot_index,
        "pid": seat.pid,
        "state": str(seat.state),
        "up": seat.state is SeatState.RUNNING,
        "started_at": seat.started_wall,
        "restarts": seat.restarts,
        "last_exit": seat.last_exit,
    }
