"""A backfill without Spark: some accounts, one report, days. Used by ``reportctl backfill``.

The requests are those that Spark would write: same ids, same keys, same partitions; their run has
a manifest like any other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from reportd.broker.keys import partition_of
from reportd.broker.topics import Topics
from reportd.clock import Clock
from reportd.config.days import FixedDays
from reportd.enqueue.claims import claim_of
from reportd.enqueue.lease import kept
from reportd.enqueue.plan import AskRow, PlannedAsk, RunPlan
from reportd.enqueue.runs import Done, Go, Holder, Wait, next_move
from reportd.enqueue.runs_topic import Cluster
from reportd.errors import BrokerError, ConfigError, UnavailableError
from reportd.model.account import Account
from reportd.model.id_set import number_of
from reportd.model.request import MAX_DAYS, Request
from reportd.model.run import Claim, Manifest, RunId, TopicSpan
from reportd.partners.partner import Partner

SCHEDULE = "backfill"
MOST_REQUESTS = 100_000
FLUSH_SECONDS = 300.0


class Sender(Protocol):
    """What is asked of `reportd.broker.producer.Producer`."""

    def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes,
        partition: int,
        on_done: Callable[[int | BrokerError], None],
    ) -> None:
        """Queue a record."""
        ...

    def poll(self) -> None:
        """Run the callbacks that are due."""
        ...

    def flush(self, timeout_seconds: float) -> int:
        """Wait until all is confirmed; return how many records are not."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    partner: Partner
    report: str
    days: FixedDays
    formats: tuple[str, ...]
    params: Mapping[str, str] = field(default_factory=dict)
    split_days: int | None = None
    """Days of one request at most; None: as many as the report allows."""


def plan_of(wanted: Wanted, run: RunId, topics: Topics) -> RunPlan:
    """Return the plan; raises `ConfigError` with all that the partner's file does not allow."""
    partner, report = wanted.partner, wanted.partner.reports[wanted.report]
    longest = min(report.spec.max_days, MAX_DAYS) if report.spec.day_column else 1
    spans = wanted.days.split(wanted.split_days or longest)
    problems = list(report.problems_of(max(span.count for span in spans), wanted.params))
    if problems:
        raise ConfigError(*(f"{partner.name}.{wanted.report}: {what}" for what in problems))
    asks = tuple(
        PlannedAsk(
            partner=partner.name,
            report=wanted.report,
            days=span,
            class_="backfill",
            formats=wanted.formats,
            topic=topics.backfill(partner.name),
            key_scope=partner.key_scope,
            ready_hours=partner.spec.ready_hours,
            params=wanted.params,
        )
        for span in spans
    )
    return RunPlan(run, asks)


def zones_of(accounts: Iterable[Account]) -> Counter[tuple[str, str]]:
    """Return how many accounts each partner and zone has."""
    return Counter((account.partner, account.timezone) for account in accounts)


def requests_of(plan: RunPlan, accounts: Sequence[Account]) -> Iterator[Request]:
    """Yield the requests: all accounts' newest days stand before any account's older ones."""
    zones = {name: {one.timezone for one in accounts} for name in {a.partner for a in accounts}}
    rows: dict[int, dict[str, AskRow]] = {}
    for row in plan.rows(zones):
        rows.setdefault(row.turn, {})[row.timezone] = row
    for _, by_zone in sorted(rows.items()):
        for account in accounts:
            yield request_of(by_zone[account.timezone], account)


def request_of(row: AskRow, account: Account) -> Request:
    """Return what a row asks for one account, as Spark would write it."""
    own = account.model_dump(
        include={"account", "timezone", "currency", "credential", "attributes"}
    )
    return Request.from_json(b"{" + row.body.encode() + b"," + orjson.dumps(own)[1:])


class Backfill:
    """Writes one: claim, requests, manifest."""

    def __init__(
        self,
        wanted: Wanted,
        plan: RunPlan,
        cluster: Cluster,
        holder: Holder,
        clock: Clock,
        gone: Callable[[str], bool],
    ) -> None:
        """Take what it works with."""
        self._wanted = wanted
        self._plan = plan
        self._cluster = cluster
        self._holder = holder
        self._clock = clock
        self._gone = gone
        self._spans: dict[str, dict[int, tuple[int, int]]] = {}
        self._failure: BrokerError | None = None

    def write(
        self,
        requests: Iterable[Request],
        accounts: Sequence[Account],
        sender: Sender,
        partitions: int,
    ) -> Manifest:
        """Write all of it; raises `ConfigError` if the run is complete, `UnavailableError`.

        After a failure it is started again with the same run: ids that are there twice run once.
        """
        claim = self._claim()
        key = str(self._plan.run)

        def renew(claim: Claim) -> None:
            self._cluster.write(key, claim)

        with kept(claim, renew, self._clock):
            count, mark = self._send(requests, sender, partitions)
        manifest = Manifest(
            run=key,
            requests=count,
            ids_hash=f"{mark:016x}",
            topics=[
                TopicSpan(topic=topic, requests=count, spans=spans)
                for topic, spans in self._spans.items()
            ],
            account_days=self._plan.account_days(zones_of(accounts)),
            enqueued_at=self._clock.wall(),
            starts=claim.starts,
        )
        self._cluster.write(key, manifest)
        return manifest

    def _claim(self) -> Claim:
        run = self._plan.run
        state = self._cluster.states().get(run)
        move = next_move(state, self._holder, self._clock.wall(), self._gone)
        match move:
            case Done():
                raise ConfigError(f"{run} is complete: leave --run out for another backfill")
            case Wait():
                raise UnavailableError(f"{run}: {move.claim.machine} is writing it")
            case Go():
                pass
        starts = move.starts or self._cluster.ends(self._plan.topics)
        claim = claim_of(run, self._holder, move, starts, self._clock.wall())
        self._cluster.write(str(run), claim)
        return claim

    def _send(
        self, requests: Iterable[Request], sender: Sender, partitions: int
    ) -> tuple[int, int]:
        count = mark = 0
        (topic,) = self._plan.topics
        for request in requests:
            key = self._wanted.partner.key_of(request).encode()
            number = partition_of(key, partitions)
            count += 1
            mark ^= number_of(request.id)
            sender.send(
                topic,
                request.to_json(),
                key=key,
                partition=number,
                on_done=self._confirmed(topic, number),
            )
            sender.poll()
        left = sender.flush(FLUSH_SECONDS)
        if self._failure is not None:
            raise self._failure
        if left:
            raise BrokerError(f"{left} requests are not confirmed; start it again, with its --run")
        return count, mark

    def _confirmed(self, topic: str, number: int) -> Callable[[int | BrokerError], None]:
        def confirmed(done: int | BrokerError) -> None:
            if isinstance(done, BrokerError):
                self._failure = self._failure or done
                return
            spans = self._spans.setdefault(topic, {})
            first, end = spans.get(number, (done, done + 1))
            spans[number] = min(first, done), max(end, done + 1)

        return confirmed
