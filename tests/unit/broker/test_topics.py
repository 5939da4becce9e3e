"""The topics as the design wants them."""

import pytest

from reportd.broker.access import rights
from reportd.broker.topics import Topics, problems_of_topics, topic_plans
from reportd.observer.runs import REMEMBERED_SECONDS

ALL = {
    "r.runs": 1,
    "r.accounts": 1,
    "r.control": 1,
    "r.vms": 1,
    "r.dead": 1,
    "r.ledger.acme": 4,
    "r.backfill.acme": 4,
    "r.requests.acme": 4,
}


def test_names_are_read_back() -> None:
    """A topic tells its kind and partner; any other topic does not."""
    topics = Topics("a.b")

    assert topics.parse(topics.requests("acme")) == ("requests", "acme")
    assert topics.parse(topics.backfill("a_b")) == ("backfill", "a_b")
    assert topics.parse(topics.ledger("acme")) == ("ledger", "acme")
    for other in (topics.dead, "a.b.requests.", "x.requests.acme", "a.b", ""):
        assert topics.parse(other) is None


def test_plans_hold_every_topic_once() -> None:
    """Requests come last: they never stand without their ledger."""
    plans = topic_plans("r", {"acme": 4}, 3)

    assert {plan.name: plan.partitions for plan in plans} == ALL
    assert [plan.name for plan in plans][-3:] == [
        "r.ledger.acme",
        "r.backfill.acme",
        "r.requests.acme",
    ]


def test_nothing_unread_expires() -> None:
    """Requests, backfill and ledger are kept until their owner trims them."""
    config = {plan.name: plan.config for plan in topic_plans("r", {"acme": 4}, 3)}

    for kind in ("requests", "backfill", "ledger"):
        kept = config[f"r.{kind}.acme"]
        assert (kept["retention.ms"], kept["retention.bytes"]) == ("-1", "-1")
        assert kept["cleanup.policy"] == "delete"
    for name in ("accounts", "control", "vms"):
        assert config[f"r.{name}"]["cleanup.policy"] == "compact"


def test_what_is_told_of_runs_does_not_grow_for_ever() -> None:
    """It is kept far longer than anything looks back: ledgers and dead letters are for 90 days."""
    config = {plan.name: plan.config for plan in topic_plans("r", {"acme": 4}, 3)}
    kept = config["r.runs"]

    assert set(kept["cleanup.policy"].split(",")) == {"compact", "delete"}
    assert 4 * REMEMBERED_SECONDS * 1000 < int(kept["retention.ms"])


def test_a_dead_letter_holds_the_longest_request() -> None:
    """With its sample and all headers."""
    config = {plan.name: plan.config for plan in topic_plans("r", {"acme": 4}, 3)}

    longest = int(config["r.requests.acme"]["max.message.bytes"])
    assert int(config["r.dead"]["max.message.bytes"]) >= 2 * longest
    assert config["r.dead"]["retention.ms"] == str(90 * 24 * 3600 * 1000)


@pytest.mark.parametrize(("replication", "in_sync"), [(1, "1"), (2, "1"), (3, "2")])
def test_one_broker_may_be_away(replication: int, in_sync: str) -> None:
    """Of several copies all but one must be written."""
    plans = topic_plans("r", {"acme": 4}, replication)

    assert {plan.config["min.insync.replicas"] for plan in plans} == {in_sync}
    assert {plan.replication for plan in plans} == {replication}


def test_all_that_is_missing_is_said_at_once() -> None:
    """Every topic, and partitions that do not belong together."""
    present = {**ALL, "r.ledger.acme": 3}
    del present["r.vms"], present["r.dead"]

    assert problems_of_topics(ALL, "r", ["acme"]) == []
    assert problems_of_topics(present, "r", ["acme"]) == [
        "topic r.vms is missing",
        "topic r.dead is missing",
        "topics of acme differ in their partitions: r.ledger.acme has 3, r.backfill.acme has 4,"
        " r.requests.acme has 4",
    ]


def test_rights_name_every_topic() -> None:
    """The daemon may do what it does, and not make or alter topics."""
    daemon = [right for right in rights("r", "r") if right.program == "reportd"]

    for name in ALL:
        fitting = [
            right
            for right in daemon
            if right.resource == "topic"
            and (name.startswith(right.name) if right.prefixed else name == right.name)
        ]
        assert fitting, name
    assert not {"Create", "Alter"} & {each for right in daemon for each in right.operations}
    assert "--allow-principal User:x --operation Describe --operation Read --group r" in [
        right.command("User:x") for right in daemon
    ]
