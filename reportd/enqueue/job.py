"""Enqueues a schedule's due slots: claim, write, read back, snapshot, manifest.

The order of things, with what does them handed in: the broker's side (`runs_topic.Cluster`), and
an `Engine` (Spark). Runs in the enqueuer's process. Whatever ends it, starting it again goes on.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from reportd.broker.topics import Topics
from reportd.clock import Clock
from reportd.config.calendar import last_slot, next_slot, slots_between
from reportd.config.schedule import Schedule
from reportd.enqueue.claims import Claims, TrimmedError
from reportd.enqueue.lease import kept
from reportd.enqueue.plan import Found, Offsets, PlannedAsk, RunPlan, Tally, in_turn
from reportd.enqueue.runs import Done, Holder, RunState, Starts, due_slots
from reportd.enqueue.runs_topic import Cluster
from reportd.errors import ConfigError, InvalidMessageError, UnavailableError
from reportd.model.account import Account
from reportd.model.request import Request
from reportd.model.run import Claim, Manifest, RunId
from reportd.partners.partner import Partner

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for."""

    slot: datetime | None = None
    add: bool = False
    dry_run: bool = False
    with_accounts: bool = False
    """Dry run: tell of whom, too."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    run: RunId
    requests: int
    written: int
    manifest: Manifest | None = None
    tallies: tuple[Tally, ...] = ()
    """Dry run: what would be asked for."""
    plan: RunPlan | None = None
    accounts: tuple[Account, ...] = ()
    """Of whom, where the order wants to know."""
    deadline: float | None = None


class AccountsView(Protocol):
    """What the driver knows of the accounts table."""

    @property
    def active(self) -> Mapping[tuple[str, str], int]:
        """How many active accounts each (partner, zone) has."""
        ...

    @property
    def samples(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """One active account of each (partner, zone)."""
        ...

    @property
    def zones(self) -> dict[str, set[str]]:
        """The zones of each partner's active accounts."""
        ...


class Engine(Protocol):
    """What writes and reads requests; see `reportd.enqueue.spark_engine.SparkEngine`."""

    @property
    def accounts(self) -> AccountsView:
        """The checked table."""
        ...

    def enqueue(
        self, plan: RunPlan, starts: Starts, ends: Callable[[], Offsets]
    ) -> tuple[Found, int]:
        """Write what of the plan is missing; return what is there, and how many were written."""
        ...

    def snapshot(self, ends: Offsets, schedule: str) -> int:
        """Bring the topic ``accounts`` up to the table."""
        ...

    def active_accounts(self, partners: Collection[str]) -> Iterator[Account]:
        """Yield the active accounts of some partners."""
        ...


class Enqueuer:
    """One schedule's enqueuing."""

    def __init__(
        self,
        schedule: Schedule,
        partners: Mapping[str, Partner],
        topics: Topics,
        cluster: Cluster,
        engine: Callable[[], AbstractContextManager[Engine]],
        holder: Holder,
        *,
        clock: Clock,
        pause: Callable[[float], object],
        gone: Callable[[str], bool],
    ) -> None:
        """Take what it works with; ``pause`` waits for so many seconds."""
        self._schedule = schedule
        self._topics = topics
        self._cluster = cluster
        self._engine = engine
        self._clock = clock
        self._claims = Claims(cluster, holder, clock=clock, pause=pause, gone=gone)
        self._partners = partners
        self._asks = in_turn(planned_asks(schedule, partners, topics))

    def run(self, order: Order) -> list[Outcome]:
        """Enqueue what is due, oldest slot first.

        Raises `ConfigError` before anything is written if anything asked for is wrong, and
        `UnavailableError` when the broker is away, topics are missing, or another enqueuer holds
        the run for too long.
        """
        states = self._states(order)
        slots = self._slots(order, states)
        plans = [RunPlan(RunId(self._schedule.name, slot, 1), self._asks) for slot in slots]
        done = {
            plan.run: state.manifest
            for plan in plans
            if (state := states.get(plan.run)) is not None and state.manifest is not None
        }
        if all(plan.run in done for plan in plans) and not order.add and not order.dry_run:
            return [_complete(run, manifest) for run, manifest in done.items()]
        with self._engine() as engine:
            self._check_samples(plans, engine.accounts)
            if order.dry_run:
                told = [self._tell(plan, engine.accounts) for plan in plans]
                if order.with_accounts:
                    asked = {ask.partner for ask in self._asks}
                    accounts = tuple(engine.active_accounts(asked))
                    told = [replace(one, accounts=accounts) for one in told]
                return told
            outcomes = [
                self._enqueue(plan, engine, order, last=plan is plans[-1]) for plan in plans
            ]
            return [outcome for outcome in outcomes if outcome is not None]

    def _states(self, order: Order) -> Mapping[RunId, RunState]:
        needed = {ask.topic for ask in self._asks} | {self._topics.runs, self._topics.accounts}
        try:
            missing = self._cluster.missing(sorted(needed))
            if missing:
                raise UnavailableError(
                    f"topics are missing: {', '.join(missing)}; make them with"
                    " 'reportctl topics create'"
                )
            return self._cluster.states()
        except UnavailableError as error:
            if not order.dry_run:
                raise
            logger.warning(
                "planning the newest slot alone: %s", error, extra={"action": "runs_not_read"}
            )
            return {}

    def _slots(self, order: Order, states: Mapping[RunId, RunState]) -> list[datetime]:
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        settings = self._schedule.settings
        if order.slot is not None:
            return [self._forced(order.slot, now)]
        most = settings.catch_up_slots
        passed = slots_between(settings.calendar, _EPOCH, now, most)
        due = due_slots(passed, states, self._schedule.name, most)
        if order.add or not due:
            due = sorted({*due, *passed[-1:]})
        return due

    def _forced(self, slot: datetime, now: datetime) -> datetime:
        calendar = self._schedule.settings.calendar
        slot = slot.astimezone(UTC)
        if slot > now:
            raise ConfigError(f"--slot {_text(slot)}: has not passed yet")
        before = last_slot(calendar, slot)
        if before != slot:
            after = next_slot(calendar, slot)
            near = " and ".join(_text(each) for each in (before, after) if each is not None)
            raise ConfigError(
                f"--slot {_text(slot)}: is no slot of {self._schedule.name} ({calendar}); the"
                f" nearest are {near}"
            )
        return slot

    def _check_samples(self, plans: Sequence[RunPlan], accounts: AccountsView) -> None:
        """Have the partners look at one request of each ask and zone, as workers will."""
        problems: dict[str, None] = {}
        for plan in plans[-1:]:
            for row in plan.rows(accounts.zones):
                sample = accounts.samples[row.partner, row.timezone]
                value = b"{" + row.body.encode() + b"," + orjson.dumps(dict(sample))[1:]
                try:
                    self._partners[row.partner].check_request(Request.from_json(value))
                except InvalidMessageError as error:
                    problems[
                        f"{self._schedule.path}: {row.partner}.{row.report}: account"
                        f" {sample['account']!r} could not be asked: {error}"
                    ] = None
        if problems:
            raise ConfigError(*list(problems)[:20])
        asked = {ask.partner for ask in self._asks}
        if not asked & set(accounts.zones):
            raise ConfigError(
                f"{self._schedule.path}: accounts: the table has no active account of"
                f" {', '.join(sorted(asked))}"
            )
        for partner in sorted(asked - set(accounts.zones)):
            logger.warning(
                "the accounts table has no active account of %s",
                partner,
                extra={"action": "partner_without_accounts"},
            )

    def _tell(self, plan: RunPlan, accounts: AccountsView) -> Outcome:
        tallies = tuple(plan.tallies(accounts.active))
        requests = sum(
            accounts.active[row.partner, row.timezone] for row in plan.rows(accounts.zones)
        )
        return Outcome(
            plan.run, requests, 0, tallies=tallies, plan=plan, deadline=self._deadline(plan.run)
        )

    def _deadline(self, run: RunId) -> float | None:
        deadline = self._schedule.settings.deadline
        return deadline.after(run.slot).timestamp() if deadline else None

    def _enqueue(
        self, plan: RunPlan, engine: Engine, order: Order, *, last: bool
    ) -> Outcome | None:
        try:
            claimed = self._claims.claim(plan.run, plan.topics, add=order.add)
        except TrimmedError as error:
            if order.slot is not None or order.add:
                raise
            # One lost slot of a catch-up must not keep the newer ones from being enqueued
            logger.error("left out: %s", error, extra={"action": "run_trimmed"})  # noqa: TRY400
            return None
        if isinstance(claimed, Done):
            return _complete(plan.run, claimed.manifest)
        key, claim, before = claimed

        def write(claim: Claim) -> None:
            self._cluster.write(key, claim)

        with kept(claim, write, self._clock):
            found, written = engine.enqueue(
                plan, claim.starts, lambda: self._cluster.ends(plan.topics)
            )
            if last:
                engine.snapshot(self._cluster.ends([self._topics.accounts]), self._schedule.name)
        manifest = self._manifest(plan, found, claim, engine.accounts, before)
        self._cluster.write(str(plan.run), manifest)
        logger.info(
            "%s: %d requests, %d written now",
            plan.run,
            found.requests,
            written,
            extra={"action": "run_enqueued"},
        )
        return Outcome(plan.run, found.requests, written, manifest)

    def _manifest(
        self,
        plan: RunPlan,
        found: Found,
        claim: Claim,
        accounts: AccountsView,
        before: Manifest | None,
    ) -> Manifest:
        days = plan.account_days(accounts.active)
        if before is not None:
            days = {
                name: max(days.get(name, 0), before.account_days.get(name, 0))
                for name in sorted({*days, *before.account_days})
            }
        return Manifest(
            run=str(plan.run),
            requests=found.requests,
            ids_hash=found.ids_hash,
            topics=list(found.topics),
            account_days=days,
            deadline=self._deadline(plan.run),
            enqueued_at=self._clock.wall(),
            starts=claim.starts,
        )


def planned_asks(
    schedule: Schedule, partners: Mapping[str, Partner], topics: Topics
) -> list[PlannedAsk]:
    """Return what a schedule asks for, ranges split; its partners and reports are known to be."""
    return [
        PlannedAsk(
            partner=ask.partner,
            report=ask.report_name,
            days=span,
            class_=ask.class_,
            formats=ask.formats,
            topic=(topics.backfill if ask.class_ == "backfill" else topics.requests)(ask.partner),
            key_scope=partners[ask.partner].key_scope,
            ready_hours=partners[ask.partner].spec.ready_hours,
            params=ask.params,
        )
        for ask in schedule.settings.ask
        for span in ask.spans
    ]


def _complete(run: RunId, manifest: Manifest) -> Outcome:
    logger.info("%s: complete, nothing to enqueue", run, extra={"action": "run_complete"})
    return Outcome(run, manifest.requests, 0, manifest)


def _text(slot: datetime) -> str:
    return slot.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
