"""Templates: values are inserted, never evaluated."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import InvalidMessageError
from reportd.partners.templates import (
    compile_json,
    compile_template,
    in_header,
    in_url,
    mentions,
)

VALUES = {
    "account": {"id": "a/b", "items": "mine", "attributes": {"region": "eu"}},
    "params": {"n": "7", "level": "{{ account.id }}"},
    "from": "2025-11-15",
    "to": "2025-11-21",
}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("no places", "no places"),
        ("{{ account.id }}", "a/b"),
        ("{{account.attributes.region}}-{{ account['attributes']['region'] }}", "eu-eu"),
        ("{{ account.items }}", "mine"),
        ("{{ from }}..{{ to }}", "2025-11-15..2025-11-21"),
        ('{{ from | date("%d/%m/%Y") }}', "15/11/2025"),
        ("{{ account.region | default('us') }}", "us"),
        ("{% if params.n == '7' %}seven{% endif %}", "seven"),
        ("line\n", "line\n"),
    ],
)
def test_rendering(source: str, wanted: str) -> None:
    """Plain places take the short cut, the rest goes through Jinja."""
    assert compile_template(source)(VALUES) == wanted


def test_values_are_not_evaluated() -> None:
    """Template syntax in a value is text."""
    assert compile_template("{{ params.level }}")(VALUES) == "{{ account.id }}"
    assert compile_template("{{ params.level | upper }}")(VALUES) == "{{ ACCOUNT.ID }}"


@pytest.mark.parametrize("source", ["{{ account.nope }}", "{{ account.nope | upper }}"])
def test_a_missing_value_is_an_error(source: str) -> None:
    """What the request does not give is never an empty text."""
    with pytest.raises(InvalidMessageError, match="nope"):
        compile_template(source)(VALUES)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ account.__class__ | string }}",
        "{{ params.n.format.__globals__ }}",
        "{{ (1).__class__.__base__.__subclasses__() }}",
        "{{ 1 // 0 }}",
        "{{ account | date('%Y') }}",
    ],
)
def test_the_sandbox_holds(source: str) -> None:
    """A partner file cannot reach Python, and its mistakes are the request's errors."""
    with pytest.raises(InvalidMessageError):
        compile_template(source)(VALUES)


@pytest.mark.parametrize("source", ["{{ account.id", "{% if %}", "{{ x | nofilter }}", "{% x %}"])
def test_what_is_no_template(source: str) -> None:
    """Mistakes are found when the file is loaded."""
    with pytest.raises(ValueError, match="template: "):
        compile_template(source)


def test_mentions() -> None:
    """What a template speaks of is known before it is used."""
    source = "{{ account.id }}{{ params['n'] }}{% if x %}{{ from|upper }}{% endif %}"

    found = mentions(source)

    assert {("account", "id"), ("params", "n"), ("x",), ("from",)} <= set(found)


def test_values_in_urls_are_encoded() -> None:
    """Only values are encoded, with and without filters."""
    assert compile_template("/v2/{{ account.id }}?a=b&c", in_url)(VALUES) == "/v2/a%2Fb?a=b&c"
    assert compile_template("/v2/{{ account.id | upper }}/x", in_url)(VALUES) == "/v2/A%2FB/x"


@pytest.mark.parametrize("value", ["..", ".", "a/../b", "../a", "a\\..\\b", "a/.", "./a", "..\\"])
def test_no_way_up(value: str) -> None:
    """A value never climbs, not even on servers that decode a path before they split it."""
    with pytest.raises(InvalidMessageError, match="segment"):
        in_url(value)


@pytest.mark.parametrize("value", ["a..b", "...", "1.2", ".hidden", "a/b.c", "a/.b", ""])
def test_dots_elsewhere_are_fine(value: str) -> None:
    """Dots are no crime."""
    in_url(value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_encoded_value_holds_no_delimiter(value: str) -> None:
    """Whatever a value holds, it stays one segment or one query value."""
    try:
        text = in_url(value)
    except InvalidMessageError:
        return
    assert text.isascii()
    assert not set(text) & set("/?&#=+;@:\\ \r\n{}%") - {"%"}


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\x00", "\x7f", "é", "\t"])
def test_headers_refuse_what_they_cannot_carry(value: str) -> None:
    """Nothing is smuggled into a header."""
    with pytest.raises(InvalidMessageError):
        in_header(value)


def test_json_bodies() -> None:
    """Texts are templates, other values stay; an expression alone keeps its type."""
    build = compile_json(
        {
            "id": "{{ account.id }}",
            "n": "{{ params.n | int }}",
            "days": ["{{ from }}", "{{ to }}"],
            "limit": 100,
            "flag": True,
            "text": "n is {{ params.n | int }}",
        }
    )

    assert build(VALUES) == {
        "id": "a/b",
        "n": 7,
        "days": ["2025-11-15", "2025-11-21"],
        "limit": 100,
        "flag": True,
        "text": "n is 7",
    }


@pytest.mark.parametrize(
    "node", ["{{ params.x | int }}", "{{ params.x }}", {"a": ["{{ nope.x }}"]}]
)
def test_json_bodies_miss_nothing(node: Any) -> None:
    """What the request does not give is an error in a body, too."""
    with pytest.raises(InvalidMessageError):
        compile_json(node)(VALUES)


def test_each_rendering_is_its_own() -> None:
    """Changing what was built (paging does) changes no other request's body."""
    build = compile_json({"page": {"size": 10}, "x": []})
    build(VALUES)["page"]["size"] = 99

    assert build(VALUES) == {"page": {"size": 10}, "x": []}
