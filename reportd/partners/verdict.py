"""What an answer means: the vocabulary between partners (who judge) and the worker (who acts)."""

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """The classes of DESIGN.md, "What can go wrong"."""

    OK = "ok"
    """Take the answer; ``next_cursor`` says whether another call follows."""
    THROTTLED = "throttled"
    """Its scope waits as told; not an attempt."""
    TRANSIENT = "transient"
    """Back off and try again; an attempt."""
    QUOTA = "quota"
    """The day's quota is spent: wait for the reset; not an attempt."""
    AUTH = "auth"
    """The credential was refused."""
    PERMANENT = "permanent"
    """This request can never work, unless the partner fails for everyone."""
    UNEXPECTED = "unexpected"
    """The answer does not parse, or breaks the declared columns."""
    PENDING = "pending"
    """Not done yet: ask again after ``wait_seconds``; not an attempt."""
    EXPIRED = "expired"
    """A URL that was picked does not work any more: polled for a fresh one; an attempt."""
    TOO_BIG = "too_big"
    """Ask for less: ``next_cursor`` says how; without one it cannot be split."""


Cursor = dict[str, str]
"""What a flow goes on from; it stands in step records. Empty: the first call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of one answer."""

    outcome: Outcome
    reason: str = ""
    """Why, for people: no secret, bounded, no control characters."""
    wait_seconds: float | None = None
    """How long the scope waits, as the partner said; None: it said nothing."""
    scope: str = ""
    """THROTTLED, QUOTA: which limit's ``per`` waits (``partner``, ``account``, ...): what the rule
    names, else the narrowest that counts the call; empty: the account."""
    next_cursor: Cursor | None = None
    """OK: the next call's cursor; None: that was the last answer."""
    empty: bool = False
    """OK: the answer says that there is no data; keep ``b""`` instead of its body."""
    sample: bytes = field(default=b"", repr=False)
    """The beginning of a refused answer, redacted, for the dead letter; at most 4 KiB."""
