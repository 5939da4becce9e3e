"""Which days a schedule asks for: counted back from today, or fixed. Pure values.

``"1..7"`` are the seven complete days before today, ``"3"`` the third one back;
``"2026-11-01..2026-11-07"`` and ``"2026-11-01"`` are what they say. What today is, the account's
zone decides.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta

from reportd.model.request import MAX_DAYS

_FARTHEST = 3660
_RELATIVE = re.compile(r"^([0-9]{1,4})(?:\.\.([0-9]{1,4}))?$")
_FIXED = re.compile(r"^(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?$", re.ASCII)


@dataclass(frozen=True, slots=True)
class RelativeDays:
    """Complete days before today; 1 is yesterday."""

    nearest: int
    farthest: int

    @property
    def count(self) -> int:
        """How many days."""
        return self.farthest - self.nearest + 1

    def range(self, today: date) -> tuple[date, date]:
        """Return the first and the last day."""
        return today - timedelta(days=self.farthest), today - timedelta(days=self.nearest)

    def split(self, days: int) -> "tuple[RelativeDays, ...]":
        """Return ranges of at most so many days, the newest first."""
        starts = range(self.nearest, self.farthest + 1, days)
        return tuple(RelativeDays(n, min(n + days - 1, self.farthest)) for n in starts)

    def __str__(self) -> str:
        """Return it as it is written."""
        one = self.nearest == self.farthest
        return str(self.nearest) if one else f"{self.nearest}..{self.farthest}"


@dataclass(frozen=True, slots=True)
class FixedDays:
    """These days, whenever it runs."""

    first: date
    last: date

    @property
    def count(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1

    def range(self, today: date) -> tuple[date, date]:
        """Return the first and the last day."""
        return self.first, self.last

    def split(self, days: int) -> "tuple[FixedDays, ...]":
        """Return ranges of at most so many days, the newest first."""
        ends = [self.last - timedelta(days=n) for n in range(0, self.count, days)]
        step = timedelta(days=days - 1)
        return tuple(FixedDays(max(end - step, self.first), end) for end in ends)

    def __str__(self) -> str:
        """Return it as it is written."""
        one = self.first == self.last
        return str(self.first) if one else f"{self.first}..{self.last}"


def parse_days(text: str) -> RelativeDays | FixedDays:
    """Parse; raises `ValueError` saying how to write it."""
    if found := _RELATIVE.fullmatch(text):
        nearest = int(found[1])
        farthest = int(found[2]) if found[2] else nearest
        if not 1 <= nearest <= farthest <= _FARTHEST:
            raise ValueError(
                f"must count back from 1 (yesterday) to at most {_FARTHEST}, the nearest day first"
            )
        return RelativeDays(nearest, farthest)
    if found := _FIXED.fullmatch(text):
        try:
            first = date.fromisoformat(found[1])
            last = date.fromisoformat(found[2]) if found[2] else first
        except ValueError:
            raise ValueError("names a day that does not exist") from None
        if last < first:
            raise ValueError("ends before it begins")
        return FixedDays(first, last)
    raise ValueError('must be days back like "1..7" or "3", or dates like "2026-11-01..2026-11-07"')


def check_length(days: RelativeDays | FixedDays, split_days: int | None) -> None:
    """Raise `ValueError` if one request would span more days than a request may."""
    if (split_days or days.count) > MAX_DAYS:
        raise ValueError(f"spans {days.count} days; set split_days to at most {MAX_DAYS}")
