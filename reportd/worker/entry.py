"""One open request in a worker's memory: what is known, what was done, what it waits for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reportd.broker.message import Message
from reportd.limits.limiter import Grant, Scope
from reportd.model.content import Content
from reportd.model.ledger import Step
from reportd.model.request import Request
from reportd.partners.verdict import Cursor, Verdict


class State(StrEnum):
    """What an open request waits for, as metrics and status show it."""

    LOOKING = "looking"
    READY = "ready"
    IN_FLIGHT = "in_flight"
    FINISHING = "finishing"
    LIMIT = "limit"
    BACKOFF = "backoff"
    QUOTA = "quota"
    SCHEDULED = "scheduled"
    HELD = "held"
    PENDING = "pending"
    ENDING = "ending"
    PAUSED = "paused"
    PARKED = "parked"


Identity = tuple[str, int]
"""(id, replay): what ends once and runs once at a time."""


@dataclass(slots=True, eq=False, kw_only=True)
class Entry:
    """One request between its message and its closed offset. Changed by the engine alone."""

    message: Message
    request: Request
    replay: int
    alive: Callable[[], bool]
    """False once the partition was lost: nothing may be called or published for it."""
    scopes: tuple[Scope, ...] = ()
    state: State = State.LOOKING
    strikes: int = 0
    attempts: int = 0
    """Failed tries since the last outage; a throttled or quota answer is none."""
    told_to_wait: int = 0
    """How often in a row a partner told this request alone to wait."""
    unexpected: int = 0
    is_renewed: bool = False
    """Whether it is called again because its credential was refused and then renewed."""
    restarts: int = 0
    """How often what was made for it failed, or was gone."""
    calls: int = 0
    generation: int = 0
    """How often the flow was started over; the ``attempt`` of its step records."""
    cursor: Cursor = field(default_factory=dict)
    picked: dict[str, Any] = field(default_factory=dict)
    """What its steps have picked so far; it stands in their records."""
    volatile: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Picked URLs, for calls made at once; recorded nowhere."""
    volatile_at: float = 0.0
    """Monotonic seconds at which they came."""
    steps: list[Step] = field(default_factory=list)
    grant: Grant | None = None
    granted_at: float = 0.0
    sent_at: float = 0.0
    """Monotonic seconds at which the last call that was answered well had left."""
    started_at: float = 0.0
    """Epoch seconds of the first call; 0.0: none yet."""
    first_failed_at: float | None = None
    """Monotonic seconds of the first failure of the present kind."""
    failing_since: float | None = None
    """Monotonic seconds of the first failure of any kind since it was last answered well."""
    failing: str = ""
    """Which kind that is: the class of its error."""
    is_proof: bool = False
    """Whether another account had succeeded since then when the call under way started."""
    proofs: int = 0
    """How often it was refused again after another account had succeeded."""
    holds: int = 0
    """How often it was refused since then."""
    refusal: str = ""
    """Class and reason of the refusal that it was last held for."""
    body: Content = field(default=b"", repr=False)
    """The answer that is being stored; kept while the output is away."""
    following: Verdict | None = field(default=None, repr=False)
    """What the last answer was judged to lead to, until its step is confirmed."""
    sample: bytes = b""
    answer: str = ""
    """Where the whole answer that was not understood is kept, below the output's root."""
    due: float = 0.0
    """Monotonic seconds until which it waits (back-off, quota, schedule, hold)."""
    ended: bool = False
    copies: list[Message] = field(default_factory=list)
    """The places of other messages of the same identity: they end with this one. Without what
    was in them: there may be many."""

    @property
    def identity(self) -> Identity:
        """(id, replay)."""
        return (self.request.id, self.replay)

    def step_of(self, verdict: Verdict, file: str = "", size: int = 0, checksum: str = "") -> Step:
        """Return the record of the step that an answer has done; ``file``: where its rows are."""
        return Step(
            id=self.request.id,
            replay=self.replay,
            topic=self.message.topic,
            offset=self.message.offset,
            attempt=self.generation,
            step=len(self.steps) + 1,
            cursor=verdict.next_cursor or {},
            file=file,
            bytes=size,
            checksum=checksum,
            calls=self.calls,
            picked=dict(verdict.picked),
            dropped=verdict.dropped,
        )

    def start_over(self) -> None:
        """Forget all that was done: the next call is the first one."""
        if self.steps:
            self.generation += 1
        self.steps = []
        self.cursor = {}
        self.picked = {}
        self.volatile = {}
        self.following = None
