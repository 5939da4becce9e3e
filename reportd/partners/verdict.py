"""What an answer means: the vocabulary between partners (who judge) and the worker (who acts)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

TOLD_LEAST_SECONDS = 0.1
"""A shorter wait after a refusal, ``Retry-After: 0`` or a reset that is past, is none: who obeyed
it would call as fast as it is refused."""


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
    FAILED = "failed"
    """What was made failed, was cancelled, took too long or is gone: start over; an attempt."""
    TOO_BIG = "too_big"
    """Ask for less: ``next_cursor`` says how; not an attempt."""


class Growing(NamedTuple):
    """A wait that grows while a partner goes on refusing."""

    first_seconds: float
    factor: float
    most_seconds: float

    def after(self, times: int) -> float:
        """Return the wait after so many refusals in a row before this one."""
        return min(self.first_seconds * self.factor ** min(times, 30), self.most_seconds)


class Pace(NamedTuple):
    """What slows down although nothing was refused: a kind of scope, and for how long."""

    scope: str
    wait_seconds: float


Cursor = dict[str, str]
"""What a flow goes on from; it stands in step records: no secret is in it. Empty: the first call.

``step``; ``page``, ``cursor`` or ``url`` of its pager, and ``calls``; ``item``, the index in the
list; ``parts``, what of a split request is to be done; ``kept``, how many answers of the part give
rows; ``since`` (epoch seconds) and ``polls``: when what is polled was made, how often it was;
``mark``, of what the file asked for when its pages, or the parts of a day, began.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of one answer."""

    outcome: Outcome
    reason: str = ""
    """Why, for people: no secret, bounded, no control characters."""
    wait_seconds: float | None = None
    """How long the scope waits, as the partner said; None: it said nothing. PENDING, and OK with a
    next call: how long before that is made."""
    jitter: float = 0.0
    """PENDING, OK: by which share the wait may differ."""
    scope: str = ""
    """THROTTLED, QUOTA: which limit's ``per`` waits (``partner``, ``account``, ...): what the rule
    names, else the narrowest that counts the call; empty: the account."""
    paces: tuple[Pace, ...] = ()
    """What waits because the partner says that its limits are nearly spent; of any outcome."""
    costs: tuple[tuple[int, float], ...] = ()
    """What the call cost, where the answer says it: number of the limit in the file, cost."""
    is_server_error: bool = False
    """Whether the partner answered with 5xx: some count those against whoever asked."""
    growing: Growing | None = None
    """How long where ``wait_seconds`` is None; None: as the file says of its class."""
    next_cursor: Cursor | None = None
    """OK: the next call's cursor; None: that was the last answer. Of PENDING it is not recorded."""
    empty: bool = False
    """OK: the answer holds no rows (there are none, or the step gives none); keep ``b""`` instead
    of its body."""
    picked: Mapping[str, Any] = field(default_factory=dict)
    """OK: what later steps need of this answer; it is recorded."""
    volatile: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """OK: URLs for the next call, kept in memory and used at once, or forgotten."""
    dropped: int = 0
    """TOO_BIG: how many of the last kept answers are of the part that was too big."""
    part_days: int = 0
    """TOO_BIG: how many days a part has from now on; 0: a single day is split."""
    unsent: bool = False
    """Nothing was sent: the credential is not at hand (THROTTLED) or refused (AUTH). No limit
    counts it, and no metric of calls."""
    is_renewed: bool = False
    """AUTH: the credential has been renewed since; called again, the request may get through."""
    sample: bytes = field(default=b"", repr=False)
    """The beginning of a refused answer, redacted, for the dead letter; at most 4 KiB."""

    @property
    def told_seconds(self) -> float | None:
        """Return how long a refusal waits as the partner or its file says; None: neither does."""
        wait = self.wait_seconds
        return None if wait is None or wait < TOLD_LEAST_SECONDS else wait

    def told_after(self, times: int) -> float | None:
        """Return the same, or what a rule lets grow with each of so many times before."""
        told = self.told_seconds
        return self.growing.after(times) if told is None and self.growing is not None else told

    @property
    def is_recorded(self) -> bool:
        """Say whether the next call waits for a step record: not where a URL is all that is new."""
        return bool(self.picked) or not self.volatile or not self.empty
