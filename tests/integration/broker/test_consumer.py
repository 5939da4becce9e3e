"""What the worker builds on, from a real broker."""

import random

import pytest

from reportd.broker.admin import Admin
from reportd.broker.errors import FencedInstanceError, OffsetOutOfRangeError
from reportd.broker.message import Part
from reportd.broker.producer import Producer
from reportd.broker.reader import Committed, PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import Topics
from tests.integration.broker.conftest import MakeMember, Member, fill


def parts_of(topic: str) -> list[Part]:
    return [(topic, 0), (topic, 1)]


def everything(topics: Topics) -> frozenset[Part]:
    return frozenset([*parts_of(topics.requests("acme")), *parts_of(topics.backfill("acme"))])


def test_partitions_arrive_paused(
    make_member: MakeMember, topics: Topics, producer: Producer
) -> None:
    """Without a commit nothing is read, and nothing is an error, until the caller says where."""
    requests, backfill = (topics.requests("acme"), 0), (topics.backfill("acme"), 1)
    fill(producer, requests, 10)
    fill(producer, backfill, 10)
    member = make_member()

    member.until(lambda: member.consumer.assignment == everything(topics))
    member.read_nothing()
    member.start({backfill: 7})

    came = member.read(3)
    assert [(message.part, message.offset) for message in came] == [
        (backfill, 7),
        (backfill, 8),
        (backfill, 9),
    ]
    member.read_nothing()


def test_start_within_on_assign(
    make_member: MakeMember, topics: Topics, producer: Producer
) -> None:
    """A start is kept until the library is ready for it, and what is resumed waits for it."""
    requests = (topics.requests("acme"), 0)
    fill(producer, requests, 10)
    member = make_member()
    member.consumer._on_assign = lambda _parts: member.start({requests: 5})

    assert [message.offset for message in member.read(5)] == [5, 6, 7, 8, 9]


def test_commits_carry_metadata_and_backfill_follows(
    make_member: MakeMember,
    topics: Topics,
    reader: PartitionReader,
) -> None:
    """Both topics' commits, metadata included, are there for another client."""
    requests, backfill = (topics.requests("acme"), 0), (topics.backfill("acme"), 0)
    member = make_member()
    member.until(lambda: bool(member.consumer.assignment))

    results = member.commit({requests: (3, '{"r":1}'), backfill: (4, '{"r":2}')})

    assert {result.error for result in results} == {None}
    assert reader.committed([requests, backfill, (requests[0], 1)]) == {
        requests: Committed(3, '{"r":1}'),
        backfill: Committed(4, '{"r":2}'),
        (requests[0], 1): Committed(None, ""),
    }


def test_only_the_last_commit_is_answered(make_member: MakeMember, topics: Topics) -> None:
    """An older commit's result is never taken for a newer one's: the fence counts from sending."""
    requests = (topics.requests("acme"), 0)
    member = make_member()
    member.until(lambda: bool(member.consumer.assignment))

    assert member.consumer.commit({requests: (1, "")})
    assert member.consumer.commit({requests: (2, "")})

    member.until(lambda: not member.consumer.commit_in_flight)
    member.read_nothing()
    assert [[result.offset for result in results] for results in member.results] == [[2]]


def test_the_last_commit_is_waited_for(
    make_member: MakeMember, topics: Topics, reader: PartitionReader, producer: Producer
) -> None:
    """Outside of callbacks too; nothing is read meanwhile, and nobody else hears the result."""
    requests = (topics.requests("acme"), 0)
    fill(producer, requests, 100)
    member = make_member()
    member.until(lambda: bool(member.consumer.assignment))
    member.start({requests: 0})
    member.read(1)

    results = member.consumer.commit_sync({requests: (1, "last")})

    assert results == [(*requests, 1, None)]
    assert member.results == []
    assert reader.committed([requests]) == {requests: Committed(1, "last")}
    assert member.consumer.paused == member.consumer.assignment


def test_only_held_partitions_are_committed(
    make_member: MakeMember, topics: Topics, reader: PartitionReader
) -> None:
    """Nobody commits what he does not hold: the group would take it."""
    member = make_member()
    foreign = (topics.requests("other"), 0)
    member.until(lambda: bool(member.consumer.assignment))

    assert not member.consumer.commit({foreign: (1, "")})
    assert member.consumer.commit_sync({foreign: (1, "")}) == []


def test_a_second_member_gets_half(
    make_member: MakeMember, topics: Topics, reader: PartitionReader
) -> None:
    """A partition leaves with its backfill; what is committed in the callback still counts."""
    first = make_member("vm-0")
    first.until(lambda: first.consumer.assignment == everything(topics))
    first.to_commit_when_revoked = dict.fromkeys(first.consumer.assignment, (5, "mine"))
    second = make_member("vm-1")

    def shared() -> bool:
        second.read_nothing(1)
        return len(second.consumer.assignment) == 2 == len(first.consumer.assignment)

    first.until(shared)

    assert first.consumer.assignment | second.consumer.assignment == everything(topics)
    for member in (first, second):
        assert len({number for _, number in member.consumer.assignment}) == 1
    assert len(first.committed_when_revoked) == 4
    assert {result.error for result in first.committed_when_revoked} == {None}
    assert set(reader.committed(everything(topics)).values()) == {Committed(5, "mine")}
    results = second.commit(dict.fromkeys(second.consumer.assignment, (6, "new")))
    assert {result.error for result in results} == {None}
    results = first.commit(dict.fromkeys(everything(topics), (7, "old")))
    assert {result[:2] for result in results} == first.consumer.assignment
    assert set(reader.committed(second.consumer.assignment).values()) == {Committed(6, "new")}


def test_a_second_process_with_the_same_id_fences_the_first(
    make_member: MakeMember, topics: Topics
) -> None:
    """The first learns that its id is used by another, whatever it does."""
    first = make_member("vm-0")
    first.until(lambda: bool(first.consumer.assignment))
    second = make_member("vm-0")
    second.until(lambda: bool(second.consumer.assignment))

    with pytest.raises(FencedInstanceError):
        first.until(lambda: False)

    with pytest.raises(FencedInstanceError, match=r"another process is .* as vm-0"):
        first.consumer.poll(0)
    refused = first.consumer.commit_sync({(topics.requests("acme"), 0): (1, "")})
    assert [type(result.error) for result in refused] == [FencedInstanceError]


def test_offsets_that_are_not_there_are_an_error(
    make_member: MakeMember, topics: Topics, producer: Producer, settings: ClientSettings
) -> None:
    """Nothing is ever reset: reading before the first or after the last offset is refused."""
    requests = (topics.requests("acme"), 0)
    fill(producer, requests, 10)
    Admin(settings).delete_records({requests: 5})
    member = make_member()
    member.until(lambda: bool(member.consumer.assignment))

    for offset in (3, 12):
        member.start({requests: offset})
        with pytest.raises(OffsetOutOfRangeError) as raised:
            member.until(lambda: False)
        assert raised.value.part == requests

    member.start({requests: 5})
    assert [message.offset for message in member.read(5)] == [5, 6, 7, 8, 9]


def test_what_a_callback_raises_poll_raises(make_member: MakeMember, topics: Topics) -> None:
    """The library would swallow nothing, but go on with partitions that are read at once."""
    member = make_member()

    def fail(_parts: list[Part]) -> None:
        raise LookupError("as asked")

    member.consumer._on_assign = fail

    with pytest.raises(LookupError, match="as asked"):
        member.until(lambda: False)

    assert member.consumer.paused == set(parts_of(topics.requests("acme")))
    member.read_nothing()


@pytest.mark.parametrize("seed", range(3))
def test_pause_seek_resume_neither_skip_nor_repeat(
    make_member: MakeMember, topics: Topics, producer: Producer, seed: int
) -> None:
    """Every record delivered is the one after the last, or the one that was asked for."""
    count = 10_000
    chance = random.Random(seed)
    parts = sorted(everything(topics))
    for part in parts:
        fill(producer, part, count)
    member = make_member()
    member.until(lambda: member.consumer.assignment == everything(topics))
    walk = Walk(member, chance, parts, count)
    walk.begin()

    for _ in range(300):
        walk.step()
    walk.finish()


class Walk:
    """Random pauses, seeks back and forth, resumes; knows which offset has to come next."""

    def __init__(
        self, member: Member, chance: random.Random, parts: list[Part], count: int
    ) -> None:
        self.consumer = member.consumer
        self.chance = chance
        self.parts = parts
        self.count = count
        self.next = dict.fromkeys(parts, 0)
        self.seen = dict.fromkeys(parts, 0)

    def begin(self) -> None:
        for part in self.parts:
            self.consumer.start_at(part, 0)
        self.consumer.resume(self.parts)

    def step(self) -> None:
        part = self.chance.choice(self.parts)
        action = self.chance.choice(("pause", "resume", "seek", "pause seek", "seek resume"))
        if "pause" in action:
            self.consumer.pause([part])
        if "seek" in action:
            self.next[part] = self.chance.randrange(self.count)
            self.consumer.start_at(part, self.next[part])
        if "resume" in action:
            self.consumer.resume([part])
        self.read(self.chance.choice((0, 1, 10, 300)))

    def read(self, polls: int) -> int:
        came = 0
        for _ in range(polls):
            message = self.consumer.poll(0.02)
            if message is None:
                break
            came += 1
            assert message.part not in self.consumer.paused
            assert message.offset == self.next[message.part]
            assert message.value == b"%d" % message.offset
            self.next[message.part] += 1
        return came

    def finish(self) -> None:
        self.consumer.resume(self.parts)
        idle = 0
        while any(offset < self.count for offset in self.next.values()):
            idle = 0 if self.read(100) else idle + 1
            assert idle < 500, f"stands still at {self.next}"
