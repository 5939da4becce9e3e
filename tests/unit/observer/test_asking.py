"""The observer asks its workers by way of the board."""

from typing import Any

import orjson

from reportd.board import Board
from reportd.model.question import Question
from reportd.observer.asking import PATIENCE_SECONDS, Asking
from tests.unit.worker.making import StoppedClock

QUESTION = Question(account="a")


class Answering:
    """Workers that answer while the observer waits; some do not."""

    def __init__(self, *answers: bool) -> None:
        self.board = Board(1 + len(answers))
        self.clock = StoppedClock()
        self._answers = answers
        slots = {f"worker-{n}": self.board.slot(n + 1) for n in range(len(answers))}
        self.asking = Asking(self.board.slot(0), lambda: slots, self.clock, self._pause)

    def _pause(self, seconds: float) -> None:
        self.clock.seconds += seconds
        number, data = self.board.slot(0).read_letter()
        assert Question.from_json(data) == QUESTION
        for index, does in enumerate(self._answers):
            if does:
                said: dict[str, Any] = {"requests": [{"id": str(index)}], "more": 1}
                said["partitions"] = []
                self.board.slot(index + 1).write_letter(orjson.dumps({"to": number, **said}))


def test_all_answers_are_put_together() -> None:
    """With whose they are; as soon as the last one is there."""
    stage = Answering(True, True)
    found = stage.asking.ask(QUESTION)

    assert [(one["id"], one["worker"]) for one in found["requests"]] == [
        ("0", "worker-0"),
        ("1", "worker-1"),
    ]
    assert (found["more"], found["silent"]) == (2, [])
    assert stage.clock.seconds < PATIENCE_SECONDS / 10


def test_who_does_not_answer_is_named() -> None:
    """A wedged worker keeps nobody for long, and an old answer is none."""
    stage = Answering(True, False)
    stage.board.slot(2).write_letter(b'{"to":0,"requests":[],"more":0,"partitions":[]}')
    found = stage.asking.ask(QUESTION)

    assert (found["silent"], len(found["requests"])) == (["worker-1"], 1)
