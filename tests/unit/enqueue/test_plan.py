from datetime import UTC, date, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.config.days import FixedDays, RelativeDays
from reportd.enqueue.plan import PlannedAsk, RunPlan, in_turn, unknown_zones
from reportd.model.request import Request, RequestClass, request_id
from reportd.model.run import RunId

SLOT = datetime(2026, 11, 22, 4, tzinfo=UTC)
RUN = RunId("daily", SLOT, 1)
WEEK = RelativeDays(1, 7)


def ask(
    report: str = "campaigns",
    days: RelativeDays | FixedDays = WEEK,
    class_: RequestClass = "daily",
    **more: object,
) -> PlannedAsk:
    given_: dict[str, object] = {
        "partner": "acme",
        "report": report,
        "days": days,
        "class_": class_,
        "formats": ("parquet",),
        "topic": "t.requests.acme",
        "key_scope": "account",
        **more,
    }
    return PlannedAsk(**given_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", (date(2026, 11, 15), date(2026, 11, 21))),
        ("America/New_York", (date(2026, 11, 14), date(2026, 11, 20))),
        ("Pacific/Kiritimati", (date(2026, 11, 15), date(2026, 11, 21))),
        ("Europe/Zurich", (date(2026, 11, 15), date(2026, 11, 21))),
    ],
)
def test_days_are_the_accounts_own(zone: str, expected: tuple[date, date]) -> None:
    """At 04:00 UTC New York still has yesterday: its last complete day is a day earlier."""
    assert expected == ask().range(SLOT, zone)


@given(
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]),
    nearest=st.integers(1, 30),
    more=st.integers(0, 30),
    slot=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001  made UTC below
)
def test_every_day_is_complete(zone: str, nearest: int, more: int, slot: datetime) -> None:
    """No day that is asked for has not ended in the account's zone when the slot begins."""
    instant = slot.replace(tzinfo=UTC)
    each = ask(days=RelativeDays(nearest, nearest + more))

    first, last = each.range(instant, zone)

    assert more == (last - first).days
    assert each.not_before(last, zone) <= instant.timestamp()


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("UTC", date(2026, 11, 21), datetime(2026, 11, 22, 3, tzinfo=UTC)),
        ("Europe/Zurich", date(2026, 7, 1), datetime(2026, 7, 2, 1, tzinfo=UTC)),
        # Midnight of 2026-09-06 is jumped over in Santiago: the day begins at 01:00 (-03:00)
        ("America/Santiago", date(2026, 9, 5), datetime(2026, 9, 6, 7, tzinfo=UTC)),
    ],
)
def test_data_is_ready_after_the_days_end(zone: str, day: date, expected: datetime) -> None:
    """``not_before`` is the last day's end in its zone and the partner's delay."""
    assert expected.timestamp() == ask(ready_hours=3.0).not_before(day, zone)


def test_row_becomes_a_valid_request() -> None:
    """What Spark puts around a row's body is a request whose id is the hash of its fields."""
    plan = RunPlan(
        RUN, (ask(params={"level": 'ad"s\\ü', "a": "1"}, formats=("parquet", "csv.gz")),)
    )
    (row,) = plan.rows({"acme": {"UTC"}})
    fields = (row.partner, row.report, "7", row.first_day, row.last_day)
    found_id = request_id(str(RUN), *fields, row.params.encode())

    request = Request.from_json(
        f'{{"id":"{found_id}",{row.body},"account":"7","timezone":"UTC"}}'.encode()
    )

    assert (found_id, 'ad"s\\ü') == (request.id, request.params["level"])
    assert (date(2026, 11, 15), date(2026, 11, 21)) == (request.first_day, request.last_day)
    assert orjson.loads(f"{{{row.body}}}")["formats"] == ["parquet", "csv.gz"]


def test_asks_that_come_to_the_same_count_once() -> None:
    """Yesterday, and yesterday's date, are one request where they are the same day."""
    both = (
        ask(days=RelativeDays(1, 1)),
        ask(days=FixedDays(date(2026, 11, 21), date(2026, 11, 21))),
    )

    rows = RunPlan(RUN, both).rows({"acme": {"UTC", "America/New_York"}})

    assert [
        ("America/New_York", "2026-11-20"),
        ("UTC", "2026-11-21"),
        ("America/New_York", "2026-11-21"),
    ] == [(row.timezone, row.first_day) for row in rows]


def test_account_days_count_overlaps_once() -> None:
    """A report asked for by two ranges expects each account's day once."""
    plan = RunPlan(RUN, (ask(), ask(days=RelativeDays(5, 10)), ask("ads", RelativeDays(1, 1))))

    days = plan.account_days({("acme", "UTC"): 3, ("acme", "Asia/Tokyo"): 1, ("other", "UTC"): 9})

    assert days == {"acme.campaigns": 40, "acme.ads": 4}


def test_tallies_span_the_zones() -> None:
    """What a dry run says of an ask covers all of its accounts' zones."""
    (tally,) = RunPlan(RUN, (ask(),)).tallies({("acme", "UTC"): 2, ("acme", "America/New_York"): 1})

    assert (3, date(2026, 11, 14), date(2026, 11, 21)) == (
        tally.accounts,
        tally.first_day,
        tally.last_day,
    )


def test_daily_stands_before_backfill() -> None:
    """What gives way is written later."""
    asks = [ask("a", class_="backfill"), ask("b"), ask("c", class_="restatement"), ask("d")]

    assert ["b", "d", "c", "a"] == [each.report for each in in_turn(asks)]


def test_unknown_zones_are_named() -> None:
    """Only names of the time zone database count, not its files' other folders."""
    assert ["Europe/Zurck", "posix/UTC"] == unknown_zones(
        ["UTC", "posix/UTC", "Europe/Zurck", "UTC"]
    )
