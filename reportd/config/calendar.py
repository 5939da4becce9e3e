"""When a schedule is due: a subset of systemd's ``OnCalendar=``, always with a zone.

Pure: instants in, instants out. Weekdays, ``year-month-day``, ``hour:minute:second``, with ``*``,
lists, ranges and steps, and the keywords. Days counted from a month's end and parts of a second
are left out; what is refused here says how to write it.

As systemd does: a local time that the clock jumps over in spring has no slot on that day
(`days_without_slot` tells), and one that comes twice in autumn has its first alone. So the slots
are exactly the instants at which the timer fires. Without a zone UTC is meant, and written into
``str(calendar)``, which is what the timer gets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from typing import Literal, Self
from zoneinfo import ZoneInfo

from reportd.config.base import known_zone
from reportd.config.problems import did_you_mean

KEYWORDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIRST_YEAR, LAST_YEAR = 1970, 2199

_PART = re.compile(r"^([0-9]{1,4})(?:\.\.([0-9]{1,4}))?(?:/([0-9]{1,4}))?$")
_DAY = timedelta(days=1)
_LONGEST_MONTH = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


@dataclass(frozen=True, slots=True)
class Calendar:
    """A parsed calendar; equal ones have equal slots."""

    weekdays: tuple[int, ...] = field(repr=False)
    """0 is Monday."""
    years: tuple[int, ...] = field(repr=False)
    months: tuple[int, ...] = field(repr=False)
    days: tuple[int, ...] = field(repr=False)
    hours: tuple[int, ...] = field(repr=False)
    minutes: tuple[int, ...] = field(repr=False)
    seconds: tuple[int, ...] = field(repr=False)
    zone: str = field(repr=False)
    text: str = field(compare=False)
    """In full, with the zone, as ``OnCalendar=`` takes it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse; raises `ValueError` saying what is wrong and how to write it."""
        words, zone = _split_zone(text.split())
        if len(words) == 1 and words[0].lower() in KEYWORDS:
            words = KEYWORDS[words[0].lower()].split()
        weekday, day, clock = _split_words(words)
        years, months, days = _date_parts(day)
        hours, minutes, seconds = _time_parts(clock)
        day_numbers = _values(days, "day", 1, 31)
        if "/" in days:
            # systemd 252 steps over the end of a month into the next and misses its first days
            days = ",".join(f"{number:02}" for number in day_numbers)
        full = [weekday, f"{years}-{months}-{days}", f"{hours}:{minutes}:{seconds}", zone]
        found = cls(
            weekdays=_weekdays(weekday) if weekday else tuple(range(7)),
            years=_values(years, "year", FIRST_YEAR, LAST_YEAR),
            months=_values(months, "month", 1, 12),
            days=day_numbers,
            hours=_values(hours, "hour", 0, 23),
            minutes=_values(minutes, "minute", 0, 59),
            seconds=_values(seconds, "second", 0, 59),
            zone=zone,
            text=" ".join(word for word in full if word),
        )
        if not any(
            day <= _LONGEST_MONTH.get(month, 31) for month in found.months for day in found.days
        ):
            raise ValueError("no month has such a day")
        return found

    def __str__(self) -> str:
        """Return it in full, as ``OnCalendar=`` takes it."""
        return self.text

    def has_day(self, day: date) -> bool:
        """Whether slots fall on that local day, if the clock does not jump over them."""
        return (
            day.weekday() in self.weekdays
            and day.day in self.days
            and day.month in self.months
            and day.year in self.years
        )

    def slots_of(self, day: date, order: Literal[1, -1] = 1) -> Iterator[datetime]:
        """Yield the slots of a local day, in UTC, forward or backward."""
        zone = ZoneInfo(self.zone)
        for hour in self.hours[::order]:
            for minute in self.minutes[::order]:
                for second in self.seconds[::order]:
                    local = datetime.combine(day, time(hour, minute, second), zone)
                    instant = local.astimezone(UTC)
                    if instant.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                        yield instant


def last_slot(calendar: Calendar, now: datetime) -> datetime | None:
    """Return the last slot that has passed (``now`` itself is one that has), or None."""
    return next(_backward(calendar, now), None)


def next_slot(calendar: Calendar, now: datetime) -> datetime | None:
    """Return the first slot after ``now``, or None if the calendar has no more."""
    local = now.astimezone(ZoneInfo(calendar.zone))
    day = local.date() - _DAY
    while day.year <= LAST_YEAR:
        if calendar.has_day(day):
            for slot in calendar.slots_of(day):
                if slot > now:
                    return slot
        day += _DAY
    return None


def slots_between(
    calendar: Calendar, after: datetime, until: datetime, limit: int | None = None
) -> list[datetime]:
    """Return the slots later than ``after`` and not later than ``until``, oldest first.

    With a ``limit`` the last so many of them, at no cost for the others.
    """
    found = takewhile(lambda slot: slot > after, _backward(calendar, until))
    return list(islice(found, limit))[::-1]


def days_without_slot(calendar: Calendar, first: date, last: date) -> list[date]:
    """Return the days, both ends included, whose every slot the clock jumps over."""
    count = (last - first).days + 1
    days = (first + timedelta(days=n) for n in range(count))
    return [d for d in days if calendar.has_day(d) and next(calendar.slots_of(d), None) is None]


def _backward(calendar: Calendar, now: datetime) -> Iterator[datetime]:
    day = now.astimezone(ZoneInfo(calendar.zone)).date() + _DAY
    while day.year >= FIRST_YEAR:
        if calendar.has_day(day):
            for slot in calendar.slots_of(day, -1):
                if slot <= now:
                    yield slot
        day -= _DAY


def _split_zone(words: list[str]) -> tuple[list[str], str]:
    if not words:
        raise ValueError("is empty; write it like *-*-* 04:00 Europe/Zurich")
    last = words[-1]
    is_zone = last[0].isalpha() and (len(words) > 1 or "/" in last)
    return (words[:-1], known_zone(last)) if is_zone else (words, "UTC")


def _split_words(words: list[str]) -> tuple[str, str, str]:
    rest = list(words)
    weekday = rest.pop(0) if rest and rest[0][0].isalpha() else ""
    day = rest.pop(0) if rest and "-" in rest[0] and ":" not in rest[0] else "*-*-*"
    clock = rest.pop(0) if rest and ":" in rest[0] else "00:00:00"
    if rest:
        raise ValueError(
            f"do not know {rest[0][:40]!r}; write weekdays, date, time, zone, like"
            " Mon..Fri *-*-* 04:00 Europe/Zurich"
        )
    if not words:
        raise ValueError("needs a date or a time before the zone")
    return weekday, day, clock


def _date_parts(text: str) -> list[str]:
    if "~" in text:
        raise ValueError("days from a month's end (~) are not supported")
    parts = text.split("-")
    if len(parts) == 2:
        parts = ["*", *parts]
    if len(parts) != 3:
        raise ValueError(f"the date {text[:40]!r} must be year-month-day or month-day")
    return parts


def _time_parts(text: str) -> list[str]:
    if "T" in text:
        raise ValueError("put a space, not a T, between date and time")
    parts = text.split(":")
    if len(parts) == 2:
        parts = [*parts, "00"]
    if len(parts) != 3:
        raise ValueError(f"the time {text[:40]!r} must be hour:minute or hour:minute:second")
    return parts


def _values(text: str, what: str, low: int, high: int) -> tuple[int, ...]:
    """Return the sorted values of one component."""
    if text == "*":
        return tuple(range(low, high + 1))
    found: set[int] = set()
    for part in text.split(","):
        if part.startswith("*"):
            raise ValueError(f"{what}: write {low}{part[1:]}, not {part[:20]!r}")
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(f"{what}: {part[:20]!r} is no number, range (a..b) or step (a/n)")
        start, step = int(match[1]), int(match[3] or 1)
        end = int(match[2]) if match[2] else (high if match[3] else start)
        if not low <= start <= end <= high:
            raise ValueError(f"{what}: {part[:20]!r} is not within {low}..{high}, in order")
        if step < 1 or (not match[2] and match[3] and start + step > high):
            raise ValueError(f"{what}: the step of {part[:20]!r} leads nowhere")
        found.update(range(start, end + 1, step))
    return tuple(sorted(found))


def _weekdays(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        start = _weekday(first)
        end = _weekday(last) if dots else start
        if end < start:
            raise ValueError(f"{part[:40]!r} goes backward; write two, like Sat,Sun,Mon")
        found.update(range(start, end + 1))
    return tuple(sorted(found))


def _weekday(word: str) -> int:
    for number, name in enumerate(WEEKDAYS):
        if word.lower() in {name.lower(), name[:3].lower()}:
            return number
    names = [name[:3] for name in WEEKDAYS]
    raise ValueError(f"do not know {word[:40]!r}; {did_you_mean(word, [*names, *KEYWORDS])}")
