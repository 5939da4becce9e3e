"""Gives the days of a run that is over their marks, beside what other runs have said of them.

Used by `reportd.observer.finisher` in its thread; every VM's may be at it, for one run or for two
that have the same days, and no store lets nobody come between a read and a write.
"""

from collections.abc import Callable, Mapping, Set
from functools import cache, partial

import orjson

from reportd.observer.run_file import (
    PARTIAL,
    SUCCESS,
    DayKey,
    Document,
    accounts_in,
    day_folder,
    list_in,
    mark_in,
    marks_of,
    settled,
)
from reportd.sinks.store import Marks

TRIES = 5
"""While others come between; whoever comes last marks once more anyway."""


def mark_days(found: Document, marks: Marks) -> None:
    """Give each day of a run's file its mark; raises `OutputError`."""

    @cache
    def asked_for() -> Set[str]:
        """Return the accounts that any mark of these days lacks: lists are long."""
        return {
            str(one["account"])
            for mark in marks_of(found)
            for said in (mark, _Day(mark, marks).standing)
            for one in (said or {"missing": ()})["missing"]
        }

    @cache
    def listed(name: str) -> Mapping[DayKey, Set[str]]:
        return accounts_in(marks.chunks(name), asked_for())

    def published(key: DayKey, of: Document) -> Set[str]:
        return listed(list_in(of)).get(key, frozenset())

    for mark in marks_of(found):
        for _ in range(TRIES):
            day = _Day(mark, marks)
            if day.settle(partial(published, day.key)):
                break


class _Day:
    """What stands there of one day when it is looked at, and what a run says of it."""

    def __init__(self, mark: Document, marks: Marks) -> None:
        self._mark = mark
        self._marks = marks
        self.key: DayKey = (mark["partner"], mark["report"], mark["day"])
        self._names = {name: f"{day_folder(*self.key)}/{name}" for name in (SUCCESS, PARTIAL)}
        self._there = {name: marks.read(path) for name, path in self._names.items()}
        self.standing = mark_in(self._there[PARTIAL]) or mark_in(self._there[SUCCESS])

    def settle(self, published: Callable[[Document], Set[str]]) -> bool:
        """Write what is right now; say whether nobody has come between.

        The new one stands before the other goes, so that a kill between loses neither's words:
        where both stand, `PARTIAL` is right. What another VM has written meanwhile does not go.
        """
        made = settled(self._mark, self.standing, published)
        if made is None and None in self._there.values():
            return True
        made = made or self.standing or self._mark
        name, other = (PARTIAL, SUCCESS) if made["missing"] else (SUCCESS, PARTIAL)
        data = orjson.dumps(made, option=orjson.OPT_INDENT_2)
        if self._there[name] != data:
            self._marks.replace(self._names[name], data)
        if self._there[other] is None:
            return True
        if self._marks.read(self._names[other]) != self._there[other]:
            return False
        self._marks.remove(self._names[other])
        return True
