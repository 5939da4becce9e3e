"""How long a scope waits: what an answer says of it, in all the ways that partners say it.

Used by rules, polls and usage. Pure and thread-safe.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from reportd.errors import UnexpectedAnswerError
from reportd.partners.body import Body
from reportd.partners.picking import compile_pick
from reportd.partners.rule_spec import WaitSpec
from reportd.transport.exchange import Answer

MAX_WAIT_SECONDS = 31 * 86400.0
RESET_MARGIN_SECONDS = 60.0
"""Clocks differ: a quota is asked for so long after its reset."""
_NUMBER = re.compile(r"^\s*(-?\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h)?\s*$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WAIT_UNITS = {"milliseconds": 0.001, "seconds": 1.0, "minutes": 60.0, "hours": 3600.0}
_EPOCH_UNITS = {"epoch": 1.0, "epoch_milliseconds": 0.001}

Source = Callable[[Answer, Body], Any]
"""Finds in an answer what says how long to wait; None: nothing there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What one rule says about how long."""

    spec: WaitSpec
    sources: tuple[Source, ...]

    def told(self, answer: Answer, body: Body, now_wall: float) -> float | None:
        """Return the seconds that the answer says, with the factor on top; None: none.

        Zero, a negative number or a time that is past says nothing of how long.
        """
        for source in self.sources:
            found = seconds_from(source(answer, body), now_wall, self.spec.wait_unit)
            if found:
                return min(found * self.spec.wait_factor, MAX_WAIT_SECONDS)
        return None

    def seconds(self, answer: Answer, body: Body, now_wall: float) -> float | None:
        """Return what the answer says, else what the file says."""
        told = self.told(answer, body, now_wall)
        return self.written(now_wall) if told is None else told

    def written(self, now_wall: float) -> float | None:
        """Return what the file says, whatever the answer."""
        if self.spec.wait_until is not None:
            return until(self.spec.wait_until, now_wall)
        return self.spec.wait_seconds


def compile_waiting(spec: WaitSpec) -> Waiting:
    """Compile what a checked rule says."""
    return Waiting(spec=spec, sources=tuple(compile_source(text) for text in spec.wait))


def compile_source(text: str) -> Source:
    """Compile ``header:NAME``, ``header:NAME:JMESPATH``, ``body:JMESPATH`` or ``text:REGEX``."""
    kind, _, rest = text.partition(":")
    if kind == "body":
        pick = compile_pick(rest)
        return lambda _answer, body: _picked(lambda: body.pick(pick))
    if kind == "text":
        pattern = re.compile(rest)
        return lambda _answer, body: _in_sentence(pattern, body.text())
    name, _, expression = rest.partition(":")
    name = name.lower()
    if not expression:
        return lambda answer, _body: answer.headers.get(name)
    inner = compile_pick(expression)
    return lambda answer, _body: _picked(
        lambda: inner(orjson.loads(answer.headers.get(name, "null")))
    )


def _picked(found: Callable[[], Any]) -> Any:
    try:
        return found()
    except (ValueError, UnexpectedAnswerError):
        return None


def _in_sentence(pattern: re.Pattern[str], text: str) -> str | None:
    """Return the number in a sentence; of groups named like units, their sum in seconds."""
    found = pattern.search(text)
    if found is None:
        return None
    if not pattern.groupindex:
        return found[1] if pattern.groups else found[0]
    parts = {unit: number for unit, number in found.groupdict().items() if number}
    try:
        total = sum(float(number) * _WAIT_UNITS[unit] for unit, number in parts.items())
    except ValueError:
        return None
    return f"{total:.3f}s" if parts else None


def flat(value: Any) -> Iterator[Any]:
    """Yield what an expression has found, of lists within lists: ``values(@)[].[calls, time]``."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += reversed(one)
        else:
            yield one


def seconds_from(value: Any, now_wall: float, unit: str = "seconds") -> float | None:
    """Read a wait: a number, ``40591s``, an HTTP date or an ISO instant; None when it is none.

    Of several (an answer may speak of several accounts) the longest.
    """
    found = (_seconds(one, now_wall, unit) for one in flat(value))
    return max((seconds for seconds in found if seconds is not None), default=None)


def _seconds(value: Any, now_wall: float, unit: str) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _bounded(_scaled(float(value), "", unit, now_wall))
    if not isinstance(value, str) or len(value) > 100:
        return None
    found = _NUMBER.match(value)
    if found:
        return _bounded(_scaled(float(found[1]), found[2] or "", unit, now_wall))
    instant = _instant(value)
    return None if instant is None else _bounded(instant - now_wall)


def _scaled(number: float, suffix: str, unit: str, now_wall: float) -> float:
    if suffix:
        return number * _UNITS[suffix]
    if unit in _EPOCH_UNITS:
        return number * _EPOCH_UNITS[unit] - now_wall
    seconds = number * _WAIT_UNITS[unit]
    if seconds > MAX_WAIT_SECONDS:  # nobody waits for years: an instant, of these weeks
        until_then = [number * each - now_wall for each in _EPOCH_UNITS.values()]
        return next((one for one in until_then if abs(one) <= MAX_WAIT_SECONDS), seconds)
    return seconds


def _bounded(seconds: float) -> float | None:
    return min(max(0.0, seconds), MAX_WAIT_SECONDS) if math.isfinite(seconds) else None


def _instant(text: str) -> float | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(text.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def until(when: str, now_wall: float) -> float:
    """Return the seconds to the next ``hour``, ``midnight ZONE``, ``HH:MM ZONE``, and a margin."""
    if when == "hour":
        return 3600.0 - now_wall % 3600.0 + RESET_MARGIN_SECONDS
    clock, _, name = when.partition(" ")
    zone = ZoneInfo(name)
    at = time() if clock == "midnight" else time.fromisoformat(clock)
    here = datetime.fromtimestamp(now_wall, zone)
    for days in (0, 1, 2):
        moment = datetime.combine(here.date() + timedelta(days=days), at, zone).timestamp()
        if moment > now_wall:
            break
    return moment - now_wall + RESET_MARGIN_SECONDS
