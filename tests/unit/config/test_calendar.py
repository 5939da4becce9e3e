"""Slots are the instants at which systemd's timer fires, whatever the clocks do."""

import os
import re
import shutil
import subprocess
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.config.calendar import (
    KEYWORDS,
    Calendar,
    days_without_slot,
    last_slot,
    next_slot,
    slots_between,
)

ZONES = ("UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(slots: list[datetime]) -> list[str]:
    return [f"{slot:%m-%d %H:%M}" for slot in slots]


def components(low: int, high: int) -> st.SearchStrategy[str]:
    """Return what one component may look like."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(lambda two: f"{min(two)}..{max(two)}")
    step = st.integers(1, max(1, (high - low) // 2)).map(lambda n: f"{low}/{n}")
    one = st.one_of(number.map(str), pair, step)
    return st.one_of(st.just("*"), st.lists(one, min_size=1, max_size=3).map(",".join))


WEEKDAY = st.sampled_from(["", "Mon ", "Sat,Sun ", "Mon..Fri ", "Tue,Thu..Sat "])
CALENDARS = st.builds(
    "{}*-{}-{} {}:{} {}".format,
    WEEKDAY,
    components(1, 12),
    components(1, 28),
    components(0, 23),
    components(0, 59),
    st.sampled_from(ZONES),
)
INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)).map(  # noqa: DTZ001  made UTC
    lambda naive: naive.replace(tzinfo=UTC, microsecond=0)
)


def test_daily_slots_follow_the_zone() -> None:
    """Four in the morning in Zurich is 03:00 UTC in winter and 02:00 in summer."""
    calendar = Calendar.parse("*-*-* 04:00 Europe/Zurich")

    winter = slots_between(calendar, utc("2026-11-20T03:00"), utc("2026-11-22T03:00"))
    summer = slots_between(calendar, utc("2026-07-01T00:00"), utc("2026-07-02T00:00"))
    assert shown(winter) == ["11-21 03:00", "11-22 03:00"]
    assert shown(summer) == ["07-01 02:00"]


def test_spring_in_zurich() -> None:
    """The clock jumps from 02:00 to 03:00 on 2027-03-28: no 02:30 then, as with systemd."""
    between = utc("2027-03-27T00:00"), utc("2027-03-29T12:00")
    half_past_two = Calendar.parse("*-*-* 02:30 Europe/Zurich")
    hourly = Calendar.parse("hourly Europe/Zurich")

    assert shown(slots_between(half_past_two, *between)) == ["03-27 01:30", "03-29 00:30"]
    assert days_without_slot(half_past_two, date(2027, 1, 1), date(2027, 12, 31)) == [
        date(2027, 3, 28)
    ]
    around = slots_between(hourly, utc("2027-03-27T23:30"), utc("2027-03-28T02:30"))
    assert shown(around) == ["03-28 00:00", "03-28 01:00", "03-28 02:00"]
    assert not days_without_slot(hourly, date(2027, 3, 1), date(2027, 3, 31))


def test_autumn_in_zurich() -> None:
    """02:30 comes twice on 2026-10-25: its first alone is a slot, as with systemd."""
    between = utc("2026-10-24T12:00"), utc("2026-10-26T12:00")
    half_past_two = Calendar.parse("*-*-* 02:30 Europe/Zurich")
    hourly = Calendar.parse("hourly Europe/Zurich")

    assert shown(slots_between(half_past_two, *between)) == ["10-25 00:30", "10-26 01:30"]
    around = slots_between(hourly, utc("2026-10-24T23:30"), utc("2026-10-25T02:30"))
    assert shown(around) == ["10-25 00:00", "10-25 02:00"]


def test_last_slot_is_now_at_its_instant() -> None:
    """A slot has passed from its own instant on."""
    calendar = Calendar.parse("*-*-* 04:00 UTC")

    assert last_slot(calendar, utc("2026-11-22T04:00:00")) == utc("2026-11-22T04:00")
    assert last_slot(calendar, utc("2026-11-22T03:59:59")) == utc("2026-11-21T04:00")
    assert next_slot(calendar, utc("2026-11-22T04:00:00")) == utc("2026-11-23T04:00")


def test_limit_keeps_the_newest() -> None:
    """Catching up after a year at one slot a minute costs no more than what is caught up."""
    calendar = Calendar.parse("minutely")

    found = slots_between(calendar, utc("2025-01-01T00:00"), utc("2026-01-01T00:00"), limit=2)
    assert found == [utc("2025-12-31T23:59"), utc("2026-01-01T00:00")]


def test_a_calendar_of_the_past_or_future_has_an_end() -> None:
    """No slot yet, or no more: None, soon."""
    once = Calendar.parse("2026-11-22 04:00 UTC")

    assert last_slot(once, utc("2026-01-01T00:00")) is None
    assert next_slot(once, utc("2027-01-01T00:00")) is None


def test_leap_days_come() -> None:
    """A day that is rare is found all the same."""
    calendar = Calendar.parse("Mon *-02-29 00:00 UTC")

    assert last_slot(calendar, utc("2026-01-01T00:00")) == utc("2016-02-29T00:00")


def test_without_a_zone_utc_is_written() -> None:
    """The timer gets the zone that the slots are counted in."""
    assert str(Calendar.parse("daily")) == "*-*-* 00:00:00 UTC"
    assert str(Calendar.parse("mon..fri 04:00")) == "mon..fri *-*-* 04:00:00 UTC"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("dayly", "did you mean 'daily'?"),
        ("*-*-* 04:00 Europe/Zurch", "unknown time zone 'Europe/Zurch'"),
        ("*-*-* 04:00 ../../etc/passwd", "do not know"),
        ("04:00 a/../../../etc/passwd", "unknown time zone"),
        ("*:*/15", "minute: write 0/15, not '*/15'"),
        ("*-*-*/2", "day: write 1/2"),
        ("*-*-* 24:00", "hour: '24' is not within 0..23"),
        ("*-*-* 04:60", "minute: '60' is not within 0..59"),
        ("*-13-01", "month: '13'"),
        ("*-02-30", "no month has such a day"),
        ("*-*-31..1", "in order"),
        ("Sat..Mon 04:00", "goes backward"),
        ("0/25:00", "leads nowhere"),
        ("0/0:00", "leads nowhere"),
        ("*-*~01", "not supported"),
        ("2026-11-01T04:00", "not a T"),
        ("04:00 05:00", "do not know '05:00'"),
        ("10", "do not know '10'"),
        ("UTC+1/x", "unknown time zone"),
        ("Europe/Zurich", "needs a date or a time"),
        ("1-2-3-4", "must be year-month-day"),
        ("1:2:3:4", "must be hour:minute"),
        ("*:٣", "is no number"),
        ("*:" + "9" * 5000, "is no number"),
    ],
)
def test_what_is_refused_says_why(text: str, message: str) -> None:
    """A wrong calendar is a sentence, not a guess."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Calendar.parse(text)


@given(st.text(max_size=40))
def test_parse_raises_nothing_else(text: str) -> None:
    """Whatever stands there, it parses or is a `ValueError`."""
    with suppress(ValueError):
        Calendar.parse(text)


@given(CALENDARS, INSTANTS)
@settings(max_examples=60, deadline=None)
def test_last_and_next_agree(text: str, now: datetime) -> None:
    """Between the last slot and the next there is none; a slot matches its own calendar."""
    calendar = Calendar.parse(text)
    last, following = last_slot(calendar, now), next_slot(calendar, now)

    assert last is not None
    assert following is not None
    assert last <= now < following
    assert next_slot(calendar, last) == following
    assert last_slot(calendar, following - timedelta(seconds=1)) == last
    assert slots_between(calendar, last - timedelta(seconds=1), following) == [last, following]
    local = following.astimezone(ZoneInfo(calendar.zone))
    assert calendar.has_day(local.date())
    assert local.hour in calendar.hours
    assert local.minute in calendar.minutes


@given(CALENDARS)
@settings(max_examples=60)
def test_the_full_form_means_the_same(text: str) -> None:
    """What the timer gets is what was written."""
    calendar = Calendar.parse(text)

    assert Calendar.parse(str(calendar)) == calendar


def by_systemd(text: str, after: datetime, count: int) -> list[datetime]:
    """Return when systemd would fire."""
    base = f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC"
    done = subprocess.run(
        ["systemd-analyze", "calendar", f"--iterations={count}", base, text],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
    )
    stamps = re.findall(r"(?:Next elapse|Iter\. #\d+): \w+ (\S+ \S+) UTC", done.stdout)
    return [utc(stamp) for stamp in stamps]


def by_us(calendar: Calendar, after: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    now: datetime | None = after
    while len(found) < count and now is not None:
        now = next_slot(calendar, now)
        found += [now] if now is not None else []
    return found


@needs_systemd
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("start", ["2026-10-23", "2027-03-12", "2027-03-26", "2026-04-22"])
@pytest.mark.parametrize("text", ["*-*-* 02:30", "*:00", "*:0/30", "Sun 00:15", "*-*-* 00,02:15"])
def test_systemd_fires_at_our_slots(text: str, start: str, zone: str) -> None:
    """Around every change of the clocks, the timer and the slots are the same instants."""
    calendar, after = Calendar.parse(f"{text} {zone}"), utc(start)

    assert by_us(calendar, after, 60) == by_systemd(str(calendar), after, 60)


@needs_systemd
def test_no_month_begins_unnoticed() -> None:
    """Left to systemd, a step of days jumps over the end of December and past 1 January."""
    calendar, after = Calendar.parse("*-*-1/13"), utc("2021-12-20")

    expected = [utc(day) for day in ("2021-12-27", "2022-01-01", "2022-01-14")]
    assert expected == by_us(calendar, after, 3) == by_systemd(str(calendar), after, 3)


@needs_systemd
@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
def test_keywords_are_systemds(keyword: str) -> None:
    """A keyword means what systemd means by it."""
    after = utc("2026-11-22T12:34:56")

    assert by_us(Calendar.parse(keyword), after, 3) == by_systemd(f"{keyword} UTC", after, 3)


@needs_systemd
@given(CALENDARS, INSTANTS)
@settings(max_examples=40, deadline=None)
def test_systemd_agrees_on_any_calendar(text: str, after: datetime) -> None:
    """Whatever we take, systemd takes, and means the same by it."""
    calendar = Calendar.parse(text)

    assert by_us(calendar, after, 5) == by_systemd(str(calendar), after, 5)
