"""Asks this VM's workers where requests are, by way of the board. Threads of the observer's web.

The question lies in the observer's slot; a worker answers in its own within a turn of its loop.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from reportd.clock import Clock
from reportd.model.question import Question

PATIENCE_SECONDS = 2.0
LOOK_SECONDS = 0.01


class Letters(Protocol):
    """A slot of the board, as far as letters go."""

    def write_letter(self, letter: bytes) -> int:
        """Replace the letter, and return its number."""
        ...

    def read_letter(self) -> tuple[int, bytes]:
        """Return the newest whole letter and its number."""
        ...


class Asking:
    """One question at a time: the next one replaces it."""

    def __init__(
        self,
        own: Letters,
        workers: Callable[[], Mapping[str, Letters]],
        clock: Clock,
        pause: Callable[[float], object],
    ) -> None:
        """Write into the observer's slot; ``workers`` tells those of the workers that live."""
        self._own = own
        self._workers = workers
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()

    def ask(self, question: Question) -> dict[str, Any]:
        """Return what the workers know; ``silent`` are those that have not answered in time."""
        with self._lock:
            number = self._own.write_letter(question.to_json())
            left = dict(self._workers())
            answers: dict[str, dict[str, Any]] = {}
            deadline = self._clock.monotonic() + PATIENCE_SECONDS
            while left:
                for name, slot in list(left.items()):
                    found = _answer(slot, number)
                    if found is not None:
                        answers[name] = found
                        del left[name]
                if self._clock.monotonic() >= deadline:
                    break
                if left:
                    self._pause(LOOK_SECONDS)
        return {
            "requests": [
                {**one, "worker": name}
                for name, answer in sorted(answers.items())
                for one in answer["requests"]
            ],
            "more": sum(answer["more"] for answer in answers.values()),
            "partitions": [one for answer in answers.values() for one in answer["partitions"]],
            "silent": sorted(left),
        }


def _answer(slot: Letters, number: int) -> dict[str, Any] | None:
    data = slot.read_letter()[1]
    if not data:
        return None
    found: dict[str, Any] = orjson.loads(data)
    return found if found["to"] == number else None
