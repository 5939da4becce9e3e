"""A backfill without Spark: the same requests, in the same places, with a manifest."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from reportd.broker.keys import partition_of
from reportd.broker.topics import Topics
from reportd.config.days import FixedDays
from reportd.enqueue.backfill import Backfill, Wanted, plan_of, requests_of
from reportd.enqueue.plan import RunPlan
from reportd.enqueue.runs import Holder
from reportd.errors import BrokerError, ConfigError, UnavailableError
from reportd.model.account import Account
from reportd.model.request import Request
from reportd.model.run import Claim, Manifest, RunId
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner
from tests.unit.enqueue.test_job import FakeClock, FakeCluster

SPEC: dict[str, Any] = {
    "hosts": ["api.acme.com"],
    "ready_hours": 3,
    "limits": [{"per": "account", "calls": 5, "seconds": 1}],
    "reports": {
        "stats": {
            "get": "https://api.acme.com/{{ account.id }}?from={{ from }}&to={{ to }}",
            "rows": "data",
            "day_column": "date",
            "max_days": 10,
            "columns": {"date": "date"},
        },
        "whole": {
            "get": "https://api.acme.com/{{ account.id }}?day={{ from }}",
            "rows": "data",
            "columns": {"n": "int64"},
        },
    },
}
PARTNER = Partner("acme", parse_spec(SPEC, "acme"))
RUN = RunId("backfill", datetime(2026, 11, 27, 15, 0, 1, tzinfo=UTC), 1)
ME, OTHER = Holder("vm-1", "b:1:1"), Holder("vm-2", "b:2:2")
TOPIC = "reportd.backfill.acme"
PARTITIONS = 4


class Sender:
    """Gives every record the next offset of its partition."""

    def __init__(self, fail_at: int = -1) -> None:
        self.sent: list[tuple[str, int, bytes, Request]] = []
        self._ends: dict[int, int] = {}
        self._fail_at = fail_at

    def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes,
        partition: int,
        on_done: Callable[[int | BrokerError], None],
    ) -> None:
        if len(self.sent) == self._fail_at:
            on_done(BrokerError("away"))
            return
        offset = self._ends.get(partition, 10)
        self._ends[partition] = offset + 1
        self.sent.append((topic, partition, key, Request.from_json(value)))
        on_done(offset)

    def poll(self) -> None:
        pass

    def flush(self, timeout_seconds: float) -> int:
        return 0


def accounts(count: int = 3) -> list[Account]:
    """Make accounts in two zones."""
    zones = ("UTC", "Asia/Tokyo")
    return [
        Account(partner="acme", account=f"{n}", timezone=zones[n % 2], attributes={"team": f"t{n}"})
        for n in range(count)
    ]


def wanted(report: str = "stats", days: int = 25, **fields: Any) -> Wanted:
    """Ask for some days of January."""
    span = FixedDays(date(2026, 1, 1), date(2026, 1, days))
    return Wanted(PARTNER, report, span, ("csv",), **fields)


def plan(**fields: Any) -> RunPlan:
    """Plan them."""
    return plan_of(wanted(**fields), RUN, Topics())


def write(cluster: FakeCluster, sender: Sender, holder: Holder = ME) -> Manifest:
    """Write a backfill of three accounts."""
    of, clock = plan(), FakeClock()
    backfill = Backfill(wanted(), of, cluster, holder, clock, lambda _process: False)
    return backfill.write(requests_of(of, accounts()), accounts(), sender, PARTITIONS)


@pytest.mark.parametrize(
    ("fields", "spans"),
    [
        ({}, ["2026-01-16..2026-01-25", "2026-01-06..2026-01-15", "2026-01-01..2026-01-05"]),
        ({"days": 3, "split_days": 2}, ["2026-01-02..2026-01-03", "2026-01-01"]),
        ({"report": "whole", "days": 2}, ["2026-01-02", "2026-01-01"]),
    ],
)
def test_a_request_asks_for_as_many_days_as_the_report_allows(
    fields: dict[str, Any], spans: list[str]
) -> None:
    """The newest first; a report without a day column gives one day at a time."""
    assert [str(ask.days) for ask in plan(**fields).asks] == spans


@pytest.mark.parametrize(
    "fields", [{"split_days": 11}, {"params": {"other": "1"}}, {"report": "whole", "split_days": 2}]
)
def test_what_the_partner_does_not_allow_is_refused(fields: dict[str, Any]) -> None:
    """Before anything is written."""
    with pytest.raises(ConfigError, match=r"acme\.(stats|whole): "):
        plan(**fields)


def test_requests_are_as_an_enqueuer_makes_them() -> None:
    """All accounts' newest days first; the account's own fields; when its data is complete."""
    made = list(requests_of(plan(), accounts()))
    first = made[1]

    assert [one.account for one in made] == ["0", "1", "2"] * 3
    assert (first.run, first.class_, first.timezone) == (str(RUN), "backfill", "Asia/Tokyo")
    assert (first.attributes, first.formats) == ({"team": "t1"}, ("csv",))
    assert first.not_before == datetime(2026, 1, 25, 18, tzinfo=UTC).timestamp()
    PARTNER.check_request(first)


def test_the_manifest_has_the_places_of_all() -> None:
    """By account-keyed partition; the claim stood before the first request."""
    cluster, sender = FakeCluster(end=10), Sender()
    manifest = write(cluster, sender)

    assert [type(record) for _, record in cluster.records] == [Claim, Manifest]
    assert {key for key, _ in cluster.records} == {str(RUN)}
    assert manifest.requests == 9
    assert manifest.account_days == {"acme.stats": 75}
    assert manifest.starts == {TOPIC: {0: 10}}
    (span,) = manifest.topics
    assert sum(end - first for first, end in span.spans.values()) == 9
    mark = 0
    for topic, number, key, request in sender.sent:
        assert (topic, number) == (TOPIC, partition_of(request.account.encode(), PARTITIONS))
        assert key == request.account.encode()
        mark ^= int(request.id[:16], 16)
    assert manifest.ids_hash == f"{mark:016x}"


def test_after_a_failure_the_same_run_goes_on() -> None:
    """No manifest, and the claim is free; started again it has the same ids."""
    cluster, broken = FakeCluster(), Sender(fail_at=5)
    with pytest.raises(BrokerError, match="away"):
        write(cluster, broken)
    assert not cluster.manifests()

    again = Sender()
    write(cluster, again, OTHER)
    ids = {request.id for *_, request in again.sent}
    assert {request.id for *_, request in broken.sent} <= ids
    with pytest.raises(ConfigError, match="is complete"):
        write(cluster, Sender())


def test_two_do_not_write_one_run() -> None:
    """Whoever comes second is told who is at it."""
    cluster = FakeCluster()
    now = FakeClock().wall()
    claim = Claim(run=str(RUN), machine="vm-2", claimed_at=now, expires_at=now + 600.0)
    cluster.write(str(RUN), claim)
    with pytest.raises(UnavailableError, match="vm-2 is writing it"):
        write(cluster, Sender())
