"""How the worker's main thread shares its time; with an engine, and a group that is played."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest

from reportd.broker.commits import CommitResult
from reportd.broker.message import Message
from reportd.broker.topics import Topics
from reportd.worker.actions import LookAt
from reportd.worker.events import Event, Events
from reportd.worker.loop import IDLE_WAIT_SECONDS, Loop
from reportd.worker.partition import Looked
from tests.unit.worker.hands import Hands
from tests.unit.worker.making import StoppedClock, message, request

READ_TAKES_SECONDS = 0.001


class Nobody:
    """A part that has nothing to do here: whatever it is asked, it does nothing."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: 0


class Group(Nobody):
    """The group's member: gives what there is to read, a millisecond each; takes commits."""

    def __init__(self, clock: StoppedClock, messages: Iterable[Message] = ()) -> None:
        self._clock = clock
        self._messages = list(messages)
        self._sent: dict[tuple[str, int], tuple[int, str]] = {}
        self.loop: Loop | None = None
        self.read = 0
        self.waits: list[float] = []
        self.member_id = "one"
        self.commits = 0
        self.left_at: int | None = None
        """How many last commits there were before it left."""

    def poll(self, timeout: float) -> Message | None:
        self.waits.append(timeout)
        assert self.loop is not None
        if self._sent:
            sent, self._sent = self._sent, {}
            self.loop.on_committed([CommitResult(*part, sent[part][0], None) for part in sent])
        if self.read == len(self._messages):
            self._clock.seconds += timeout
            return None
        self._clock.seconds += READ_TAKES_SECONDS
        self.read += 1
        return self._messages[self.read - 1]

    def leave(self) -> None:
        self.left_at = self.commits
        self.member_id = ""

    def commit(self, offsets: dict[tuple[str, int], tuple[int, str]]) -> bool:
        self._sent = dict(offsets)
        return True

    def commit_sync(self, _offsets: object) -> list[CommitResult]:
        self.commits += 1
        return []


class Waits(Events):
    """Notes how long the loop would wait for events; does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0

    def take(self, timeout_seconds: float) -> Iterator[Event]:
        self.longest = max(self.longest, timeout_seconds)
        return super().take(0.0)


class Looker(Nobody):
    """Finds nothing at the output, at once."""

    def __init__(self, hands: Hands, events: Events) -> None:
        self._engine = hands.engine
        self._events = events

    def add(self, job: LookAt) -> None:
        self._events.put(lambda now: self._engine.looked(job.entry, Looked(), now))


class Caller(Nobody):
    """Notes how many messages had been read when the first call started."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.read_before: int | None = None

    def start(self, _entry: object, _in_flight: int) -> None:
        if self.read_before is None:
            self.read_before = self._group.read


def play(
    hands: Hands,
    clock: StoppedClock,
    group: Group,
    turns: int,
    events: Events | None = None,
    *,
    leaves: bool = False,
) -> Caller:
    """Let the loop turn so many times."""
    left = iter(range(turns))
    events = events or Events()
    caller = Caller(group)
    nobody: Any = Nobody()
    loop = Loop(
        engine=hands.engine, events=events, fence=hands.fence, topics=Topics("reportd"),
        clock=clock, board=nobody, tally=nobody, drain_seconds=0.0,
        stop_requested=lambda: next(left, None) is None, leaves=lambda: leaves,
        inquiry=nobody,
    )  # fmt: skip
    group.loop = loop
    loop.attach(
        consumer=cast(Any, group), records=nobody, executor=cast(Any, caller), finishing=nobody,
        looking=cast(Any, Looker(hands, events)), restorer=nobody, tidier=nobody,
    )  # fmt: skip
    loop.run(["acme"])
    return caller


def test_calls_do_not_wait_until_all_is_read() -> None:
    """With thousands of messages to read, the first call starts after some milliseconds of it."""
    hands, clock = Hands(), StoppedClock()
    hands.own()
    group = Group(clock, (message(request(f"a{n}"), n) for n in range(2000)))

    caller = play(hands, clock, group, turns=10)

    assert caller.read_before is not None
    assert caller.read_before * READ_TAKES_SECONDS <= 0.05


def test_reading_does_not_wait_for_events() -> None:
    """While there is more to read, a turn follows the other."""
    hands, clock, waits = Hands(), StoppedClock(), Waits()
    hands.own()
    group = Group(clock, (message(request(f"a{n}"), n) for n in range(2000)))

    play(hands, clock, group, turns=10, events=waits)

    assert waits.longest == 0.0


def test_what_joining_brings_is_seen_soon() -> None:
    """Without a partition a poll is short: the library ends none when it has given something."""
    hands, clock = Hands(), StoppedClock()
    group = Group(clock)

    play(hands, clock, group, turns=3)

    assert 0.0 < max(group.waits) <= 0.05


def test_who_has_nothing_to_do_sleeps() -> None:
    """With a partition and no request, few turns a second."""
    hands, clock = Hands(), StoppedClock()
    hands.own()
    group = Group(clock)

    play(hands, clock, group, turns=20)

    assert max(group.waits) == IDLE_WAIT_SECONDS


@pytest.mark.parametrize(("leaves", "left_at"), [(False, None), (True, 1)])
def test_who_stops_for_good_leaves_after_the_last_commit(leaves: bool, left_at: int | None) -> None:
    """A worker that is started again keeps its partitions; one that is not gives them away."""
    hands, clock = Hands(), StoppedClock()
    hands.own()
    group = Group(clock)

    play(hands, clock, group, turns=1, leaves=leaves)

    assert group.left_at == left_at
