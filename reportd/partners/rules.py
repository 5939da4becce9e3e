"""What an answer means: a partner file's own rules, compiled. Pure and thread-safe."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reportd.errors import UnexpectedAnswerError
from reportd.partners.body import Body
from reportd.partners.picking import Pick, PickError, compile_pick
from reportd.partners.rule_spec import RuleSpec, WaitRuleSpec
from reportd.partners.verdict import Growing, Outcome
from reportd.partners.waits import Waiting, compile_waiting
from reportd.transport.exchange import Answer

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
    waiting: Waiting | None

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
                return _true(body.pick(self.body))
            except (PickError, UnexpectedAnswerError):
                return False
        return True

    @property
    def scope(self) -> str:
        """What waits; empty: the rule does not say."""
        return getattr(self.spec, "scope", None) or ""

    def wait_seconds(self, answer: Answer, body: Body, now_wall: float) -> float | None:
        """Return how long the answer says to wait, else what the rule says, else None."""
        if self.waiting is None:
            return None
        if self.growing is not None:
            return self.waiting.told(answer, body, now_wall)
        return self.waiting.seconds(answer, body, now_wall)

    @property
    def growing(self) -> Growing | None:
        """How long where the answer does not say, growing while it goes on; None: it does not."""
        spec = self.spec
        if not isinstance(spec, WaitRuleSpec) or spec.wait_growth == 1.0:
            return None
        return Growing(spec.wait_seconds or 1.0, spec.wait_growth, spec.wait_most_seconds)


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
        waiting=compile_waiting(spec) if isinstance(spec, WaitRuleSpec) else None,
    )
