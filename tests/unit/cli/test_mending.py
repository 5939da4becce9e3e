"""What is said of a replay in the topic ``runs``, and what the observers make of it."""

from collections.abc import Iterable, Mapping

import pytest

from reportd.broker.letters import letter_in
from reportd.broker.message import Message, Part
from reportd.cli.mending import Mendings
from reportd.observer.runs import SETTLED_SECONDS, Runs
from tests.unit.observer.test_runs import REQUESTS, RUN, at, finished, manifest
from tests.unit.worker.making import WALL, StoppedClock

LETTER = letter_in(Message("p.dead", 0, 0, b"k", b"{}", (("run", RUN.encode()),)))
PART = REQUESTS, 0


class RunsTopic:
    """The broker: where the requests topic ends, and observers that hear what is written."""

    def __init__(self) -> None:
        """Begin behind a run that is over."""
        self.runs = Runs()
        self.written = 0
        self._see(manifest().model_copy(update={"enqueued_at": WALL}).to_json())
        self._see(finished().model_copy(update={"finished_at": WALL}).to_json())

    def end_offsets(self, parts: Iterable[Part]) -> Mapping[Part, int]:
        return dict.fromkeys(parts, 60)

    def write(self, _topic: str, value: bytes, *, key: bytes, timeout_seconds: float) -> None:
        assert (key.startswith(RUN.encode()), timeout_seconds > 0) == (True, True)
        self._see(value)

    def _see(self, value: bytes) -> None:
        self.runs.see(Message("p.runs", 0, self.written, None, value))
        self.written += 1


@pytest.mark.parametrize("taken", [1.0, SETTLED_SECONDS - 1, SETTLED_SECONDS + 1, 1e6])
def test_a_replay_of_any_length_is_seen_to_when_all_of_it_has_ended(taken: float) -> None:
    """One that took long was seen to as one that was killed: what it sent since counts, too."""
    topic, clock = RunsTopic(), StoppedClock()
    mendings = Mendings(topic, topic, "p.runs", clock)
    mendings.begin({RUN: {PART}, "": {PART}})
    clock.seconds += taken
    for due in topic.runs.due(at(61, end=61), clock.wall()):
        seen_to = finished(mend=due.mend, mendings=due.mendings)
        topic.write("p.runs", seen_to.to_json(), key=RUN.encode(), timeout_seconds=1.0)
    mendings.sent(LETTER, PART, 64)
    mendings.end()

    assert topic.runs.due(at(64, end=65), clock.wall()) == ()
    assert [due.manifest.run for due in topic.runs.due(at(65), clock.wall())] == [RUN]
