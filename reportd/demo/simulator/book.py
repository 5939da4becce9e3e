"""The simulator's book: every call, in memory and appended to a file that survives a kill.

The file has one JSON array a line: the call's fields when it arrived, and again when it ended (the
later line of a number wins). Read it with `read_log`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import orjson

Question = tuple[str, str, str, str, str]
"""What a request asks for: partner, report, account, first and last day (ISO)."""


@dataclass(slots=True, kw_only=True)
class SeenCall:
    """One call as the partner saw it."""

    number: int
    at: float
    """When its last byte arrived: CLOCK_MONOTONIC of this machine, in seconds."""
    wall: float
    """The same in seconds since the epoch."""
    partner: str = ""
    report: str = ""
    account: str = ""
    first_day: str = ""
    last_day: str = ""
    page: int = 0
    """From 1 on; 0: the question was not understood."""
    request_id: str = ""
    """The header ``X-Request-Id``, if the client sends one."""
    status: int = 0
    """0: no answer (yet)."""
    fault: str = ""
    """What was played, e.g. ``reset``; ``outage``; ``limit``: refused by the partner's meter."""
    complete: bool = False
    """Whether the complete good answer was handed to the network."""
    ended: float = 0.0
    """When the answer was sent, or given up (monotonic); 0.0: not yet."""

    @property
    def question(self) -> Question:
        """What it asks for, its page apart."""
        return (self.partner, self.report, self.account, self.first_day, self.last_day)

    @property
    def charged(self) -> bool:
        """Whether the call counts against the partner's limits as one that it let in."""
        return bool(self.page) and self.fault not in {"limit", "outage", "auth"}


_FIELDS = tuple(field.name for field in fields(SeenCall))


def row_of(call: SeenCall) -> list[Any]:
    """Return a call as one line's values."""
    return [getattr(call, name) for name in _FIELDS]


def call_of(row: list[Any]) -> SeenCall:
    """Return the call of one line's values."""
    return SeenCall(**dict(zip(_FIELDS, row, strict=True)))


class Book:
    """All calls of one simulator process, in order of arrival."""

    def __init__(self, path: str) -> None:
        self.calls: list[SeenCall] = []
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if path else -1

    def arrived(self, call: SeenCall) -> None:
        """Note a call."""
        self.calls.append(call)
        self._append(call)

    def ended(self, call: SeenCall, now: float) -> None:
        """Note that a call's answer was sent, or that there will be none."""
        call.ended = now
        self._append(call)

    def _append(self, call: SeenCall) -> None:
        if self._file >= 0:
            os.write(self._file, orjson.dumps(row_of(call)) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_log(path: Path) -> list[SeenCall]:
    """Return every call of one process's log in order of arrival, without a torn last line."""
    newest: dict[int, SeenCall] = {}
    for row in _rows(path):
        call = call_of(row)
        newest[call.number] = call
    return [newest[number] for number in sorted(newest)]


def _rows(path: Path) -> Iterator[list[Any]]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield orjson.loads(line)
