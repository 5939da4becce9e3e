"""The parts of a request that is too big for its partner to answer at once. Pure.

In a cursor they are one text: the days still to be done and how many of them a call asks for,
``2025-11-01..2025-11-30/4``; with 0, single days, each split by the report's ``split``, of which
``#3`` is under way.
"""

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Self

_TEXT = re.compile(r"(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)/(\d{1,3})(?:#(\d{1,4}))?")


@dataclass(frozen=True, slots=True)
class Parts:
    """What is still to be done; the first part of it is under way."""

    first: date
    last: date
    days: int
    """Of each part; 0: a part is a value of the report's ``split``."""
    value: int = 0
    """Which value is under way."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what stands in a cursor; raises ``ValueError``."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError("not the parts of a request")
        first, last = date.fromisoformat(found[1]), date.fromisoformat(found[2])
        return cls(first, last, int(found[3]), int(found[4] or 0))

    def __str__(self) -> str:
        """Write it for a cursor."""
        text = f"{self.first}..{self.last}/{self.days}"
        return f"{text}#{self.value}" if self.value else text

    @property
    def until(self) -> date:
        """Return the last day of the part under way."""
        return min(self.last, self.first + timedelta(days=max(self.days, 1) - 1))

    def following(self, values: int) -> "Parts | None":
        """Return what is left after this part; ``values``: how many a day is split by."""
        if not self.days and self.value + 1 < values:
            return replace(self, value=self.value + 1)
        after = self.until + timedelta(days=1)
        return None if after > self.last else Parts(after, self.last, self.days)

    def smaller(self, values: int) -> "Parts | None":
        """Return the same in parts half as long; None: it is as small as can be."""
        length = (self.until - self.first).days + 1
        if length > 1:
            return Parts(self.first, self.last, (length + 1) // 2)
        return Parts(self.first, self.last, 0) if self.days and values else None


def cut(first: date, last: date, days: int) -> Parts | None:
    """Return the parts of that many days that are a range; None: it is one."""
    return None if (last - first).days + 1 <= days else Parts(first, last, days)
