"""Topics as the broker has them in the end."""

import time

import pytest

from reportd.broker.admin import Admin
from reportd.broker.growth import grow, offset_lag
from reportd.broker.producer import Producer
from reportd.broker.reader import Committed
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import TopicPlan, Topics, problems_of_topics, topic_plans
from reportd.errors import BrokerError
from tests.integration.broker.conftest import MakeMember, fill


@pytest.fixture
def admin(settings: ClientSettings) -> Admin:
    return Admin(settings)


def test_topics_are_made_once(admin: Admin, topic_prefix: str) -> None:
    """A dry run makes none; the second time all are there, as the design has them."""
    plans = topic_plans(topic_prefix, {"acme": 3, "globex": 1}, 1)

    planned = admin.create(plans, dry_run=True)
    assert {change.kind for change in planned} == {"create"}
    assert problems_of_topics(admin.topics(), topic_prefix, ["acme"])
    made = admin.create(plans)
    again = admin.create(plans)

    assert [change.kind for change in made] == ["create"] * len(plans)
    assert [change.kind for change in again] == ["keep"] * len(plans)
    assert problems_of_topics(admin.topics(), topic_prefix, ["acme", "globex"]) == []
    config = admin.configs([f"{topic_prefix}.requests.acme"])[f"{topic_prefix}.requests.acme"]
    assert config["retention.ms"] == "-1"
    assert admin.brokers() == 1


def test_a_difference_is_said_and_repaired(admin: Admin, topic_prefix: str) -> None:
    """A topic somebody made by hand would lose what is unread."""
    name = Topics(topic_prefix).requests("acme")
    admin.create([TopicPlan(name, 2, 1, {"retention.ms": "1000"})])
    plan = TopicPlan(name, 4, 1, {"retention.ms": "-1"})

    (seen,) = admin.create([plan])
    assert (seen.kind, seen.differences) == (
        "differs",
        (
            "retention.ms is 1000, not -1",
            "2 partitions, not 4: see 'reportctl topics grow'",
        ),
    )
    (repaired,) = admin.create([TopicPlan(name, 2, 1, plan.config)], repair=True)
    assert repaired.kind == "repair"
    assert admin.configs([name])[name]["retention.ms"] == "-1"


def test_bad_plans_are_refused_in_a_dry_run(admin: Admin, topic_prefix: str) -> None:
    """The broker checks them without making anything."""
    plan = TopicPlan(Topics(topic_prefix).dead, 1, 5, {})

    with pytest.raises(BrokerError, match="INVALID_REPLICATION_FACTOR"):
        admin.create([plan], dry_run=True)


def test_growing_waits_for_nothing_open(
    admin: Admin,
    settings: ClientSettings,
    topics: Topics,
    producer: Producer,
    make_member: MakeMember,
) -> None:
    """The lag says what is open; grown topics are seen by all."""
    admin.create([TopicPlan(topics.ledger("acme"), 2, 1, {})])
    part = (topics.requests("acme"), 1)
    fill(producer, part, 10)
    member = make_member()
    member.until(lambda: bool(member.consumer.assignment))
    member.commit({part: (4, "r")})

    assert offset_lag(admin, topics, topics.prefix, ["acme"])[part] == 6
    member.commit({part: (10, "r")})
    assert sum(offset_lag(admin, topics, topics.prefix, ["acme"]).values()) == 0

    assert len(grow(admin, topics, "acme", 5, dry_run=True)) == 3
    assert set(_counts(admin, topics).values()) == {2}
    grow(admin, topics, "acme", 5)
    assert set(_counts(admin, topics).values()) == {5}
    assert grow(admin, topics, "acme", 5) == []


def test_offsets_and_trimming(
    admin: Admin, topics: Topics, producer: Producer, make_member: MakeMember
) -> None:
    """Ends, beginnings, commits, instants: all of many partitions at once."""
    part, empty = (topics.requests("acme"), 0), (topics.requests("acme"), 1)
    before = time.time() - 3600
    for _ in range(2):
        fill(producer, part, 5)
    assert admin.group_offsets(topics.prefix) == {}
    member = make_member()
    member.until(lambda: bool(member.consumer.assignment))
    member.commit({part: (6, '{"r":1}')})

    assert admin.delete_records({part: 4}) == {part: 4}
    assert admin.begin_offsets([part, empty]) == {part: 4, empty: 0}
    assert admin.end_offsets([part, empty]) == {part: 10, empty: 0}
    assert admin.group_offsets(topics.prefix) == {part: Committed(6, '{"r":1}')}
    assert admin.offsets_for_times({part: before, empty: before}) == {part: 4, empty: None}
    assert admin.offsets_for_times({part: time.time() + 3600}) == {part: None}
    assert admin.delete_records({}) == {}


def test_a_broker_that_is_not_there_is_an_error() -> None:
    """In time, and with the reason."""
    admin = Admin({"bootstrap.servers": "127.0.0.1:9"}, timeout_seconds=0.5)

    for ask in (admin.topics, lambda: admin.group_offsets("g")):
        with pytest.raises(BrokerError):
            ask()


def _counts(admin: Admin, topics: Topics) -> dict[str, int]:
    names = (topics.requests("acme"), topics.backfill("acme"), topics.ledger("acme"))
    present = admin.topics()
    return {name: present[name] for name in names}


def test_a_broker_that_does_not_answer_is_named() -> None:
    """Whoever mistyped ``kafka.servers`` reads in the error what was asked."""
    away = Admin({"bootstrap.servers": "127.0.0.1:1"}, timeout_seconds=0.5)

    with pytest.raises(BrokerError, match=r"ask 127\.0\.0\.1:1 for the topics"):
        away.topics()
