"""What an answer means: a partner file's own rules, compiled. Pure and thread-safe."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from reportd.errors import UnexpectedAnswerError
from reportd.partners.body import Body
from reportd.partners.picking import Pick, PickError, compile_pick
from reportd.partners.rule_spec import RuleSpec, WaitRuleSpec
from reportd.partners.verdict import Outcome
from reportd.transport.exchange import Answer

MAX_WAIT_SECONDS = 31 * 86400.0
MIDNIGHT_MARGIN_SECONDS = 60.0
_NUMBER = re.compile(r"^\s*(-?\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h)?\s*$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WAIT_UNITS = {"seconds": 1.0, "minutes": 60.0, "milliseconds": 0.001, "epoch": 1.0}

OUTCOMES: Mapping[str, Outcome] = {
    "slow_down": Outcome.THROTTLED,
    "quota": Outcome.QUOTA,
    "transient": Outcome.TRANSIENT,
    "permanent": Outcome.PERMANENT,
    "unauthorized": Outcome.AUTH,
    "empty": Outcome.OK,
    "too_big": Outcome.TOO_BIG,
    "expired": Outcome.EXPIRED,
    "adopt": Outcome.OK,
}

Source = Callable[[Answer, Body], Any]
"""Finds in an answer what says how long to wait; None: nothing there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One compiled rule."""

    outcome: Outcome
    empty: bool
    label: str
    """For people: ``slow_down[2]``."""
    spec: RuleSpec
    headers: tuple[tuple[str, re.Pattern[str]], ...]
    body: Pick | None
    text: re.Pattern[str] | None
    sources: tuple[Source, ...]

    def may_match(self, status: int) -> bool:
        """Return whether the status alone does not rule it out."""
        return self.spec.status is None or status in self.spec.status

    def matches(self, answer: Answer, body: Body) -> bool:
        """Return whether everything that the rule gives holds for the answer."""
        for name, pattern in self.headers:
            if not pattern.search(answer.headers.get(name, "")):
                return False
        if self.text is not None and not self.text.search(body.text()):
            return False
        if self.body is not None:
            try:
                return _true(self.body(body.document()))
            except (PickError, UnexpectedAnswerError):
                return False
        return True

    @property
    def scope(self) -> str:
        """What waits; empty: the rule does not say."""
        return getattr(self.spec, "scope", None) or ""

    def wait_seconds(self, answer: Answer, body: Body, now_wall: float) -> float | None:
        """Return how long the answer says to wait, else what the rule says, else None."""
        spec = self.spec
        if not isinstance(spec, WaitRuleSpec):
            return None
        for source in self.sources:
            told = seconds_from(source(answer, body), now_wall, spec.wait_unit)
            if told is not None:
                return told
        if spec.wait_until is not None:
            return until_midnight(spec.wait_until.partition(" ")[2], now_wall)
        return spec.wait_seconds


def _true(value: Any) -> bool:
    """Return what JMESPath calls true: not null, false or anything empty; 0 is true."""
    return not (value is None or value is False or value in ("", [], {}))


def compile_rule(kind: str, number: int, spec: RuleSpec) -> Rule:
    """Compile one rule of a checked partner file."""
    return Rule(
        outcome=OUTCOMES[kind],
        empty=kind == "empty",
        label=f"{kind}[{number + 1}]",
        spec=spec,
        headers=tuple((name.lower(), re.compile(text)) for name, text in spec.header.items()),
        body=compile_pick(spec.body) if spec.body else None,
        text=re.compile(spec.text) if spec.text else None,
        sources=tuple(compile_source(text) for text in getattr(spec, "wait", ())),
    )


def compile_source(text: str) -> Source:
    """Compile ``header:NAME``, ``header:NAME:JMESPATH`` or ``body:JMESPATH``."""
    kind, _, rest = text.partition(":")
    if kind == "body":
        pick = compile_pick(rest)
        return lambda _answer, body: _picked(pick, body.document)
    name, _, expression = rest.partition(":")
    name = name.lower()
    if not expression:
        return lambda answer, _body: answer.headers.get(name)
    inner = compile_pick(expression)
    return lambda answer, _body: _picked(
        inner, lambda: orjson.loads(answer.headers.get(name, "null"))
    )


def _picked(pick: Pick, document: Callable[[], Any]) -> Any:
    try:
        return pick(document())
    except (ValueError, UnexpectedAnswerError):
        return None


def seconds_from(value: Any, now_wall: float, unit: str = "seconds") -> float | None:
    """Read a wait: a number, ``40591s``, an HTTP date or an ISO instant; None when it is none."""
    if isinstance(value, list):
        value = value[0] if value else None
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
    return number - now_wall if unit == "epoch" else number * _WAIT_UNITS[unit]


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


def until_midnight(zone: str, now_wall: float) -> float:
    """Return the seconds until the next midnight of a zone, and a minute more."""
    here = datetime.fromtimestamp(now_wall, ZoneInfo(zone))
    tomorrow = (here + timedelta(days=1)).date()
    midnight = datetime.combine(tomorrow, datetime.min.time(), ZoneInfo(zone))
    return midnight.timestamp() - now_wall + MIDNIGHT_MARGIN_SECONDS
