"""Answers "where is it?": what a worker knows of the open requests of an account. Pure.

The observer writes its question into its own slot of the board; each worker sees it there within
a turn of its loop and answers in its own. Built when it is asked for: it goes through all that is
in memory.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import orjson

from reportd.board import MAX_LETTER_BYTES
from reportd.errors import InvalidMessageError
from reportd.limits.limiter import Now
from reportd.model.control import Control
from reportd.model.question import Question
from reportd.worker.engine import Engine
from reportd.worker.entry import Entry, State
from reportd.worker.partition import Partition
from reportd.worker.scheduler import WAITING
from reportd.worker.snapshot import PAUSED, state_of

MOST_REQUESTS = 100
MOST_CHARACTERS = 200


class Letters(Protocol):
    """A slot of the board, as far as letters go."""

    def write_letter(self, letter: bytes) -> int:
        """Replace the letter."""
        ...

    def letter_number(self) -> int:
        """Return the newest letter's number."""
        ...

    def read_letter(self) -> tuple[int, bytes]:
        """Return the newest whole letter and its number."""
        ...


class Inquiry:
    """One worker's side of it."""

    def __init__(self, questions: Letters, answers: Letters) -> None:
        """Take the observer's slot and this worker's; what was asked before is not answered."""
        self._questions = questions
        self._answers = answers
        self._seen = questions.letter_number()

    def look(self, engine: Engine, now: Now) -> None:
        """Answer a new question, if there is one."""
        if self._questions.letter_number() == self._seen:
            return
        self._seen, data = self._questions.read_letter()
        try:
            question = Question.from_json(data)
        except InvalidMessageError:
            return
        self._answers.write_letter(_letter(self._seen, answer(engine, question, now)))


def _letter(number: int, found: dict[str, Any]) -> bytes:
    """Return an answer that fits the board: with fewer requests, then without its partitions."""
    letter = orjson.dumps({"to": number, **found})
    while len(letter) > MAX_LETTER_BYTES and found["requests"]:
        kept = found["requests"][: len(found["requests"]) // 2]
        more = found["more"] + len(found["requests"]) - len(kept)
        found = {**found, "requests": kept, "more": more}
        letter = orjson.dumps({"to": number, **found})
    if len(letter) > MAX_LETTER_BYTES:
        letter = orjson.dumps({"to": number, **found, "partitions": []})
    return letter


def answer(engine: Engine, question: Question, now: Now) -> dict[str, Any]:
    """Return the open requests that are meant, and the partitions that others may lie in."""
    found: list[dict[str, Any]] = []
    total = 0
    for partition in engine.partitions():
        for entry in partition.entries.values():
            if question.means(entry.request):
                total += 1
                if len(found) < MOST_REQUESTS:
                    found.append(_shown(engine, partition, entry, now))
    return {
        "requests": found,
        "more": total - len(found),
        "partitions": [
            one
            for partition in engine.partitions()
            if question.partner in ("", partition.partner)
            for one in _unknown(partition, question.account)
        ],
    }


def _unknown(partition: Partition, account: str) -> Iterator[dict[str, Any]]:
    """Yield how many of each topic's messages are in Kafka alone: whose they are is not known."""
    for topic, book in partition.books.items():
        parked = sum(count for key, count in book.parked_counts().items() if key == account)
        yield {
            "topic": topic,
            "partition": partition.index,
            "position": book.position,
            "parked": parked,
            "paused": book.paused_count,
            "scheduled": book.later_count,
            "held": book.refused_count,
        }


def _shown(engine: Engine, partition: Partition, entry: Entry, now: Now) -> dict[str, Any]:
    request = entry.request
    state = state_of(partition, entry, engine.controls, now)
    pause = engine.controls.pause_of(request) if state == PAUSED else None
    until, why = _waits(partition, entry, state, pause, now)
    return {
        "id": request.id,
        "run": request.run,
        "partner": request.partner,
        "report": request.report,
        "account": request.account,
        "class": request.class_,
        "first_day": request.first_day.isoformat(),
        "last_day": request.last_day.isoformat(),
        "state": state,
        "why": why[:MOST_CHARACTERS],
        "until": until,
        "calls": entry.calls,
        "steps": len(entry.steps),
        "replay": entry.replay,
        "enqueued_at": entry.message.timestamp,
        "started_at": entry.started_at or None,
        "topic": entry.message.topic,
        "partition": entry.message.partition,
        "offset": entry.message.offset,
    }


def _refused(partition: Partition, entry: Entry) -> str:
    name = entry.request.credential
    return f"credential {name} is refused: {partition.circuits.credential(name).reason}"


def _waits(
    partition: Partition, entry: Entry, state: str, pause: Control | None, now: Now
) -> tuple[float | None, str]:
    """Return until when (epoch seconds; None: not known) and why a request waits."""
    if pause is not None:
        words = f"{pause.scope} is paused" + (f" by {pause.who}" if pause.who else "")
        return pause.until, f"{words}: {pause.reason}" if pause.reason else words
    if state == State.SCHEDULED.value:
        return entry.request.not_before, "its days are not over yet"
    due = now.wall + entry.due - now.mono if entry.state in WAITING else None
    match state:
        case State.LIMIT.value:
            blocked = partition.limiter.blocked(entry.scopes, now)
            if blocked is None:
                return due, "for its turn"
            until = now.wall + blocked.wait_seconds
            scope = f"{blocked.scope.per} {blocked.scope.value}"
            return (until if until < float("inf") else None), f"limit per {scope}"
        case State.HELD.value:
            return due, entry.refusal or _refused(partition, entry)
        case State.BACKOFF.value:
            return due, f"{entry.attempts} failed tries"
        case State.QUOTA.value:
            return due, "the partner's quota is spent"
        case State.PENDING.value:
            return due, "the partner makes the report"
        case State.READY.value if entry.strikes:
            return None, f"{entry.strikes} workers died with it: it runs alone"
        case State.READY.value:
            return None, "for a free thread"
    return due, ""
