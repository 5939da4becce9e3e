"""What people ask of this worker: what is paused, slowed down, cancelled. Used by the engine; pure.

The records come in the topic's order; before the first call of any partition all that stand there
are known.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from reportd.broker.message import Message
from reportd.errors import InvalidMessageError
from reportd.limits.limiter import LimitRule, Now, Scope
from reportd.model.control import RUN, Control, Target, folded, read_control, targets_of
from reportd.model.request import Request
from reportd.worker.actions import TopicPartition
from reportd.worker.book import Later, Paused, Refused

logger = logging.getLogger(__name__)

NEVER = float("inf")

WORDS_MOST = 5
"""So many are named in the log."""

SLOWED = "slowed "
"""How the kinds of scopes begin that a slow down adds."""


class Controls:
    """All controls that are in force."""

    def __init__(self) -> None:
        """Know none."""
        self.part: TopicPartition | None = None
        """Where they are read."""
        self.position = 0
        """The offset after the last record known."""
        self._asked: dict[str, Control] = {}
        self._written_at: dict[str, float] = {}
        self._paused: dict[Target, Control] = {}
        self._slowed: dict[Target, Control] = {}
        self._cancelled: dict[str, Control] = {}
        self.ends_at = NEVER
        """Epoch seconds at which the next of them ends by itself."""

    def hear(self, messages: Iterable[Message], now: Now) -> bool:
        """Take records; True if any was new."""
        heard = False
        for message in messages:
            if message.offset < self.position:
                continue
            heard = True
            self.position = message.offset + 1
            try:
                scope, control = read_control(message.key, message.value)
            except InvalidMessageError as error:
                logger.warning(
                    "%s@%d is no control, passed over: %s",
                    message.topic,
                    message.offset,
                    error,
                    extra={"action": "control_invalid"},
                )
                continue
            self._asked = folded([*self._asked.items(), (scope, control)])
            self._written_at[scope] = message.timestamp
        if heard:
            self.look(now)
            logger.info("in force: %s", self._words(now), extra={"action": "controls_heard"})
        return heard

    def look(self, now: Now) -> None:
        """Leave out what has ended by itself."""
        held = [one for one in self._asked.values() if one.holds(now.wall)]
        self._paused = {one.target: one for one in held if one.action == "pause"}
        self._slowed = {one.target: one for one in held if one.action == "slow"}
        self._cancelled = {
            one.scope.removeprefix(RUN): one for one in held if one.action == "cancel"
        }
        self.ends_at = min((one.until for one in held if one.until is not None), default=NEVER)

    def in_force(self, now: Now) -> list[Control]:
        """Return all of them."""
        return [one for one in self._asked.values() if one.holds(now.wall)]

    def _words(self, now: Now) -> str:
        found = [
            f"{one.action} {one.scope}" + (f" to {one.rate:.0%}" if one.action == "slow" else "")
            for one in self.in_force(now)
        ]
        more = len(found) - WORDS_MOST
        said = ", ".join(found[:WORDS_MOST]) or "nothing"
        return said + (f" and {more} more" if more > 0 else "")

    def pauses(self, request: Request) -> Paused | None:
        """Return why a request that is not cancelled may not be called now; None: it may."""
        control = self.pause_of(request) if self._paused else None
        return None if control is None else Paused(control.scope, self._ends_with(request))

    def later(self, request: Request, at: int) -> Later:
        """Return why a request that is not cancelled waits in Kafka for a time (epoch seconds)."""
        return Later(at, self._ends_with(request))

    def refused(self, request: Request) -> Refused:
        """Return why a request that is not cancelled waits in Kafka for its credential."""
        return Refused(request.credential, self._ends_with(request))

    def _ends_with(self, request: Request) -> str:
        """Return the run whose cancellation ends a wait; none for a replay that is younger."""
        return "" if self.has_cancelled(request.run) else request.run

    def pause_of(self, request: Request) -> Control | None:
        """Return the widest pause that a request is under."""
        found = (self._paused.get(target) for target in targets_of(request))
        return next((control for control in found if control is not None), None)

    def keeps(self, paused: Paused) -> bool:
        """Say whether what was put aside for that reason is still to stay there."""
        return not self.has_cancelled(paused.run) and Target.parse(paused.scope) in self._paused

    def has_cancelled(self, run: str) -> bool:
        """Say whether a run is cancelled."""
        return run in self._cancelled

    def cancels(self, request: Request, replay: int, written_at: float) -> Control | None:
        """Return what cancels a request; a replay that was asked for later is none of it."""
        control = self._cancelled.get(request.run)
        if control is None or (replay and written_at > self._written_at[control.scope]):
            return None
        return control

    def scopes_of(self, request: Request, scopes: Sequence[Scope]) -> tuple[Scope, ...]:
        """Return a request's scopes, with those it is slowed down by."""
        if not self._slowed:
            return tuple(scopes)
        return (
            *scopes,
            *(
                Scope(_kind(control, scope.per), scope.value)
                for target in targets_of(request)
                if (control := self._slowed.get(target)) is not None
                for scope in scopes
            ),
        )

    def rules(self, limits: Sequence[LimitRule]) -> list[LimitRule]:
        """Return the limits that slow downs add: of each kind the shortest, at a lower rate.

        A quota of a day, spread over the day, would be far slower than asked for.
        """
        rates = [rule for rule in limits if rule.counts == "calls" and rule.meter != "concurrent"]
        calls = sorted(rates, key=_per)
        shortest = [
            min(of_kind, key=lambda rule: rule.seconds) for _, of_kind in groupby(calls, _per)
        ]
        return [
            replace(
                rule,
                per=_kind(control, rule.per),
                seconds=rule.seconds / control.rate,
                meter="bucket",
                burst=max(1.0, rule.cost),
                margin_seconds=0.0,
            )
            for control in self._slowed.values()
            for rule in shortest
        ]


def _per(rule: LimitRule) -> str:
    return rule.per


def _kind(control: Control, per: str) -> str:
    return f"{SLOWED}{control.scope} {control.rate:g} {per}"
