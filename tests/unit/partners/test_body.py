"""Large answers are judged as small ones are: by what stands beside their rows."""

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import orjson
import pytest

from reportd.errors import UnexpectedAnswerError
from reportd.partners import body, streaming, unpacking
from reportd.partners.body import Body
from reportd.partners.picking import Pick, compile_pick
from reportd.partners.verdict import Outcome
from tests.unit.partners.making import NOW, REPORT, answer, flow, partner

ROWS = [{"date": "2025-11-16", "clicks": number} for number in range(60)]
NEXT = "next = { cursor = 'paging.after', query = 'after' }\n"


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(streaming, "PIECE_BYTES", 70)


@pytest.mark.parametrize(
    "document",
    [
        {"data": ROWS, "paging": {"after": "c2"}},
        {"paging": {"after": "c2"}, "data": ROWS},
        {"x": {"data": [1]}, "data": ROWS, "paging": {"after": "c2"}, "y": [{"data": []}]},
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_next_page(document: Any, packed: bool) -> None:
    """Its cursor is found wherever it stands."""
    body = orjson.dumps(document)
    of = partner("", NEXT)

    found = flow(of).judge({}, answer(gzip.compress(body) if packed else body), NOW)

    assert (found.outcome, (found.next_cursor or {})["cursor"]) == (Outcome.OK, "c2")


def test_a_page_is_counted() -> None:
    """By the rows of all its pieces."""
    of = partner("", "next = { page = 1, query = 'page', size = 60 }\n")

    full = flow(of).judge({}, answer({"data": ROWS}), NOW)
    short = flow(of).judge({}, answer({"data": ROWS[1:]}), NOW)

    assert (full.next_cursor or {})["page"] == "2"
    assert short.next_cursor is None


def test_rules_see_what_is_beside_the_rows() -> None:
    """An error among batches, a code behind the rows."""
    batches = [{"results": ROWS}, {"error": {"code": 8}}]
    rule = 'slow_down = [{ status = 200, body = "[].error.code || code == `8`" }]\n'
    google = partner(rule, base=REPORT.replace("data[]", "[].results[]"))

    assert flow(google).judge({}, answer(batches), NOW).outcome is Outcome.THROTTLED
    assert flow(google).judge({}, answer(batches[:1]), NOW).outcome is Outcome.OK


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"<html>" + b"x" * 200, Outcome.TRANSIENT),
        (b"\n" * 300 + b"<!DOCTYPE html>" + b"x" * 200, Outcome.TRANSIENT),
        (b'{"data": [' + b'{"a": 1},' * 50, Outcome.TRANSIENT),
        (b" " * 300, Outcome.TRANSIENT),
        (b"x" * 300, Outcome.UNEXPECTED),
        (gzip.compress(orjson.dumps({"data": ROWS}), 0)[:-20], Outcome.TRANSIENT),
        (orjson.dumps({"data": ROWS}) + b" \n" * 300, Outcome.OK),
    ],
)
def test_what_is_no_data(body: bytes, outcome: Outcome) -> None:
    """It is found by its ends."""
    assert flow(partner()).judge({}, answer(body), NOW).outcome is outcome


def test_what_has_to_be_in_memory() -> None:
    """Rows that only the whole document tells are picked from that."""
    of = partner(base=REPORT.replace("data[]", "data[?clicks > `50`]"))
    report = of.reports["stats"]

    body = Body(orjson.dumps({"data": ROWS}), report.spec)

    assert body.rows(report.rows) == ROWS[51:]


def test_expressions_that_look_at_the_rows_see_them() -> None:
    """As of a small answer: no empty list where rows were cut out, and no other cursor."""
    rule = 'empty = [{ status = 200, body = "length(data) == `0`" }]\n'
    nothing = flow(partner(rule)).judge({}, answer({"data": [], "x": "x" * 100}), NOW)
    something = flow(partner(rule)).judge({}, answer({"data": ROWS}), NOW)
    keyset = partner("", "next = { cursor = 'data[-1].clicks', query = 'after' }\n")
    paged = flow(keyset).judge({}, answer({"data": ROWS}), NOW)

    assert (nothing.empty, something.empty) == (True, False)
    assert (paged.next_cursor or {})["cursor"] == "59"


def test_rows_that_memory_cannot_hold_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that would have to does not fit; a cursor that nobody can tell is no last page."""
    monkeypatch.setattr(body, "WHOLE_MOST_MIB", 1 / 1024)
    rule = 'empty = [{ status = 200, body = "length(data) == `0`" }]\n'
    keyset = partner(rule, "next = { cursor = 'data[-1].clicks', query = 'after' }\n")

    found = flow(keyset).judge({}, answer({"data": ROWS}), NOW)

    assert (found.outcome, found.empty) == (Outcome.UNEXPECTED, False)
    assert "'data[-1].clicks' looks at its rows: ask for less at once" in found.reason


def test_memory_holds_one_of_those_at_a_time() -> None:
    """Sixteen threads that judge large answers are not sixteen documents."""
    together: list[int] = []
    parsed = threading.Barrier(2)

    def look(document: Any) -> int:
        together.append(1)
        with suppress(threading.BrokenBarrierError):
            parsed.wait(0.2)  # a second one would come
        together.pop()
        return len(together)

    of = partner().reports["stats"].spec
    bodies = [Body(orjson.dumps({"data": ROWS}), of) for _ in range(2)]
    slow = Pick("data", look, frozenset({"data"}))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: one.pick(slow), bodies))

    assert found == [0, 0]
    assert parsed.broken


def test_no_document_is_made_of_large_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule about JSON does not fit, and memory does not hold gigabytes to find that out."""
    monkeypatch.setattr(body, "WHOLE_MOST_MIB", 1 / 1024)
    base = REPORT.replace('rows = "data[]"', 'format = "csv"')
    of = partner('slow_down = [{ status = 200, body = "code == `8`" }]\n', base=base)
    text = b"date,clicks\n" + b"2025-11-16,5\n" * 600

    with pytest.raises(UnexpectedAnswerError, match="all of it is looked at"):
        Body(text, of.reports["stats"].spec).document()
    assert flow(of).judge({}, answer(text), NOW).outcome is Outcome.OK


def test_the_first_of_large_json_lines() -> None:
    """Rules and samples see the beginning."""
    lines = b"\n".join(orjson.dumps(row) for row in ROWS)
    report = partner("", "format = 'jsonl'\n", base=REPORT.replace("data[]", "@")).reports["stats"]
    body = Body(lines, report.spec)

    assert body.document()[0] == ROWS[0]
    assert 0 < len(body.document()) < len(ROWS)
    assert body.rows(compile_pick("@")) == ROWS
    assert body.row_count(compile_pick("@")) == len(ROWS)
    assert body.text() == lines.decode()[:4096]


def test_lines_of_large_csv_are_counted() -> None:
    """As many as there are, header and footer left out."""
    base = REPORT.replace('rows = "data[]"', 'format = "csv"\ncsv = { footer_lines = 1 }')
    report = partner(base=base).reports["stats"]
    text = b"date,clicks\n" + b"2025-11-16,5\n\n" * 60 + b"(c)\n"

    assert Body(text, report.spec).row_count(report.rows) == 60
