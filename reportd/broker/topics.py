"""The topics: their names, partitions and settings as the design wants them. Pure; any process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["requests", "backfill", "ledger"]
KINDS: tuple[Kind, ...] = ("requests", "backfill", "ledger")

REQUEST_MAX_BYTES = 1_048_588
"""Kafka's own default: the longest request, header included."""
DEAD_MAX_BYTES = 9 * 1024 * 1024
"""Whatever the client sends (`MESSAGE_MAX_BYTES`, not compressed), and what happened to it."""
LEDGER_MAX_BYTES = 4 * REQUEST_MAX_BYTES
"""An end names every file: 400 days in 8 formats come to most of a megabyte."""
DAY_MILLISECONDS = 24 * 60 * 60 * 1000
RUNS_DAYS = 400
"""What is told of runs is bounded: each leaves some records, and every start reads them all."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The names under one prefix."""

    prefix: str = "reportd"

    def requests(self, partner: str) -> str:
        """Return the topic of a partner's requests."""
        return f"{self.prefix}.requests.{partner}"

    def backfill(self, partner: str) -> str:
        """Return the topic of a partner's backfill requests."""
        return f"{self.prefix}.backfill.{partner}"

    def ledger(self, partner: str) -> str:
        """Return the topic of a partner's ledger."""
        return f"{self.prefix}.ledger.{partner}"

    @property
    def dead(self) -> str:
        """The dead letters."""
        return f"{self.prefix}.dead"

    @property
    def runs(self) -> str:
        """Claims and manifests, and what became of runs."""
        return f"{self.prefix}.runs"

    @property
    def accounts(self) -> str:
        """The accounts as the last enqueue saw them."""
        return f"{self.prefix}.accounts"

    @property
    def control(self) -> str:
        """Pause, resume, cancel."""
        return f"{self.prefix}.control"

    @property
    def vms(self) -> str:
        """Each VM's slots, store and configuration."""
        return f"{self.prefix}.vms"

    def parse(self, topic: str) -> tuple[Kind, str] | None:
        """Return a partner topic's kind and partner; None for any other topic."""
        for kind in KINDS:
            start = f"{self.prefix}.{kind}."
            if topic.startswith(start) and len(topic) > len(start):
                return kind, topic[len(start) :]
        return None


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as it should be."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


def topic_plans(prefix: str, partners: Mapping[str, int], replication: int) -> list[TopicPlan]:
    """Return every topic; ``partners`` gives each partner's partition count.

    The ledgers come first and the requests last, so that a topic never stands without what it
    needs.
    """
    topics = Topics(prefix)
    kept = _kept(replication)
    compacted = _compacted(replication)
    bounds = {
        "ledger": (topics.ledger, LEDGER_MAX_BYTES),
        "backfill": (topics.backfill, REQUEST_MAX_BYTES),
        "requests": (topics.requests, REQUEST_MAX_BYTES),
    }
    shared = [
        TopicPlan(name, 1, replication, compacted)
        for name in (topics.accounts, topics.control, topics.vms)
    ]
    runs = TopicPlan(topics.runs, 1, replication, _compacted_for_a_year(replication))
    dead = TopicPlan(topics.dead, 1, replication, _dead(replication))
    return [
        runs,
        *shared,
        dead,
        *(
            TopicPlan(
                name(partner),
                count,
                replication,
                {**kept, **_PACKED.get(kind, {}), "max.message.bytes": str(max_bytes)},
            )
            for kind, (name, max_bytes) in bounds.items()
            for partner, count in sorted(partners.items())
        ),
    ]


def problems_of_topics(present: Mapping[str, int], prefix: str, partners: list[str]) -> list[str]:
    """Say what a daemon misses: each topic that is not there, each that does not fit its others.

    ``present`` is every topic with its partition count, as `Admin.topics` returns it.
    """
    topics = Topics(prefix)
    wanted = [topics.runs, topics.accounts, topics.control, topics.vms, topics.dead]
    problems = []
    for partner in sorted(partners):
        own = [topics.ledger(partner), topics.backfill(partner), topics.requests(partner)]
        wanted += own
        counts = {name: present[name] for name in own if name in present}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{name} has {count}" for name, count in counts.items())
            problems.append(f"topics of {partner} differ in their partitions: {said}")
    missing = [f"topic {name} is missing" for name in wanted if name not in present]
    return missing + problems


_PACKED = {kind: {"compression.type": "lz4"} for kind in ("backfill", "requests")}
"""Who reads unpacks. The broker packs anew what comes otherwise, and refuses what is too large by
then: lz4 unpacks to 255 times its size at most, gzip to 1,000 times, zstd to far more."""


def _durable(replication: int) -> dict[str, str]:
    return {"min.insync.replicas": str(max(1, replication - 1))}


def _kept(replication: int) -> dict[str, str]:
    """Nothing unread expires: what is closed and old, its owner trims.

    Times are the broker's own, so that no producer's clock says when a record came.
    """
    return {
        **_durable(replication),
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "message.timestamp.type": "LogAppendTime",
    }


def _compacted(replication: int) -> dict[str, str]:
    return {
        **_durable(replication),
        "cleanup.policy": "compact",
        "segment.ms": str(DAY_MILLISECONDS),
        # A producer's clock that is an hour ahead is no reason to refuse its record
        "message.timestamp.type": "LogAppendTime",
    }


def _compacted_for_a_year(replication: int) -> dict[str, str]:
    return {
        **_compacted(replication),
        "cleanup.policy": "compact,delete",
        "retention.ms": str(RUNS_DAYS * DAY_MILLISECONDS),
    }


def _dead(replication: int) -> dict[str, str]:
    return {
        **_durable(replication),
        "cleanup.policy": "delete",
        "retention.ms": str(90 * DAY_MILLISECONDS),
        "retention.bytes": "-1",
        "max.message.bytes": str(DEAD_MAX_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }
