"""One seeded story: what is asked, who works, and everything that goes wrong."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

from reportd.broker.keys import partition_of
from reportd.broker.message import Message
from reportd.limits.limiter import RECORDED, LimitRule
from reportd.model.control import RUN, Control
from reportd.model.ledger import End, Grant, parse_ledger_record
from reportd.model.request import Request, request_id
from reportd.partners.verdict import Outcome
from reportd.worker.settings import EngineSettings
from tests.simulation.broker import Broker
from tests.simulation.making import KINDS, make_partner, making_plan
from tests.simulation.partner import COSTLY, MOST_COST, Partner, PartnerPlan
from tests.simulation.store import MemoryStore
from tests.simulation.worker import CONTROL, Worker
from tests.simulation.world import WALL_AT_START, World

TROUBLE_SECONDS = 60.0
HORIZON_SECONDS = 2500.0
SESSION_SECONDS = 10.0
CLOCKS_SET = (90_000.0, 100.0, 0.4, -0.3, -100.3)
"""By how many seconds wall clocks are set, so that a day's or a window's edges lie elsewhere."""
QUIET_SECONDS = 30.0
"""After so long without a record what is open waits for a person."""
FIRST_DAY = date(2025, 11, 15)
RUNS = ("daily/2025-11-22T04:00Z#1", "daily/2025-11-22T04:00Z#2", "daily/2025-11-23T04:00Z#1")


class Asked(NamedTuple):
    """Something that people ask for, and from when to when it is in force."""

    control: Control
    since: float
    until: float


@dataclass
class Story:
    """A world in motion and what it should come to."""

    seed: int
    world: World
    broker: Broker
    store: MemoryStore
    partners: dict[str, Partner]
    workers: list[Worker]
    asked: dict[str, Request] = field(default_factory=dict)
    controls: list[Asked] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    finished: bool = False

    def run(self) -> None:
        """Play it to its end."""
        self.finished = self.world.run_until(lambda: self.finished, HORIZON_SECONDS)


def _plans(random: Random) -> list[PartnerPlan]:
    accounts = frozenset(f"a{n}" for n in range(8))
    bad = frozenset(random.sample(sorted(accounts), random.choice((0, 0, 1))))
    killers = frozenset(random.sample(sorted(accounts - bad), random.choice((0, 0, 0, 1))))
    outage_at = random.uniform(2, 40)
    outages = ((outage_at, outage_at + random.uniform(5, 60)),) if random.random() < 0.3 else ()
    refused_accounts = frozenset(random.sample(sorted(accounts), random.choice((0, 4))))
    refused_at = random.uniform(0, 40)
    mended_at = refused_at + random.choice(
        (random.uniform(5, 90), random.uniform(5, 90), float("inf"))
    )
    meter = random.choice(("sliding", "fixed", "bucket"))
    by_account = _limit("account", 3, 1.0, meter)
    by_partner = _limit("partner", 8, 1.0, random.choice(("sliding", "fixed", "bucket")))
    plans = [
        PartnerPlan(
            name="acme",
            partitions=4,
            limits=(by_account[0],),
            strict=(by_account[1],),
            key="account",
            pages=random.choice((1, 1, 3)),
            transient_share=random.choice((0.0, 0.05, 0.3)),
            lie_share=random.choice((0.0, 0.0, 0.02)),
            slow_share=random.choice((0.0, 0.1)),
            tokenless_share=random.choice((0.0, 0.0, 0.2)),
            busy_share=random.choice((0.0, 0.0, 0.1)),
            bad_accounts=bad,
            killers=killers,
            outages=outages,
            outage_kind=random.choice((Outcome.TRANSIENT, Outcome.PERMANENT, Outcome.THROTTLED)),
            refused_accounts=refused_accounts,
            refused=(refused_at, mended_at),
        )
    ]
    if random.random() < 0.5:
        plans.append(
            PartnerPlan(
                name="bolt",
                partitions=1,
                limits=(by_partner[0], by_account[0]),
                strict=(by_partner[1], by_account[1]),
                key="partner",
                pages=random.choice((1, 2)),
                transient_share=random.choice((0.0, 0.1)),
            )
        )
    if random.random() < 0.7:
        plans.append(_dole(random))
    if random.random() < 0.5:
        base = replace(
            plans[0],
            most_days=random.choice((1, 2, 400)),
            making_seconds=random.choice((1.0, 60.0)),
        )
        plans.append(making_plan(random.choice(KINDS), base))
    return plans


def _dole(random: Random) -> PartnerPlan:
    """Return a partner with a quota, calls at once, and costs."""
    day = LimitRule(
        per="account", calls=9, seconds=86_400.0, meter="day", zone="Etc/GMT+4", margin_seconds=2.0
    )
    rolling = LimitRule(per="account", calls=6, seconds=60.0, meter="rolling", margin_seconds=1.0)
    at_once = LimitRule(per="account", calls=2, seconds=21.0, meter="concurrent")
    tokens = LimitRule(
        per="account", calls=20, seconds=10.0, meter="sliding", margin_seconds=0.05,
        cost=MOST_COST, number=COSTLY,
    )  # fmt: skip
    rules, slow_share = random.choice(
        (((day,), 0.0), ((rolling,), 0.0), ((at_once,), 0.3), ((tokens, at_once), 0.0))
    )
    return PartnerPlan(
        name="dole",
        partitions=2,
        limits=rules,
        strict=rules,
        key="account",
        slow_share=slow_share,
        transient_share=random.choice((0.0, 0.1)),
    )


def _limit(per: str, calls: int, seconds: float, meter: str) -> tuple[LimitRule, LimitRule]:
    """Return a limit as the worker keeps it and as the partner counts it."""
    strict = LimitRule(per=per, calls=calls, seconds=seconds, meter=meter, burst=2.25)  # type: ignore[arg-type]
    kept = LimitRule(
        per=per,
        calls=calls,
        seconds=seconds,
        meter=meter,  # type: ignore[arg-type]
        burst=2.0,
        margin_seconds=0.03,
    )
    return kept, strict


def tell(seed: int) -> Story:
    """Make the story of a seed."""
    world = World(seed)
    random = Random(seed * 7919 + 1)
    plans = _plans(random)
    keys = [(plan.name, index) for plan in plans for index in range(plan.partitions)]
    broker = Broker(world, keys, SESSION_SECONDS)
    store = MemoryStore()
    store.clock = lambda: world.time
    partners = {plan.name: make_partner(plan, world) for plan in plans}
    settings = EngineSettings(
        threads=random.choice((2, 8)),
        window_requests=random.choice((6, 20, 1000)),
        finishing_most=8,
        store_id=store.identity,
    )
    story = Story(seed, world, broker, store, partners, [])
    story.workers = [
        Worker(
            f"vm-{n}",
            world,
            broker,
            store,
            partners,
            settings,
            random.choice((0.0, 0.001, 0.01)),
            story.log,
        )
        for n in range(random.choice((1, 2, 3)))
    ]
    _ask(story, random, plans)
    _trouble(story, random)
    if random.random() < 0.6:
        _reload(story, random)
    _control(story, Random(seed * 7919 + 2))
    _watch(story)
    return story


def _ask(story: Story, random: Random, plans: list[PartnerPlan]) -> None:
    for plan in plans:
        for run in RUNS[: random.choice((1, 1, 2, 3))]:
            days = random.choice((1, 2, 3))
            early_share = random.choice((0.05, 0.05, 0.05, 0.5))
            for account in (f"a{n}" for n in range(4 if plan.kind else 8)):
                for start in range(0, random.choice((3, 6)), days):
                    first = FIRST_DAY + timedelta(days=start)
                    request = _request(random, plan, run, account, first, days, early_share)
                    at = 0.0 if run == RUNS[0] else random.uniform(0, 80)
                    copies = 2 if random.random() < 0.05 else 1
                    for _ in range(copies):
                        story.world.plan(at, _asking(story, plan, request, random))
        for _ in range(random.choice((0, 2))):
            part = (f"requests.{plan.name}", random.randrange(plan.partitions))
            story.world.plan(random.uniform(0, 50), lambda p=part: _poison(story, p))  # type: ignore[misc]


def _poison(story: Story, part: tuple[str, int]) -> None:
    story.broker.append(part, b"a1", b"{not json")
    story.broker.gap(part)


def _request(
    random: Random,
    plan: PartnerPlan,
    run: str,
    account: str,
    first: date,
    days: int,
    early_share: float,
) -> Request:
    last = first + timedelta(days=days - 1)
    late = WALL_AT_START + random.uniform(0, 90) if random.random() < early_share else None
    return Request.model_validate(
        {
            "v": 1,
            "id": request_id(
                run, plan.name, "daily", account, first.isoformat(), last.isoformat(), b"{}"
            ),
            "run": run,
            "partner": plan.name,
            "report": "daily",
            "account": account,
            "credential": "refused" if account in plan.refused_accounts else "main",
            "first_day": first,
            "last_day": last,
            "formats": ["csv"],
            "not_before": late,
            "class": random.choice(("daily", "backfill")),
        }
    )


def _asking(story: Story, plan: PartnerPlan, request: Request, random: Random):  # type: ignore[no-untyped-def]
    kind = "backfill" if request.class_ == "backfill" else "requests"
    key = request.account if plan.key == "account" else plan.name
    index = partition_of(key.encode(), plan.partitions)
    if random.random() < 0.03:
        index = random.randrange(plan.partitions)

    def ask() -> None:
        story.asked[request.id] = request
        story.broker.append((f"{kind}.{plan.name}", index), key.encode(), request.to_json())

    return ask


def _trouble(story: Story, random: Random) -> None:
    world = story.world
    for worker in story.workers:
        world.plan(random.uniform(0, 3), worker.start)
        worker.on_crash = _restarting(story, worker, random)
        for _ in range(random.choice((0, 1, 4))):
            at = random.uniform(1, TROUBLE_SECONDS)
            world.plan(at, lambda w=worker: w.crash("kill -9"))  # type: ignore[misc]
        for _ in range(random.choice((0, 0, 1, 2))):
            at, seconds = random.uniform(1, TROUBLE_SECONDS), random.uniform(1, 30)
            world.plan(at, lambda w=worker, s=seconds: w.freeze(s))  # type: ignore[misc]
        for _ in range(random.choice((0, 1, 3))):
            at, ahead = random.uniform(1, 30), random.choice(CLOCKS_SET)
            world.plan(at, _setting_clock(story, worker, ahead))
    if random.random() < 0.2:
        at = random.uniform(1, TROUBLE_SECONDS)
        world.plan(at, lambda: setattr(story.store, "is_away", True))
        world.plan(at + random.uniform(1, 20), lambda: setattr(story.store, "is_away", False))

    def calm() -> None:
        for worker in story.workers:
            worker.crash_share = 0.0

    world.plan(TROUBLE_SECONDS * 1.5, calm)


def _setting_clock(story: Story, worker: Worker, seconds: float) -> Callable[[], None]:
    def set_clock() -> None:
        # What is paused until a time of day goes on by the clock of its VM
        if all(asked.control.until is None for asked in story.controls):
            worker.set_clock(seconds)

    return set_clock


def _reload(story: Story, random: Random) -> None:
    """Change the limits of a partner, and replace the workers one after the other."""
    partner = story.partners["acme"]
    meter = random.choice(("sliding", "fixed", "bucket"))
    limit = _limit("account", random.choice((1, 6, 6)), random.choice((1.0, 4.0)), meter)
    partner.later = replace(partner.plan, limits=(limit[0],), strict=(limit[1],))
    at = random.uniform(1.0, 10.0)  # while there is most to do

    def replaced(worker: Worker) -> None:
        worker.is_reloaded = True
        worker.crash("replaced by a reload")
        if all(each.is_reloaded for each in story.workers):
            partner.settled_at = story.world.time
            story.world.plan(random.uniform(0.1, 1.0), lambda: _settle(story))

    for worker in story.workers:
        story.world.plan(at, lambda w=worker: replaced(w))  # type: ignore[misc]
        at += random.uniform(2.0, 12.0)


def _settle(story: Story) -> None:
    for worker in story.workers:
        if worker.process is not None:
            worker.process.engine.settle_limits()


def _control(story: Story, random: Random) -> None:
    """Have people pause, slow down and cancel; but for cancelled runs all of it ends."""
    scopes = ["acme", "acme/a1", "acme/a2", "acme.daily", "class:backfill", "bolt"]
    quotas = any(
        rule.meter in RECORDED for one in story.partners.values() for rule in one.plan.limits
    )
    for scope in random.sample(scopes, random.choice((0, 0, 1, 2, 3))):
        since = random.choice((0.0, random.uniform(0, 50)))
        until = since + random.uniform(5, 30)
        control = Control(
            scope=scope,
            action=random.choice(("pause", "pause", "slow")),
            rate=0.5,
            until=None if quotas else random.choice((None, WALL_AT_START + until)),
            at=WALL_AT_START + since,
        )
        _say(story, Asked(control, since, until))
        if control.until is None:
            _plan_control(story, until, scope, b"")
    if random.random() < 0.2:
        since = random.uniform(0, 80)
        control = Control(
            scope=f"{RUN}{random.choice(RUNS)}", action="cancel", at=WALL_AT_START + since
        )
        _say(story, Asked(control, since, HORIZON_SECONDS))


def _say(story: Story, asked: Asked) -> None:
    story.controls.append(asked)
    _plan_control(story, asked.since, asked.control.scope, asked.control.to_json())


def _plan_control(story: Story, at: float, scope: str, value: bytes) -> None:
    def write() -> None:
        story.broker.append(CONTROL, scope.encode(), value)

    story.world.plan(at, write)


def _restarting(story: Story, worker: Worker, random: Random):  # type: ignore[no-untyped-def]
    def restart() -> None:
        away = random.uniform(11, 40) if random.random() < 0.2 else random.uniform(0.1, 3)
        story.world.plan(away, lambda: worker.start() if worker.process is None else None)

    return restart


def _is_spent(story: Story, part: tuple[str, int]) -> bool:
    """Say whether all that is open there waits for the reset of a quota that is spent."""
    partner = story.partners[part[0].partition(".")[2]].plan
    if partner.day is None:
        return False
    ledger = [parse_ledger_record(one.value) for one in _whole(story, f"ledger.{partner.name}")]
    done = {record.id for record in ledger if isinstance(record, End)}
    granted = Counter[str]()
    today = max((record.window for record in ledger if isinstance(record, Grant)), default="")
    for record in ledger:
        if isinstance(record, Grant) and record.window == today:
            granted[record.scope] += record.units
    return all(
        granted[f"account {request.account}"] >= partner.day.calls
        for request in story.asked.values()
        if request.partner == partner.name and request.id not in done
    )


def _is_refused(story: Story, part: tuple[str, int]) -> bool:
    """Say whether all that is open there has a credential that nobody mends, and nothing moves."""
    partner = story.partners[part[0].partition(".")[2]].plan
    done, ended_at = set[str](), 0.0
    for one in _whole(story, f"ledger.{partner.name}"):
        ended_at = max(ended_at, one.timestamp - WALL_AT_START)
        record = parse_ledger_record(one.value)
        if isinstance(record, End):
            done.add(record.id)
    return story.world.time - ended_at > QUIET_SECONDS and all(
        partner.is_unmended(request.account)
        for request in story.asked.values()
        if request.partner == partner.name and request.id not in done
    )


def _whole(story: Story, topic: str) -> Iterator[Message]:
    for part, log in story.broker.logs.items():
        if part[0] == topic:
            yield from (message for message in log if message is not None)


def _watch(story: Story) -> None:
    def look() -> None:
        story.finished = story.world.time > 82 and all(
            story.broker.commits.get(part, (0, ""))[0] >= story.broker.end(part)
            or (story.world.time > 200 and (_is_spent(story, part) or _is_refused(story, part)))
            for part in story.broker.logs
            if part[0].startswith(("requests.", "backfill."))
        )
        story.world.plan(1.0, look)

    story.world.plan(1.0, look)
