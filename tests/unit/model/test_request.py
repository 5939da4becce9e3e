"""Requests: their ids, and what does not validate."""

import contextlib
import hashlib
import string
from datetime import date
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.errors import InvalidMessageError
from reportd.model.request import Request, canonical_params, request_id

FIELDS: dict[str, Any] = {
    "v": 1,
    "run": "daily/2026-11-22T04:00Z#1",
    "partner": "acme",
    "report": "campaigns",
    "account": "123",
    "first_day": "2026-11-15",
    "last_day": "2026-11-21",
    "formats": ["parquet"],
}


def request(**fields: Any) -> Request:
    """Make a request from JSON, as a worker does."""
    return Request.from_json(orjson.dumps({**FIELDS, **fields}))


def test_the_id_is_what_spark_computes() -> None:
    """The id is the first half of the SHA-256 of seven fields joined by newlines."""
    text = "daily/2026-11-22T04:00Z#1\nacme\ncampaigns\n123\n2026-11-15\n2026-11-21\n" + '{"b":"2"}'
    expected = hashlib.sha256(text.encode()).hexdigest()[:32]

    assert expected == request(params={"b": "2"}).id


def test_the_id_of_one_request_is_known_for_ever() -> None:
    """A change of the id's definition would ask everything again."""
    assert request().id == "eed1539cf2e7727670e8432366b74f79"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run", "daily/2026-11-22T04:00Z#2"),
        ("partner", "other"),
        ("report", "ads"),
        ("account", "124"),
        ("first_day", "2026-11-16"),
        ("last_day", "2026-11-22"),
        ("params", {"level": "ad"}),
    ],
)
def test_everything_asked_for_is_in_the_id(field: str, value: object) -> None:
    """Requests that differ in what they ask have different ids."""
    assert request().id != request(**{field: value}).id


@pytest.mark.parametrize(
    ("field", "value"),
    [("class", "backfill"), ("currency", "CHF"), ("not_before", 1.0), ("formats", ["csv"])],
)
def test_how_it_is_treated_is_not_in_the_id(field: str, value: object) -> None:
    """Class, currency, waiting time and formats do not make another request."""
    assert request().id == request(**{field: value}).id


@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=1), st.text(), max_size=6))
@settings(max_examples=50, deadline=None)
def test_parameters_have_one_canonical_form(params: dict[str, str]) -> None:
    """The order in which parameters were given changes nothing."""
    backwards = dict(reversed(params.items()))

    assert canonical_params(params) == canonical_params(backwards)
    assert orjson.loads(canonical_params(params)) == params


def test_an_id_that_is_not_the_hash_is_refused() -> None:
    """A producer cannot make two requests one, or one two."""
    with pytest.raises(InvalidMessageError, match="id is not the hash"):
        request(id="0" * 32)


def test_a_right_id_is_taken() -> None:
    """A message that carries its id says the same as one that does not."""
    assert request() == request(id=request().id)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"v": 2}, "v: "),
        ({"run": "a\nb"}, "run: "),
        ({"partner": "../x"}, "partner: "),
        ({"account": ""}, "account: "),
        ({"account": 123}, "account: "),
        ({"first_day": "2026-11-22"}, "last_day is before first_day"),
        ({"first_day": "2025-01-01"}, "more than 400 days"),
        ({"first_day": "yesterday"}, "first_day: "),
        ({"formats": []}, "formats: "),
        ({"class": "urgent"}, "class: "),
        ({"params": {"a": {"b": "c"}}}, "params.a: "),
        ({"params": {"a": "x\x00"}}, "params.a: "),
        ({"params": {str(n): "x" for n in range(3)}}, "params.0"),
        ({"not_before": "soon"}, "not_before: "),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], problem: str) -> None:
    """A message that does not validate says which field is wrong."""
    with pytest.raises(InvalidMessageError, match=problem):
        request(**fields)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 5_000, b"1e999"])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    """Any bytes at all end as `InvalidMessageError`, never as a crash."""
    with pytest.raises(InvalidMessageError):
        Request.from_json(data)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
@settings(max_examples=60, deadline=None)
def test_no_json_crashes_the_reader(value: object) -> None:
    """Whatever stands in a known field, the message is read or refused."""
    for field in ("params", "first_day", "account", "id", "formats", "attributes"):
        data = orjson.dumps({**FIELDS, field: value}, default=str)
        with contextlib.suppress(InvalidMessageError):
            assert Request.from_json(data).v == 1


def test_a_problem_never_shows_the_value() -> None:
    """Values from outside may be secrets or hostile: they are not repeated."""
    with pytest.raises(InvalidMessageError) as caught:
        request(account="hunter2\x00")

    assert "hunter2" not in str(caught.value)


def test_unknown_fields_are_ignored() -> None:
    """A newer producer may say more than this version knows."""
    assert request() == request(colour="blue")


def test_what_was_written_reads_back() -> None:
    """A record's bytes are canonical: reading and writing again changes nothing."""
    data = request(**{"class": "restatement", "params": {"a": "1"}}).to_json()

    assert Request.from_json(data).to_json() == data


def test_all_days_are_asked_for() -> None:
    """A range names its first and its last day and all between."""
    days = request(first_day="2026-02-27", last_day="2026-03-01").days()

    assert [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)] == days


def test_what_stands_for_an_unreadable_message_has_its_place() -> None:
    """A poison message is known by the id it is given and the topic's partner."""
    poison = Request.unreadable("poison-x", "acme")

    assert ("poison-x", "acme", "") == (poison.id, poison.partner, poison.account)


def test_the_id_takes_any_text() -> None:
    """Accounts and parameters may be in any script."""
    assert len(request_id("r", "p", "r", "Zürich 東京", "a", "b", b"{}")) == 32
