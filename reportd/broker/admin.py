"""Looking at the cluster and changing it: topics, groups' commits, offsets, trimming.

Tools, the daemon's pre-flight (in a short-lived child), the observer, and workers when they trim.
Every call blocks for at most its timeout and raises `BrokerError`.
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from confluent_kafka import (
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined] # public, but not in __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from reportd.broker.errors import is_unanswered, translate, translate_exception
from reportd.broker.group import Group
from reportd.broker.library_log import LibraryLog, error_callback
from reportd.broker.message import Part
from reportd.broker.reader import COORDINATOR_MOVES, LOOK_AGAIN_SECONDS, Committed, PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import TopicPlan
from reportd.errors import BrokerError

# The library's makers of these have no types
_EARLIEST: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]

LOOK_SECONDS = 0.05

_SETTLED = frozenset({ConsumerGroupState.STABLE, ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD})

ChangeKind: TypeAlias = Literal["create", "repair", "keep", "differs"]


@dataclass(frozen=True, slots=True)
class TopicChange:
    """What was done to a topic, or would be."""

    plan: TopicPlan
    kind: ChangeKind
    differences: tuple[str, ...] = ()
    """``retention.ms is 604800000, not -1``; for ``repair`` and ``differs``."""


class Admin:
    """One client; make it in the process that uses it."""

    def __init__(self, settings: ClientSettings, *, timeout_seconds: float = 30.0) -> None:
        """Make the client; ``timeout_seconds`` bounds each call."""
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._readers: dict[str, PartitionReader] = {}
        self._causes: list[KafkaError] = []
        own: dict[str, Any] = {**settings, "error_cb": error_callback(self._note, self._note)}
        self._client = AdminClient(own, logger=LibraryLog(loud=False))

    def topics(self) -> dict[str, int]:
        """Return every topic with its partition count."""
        found = self._metadata()
        return {
            name: len(topic.partitions)
            for name, topic in found.topics.items()
            if topic.error is None
        }

    def copies(self) -> dict[str, int]:
        """Return of every topic how many copies of its records there are: the fewest it has."""
        return {
            name: min((len(part.replicas) for part in topic.partitions.values()), default=0)
            for name, topic in self._metadata().topics.items()
            if topic.error is None
        }

    def brokers(self) -> int:
        """Return how many brokers there are now."""
        return len(self._metadata().brokers)

    def create(
        self, plans: Sequence[TopicPlan], *, dry_run: bool = False, repair: bool = False
    ) -> list[TopicChange]:
        """Make the topics that are not there; leave the others, and say how they differ.

        ``repair`` sets what differs (never the partitions or the replication). A dry run asks the
        broker to check without doing it.
        """
        changes = self._changes(plans, repair=repair)
        new = [change.plan for change in changes if change.kind == "create"]
        if new:
            wanted = [
                NewTopic(plan.name, plan.partitions, plan.replication, config=dict(plan.config))
                for plan in new
            ]
            futures = self._start(
                "create topics",
                lambda: self._client.create_topics(
                    wanted,
                    validate_only=dry_run,
                    operation_timeout=self._timeout_seconds,
                    request_timeout=self._timeout_seconds,
                ),
            )
            for name, future in futures.items():
                self._wait(future, f"create {name}", KafkaError.TOPIC_ALREADY_EXISTS)
            if not dry_run:
                self._await_partitions({plan.name: plan.partitions for plan in new})
        repairs = [change.plan for change in changes if change.kind == "repair"]
        if repairs and not dry_run:
            self._set_configs(repairs)
        return changes

    def grow(self, topic: str, partitions: int, *, dry_run: bool = False) -> None:
        """Raise a topic's partition count."""
        futures = self._start(
            f"grow {topic}",
            lambda: self._client.create_partitions(
                [NewPartitions(topic, partitions)],
                validate_only=dry_run,
                request_timeout=self._timeout_seconds,
            ),
        )
        for future in futures.values():
            self._wait(future, f"grow {topic} to {partitions} partitions")
        if not dry_run:
            self._await_partitions({topic: partitions})

    def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return each topic's settings, defaults included."""
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
        if not asked:
            return {}
        futures = self._start(
            "describe topics",
            lambda: self._client.describe_configs(asked, request_timeout=self._timeout_seconds),
        )
        return {
            resource.name: {
                name: entry.value or "" for name, entry in self._wait(future, "describe").items()
            }
            for resource, future in futures.items()
        }

    def broker_settings(self) -> dict[str, dict[str, str]]:
        """Return each broker's settings, defaults included, by its number."""
        brokers = [str(number) for number in self._metadata().brokers]
        asked = [ConfigResource(ResourceType.BROKER, number) for number in brokers]
        futures = self._start(
            "describe brokers",
            lambda: self._client.describe_configs(asked, request_timeout=self._timeout_seconds),
        )
        return {
            resource.name: {
                name: entry.value or "" for name, entry in self._wait(future, "describe").items()
            }
            for resource, future in futures.items()
        }

    def allowed(self, topics: Collection[str], group: str) -> dict[str, frozenset[str]]:
        """Return what this client's principal may do with topics and a group, by their names.

        In the words of ``kafka-acls.sh`` (``Describe``); what it does not see it may do nothing
        with. Where brokers check no rights, everything.
        """
        found: dict[str, frozenset[str]] = {}
        asked = self._start(
            "describe topics",
            lambda: self._client.describe_topics(
                TopicCollection(list(topics)),
                include_authorized_operations=True,
                request_timeout=self._timeout_seconds,
            ),
        )
        for name, future in asked.items():
            described = self._wait(
                future, f"describe {name}", KafkaError.TOPIC_AUTHORIZATION_FAILED
            )
            found[name] = _operations(described)
        described = self._described(group, KafkaError.GROUP_AUTHORIZATION_FAILED, rights=True)
        found[group] = _operations(described)
        return found

    def delete_records(self, before: Mapping[Part, int]) -> dict[Part, int]:
        """Delete everything before the given offsets; return each partition's new first offset."""
        asked = [TopicPartition(*part, offset) for part, offset in before.items()]
        if not asked:
            return {}
        futures = self._start(
            "delete records",
            lambda: self._client.delete_records(
                asked,
                request_timeout=self._timeout_seconds,
                operation_timeout=self._timeout_seconds,
            ),
        )
        return {
            (part.topic, part.partition): self._wait(
                future, f"delete records of {part.topic}[{part.partition}]"
            ).low_watermark
            for part, future in futures.items()
        }

    def group_offsets(
        self, group: str, topics: Iterable[str] | None = None
    ) -> dict[Part, Committed]:
        """Return a group's commits in these topics (all, if none are given): where there are any.

        Asked by a consumer: the library's own admin call crashes the process when the group's
        coordinator has just moved (librdkafka#5040).
        """
        present = self.topics()
        names = [name for name in present if not name.startswith("__")]
        if topics is not None:
            names = [name for name in topics if name in present]
        parts = [(name, number) for name in names for number in range(present[name])]
        found = self._reader(group).committed(parts)
        return {part: commit for part, commit in found.items() if commit.offset is not None}

    def close(self) -> None:
        """Close what was opened to ask for commits."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def static_member(self, group: str, instance_id: str) -> str | None:
        """Return the member id of who is in the group with this instance id."""
        return self.static_members(group).get(instance_id)

    def static_members(self, group: str) -> dict[str, str]:
        """Return who is in the group by instance id: the member ids.

        What else the group tells of them (client, host) may be their predecessors'.
        """
        members = self._described(group).members
        return {one.group_instance_id: one.member_id for one in members if one.group_instance_id}

    def is_settled(self, group: str) -> bool:
        """Tell whether the group has given out its partitions, or has nobody to give them to."""
        return self._described(group).state in _SETTLED

    def group(self, group: str) -> Group:
        """Return who has which partitions of the topics that the group subscribes to."""
        found = self._described(group)
        return Group(
            found.state in _SETTLED,
            {
                one.group_instance_id: frozenset(
                    (part.topic, part.partition) for part in one.assignment.topic_partitions
                )
                for one in found.members
                if one.group_instance_id
            },
        )

    def begin_offsets(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Return the first offset kept of each partition."""
        return self._offsets(dict.fromkeys(parts, _EARLIEST))

    def end_offsets(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Return where the next record of each partition will lie."""
        return self._offsets(dict.fromkeys(parts, _LATEST))

    def offsets_for_times(self, times: Mapping[Part, float]) -> dict[Part, int | None]:
        """Return the first offset of each partition at or after an instant (epoch seconds).

        None: everything is older.
        """
        specs = {
            part: OffsetSpec.for_timestamp(max(0, math.floor(at * 1000)))
            for part, at in times.items()
        }
        return {
            part: offset if offset >= 0 else None for part, offset in self._offsets(specs).items()
        }

    def _offsets(self, specs: Mapping[Part, OffsetSpec]) -> dict[Part, int]:
        """Ask until every partition has a leader: it moves, and a new topic has none at once."""
        deadline = time.monotonic() + self._timeout_seconds
        pause = threading.Event()
        while True:
            try:
                return self._offsets_now(specs)
            except BrokerError as error:
                if "LEADER" not in str(error) or time.monotonic() > deadline:
                    raise
            pause.wait(LOOK_AGAIN_SECONDS)

    def _offsets_now(self, specs: Mapping[Part, OffsetSpec]) -> dict[Part, int]:
        if not specs:
            return {}
        asked = {TopicPartition(*part): spec for part, spec in specs.items()}
        futures = self._start(
            "list offsets",
            lambda: self._client.list_offsets(asked, request_timeout=self._timeout_seconds),
        )
        return {
            (part.topic, part.partition): self._wait(
                future, f"offsets of {part.topic}[{part.partition}]"
            ).offset
            for part, future in futures.items()
        }

    def _described(self, group: str, fine: int | None = None, *, rights: bool = False) -> Any:
        """Ask until the group has a coordinator: it moves, and a new broker makes one first."""
        deadline = time.monotonic() + self._timeout_seconds
        pause = threading.Event()
        while True:
            futures = self._start(
                f"members of {group}",
                lambda: self._client.describe_consumer_groups(
                    [group],
                    include_authorized_operations=rights,
                    request_timeout=self._timeout_seconds,
                ),
            )
            future = futures[group]
            wait([future], self._timeout_seconds + 5)
            error = future.exception(0) if future.done() else None
            code = error.args[0].code() if isinstance(error, KafkaException) else None
            if code not in COORDINATOR_MOVES or time.monotonic() > deadline:
                return self._wait(future, f"members of {group}", fine)
            pause.wait(LOOK_AGAIN_SECONDS)

    def _changes(self, plans: Sequence[TopicPlan], *, repair: bool) -> list[TopicChange]:
        present = self.topics()
        configs = self.configs(plan.name for plan in plans if plan.name in present)
        return [
            _change(plan, present.get(plan.name), configs.get(plan.name, {}), repair=repair)
            for plan in plans
        ]

    def _set_configs(self, plans: Sequence[TopicPlan]) -> None:
        resources = [
            ConfigResource(
                ResourceType.TOPIC,
                plan.name,
                incremental_configs=[
                    ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                    for name, value in plan.config.items()
                ],
            )
            for plan in plans
        ]
        futures = self._start(
            "repair topics",
            lambda: self._client.incremental_alter_configs(
                resources, request_timeout=self._timeout_seconds
            ),
        )
        for resource, future in futures.items():
            self._wait(future, f"repair {resource.name}")
        self._await_configs(plans)

    def _await_partitions(self, counts: Mapping[str, int]) -> None:
        def missing() -> list[str]:
            present = self.topics()
            return [name for name, count in counts.items() if present.get(name, 0) < count]

        self._await_none("made", missing)

    def _await_configs(self, plans: Sequence[TopicPlan]) -> None:
        def missing() -> list[str]:
            found = self.configs(plan.name for plan in plans)
            return [p.name for p in plans if not p.config.items() <= found[p.name].items()]

        self._await_none("repaired", missing)

    def _await_none(self, done: str, missing: Callable[[], list[str]]) -> None:
        """Wait until the broker that answers knows what the controller has done."""
        deadline = time.monotonic() + self._timeout_seconds
        pause = threading.Event()
        while names := missing():
            if time.monotonic() >= deadline:
                raise BrokerError(f"{done}, but not to be seen: {', '.join(names)}")
            pause.wait(LOOK_SECONDS)

    def _reader(self, group: str) -> PartitionReader:
        if group not in self._readers:
            self._readers[group] = PartitionReader(
                self._settings, group=group, timeout_seconds=self._timeout_seconds
            )
        return self._readers[group]

    def _metadata(self) -> Any:
        return self._start(
            f"ask {self._settings.get('bootstrap.servers')} for the topics",
            lambda: self._client.list_topics(timeout=self._timeout_seconds),
        )

    def _start(self, what: str, action: Callable[[], Any]) -> Any:
        self._hear()  # what nobody hears stays in memory
        try:
            return action()
        except KafkaException as error:
            causes = self._hear() if is_unanswered(error.args[0]) else []
            if causes:
                raise translate(causes[-1], what) from error
            raise translate_exception(error, what) from error

    def _hear(self) -> list[KafkaError]:
        """Return what the client has met since this was asked last."""
        self._causes.clear()
        self._client.poll(0)
        return self._causes

    def _note(self, error: KafkaError) -> None:
        """Keep why nobody answers: the library tells it apart from the call that fails of it."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._causes.append(error)

    def _wait(self, future: Future[Any], what: str, fine: int | None = None) -> Any:
        try:
            return future.result(self._timeout_seconds + 5)
        except KafkaException as error:
            if fine is not None and error.args[0].code() == fine:
                return None
            raise translate_exception(error, what) from error
        except TimeoutError:
            raise BrokerError(f"{what}: no answer") from None


def _operations(described: Any) -> frozenset[str]:
    if described is None:
        return frozenset()
    return frozenset(
        "".join(word.capitalize() for word in one.name.split("_"))
        for one in described.authorized_operations or ()
    )


def _change(
    plan: TopicPlan, partitions: int | None, config: Mapping[str, str], *, repair: bool
) -> TopicChange:
    if partitions is None:
        return TopicChange(plan, "create")
    wrong = [
        f"{name} is {config.get(name, 'not set')}, not {value}"
        for name, value in sorted(plan.config.items())
        if config.get(name) != value
    ]
    if partitions < plan.partitions:
        fewer = f"{partitions} partitions, not {plan.partitions}: see 'reportctl topics grow'"
        return TopicChange(plan, "differs", (*wrong, fewer))
    if wrong:
        return TopicChange(plan, "repair" if repair else "differs", tuple(wrong))
    return TopicChange(plan, "keep")
