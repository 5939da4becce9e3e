"""What a worker knows of one partition of one partner: books, ledger image, limits, requests.

Made when the partition is assigned, thrown away when it is lost. Used by the engine alone.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reportd.limits.limiter import Limiter, LimitRule, Now, Scope
from reportd.model.ledger import PublishedFile
from reportd.model.request import Request
from reportd.partners.verdict import Growing
from reportd.worker.book import OffsetBook
from reportd.worker.circuits import Circuits
from reportd.worker.entry import Entry, Identity
from reportd.worker.ledger import LedgerImage
from reportd.worker.part_sizes import PartSizes
from reportd.worker.scheduler import Scheduler

SLOW_DOWN = Growing(1.0, 2.0, 60.0)
QUOTA = Growing(900.0, 1.0, 900.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """How often and how long a partner's requests are tried."""

    attempts: int = 8
    base_seconds: float = 1.0
    max_seconds: float = 300.0
    hold_seconds: float = 60.0
    """First wait of a request held as a possible outage; grows to ``max_seconds``."""
    give_up_seconds: float = 2 * 3600.0
    """How long a request is held where no other account can prove it is alone."""
    slow_down: Growing = SLOW_DOWN
    """How long where a partner said "slow down" and not how long."""
    quota: Growing = QUOTA
    """The same where a quota is spent."""


class PartnerRules(Protocol):
    """What the engine must know of a partner; `reportd.worker.main` adapts the real one."""

    @property
    def name(self) -> str:
        """The partner's name."""
        ...

    @property
    def limits(self) -> Sequence[LimitRule]:
        """Its limits."""
        ...

    @property
    def retry(self) -> RetryRules:
        """Its patience."""
        ...

    def check(self, request: Request) -> None:
        """Raise `InvalidMessageError` for a request that this partner's file does not allow."""
        ...

    def key_of(self, request: Request) -> str:
        """Return the message key that carries the request's limits."""
        ...

    def scopes_of(self, request: Request) -> tuple[Scope, ...]:
        """Return every scope a call of the request counts in, or may be told to wait in."""
        ...


@dataclass(frozen=True, slots=True)
class Looked:
    """What stands at the output for a request before its first call."""

    files: tuple[PublishedFile, ...] = ()
    """Its own, whole: the request was finished."""
    newer_run: str = ""
    """The run that has published all its files since."""
    spool_fits: bool = True
    """Whether every spool file of its steps is there and whole."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """An answer that does not parse or breaks the declared columns, without any secret."""

    reason: str
    sample: bytes = field(default=b"", repr=False)
    """Its beginning."""
    answer: str = ""
    """Where all of it is kept, below the output's root; empty: nowhere."""


@dataclass(slots=True)
class SpoolLeft:
    """A finished request's spool, to be deleted once its offset is committed."""

    book: OffsetBook
    offset: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class RestoredTopic:
    """Where one topic of a new partition stands."""

    topic: str
    start: int
    """The committed offset, or the low watermark where nothing was committed."""
    end: int
    """The high watermark when it was restored."""


class Partition:
    """``requests.P[i]``, ``backfill.P[i]`` and ``ledger.P[i]`` in one worker's hands."""

    def __init__(self, rules: PartnerRules, index: int, circuits: Circuits) -> None:
        """Begin unread: `restored` makes it ready."""
        self.rules = rules
        self.partner = rules.name
        self.index = index
        self.circuits = circuits
        self.limiter = Limiter(rules.limits)
        self.scheduler = Scheduler(self.limiter)
        self.image = LedgerImage()
        self.books: dict[str, OffsetBook] = {}
        self.reading: set[str] = set()
        self.entries: dict[Identity, Entry] = {}
        self.looking: Counter[str] = Counter()
        """How many requests of each account are being looked up at the output."""
        self.spools: list[SpoolLeft] = []
        self.throttled_times: dict[Scope, int] = {}
        self.part_sizes = PartSizes()
        self.is_alive = True
        self.is_active = False
        self.is_closing = False
        self.window_bytes = 0
        self.accepted: dict[str, tuple[int, str]] = {}
        # Ordered, unlike sets of objects: a seed of the simulation has to play twice alike
        self.busy: dict[Entry, None] = {}
        """Requests under way: called, stored or ending; a drain waits for them."""
        self.held: dict[Entry, None] = {}
        """Requests held as possibly part of an outage."""
        self.paused: dict[Entry, None] = {}
        """Requests that somebody paused when something was done for them already."""
        self.made_room_at: dict[str, float] = {}
        """By refused credential: when it was refused, since its requests have left the window."""

    def most_open(self) -> int:
        """Return how many requests the account has that has the most waiting for their turn."""
        counts = self.scheduler.lengths()
        for book in self.books.values():
            parked = book.parked_counts().items()
            counts.update({key: count for key, count in parked if isinstance(key, str)})
        return max(counts.values(), default=0)

    def alive(self) -> bool:
        """Say whether this worker still owns the partition; asked from every thread."""
        return self.is_alive

    def restored(
        self,
        topics: Sequence[RestoredTopic],
        image: LedgerImage,
        now: Now,
        *,
        process_began: Now | None = None,
        partition_count: int = 1,
    ) -> None:
        """Take the books and the ledger's image as they were read."""
        self.image = image
        for topic in topics:
            self.books[topic.topic] = OffsetBook(topic.start)
        ends = {topic.topic: topic.end for topic in topics}
        image.need_restored(self.books, ends)
        self.limiter.start(now, process_began, partition_count)
        for position, grant in image.grants:
            until = self.limiter.recorded(grant)
            if until is not None:
                image.counts(position, until)
        image.grants.clear()
        self.is_active = True

    def looked_up(self, account: str) -> None:
        """Take note that a request of an account was looked up; accounts may come without end."""
        self.looking[account] -= 1
        if not self.looking[account]:
            del self.looking[account]

    def waiting_of(self, account: str) -> int:
        """Return how many requests of an account wait for their turn, or to be looked up first."""
        return self.scheduler.length_of(account) + self.looking[account]

    def offsets(self, store_id: str) -> dict[str, tuple[int, str]]:
        """Return what to commit now: offset and metadata (R and the store's id) by topic."""
        metadata = f"1 {self.image.first_needed()} {store_id}"
        return {topic: (book.commit_position(), metadata) for topic, book in self.books.items()}


def parse_metadata(metadata: str) -> tuple[int | None, str]:
    """Return R and the store's id from a commit's metadata; (None, "") if it is not ours."""
    parts = metadata.split(" ")
    if len(parts) == 3 and parts[0] == "1" and parts[1].isdigit():
        return int(parts[1]), parts[2]
    return None, ""
