"""From page to page."""

from typing import Any

import pytest

from reportd.partners.partner import Partner
from reportd.partners.verdict import Outcome
from tests.unit.partners.making import NOW, answer, flow, partner


def walk(of: Partner, bodies: list[Any]) -> list[str]:
    """Follow pages until the last; return the URLs called, without what all have."""
    common = "https://api.acme.com/v2/acc-1/stats?from=2025-11-15&to=2025-11-21"
    urls = []
    cursor: dict[str, str] = {}
    for body in bodies:
        one = flow(of)  # a new one each time: everything is in the cursor
        urls.append(one.call(cursor).url.removeprefix(common))
        found = one.judge(cursor, answer(body), NOW)
        assert found.outcome is Outcome.OK, found.reason
        if found.next_cursor is None:
            return urls
        cursor = found.next_cursor
    raise AssertionError(f"more pages than answers: {cursor}")


def rows(count: int, **more: Any) -> dict[str, Any]:
    """Make a page."""
    return {"data": [{"date": "2025-11-15", "clicks": n} for n in range(count)], **more}


def test_cursor() -> None:
    """Until the cursor is null, empty or gone."""
    of = partner(
        "", "next = { cursor = 'paging.next', query = 'after', size = 2, size_query = 'n' }\n"
    )
    first, second = rows(2, paging={"next": "a b/c"}), rows(2, paging={"next": 17})

    for last in (rows(0, paging={"next": None}), rows(1), rows(2, paging={"next": ""})):
        urls = walk(of, [first, second, last])
        assert urls == ["&n=2", "&after=a%20b%2Fc&n=2", "&after=17&n=2"]


def test_page_numbers_until_a_short_page() -> None:
    """A page with fewer rows than asked for is the last."""
    of = partner("", "next = { page = 1, query = 'page', size = 2, size_query = 'page_size' }\n")

    urls = walk(of, [rows(2), rows(2), rows(1)])

    assert urls == ["&page=1&page_size=2", "&page=2&page_size=2", "&page=3&page_size=2"]


def test_page_numbers_until_an_empty_page() -> None:
    """Without a size only an empty page is the last."""
    of = partner("", "next = { page = 0, query = 'page' }\n")

    assert walk(of, [rows(2), rows(1), rows(0)]) == ["&page=0", "&page=1", "&page=2"]


def test_offsets() -> None:
    """An offset is a page number with a step."""
    of = partner("", "next = { page = 0, step = 10, query = 'start', size = 10 }\n")

    assert walk(of, [rows(10), rows(10), rows(3)]) == ["&start=0", "&start=10", "&start=20"]


def test_page_numbers_until_the_total() -> None:
    """The number of pages or of rows, as a number or as text."""
    pages = partner("", "next = { page = 1, query = 'p', pages = 'info.pages' }\n")
    total = partner("", "next = { page = 1, query = 'p', size = 2, total = 'info.total' }\n")

    assert walk(pages, [rows(1, info={"pages": "2"})] * 2) == ["&p=1", "&p=2"]
    assert walk(pages, [rows(0, info={"pages": 0})]) == ["&p=1"]
    assert walk(total, [rows(2, info={"total": 4})] * 2) == ["&p=1", "&p=2"]


def test_more() -> None:
    """A flag that says whether there is more."""
    of = partner("", "next = { page = 1, query = 'p', more = 'has_more' }\n")

    assert walk(of, [rows(0, has_more=True), rows(1, has_more=False)]) == ["&p=1", "&p=2"]


def test_next_url() -> None:
    """A partner's own URL is followed as it is, absolute or relative."""
    of = partner("", "next = { url = 'paging.next' }\n")
    first = rows(1, paging={"next": "https://api.acme.com/v2/other?after=x%2Fy"})
    second = rows(1, paging={"next": "/v2/third?z=1"})

    assert walk(of, [first, second, rows(1)]) == [
        "",
        "https://api.acme.com/v2/other?after=x%2Fy",
        "https://api.acme.com/v2/third?z=1",
    ]


def test_next_url_of_a_link_header() -> None:
    """RFC 8288: the link whose relation is next."""
    of = partner("", "next = { url = 'header:Link' }\n")
    one = flow(of)
    link = '<https://api.acme.com/p?page=1>; rel="prev", </p?page=3>; title="a"; rel="last next"'

    found = one.judge({}, answer(rows(1), link=link), NOW)

    assert found.next_cursor == {"url": "https://api.acme.com/p?page=3", "calls": "1"}
    assert one.judge({}, answer(rows(1), link='</x>; rel="prev"'), NOW).next_cursor is None


def test_a_cursor_holds_no_secret() -> None:
    """Meta's next-URLs carry the token; it is added again when sending."""
    of = partner("", "next = { url = 'next' }\n")
    url = "https://api.acme.com/x?access_token=other&a=1&key=zzz&t=hunter2-token&k=k3y%2Fsecret#f"

    found = flow(of).judge({}, answer(rows(1, next=url)), NOW)

    assert found.next_cursor == {"url": "https://api.acme.com/x?a=1", "calls": "1"}


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.com/x",
        "http://api.acme.com/x",
        "//evil.com/x",
        "https://api.acme.com@evil.com/",
        "https://api.acme.com:444/x",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://[::1",
        "x" * 9000,
        7,
        ["https://api.acme.com/x"],
    ],
)
def test_next_urls_elsewhere_are_refused(url: Any) -> None:
    """An answer cannot send us to another host."""
    found = flow(partner("", "next = { url = 'next' }\n")).judge({}, answer(rows(1, next=url)), NOW)

    assert found.outcome is Outcome.UNEXPECTED
    assert "next.url" in found.reason


@pytest.mark.parametrize(
    ("following", "cursor", "body"),
    [
        ("cursor = 'next', query = 'c'", {"cursor": "x"}, {"next": "x"}),
        ("cursor = 'next', query = 'c'", {}, {"next": True}),
        ("cursor = 'next', query = 'c'", {}, {"next": {"a": 1}}),
        ("cursor = 'next', query = 'c'", {}, {"next": "x" * 9000}),
        (
            "cursor = 'next', query = 'c', max_pages = 3",
            {"cursor": "a", "calls": "2"},
            {"next": "b"},
        ),
        ("url = 'next'", {"url": "https://api.acme.com/x"}, {"next": "/x"}),
        ("page = 1, query = 'p', pages = 'n'", {}, {"n": None}),
        ("page = 1, query = 'p', pages = 'n'", {}, {"n": -1}),
        ("page = 1, query = 'p', size = 5, total = 'n'", {}, {"n": "many"}),
    ],
)
def test_paging_never_runs_in_circles(
    following: str, cursor: dict[str, str], body: dict[str, Any]
) -> None:
    """A page that leads to itself, nonsense, or no end: unexpected, not a loop."""
    of = partner("", f"next = {{ {following} }}\n")

    found = flow(of).judge(cursor, answer(rows(2, **body)), NOW)

    assert found.outcome is Outcome.UNEXPECTED


def test_rows_must_be_there() -> None:
    """An answer without the list of records is not a last page."""
    of = partner("", "next = { cursor = 'next', query = 'c' }\n")

    found = flow(of).judge({}, answer({"error": "?"}), NOW)

    assert found.outcome is Outcome.UNEXPECTED
    assert found.reason == "HTTP 200: rows: nothing at 'data[]', wanted a list"


def test_csv_pages() -> None:
    """CSV is paged by counting lines."""
    of = partner(
        base="[reports.stats]\nget = 'https://api.acme.com/v2/acc-1/stats?from=2025-11-15&to=2025-11-21'"
        "\nformat = 'csv'\nnext = { page = 1, query = 'p', size = 2 }\nday_column = 'date'\n"
        "columns = { date = 'date' }\ncsv = { footer_lines = 1 }\n"
    )

    urls = walk(of, [b"date\n2025-11-15\n2025-11-15\ntotal\n", b"date\n2025-11-15\ntotal\n"])

    assert urls == ["&p=1", "&p=2"]
