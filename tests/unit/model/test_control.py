"""What people ask for: scopes, records, and which of them count."""

from typing import Any

import pytest

from reportd.errors import InvalidMessageError
from reportd.model.control import Control, Target, folded, read_control, targets_of
from reportd.model.request import Request

RUN = "daily/2026-11-22T04:00Z#1"


def control(scope: str = "acme", action: str = "pause", **fields: Any) -> Control:
    """Make one."""
    return Control.model_validate({"scope": scope, "action": action, "at": 0.0, **fields})


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ("acme", Target("partner", "acme", "")),
        ("acme/12-3", Target("account", "acme", "12-3")),
        ("acme/a/b.c", Target("account", "acme", "a/b.c")),
        ("acme.campaigns", Target("report", "acme", "campaigns")),
        ("class:backfill", Target("class", "", "backfill")),
        (f"run:{RUN}", Target("run", "", RUN)),
    ],
)
def test_a_scope_says_what_it_is_about(scope: str, target: Target) -> None:
    """Its form tells a partner from an account, a report, a class and a run."""
    assert Target.parse(scope) == target


@pytest.mark.parametrize(
    "scope", ["", "Acme", "acme/", "/1", "acme.", "acme.a.b", "class:huge", "run:daily", "x:y"]
)
def test_what_is_no_scope_is_refused(scope: str) -> None:
    """A typing error pauses nothing, and says how a scope is written."""
    with pytest.raises(InvalidMessageError, match=r"^(scope|run)"):
        Target.parse(scope)


def test_a_request_belongs_to_four_targets() -> None:
    """It waits when any of them is paused."""
    request = Request.model_validate(
        {
            "v": 1, "run": RUN, "partner": "acme", "report": "stats", "account": "1",
            "first_day": "2026-11-21", "last_day": "2026-11-21", "formats": ["csv"],
            "class": "backfill",
        }
    )  # fmt: skip
    scopes = ("acme", "acme.stats", "acme/1", "class:backfill")

    assert set(targets_of(request)) == {Target.parse(scope) for scope in scopes}


def test_the_newest_record_of_a_scope_counts() -> None:
    """A record without a value lifts it."""
    records = [
        ("acme", control()),
        ("bolt", control("bolt")),
        ("acme", control(action="slow", rate=0.5)),
        ("bolt", None),
    ]

    assert folded(records) == {"acme": control(action="slow", rate=0.5)}


@pytest.mark.parametrize(
    ("key", "record"),
    [
        (b"bolt", control()),
        (None, control()),
        (b"acme", control(action="cancel")),
        (f"run:{RUN}".encode(), control(f"run:{RUN}")),
    ],
)
def test_a_record_that_cannot_be_is_refused(key: bytes | None, record: Control) -> None:
    """Under another key, a partner cancelled, a run paused."""
    with pytest.raises(InvalidMessageError):
        read_control(key, record.to_json())


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.5])
def test_a_rate_is_a_part_of_the_whole(rate: float) -> None:
    """Nobody is made faster than its limits allow."""
    record = control(action="slow").to_json().replace(b'"rate":1.0', b'"rate":%g' % rate)
    with pytest.raises(InvalidMessageError, match="rate"):
        read_control(b"acme", record)
