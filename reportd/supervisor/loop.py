"""The supervisor: forks the children, watches, respawns, drains, reloads. Single-threaded.

One turn of the loop: wait for a signal or a second, then reap, go on with a reload, start who is
due, end who is silent or overdue, and tell. It opens no connection and imports nothing that
works: what the children do and what a configuration is comes through `Source`.
"""

import faulthandler
import logging
import os
import signal
from collections.abc import Callable

from reportd.board import Board
from reportd.clock import Clock
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, ConfigError
from reportd.supervisor.child import ChildSpec, fork_child
from reportd.supervisor.herald import Herald, State
from reportd.supervisor.inbox import Inbox
from reportd.supervisor.plan import Plan, Source
from reportd.supervisor.probe import Finding
from reportd.supervisor.reload import CHECK_SECONDS, Reload
from reportd.supervisor.respawn import RespawnPolicy
from reportd.supervisor.rollout import Rollout, Turn
from reportd.supervisor.seat import Seat, SeatState
from reportd.supervisor.strikes import Strikes

logger = logging.getLogger(__name__)

STOP_MARGIN_SECONDS = 5.0
"""What a stop takes beyond the drain, twice: once for the workers, once for the last ones."""
TURN_SECONDS = 1.0
EAGER_TURN_SECONDS = 0.05
"""While a child starts: its first heartbeat sends no signal."""
ASLEEP_SECONDS = 5.0
"""A turn that took longer: this process was stopped or the VM suspended, and so were all."""

EXPECTED_STATUSES = frozenset({0, EXIT_UNAVAILABLE, EXIT_CONFIG})


class Supervisor:
    """One daemon's supervisor; `run` is its life."""

    def __init__(
        self,
        source: Source,
        board: Board,
        herald: Herald,
        clock: Clock,
        policy: RespawnPolicy | None = None,
        joins_anew: Callable[[], tuple[str, float]] = lambda: ("", 0.0),
    ) -> None:
        """Wire it; nothing is forked before `run`.

        ``joins_anew`` tells which child must leave its group and join, and since when (boottime).
        """
        self._board = board
        self._herald = herald
        self._clock = clock
        self._source = source
        self._policy = policy or RespawnPolicy()
        self._joins_anew = joins_anew
        self._inbox = Inbox()
        self._reload = Reload(source, clock)
        self._strikes = Strikes()
        self._seats: dict[str, Seat] = {}
        self._plan = Plan(children=(), drain_seconds=0.0, heartbeat_limit_seconds=0.0)
        self._plan_before = self._plan
        self._status = 0
        self._halt_reason = ""
        self._is_ready = False
        self._stop_deadline: float | None = None
        self._awake_since = 0.0

    def run(self) -> int:
        """Run until everything has stopped; return the daemon's exit status."""
        with self._inbox.listening():
            try:
                self._reload.begin()
                turned_at = self._clock.boottime()
                while not self._is_over():
                    self._turn(turned_at)
                    turned_at = self._clock.boottime()
            finally:
                self._kill_everyone()
        return self._status

    def _turn(self, turned_at: float) -> None:
        for number in self._inbox.next(self._pause_seconds()):
            self._heed(number)
        boottime = self._clock.boottime()
        if boottime - turned_at > ASLEEP_SECONDS:
            self._awake_since = boottime
        self._reap()
        self._go_on_reloading()
        self._renew()
        self._top_up()
        self._end_the_silent(boottime)
        self._end_the_overdue()
        self._go_on_stopping()
        self._herald.tell(self._state(), self._clock.monotonic(), boottime)

    # Signals

    def _heed(self, number: int) -> None:
        if number == signal.SIGINT and self._stop_deadline is not None:
            logger.warning("interrupted again: not draining", extra={"action": "stop_now"})
            self._stop_deadline = self._clock.monotonic()
            for seat in self._seats.values():
                seat.ask_to_stop(self._stop_deadline)
        elif number in {signal.SIGTERM, signal.SIGINT}:
            self._begin_stop(signal.Signals(number).name)
        elif number == signal.SIGHUP and self._stop_deadline is None:
            logger.info("checking the configuration on disk", extra={"action": "reload_begins"})
            self._reload.ask()
        elif number == signal.SIGUSR1:
            faulthandler.dump_traceback(file=2, all_threads=True)
            for seat in self._alive():
                seat.dump()

    # Births and deaths

    def _top_up(self) -> None:
        now = self._clock.monotonic()
        for seat in self._seats.values():
            if seat.state is SeatState.WAITING and now >= seat.due_at:
                self._start(seat)
            seat.look()
        if not self._is_ready and self._seats and self._all_running():
            self._is_ready = True
            logger.info("all %d processes are running", len(self._seats), extra={"action": "ready"})

    def _renew(self) -> None:
        """Replace the child that must join its group anew; a reload does it, too."""
        name, since = self._joins_anew()
        seat = self._seats.get(name)
        if seat is None or self._stop_deadline is not None or self._reload.under_way:
            return
        if seat.is_of_before(since):
            logger.warning("%s leaves and joins anew", name, extra={"action": "child_renewed"})
            seat.renew(self._drained_by())

    def _start(self, seat: Seat) -> None:
        now = self._clock.monotonic()
        try:
            pid = fork_child(seat.spec, seat.slot, self._strikes.counts())
        except OSError as error:
            seat.due_at = now + TURN_SECONDS
            logger.critical("cannot fork %s: %s", seat.name, error, extra={"action": "fork_failed"})
            return
        seat.started(pid, now, self._clock.boottime(), self._clock.wall())
        logger.info("started %s, pid %d", seat.name, pid, extra={"action": "child_started"})

    def _reap(self) -> None:
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            finding = self._reload.ended(pid, wait_status)
            if finding is not None:
                self._found(finding)
                continue
            seat = next((seat for seat in self._seats.values() if seat.pid == pid), None)
            if seat is not None:
                self._buried(seat, os.waitstatus_to_exitcode(wait_status))

    def _buried(self, seat: Seat, code: int) -> None:
        """Note a child's end; ``code`` is its exit status, or minus the signal's number."""
        _, reason = seat.slot.halted() or (0, "")
        how = _how(code, reason)
        asked = seat.state is SeatState.STOPPING
        if code not in EXPECTED_STATUSES and not seat.given_up_on:
            in_hand = seat.slot.in_hand()
            self._strikes.add(in_hand)
            logger.error(
                "%s died (%s) with %d requests in hand",
                seat.name,
                how,
                len(in_hand),
                extra={"action": "child_died"},
            )
        elif asked:
            logger.info("%s stopped (%s)", seat.name, how, extra={"action": "child_stopped"})
        else:
            logger.warning("%s ended (%s)", seat.name, how, extra={"action": "child_ended"})
        seat.died(self._clock.monotonic(), how)
        if asked or self._stop_deadline is not None:
            return
        if self._reload.rollout is not None and self._reload.rollout.tries(seat.name):
            return  # the rollout sees it and goes back
        if code == EXIT_CONFIG or (code == EXIT_UNAVAILABLE and not self._is_ready):
            self._halt(code, reason or f"{seat.name} ended with {code}")

    def _end_the_silent(self, boottime: float) -> None:
        limit = self._plan.heartbeat_limit_seconds
        for seat in self._alive():
            silent = seat.silent_seconds(boottime, self._awake_since)
            if silent > limit and not seat.aborted:
                logger.error(
                    "%s has been silent for %.0f s: aborting it",
                    seat.name,
                    silent,
                    extra={"action": "child_silent"},
                )
                seat.abort(self._clock.monotonic())

    def _end_the_overdue(self) -> None:
        now = self._clock.monotonic()
        if self._reload.probe is not None:
            self._reload.probe.kill_overdue(now)
        for seat in self._alive():
            if seat.overdue(now):
                logger.error(
                    "%s did not end in time: killing it",
                    seat.name,
                    extra={"action": "child_overdue"},
                )
                seat.kill()

    # Start and reload

    def _found(self, finding: Finding) -> None:
        """Do what the probe's finding asks: start, roll out, or keep what runs."""
        if self._stop_deadline is not None:
            return
        status, reason = finding.status, finding.reason
        if status == 0:
            try:
                self._adopt(self._source.plan(finding.report))
                return
            except ConfigError as error:
                status, reason = EXIT_CONFIG, str(error)
        if not self._seats:
            self._halt(status, reason)
            return
        self._refuse(reason)

    def _adopt(self, plan: Plan) -> None:
        if any(spec.slot_index >= len(self._board) for spec in plan.children):
            raise ConfigError(
                f"workers: {len(plan.children)} processes are more than this daemon was started "
                "for: restart it"
            )
        before, self._plan = self._plan, plan
        if not self._seats:
            for spec in plan.children:
                self._seats[spec.name] = self._seat(spec)
            self._accept()
            return
        running = {name: seat.spec for name, seat in self._seats.items()}
        self._reload.rollout = Rollout.forward(running, plan.children)
        self._plan_before = before
        self._reload.is_way_back = False

    def _go_on_reloading(self) -> None:
        rollout = self._reload.rollout
        while rollout is not None:
            for seat in self._seats.values():
                seat.look()
            turn = rollout.turn({name: seat.state for name, seat in self._seats.items()})
            if turn is Turn.WAIT:
                return
            if turn is Turn.STOP:
                step = rollout.step
                self._seats[step.name].ask_to_stop(self._drained_by(), for_good=step.spec is None)
            elif turn is Turn.FILL:
                self._fill(rollout)
            elif turn is Turn.FAILED:
                self._fail(rollout)
            elif turn is Turn.DONE:
                self._rolled()
            rollout = self._reload.rollout
        if self._reload.is_wanted_again and not self._reload.under_way:
            self._reload.begin()

    def _fill(self, rollout: Rollout) -> None:
        step = rollout.step
        if step.spec is None:
            self._seats.pop(step.name, None)
        else:
            seat = self._seats.setdefault(step.name, self._seat(step.spec))
            seat.fill(step.spec)
            self._start(seat)
        rollout.filled()

    def _fail(self, rollout: Rollout) -> None:
        seat = self._seats[rollout.step.name]
        if self._reload.is_way_back:  # it will be respawned like any other
            rollout.skip()
            return
        self._refuse(f"{seat.name} does not start with it: {seat.last_exit}")
        seat.ask_to_stop(self._clock.monotonic())
        self._reload.is_way_back = True
        self._reload.rollout = rollout.back()
        self._plan = self._plan_before

    def _rolled(self) -> None:
        self._reload.rollout = None
        if not self._reload.is_way_back:
            self._accept()
            logger.info("the new configuration is in use", extra={"action": "reload_done"})

    def _accept(self) -> None:
        self._reload.accepted()
        self._plan.accepted()

    def _refuse(self, reason: str) -> None:
        self._reload.refused(reason)
        logger.error(
            "the configuration on disk is refused, the one before runs on",
            extra={"action": "reload_refused"},
        )
        for problem in self._reload.problems:
            logger.error("%s", problem, extra={"action": "reload_problem"})

    # The end

    def _halt(self, status: int, reason: str) -> None:
        self._status = status
        self._halt_reason = reason
        for line in reason.splitlines() or [""]:
            logger.critical("%s", line, extra={"action": "halt", "status": status})
        self._begin_stop("halting")

    def _begin_stop(self, why: str) -> None:
        if self._stop_deadline is not None:
            return
        logger.info(
            "stopping (%s), draining for at most %.0f s",
            why,
            self._plan.drain_seconds,
            extra={"action": "stop_begins"},
        )
        self._reload.cancel()
        self._stop_deadline = self._drained_by()
        for seat in self._seats.values():
            if not seat.spec.last:
                seat.ask_to_stop(self._stop_deadline)

    def _go_on_stopping(self) -> None:
        """Once the workers are gone, stop the last ones."""
        if self._stop_deadline is None or any(not seat.spec.last for seat in self._alive()):
            return
        for seat in self._seats.values():
            if seat.spec.last and seat.state is not SeatState.STOPPING:
                seat.ask_to_stop(self._clock.monotonic() + STOP_MARGIN_SECONDS)

    def _is_over(self) -> bool:
        return (
            self._stop_deadline is not None
            and self._reload.probe is None
            and all(seat.state is SeatState.EMPTY for seat in self._seats.values())
        )

    def _kill_everyone(self) -> None:
        """Leave nobody behind when the loop itself has failed."""
        for seat in self._alive():
            seat.kill()

    # What stands where

    def _seat(self, spec: ChildSpec) -> Seat:
        return Seat(spec, self._board.slot(spec.slot_index), self._policy)

    def _alive(self) -> list[Seat]:
        return [seat for seat in self._seats.values() if seat.alive]

    def _all_running(self) -> bool:
        return all(seat.state is SeatState.RUNNING for seat in self._seats.values())

    def _drained_by(self) -> float:
        return self._clock.monotonic() + self._plan.drain_seconds + STOP_MARGIN_SECONDS

    def _pause_seconds(self) -> float:
        if any(seat.state is SeatState.STARTING for seat in self._seats.values()):
            return EAGER_TURN_SECONDS
        now = self._clock.monotonic()
        due = [s.due_at - now for s in self._seats.values() if s.state is SeatState.WAITING]
        return max(0.0, min([TURN_SECONDS, *due]))

    def _state(self) -> State:
        if self._stop_deadline is not None:
            phase = "stopping"
        elif not self._is_ready:
            phase = "starting"
        else:
            phase = "reloading" if self._reload.under_way else "running"
        return State(
            phase=phase,
            seats=list(self._seats.values()),
            reload=self._reload,
            strikes=len(self._strikes),
            reload_seconds=self._reload_seconds(),
            halt=self._halt_reason,
        )

    def _reload_seconds(self) -> float:
        """Return the most that a reload may take: the check, then every child there and back."""
        plan = self._plan
        each = plan.drain_seconds + STOP_MARGIN_SECONDS + plan.heartbeat_limit_seconds
        return CHECK_SECONDS + 2 * len(self._seats) * each


def _how(code: int, reason: str) -> str:
    text = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return f"{text}: {reason}" if reason else text
