"""The order of things, with a broker and an engine that are lists."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reportd.broker.topics import Topics
from reportd.config.schedule import load_schedule
from reportd.enqueue.job import Enqueuer, Order
from reportd.enqueue.plan import Found, Ids, Offsets, RunPlan
from reportd.enqueue.runs import Holder, RunState, Starts, fold
from reportd.errors import BrokerError, ConfigError, UnavailableError
from reportd.model.account import Account
from reportd.model.run import Claim, Manifest, RunId
from reportd.partners.load import load_partner

NOW = datetime(2026, 11, 22, 4, 5, tzinfo=UTC)
SLOT = NOW.replace(minute=0)
RUN = RunId("daily", SLOT, 1)
PARTNER = """
hosts = ["api.acme.com"]
limits = [{ per = "account", calls = 5, seconds = 1, meter = "sliding" }]
[reports.campaigns]
get = "https://api.acme.com/{{ account.id }}?from={{ from }}&to={{ to }}&team={{ account.team }}"
rows = "data[]"
day_column = "date"
columns = { date = "date", clicks = "int64" }
"""
SCHEDULE = """
calendar = "*-*-* 04:00 UTC"
deadline = "07:00 UTC"
catch_up_slots = 3
accounts = "accounts.csv"
[[ask]]
report = "acme.campaigns"
days = "1..7"
"""


ME = Holder("vm-1", "b:1:1")


class FakeClock:
    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now


@dataclass
class FakeCluster:
    """Topics of one partition each; ``runs`` is a list of (key, record)."""

    records: list[tuple[str, Claim | Manifest]] = field(default_factory=list)
    end: int = 0
    begin: int = 0
    by_time: int = 0
    absent: list[str] = field(default_factory=list)
    on_write: Callable[[Claim | Manifest], None] = lambda _record: None

    def missing(self, topics: Iterable[str]) -> list[str]:
        return [topic for topic in topics if topic in self.absent]

    def states(self) -> dict[RunId, RunState]:
        return fold(record for _, record in self.records)

    def write(self, key: str, record: Claim | Manifest) -> None:
        self.on_write(record)
        self.records.append((key, record))

    def begins(self, topics: Iterable[str]) -> dict[str, dict[int, int]]:
        return {topic: {0: self.begin} for topic in topics}

    def ends(self, topics: Iterable[str]) -> dict[str, dict[int, int]]:
        return {topic: {0: self.end} for topic in topics}

    def at(self, topics: Iterable[str], instant: float) -> dict[str, dict[int, int]]:
        return {topic: {0: self.by_time} for topic in topics}

    def manifests(self) -> list[Manifest]:
        return [record for _, record in self.records if isinstance(record, Manifest)]


@dataclass
class FakeAccounts:
    active: Mapping[tuple[str, str], int]
    attributes: Mapping[str, str]

    @property
    def samples(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        return {
            (partner, zone): {"account": "7", "timezone": zone, "attributes": self.attributes}
            for partner, zone in self.active
        }

    @property
    def zones(self) -> dict[str, set[str]]:
        return {partner: {z for p, z in self.active if p == partner} for partner, _ in self.active}


class FakeEngine:
    """Ids by run; each account is a number."""

    def __init__(self, cluster: FakeCluster, accounts: FakeAccounts) -> None:
        self.accounts = accounts
        self.there: dict[RunId, int] = {}
        self.calls: list[tuple[RunId, Starts]] = []
        self.snapshots = 0
        self.starts = 0
        self.failure: Exception | None = None
        self._cluster = cluster

    def enqueue(
        self, plan: RunPlan, starts: Starts, ends: Callable[[], Offsets]
    ) -> tuple[Found, int]:
        self.calls.append((plan.run, starts))
        if self.failure is not None:
            raise self.failure
        wanted = sum(self.accounts.active.values()) * len(plan.asks)
        written = wanted - self.there.get(plan.run, 0)
        self.there[plan.run] = wanted
        self._cluster.end += written
        return Found(Ids(wanted, wanted), f"{wanted:016x}"), written

    def snapshot(self, ends: Offsets, schedule: str) -> int:
        self.snapshots += 1
        return 0

    def active_accounts(self, partners: Collection[str]) -> Iterator[Account]:
        for partner in partners:
            yield Account(partner=partner, account="7")


class Stage:
    """An enqueuer among fakes."""

    def __init__(self, folder: Path, schedule: str = SCHEDULE) -> None:
        (folder / "acme.toml").write_text(PARTNER)
        (folder / "daily.toml").write_text(schedule)
        self.folder = folder
        self.clock = FakeClock()
        self.cluster = FakeCluster()
        self.accounts = FakeAccounts({("acme", "UTC"): 3}, {"team": "brand"})
        self.engine = FakeEngine(self.cluster, self.accounts)
        self.pauses: list[float] = []
        self.on_pause: Callable[[], None] = lambda: None

    def enqueuer(self, holder: Holder = ME, gone: str = "") -> Enqueuer:
        @contextmanager
        def engine() -> Iterator[FakeEngine]:
            self.engine.starts += 1
            yield self.engine

        def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            self.clock.now += seconds
            self.on_pause()

        return Enqueuer(
            load_schedule(self.folder / "daily.toml"),
            {"acme": load_partner(self.folder / "acme.toml")},
            Topics("t"),
            self.cluster,
            engine,
            holder,
            clock=self.clock,
            pause=pause,
            gone=lambda name: name == gone,
        )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def claim_of(machine: str, at: float, run: RunId = RUN, **more: Any) -> Claim:
    return Claim(run=str(run), machine=machine, claimed_at=at, expires_at=at + 600, **more)


def test_run_is_claimed_written_and_manifested(stage: Stage) -> None:
    """The claim stands before anything is written, the manifest after all of it."""
    (outcome,) = stage.enqueuer().run(Order())
    (claim_key, claim), (key, manifest) = stage.cluster.records

    assert (outcome.run, outcome.requests, outcome.written) == (RUN, 3, 3)
    assert (claim_key, key) == (str(RUN), str(RUN))
    assert isinstance(claim, Claim)
    assert claim.starts == {"t.requests.acme": {0: 0}}
    assert isinstance(manifest, Manifest)
    assert manifest.account_days == {"acme.campaigns": 21}
    assert manifest.deadline == NOW.replace(hour=7, minute=0).timestamp()
    assert stage.engine.snapshots == 1


def test_complete_run_starts_no_spark(stage: Stage) -> None:
    """A second start after success costs one look at a topic."""
    stage.enqueuer().run(Order())

    (outcome,) = stage.enqueuer().run(Order())

    assert (outcome.requests, outcome.written, stage.engine.starts) == (3, 0, 1)
    assert len(stage.cluster.records) == 2


def test_run_killed_before_its_manifest_is_finished(stage: Stage) -> None:
    """The next start reads back from where the first one began, however much has come since."""
    stage.cluster.by_time = 5
    stage.engine.failure = KeyboardInterrupt  # type: ignore[assignment]  # as a signal would
    with pytest.raises(KeyboardInterrupt):
        stage.enqueuer().run(Order())
    stage.engine.failure = None
    stage.cluster.by_time = stage.cluster.end = 900

    stage.enqueuer().run(Order())

    assert stage.engine.calls[-1] == (RUN, {"t.requests.acme": {0: 5}})
    assert len(stage.cluster.manifests()) == 1


def test_failed_run_frees_its_claim(stage: Stage) -> None:
    """Who fails in an orderly way keeps nobody waiting for its lease."""
    stage.engine.failure = BrokerError("away")
    with pytest.raises(BrokerError):
        stage.enqueuer().run(Order())
    stage.engine.failure = None

    stage.enqueuer(Holder("vm-2", "b:2:2")).run(Order())

    assert not stage.pauses


def test_dead_process_of_this_machine_is_not_waited_for(stage: Stage) -> None:
    """After kill -9 the machine goes on at once."""
    stage.cluster.write(str(RUN), claim_of("vm-1", stage.clock.now - 10, holder="b:9:9"))

    stage.enqueuer(gone="b:9:9").run(Order())

    assert not stage.pauses
    assert len(stage.cluster.manifests()) == 1


def test_live_claim_is_waited_for_until_the_manifest(stage: Stage) -> None:
    """The second of two machines writes nothing: it waits, and finds the run complete."""
    stage.cluster.write(str(RUN), claim_of("vm-2", stage.clock.now - 10))
    done = Manifest(run=str(RUN), requests=3, ids_hash="", topics=[], enqueued_at=0)
    stage.on_pause = lambda: stage.cluster.write(str(RUN), done)

    (outcome,) = stage.enqueuer().run(Order())

    assert (outcome.written, stage.engine.calls) == (0, [])
    assert [5.0] == stage.pauses


def test_lease_that_ends_is_taken_over(stage: Stage) -> None:
    """A machine that died in the middle holds its run for ten minutes at most."""
    begun = stage.clock.now - 10
    stage.cluster.write(str(RUN), claim_of("vm-2", begun, starts={"t.requests.acme": {0: 2}}))

    stage.enqueuer().run(Order())

    assert 590 <= sum(stage.pauses) <= 600
    assert stage.engine.calls == [(RUN, {"t.requests.acme": {0: 2}})]


def test_claim_renewed_for_ever_is_not_waited_for_for_ever(stage: Stage) -> None:
    """After an hour the timer's next start has to see."""
    stage.cluster.write(str(RUN), claim_of("vm-2", stage.clock.now))
    stage.on_pause = lambda: stage.cluster.write(str(RUN), claim_of("vm-2", stage.clock.now))

    with pytest.raises(UnavailableError, match="still held by vm-2"):
        stage.enqueuer().run(Order())


def test_other_machine_that_claims_first_goes_first(stage: Stage) -> None:
    """Two that claim at once agree on the one whose claim is first in the topic."""
    first = [claim_of("vm-2", stage.clock.now)]

    def overtake(_record: Claim | Manifest) -> None:
        if first:
            stage.cluster.records.append((str(RUN), first.pop()))

    stage.cluster.on_write = overtake

    stage.enqueuer().run(Order())

    assert sum(stage.pauses) >= 599


def test_missed_slots_are_caught_up(stage: Stage) -> None:
    """Every slot since the last manifest, oldest first, each its own run; one snapshot."""
    run = RunId("daily", SLOT - timedelta(days=2), 1)
    stage.cluster.write(
        str(run), Manifest(run=str(run), requests=3, ids_hash="", topics=[], enqueued_at=0)
    )

    outcomes = stage.enqueuer().run(Order())

    assert [SLOT - timedelta(days=1), SLOT] == [outcome.run.slot for outcome in outcomes]
    assert (stage.engine.starts, stage.engine.snapshots) == (1, 1)


def test_add_enqueues_what_was_gained(stage: Stage) -> None:
    """A complete run gets the new accounts, and a manifest of all."""
    stage.enqueuer().run(Order())
    stage.accounts.active = {("acme", "UTC"): 5}

    (outcome,) = stage.enqueuer().run(Order(add=True))

    assert (outcome.requests, outcome.written) == (5, 2)
    assert [3, 5] == [manifest.requests for manifest in stage.cluster.manifests()]


def test_adding_never_hides_the_manifest(stage: Stage) -> None:
    """Killed while it adds, a compacted topic still has the run's manifest."""
    stage.enqueuer().run(Order())
    stage.engine.failure = BrokerError("away")
    with pytest.raises(BrokerError):
        stage.enqueuer().run(Order(add=True))

    compacted = dict(stage.cluster.records)

    assert isinstance(compacted[str(RUN)], Manifest)


def test_adding_less_keeps_what_is_expected(stage: Stage) -> None:
    """Accounts that have gone were asked for all the same: their days stay expected."""
    stage.enqueuer().run(Order())
    stage.accounts.active = {("acme", "UTC"): 1}

    stage.enqueuer().run(Order(add=True))

    assert stage.cluster.manifests()[-1].account_days == {"acme.campaigns": 21}


def test_forced_slot_is_enqueued_alone(stage: Stage) -> None:
    """``--slot`` takes one passed slot of the calendar, whatever else is due."""
    slot = SLOT - timedelta(days=5)

    (outcome,) = stage.enqueuer().run(Order(slot=slot))

    assert outcome.run == RunId("daily", slot, 1)


@pytest.mark.parametrize(
    ("slot", "said"),
    [
        (SLOT + timedelta(days=1), "has not passed yet"),
        (
            SLOT - timedelta(minutes=1),
            "nearest are 2026-11-21T04:00:00Z and 2026-11-22T04:00:00Z",
        ),
    ],
)
def test_forced_slot_must_be_one(stage: Stage, slot: datetime, said: str) -> None:
    """A time that is no slot, or none yet, is refused with the nearest ones."""
    with pytest.raises(ConfigError, match=said):
        stage.enqueuer().run(Order(slot=slot))


def test_dry_run_writes_nothing(stage: Stage) -> None:
    """It says what would be asked for, and by which key."""
    (outcome,) = stage.enqueuer().run(Order(dry_run=True))
    (tally,) = outcome.tallies

    assert (3, 3, "account") == (outcome.requests, tally.accounts, tally.ask.key_scope)
    assert (stage.cluster.records, stage.engine.calls) == ([], [])


def test_dry_run_can_tell_of_whom(stage: Stage) -> None:
    """A plan plays their requests; others need not be looked at."""
    (outcome,) = stage.enqueuer().run(Order(dry_run=True, with_accounts=True))
    (without,) = stage.enqueuer().run(Order(dry_run=True))

    assert [("acme", "7")] == [(one.partner, one.account) for one in outcome.accounts]
    assert outcome.plan is not None
    assert outcome.plan.asks[0].report == "campaigns"
    assert without.accounts == ()
    assert stage.cluster.records == []


def test_missing_topics_are_named(stage: Stage) -> None:
    """Before Spark is started, with what makes them; a dry run does without."""
    stage.cluster.absent = ["t.requests.acme", "t.runs"]

    with pytest.raises(UnavailableError, match=r"t\.requests\.acme, t\.runs.*topics create"):
        stage.enqueuer().run(Order())
    assert stage.engine.starts == 0
    assert stage.enqueuer().run(Order(dry_run=True))[0].requests == 3


def test_request_that_workers_would_refuse_is_refused_here(stage: Stage) -> None:
    """An attribute that the table lacks is said once, not as thousands of dead letters."""
    stage.accounts.attributes = {}

    with pytest.raises(ConfigError, match=r"acme\.campaigns: account '7' could not be asked"):
        stage.enqueuer().run(Order())
    assert not stage.cluster.records


def test_table_without_anybody_to_ask_is_refused(stage: Stage) -> None:
    """A run of nothing would count as complete."""
    stage.accounts.active = {}

    with pytest.raises(ConfigError, match="no active account of acme"):
        stage.enqueuer().run(Order())


def test_trimmed_run_is_not_guessed(stage: Stage) -> None:
    """Where its requests have been trimmed, what is missing cannot be told: nothing is asked twice.

    In a catch-up the slot is left out; asked for by name it is refused.
    """
    stage.cluster.write(
        str(RUN), claim_of("vm-1", 0.0, holder="b:9:9", starts={"t.requests.acme": {0: 5}})
    )
    stage.cluster.begin = 6

    assert stage.enqueuer().run(Order()) == []
    with pytest.raises(ConfigError, match="trimmed up to 6"):
        stage.enqueuer().run(Order(slot=SLOT))
    assert not stage.engine.calls


def test_asks_go_where_their_class_says(tmp_path: Path) -> None:
    """Backfill has a topic of its own; a range is split as the schedule says."""
    more = SCHEDULE.replace('"1..7"', '"8..20"\nclass = "backfill"\nsplit_days = 7')
    stage = Stage(tmp_path, SCHEDULE + more[more.index("[[ask]]") :])

    (outcome,) = stage.enqueuer().run(Order(dry_run=True))

    assert [
        ("t.requests.acme", "1..7"),
        ("t.backfill.acme", "8..14"),
        ("t.backfill.acme", "15..20"),
    ] == [(tally.ask.topic, str(tally.ask.days)) for tally in outcome.tallies]
