"""What the group does when members die, stop and wake: the facts that the fence rests on."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from reportd.broker.reader import Committed, PartitionReader
from reportd.broker.topics import Topics
from reportd.demo.kafka import EmbeddedKafka
from tests.integration.broker.conftest import PATIENCE_SECONDS, MakeMember

PROGRAM = Path(__file__).with_name("member_process.py")
ROOT = Path(__file__).parents[3]


class Other:
    """A member in another process."""

    def __init__(self, servers: str, prefix: str, instance_id: str, session_seconds: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, servers, prefix, instance_id, str(session_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            text=True,
            bufsize=1,
        )

        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line)

    def next(self) -> tuple[str, Any]:
        """Return what it says next: a kind, and what of it."""
        kind, what = json.loads(self._said.get(timeout=PATIENCE_SECONDS))
        return kind, what

    def wait_for_all(self, *kinds: str) -> dict[str, Any]:
        """Return what it says next of each of these kinds, in any order."""
        said: dict[str, Any] = {}
        while not said.keys() >= set(kinds):
            kind, what = self.next()
            said.setdefault(kind, what)
        return said

    def wait_for(self, kind: str) -> Any:
        """Return what it says next of this kind."""
        while True:
            said, what = self.next()
            if said == kind:
                return what

    def commit(self, offset: int) -> Any:
        """Let it commit this for all it holds; return the results."""
        self.ask("commit", offset)
        return self.wait_for("committed")

    def ask(self, command: str, offset: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command} {offset}\n")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listening.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class MakeOther(Protocol):
    def __call__(self, instance_id: str, session_seconds: float = 6.0) -> Other: ...


@pytest.fixture
def make_other(kafka: EmbeddedKafka, topics: Topics) -> Iterator[MakeOther]:
    """Start members in processes of their own."""
    made: list[Other] = []

    def make(instance_id: str, session_seconds: float = 6.0) -> Other:
        made.append(Other(kafka.servers, topics.prefix, instance_id, session_seconds))
        return made[-1]

    yield make
    for other in made:
        other.end()


def test_a_killed_member_comes_back_at_once(
    make_other: MakeOther, make_member: MakeMember, reader: PartitionReader
) -> None:
    """After kill -9 the same id has its partitions back long before its session ends."""
    session_seconds = 300.0
    killed = make_other("vm-0", session_seconds)
    held = killed.wait_for("held")
    killed.commit(3)
    killed.send(signal.SIGKILL)

    back = make_member("vm-0", session_seconds)
    back.until(lambda: bool(back.consumer.assignment))

    assert sorted(back.consumer.assignment) == [tuple(part) for part in held]
    assert set(reader.committed(back.consumer.assignment).values()) == {Committed(3, "vm-0")}
    results = back.commit(dict.fromkeys(back.consumer.assignment, (4, "again")))
    assert {result.error for result in results} == {None}


def test_another_member_takes_over_when_the_session_ends(
    make_other: MakeOther, make_member: MakeMember, reader: PartitionReader
) -> None:
    """Commits of both topics, with their metadata, are there for whoever comes next."""
    killed = make_other("vm-0", session_seconds=2)
    held = killed.wait_for("held")
    killed.commit(8)
    killed.send(signal.SIGKILL)

    heir = make_member("vm-1", session_timeout_seconds=2)
    heir.until(lambda: len(heir.consumer.assignment) == len(held) == 4)

    assert set(reader.committed(heir.consumer.assignment).values()) == {Committed(8, "vm-0")}


def test_a_member_that_slept_too_long_loses_all(
    make_other: MakeOther, make_member: MakeMember, reader: PartitionReader
) -> None:
    """What it commits after waking is refused, partition by partition; then it loses them.

    It is not fenced: nobody uses its id, and it joins again.
    """
    sleeper = make_other("vm-0", session_seconds=2)
    held = sleeper.wait_for("held")
    assert {error for *_, error in sleeper.commit(1)} == {"NoneType"}
    sleeper.ask("sleep", 2)
    heir = make_member("vm-1", session_timeout_seconds=2)
    heir.until(lambda: len(heir.consumer.assignment) == 4)
    heir.commit(dict.fromkeys(heir.consumer.assignment, (5, "heir")))

    sleeper.send(signal.SIGCONT)

    # Two threads of it wake: the library's own may know first that the session is over
    said = sleeper.wait_for_all("held", "lost", "committed")
    assert said["held"] == []
    assert {error for *_, error in said["committed"]} <= {"NotOwnerError", "not sent"}
    assert len(said["committed"]) == len(held)
    assert set(reader.committed(heir.consumer.assignment).values()) == {Committed(5, "heir")}
    heir.until(lambda: len(heir.consumer.assignment) == 2)
    assert len(sleeper.wait_for("held")) == 2


def test_a_member_that_does_not_poll_loses_all(
    make_member: MakeMember, reader: PartitionReader
) -> None:
    """Poll must go on. It may be told of a revocation, not a loss: its commits are refused."""
    member = make_member("vm-0", session_timeout_seconds=2, max_poll_interval_seconds=2)
    member.until(lambda: len(member.consumer.assignment) == 4)
    held = member.consumer.assignment
    member.to_commit_when_revoked = dict.fromkeys(held, (2, "late"))
    heir = make_member("vm-1", session_timeout_seconds=2)
    heir.until(lambda: len(heir.consumer.assignment) == 4)
    heir.commit(dict.fromkeys(held, (5, "heir")))

    member.until(lambda: len(member.events) > 1)

    kind, _ = member.events[1]
    assert kind in ("revoke", "lost")
    assert all(result.error is not None for result in member.committed_when_revoked)
    assert (kind == "revoke") == bool(member.committed_when_revoked)
    assert set(reader.committed(held).values()) == {Committed(5, "heir")}
