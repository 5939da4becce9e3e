"""Flows of many steps: what is called, picked, waited for and kept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import InvalidMessageError
from reportd.partners.flow import Flow
from reportd.partners.partner import Partner
from reportd.partners.verdict import Cursor, Outcome, Verdict
from reportd.partners.way import StaleCursorError
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from tests.unit.partners.making import AUTH, NOW, answer, partner, request
from tests.unit.partners.test_step_spec import ADS, LIST

URL = "https://bucket.s3.amazonaws.com/a.json?X-Amz-Signature=5ec4e7ab&b=%2F"
FIRST = {"report": "r-1"}


@dataclass
class Walk:
    """Goes a request's way as the worker does, answer by answer."""

    of: Partner
    fields: dict[str, Any] = field(default_factory=dict)
    cursor: Cursor = field(default_factory=dict)
    picked: dict[str, Any] = field(default_factory=dict)
    volatile: dict[str, Any] = field(default_factory=dict)
    now: float = NOW
    calls: list[Call] = field(default_factory=list)

    def flow(self) -> Flow:
        """Return the flow as it stands."""
        made = request(report="ads", **self.fields)
        return Flow(self.of, made, AUTH, self.picked, self.volatile)

    def take(self, reply: Answer) -> Verdict:
        """Make a call and go on from its answer."""
        flow = self.flow()
        self.calls.append(flow.call(self.cursor))
        verdict = flow.judge(self.cursor, reply, self.now)
        if verdict.next_cursor is not None:
            self.cursor = verdict.next_cursor
        self.picked.update(verdict.picked)
        self.volatile = dict(verdict.volatile) or self.volatile
        return verdict


def ads(text: str = ADS, top: str = "") -> Walk:
    """Begin with a report of many steps."""
    return Walk(compiled(text, top))


@lru_cache
def compiled(text: str, top: str) -> Partner:
    """Compile a file once."""
    return partner(top, base=text)


def at_poll(text: str = ADS, top: str = "") -> Walk:
    """Stand where the report was created."""
    walk = ads(text, top)
    walk.take(answer({"reportId": "r-1"}, 202))
    return walk


def at_download(text: str = ADS, top: str = "") -> Walk:
    """Stand where the poll said that it is done."""
    walk = at_poll(text, top)
    walk.take(answer({"status": "COMPLETED", "url": URL}))
    return walk


def test_create_poll_download() -> None:
    """Each step's answer leads to the next; only the last one's is kept."""
    walk = ads()

    created = walk.take(answer({"reportId": "r-1"}))
    assert (created.outcome, created.empty, created.picked) == (Outcome.OK, True, FIRST)
    assert created.next_cursor == {"step": "poll", "since": f"{NOW:.0f}"}
    assert (created.wait_seconds, created.is_recorded) == (5.0, True)

    done = walk.take(answer({"status": "COMPLETED", "url": URL}))
    assert (done.volatile, done.picked, done.is_recorded) == ({"url": URL}, {}, False)
    assert done.next_cursor == {"step": "download", "since": f"{NOW:.0f}"}

    last = walk.take(answer([]))
    assert (last.outcome, last.next_cursor, last.empty) == (Outcome.OK, None, False)
    assert [call.method for call in walk.calls] == ["POST", "GET", "GET"]
    assert orjson.loads(walk.calls[0].body or b"")["start"] == "2025-11-15"
    assert walk.calls[1].url == "https://api.acme.com/v3/reports/r-1"
    assert walk.calls[2].url == URL


def test_a_picked_url_is_kept_nowhere_and_gets_no_credential() -> None:
    """It is of the step's hosts alone, as it came; no cursor and no verdict shows it."""
    walk = at_download(ADS.replace("[reports.ads]", "[reports.ads]\nheaders = { X-Client = 'c' }"))
    walk.take(answer([]))

    call = walk.calls[-1]
    assert (call.secret_headers, call.secret_query, call.headers) == ((), (), {})
    assert call.hosts == ("*.s3.amazonaws.com",)
    assert walk.calls[0].headers["X-Client"] == "c"
    assert walk.calls[0].secret_headers == AUTH.headers
    refused = walk.take(answer(f"<E>{URL} 5ec4e7ab</E>".encode(), 400))
    for shown in (str(walk.cursor), str(walk.picked), repr(refused), str(refused.sample)):
        assert "5ec4e7ab" not in shown
        assert "s3.amazonaws" not in shown


def test_a_redirect_to_a_file() -> None:
    """It may lead to the step's hosts; the call that has the credential goes to the partner's."""
    text = ADS.replace("{{ picked.url }}", "https://{{ params.hour }}/f/{{ picked.report }}")
    walk = at_poll(text.replace('hour = "all"', 'hour = "api.acme.com"'))
    walk.take(answer({"status": "COMPLETED", "url": "x"}))
    walk.take(answer([]))
    assert walk.calls[-1].hosts == ("api.acme.com", "*.s3.amazonaws.com")

    walk.fields = {"params": {"hour": "a.s3.amazonaws.com"}}
    with pytest.raises(InvalidMessageError, match="not a host"):
        walk.flow().call({"step": "download"})


def test_a_picked_url_of_the_partner_itself_is_authorized() -> None:
    """Some partners serve the file from where the report was made."""
    own = "https://api.acme.com/files/1"
    walk = at_poll(ADS.replace('hosts = ["*.s3.amazonaws.com"]', ""))
    walk.take(answer({"status": "COMPLETED", "url": own}))
    walk.take(answer([]))

    assert walk.calls[-1].url == own
    assert walk.calls[-1].secret_headers == AUTH.headers


def test_an_answer_that_is_too_large_is_asked_for_in_parts() -> None:
    """Where the file says of anything that it is too big; elsewhere it is given up."""
    large = Failure(kind=FailureKind.TOO_LARGE, detail="more than 8 bytes", seconds=0.1)
    rule = "too_big = [{ status = 400 }]\n"
    paged = Flow(partner(rule), request(), AUTH)

    found = paged.judge({"page": "3", "kept": "2"}, large, NOW)

    assert (found.outcome, found.part_days, found.dropped) == (Outcome.TOO_BIG, 4, 2)
    assert "see max_answer_mib" in found.reason
    day = Flow(partner(rule), request(last_day="2025-11-15"), AUTH)
    assert day.judge({}, large, NOW).outcome is Outcome.PERMANENT
    assert Flow(partner(), request(), AUTH).judge({}, large, NOW).outcome is Outcome.PERMANENT


def test_a_report_that_is_not_seen_yet_is_polled_again() -> None:
    """Right after its creation 404 is no end: not all of the partner knows of it."""
    walk = at_poll()
    soon = walk.take(answer({"error": "no such report"}, 404))
    assert (soon.outcome, (soon.next_cursor or {})["polls"]) == (Outcome.PENDING, "1")

    walk.now += 299.0
    assert walk.take(answer(b"", 404)).outcome is Outcome.PENDING
    walk.now += 1.0
    gone = walk.take(answer(b"", 404))
    assert (gone.outcome, "what was made is not there" in gone.reason) == (Outcome.FAILED, True)


def test_a_report_that_is_gone_is_made_anew() -> None:
    """At once; and a rule of the file comes before both."""
    assert at_poll().take(answer(b"", 410)).outcome is Outcome.FAILED

    ruled = at_poll(top="permanent = [{ status = [404, 410], steps = ['poll'] }]\n")
    assert ruled.take(answer(b"", 404)).outcome is Outcome.PERMANENT
    assert ruled.take(answer(b"", 410)).outcome is Outcome.PERMANENT


def test_what_nobody_made_is_refused() -> None:
    """The account is not there, or an element of a list: making anything anew does not help."""
    assert ads().take(answer(b"", 404)).outcome is Outcome.PERMANENT
    assert ads().take(answer(b"", 410)).outcome is Outcome.PERMANENT


def test_without_its_url_a_download_polls_anew() -> None:
    """After a restart, a refusal or a wait: the report's own id is all that is needed."""
    walk = at_download()
    walk.volatile = {}

    done = walk.take(answer({"status": "COMPLETED", "url": URL}))

    assert walk.calls[-1].url == "https://api.acme.com/v3/reports/r-1"
    assert done.next_cursor == {"step": "download", "since": f"{NOW:.0f}"}
    assert (done.volatile, done.is_recorded) == ({"url": URL}, False)


def test_what_stands_beside_a_fresh_url_is_not_recorded_again() -> None:
    """A record would count as success: a URL that never works would be asked for without end."""
    walk = at_poll(ADS.replace('pick = { url = "url" }', 'pick = { url = "url", key = "key" }'))
    done = {"status": "COMPLETED", "url": URL, "key": "k-1"}
    assert walk.take(answer(done)).picked == {"key": "k-1"}
    walk.volatile = {}

    again = walk.take(answer({**done, "key": "k-2"}))

    assert (again.picked, again.is_recorded) == ({}, False)
    assert again.volatile == {"url": URL, "key": "k-2"}


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_url_that_has_expired(status: int) -> None:
    """Not the credential's trouble, nor the request's end."""
    assert at_download().take(answer(b"<Error/>", status)).outcome is Outcome.EXPIRED


def test_a_rule_says_what_expired_looks_like() -> None:
    """For a URL: poll anew. For anything else: what was made is gone, start over."""
    top = "expired = [{ status = 400, text = 'gone' }]\n"

    assert at_download(top=top).take(answer(b"gone", 400)).outcome is Outcome.EXPIRED
    assert at_poll(top=top).take(answer(b"gone", 400)).outcome is Outcome.FAILED


def test_a_duplicate_is_adopted() -> None:
    """The report that runs already is polled, none is made."""
    walk = ads()

    adopted = walk.take(answer({"detail": "duplicate of : 77-ab"}, 425))

    assert (adopted.outcome, adopted.picked) == (Outcome.OK, {"report": "77-ab"})
    walk.take(answer({"status": "PENDING"}))
    assert walk.calls[-1].url == "https://api.acme.com/v3/reports/77-ab"


def test_waits_grow_up_to_a_bound() -> None:
    """5 s, then half as much again each time, at most five minutes."""
    walk = at_poll()

    waits = [walk.take(answer({"status": "PENDING"})).wait_seconds for _ in range(14)]

    assert waits[:3] == [7.5, 11.25, 16.875]
    assert waits[-1] == 300.0
    assert walk.cursor["polls"] == "14"


def test_the_partner_says_when_to_ask_again() -> None:
    """Its word counts, shorter or longer, without jitter."""
    pending = at_poll().take(answer({"status": "PENDING"}, retry_after="600"))

    assert (pending.outcome, pending.wait_seconds, pending.jitter) == (Outcome.PENDING, 600.0, 0.0)


@pytest.mark.parametrize("told", ["", "0"])
def test_nobody_is_polled_without_a_pause(told: str) -> None:
    """Not even where file and partner have nothing against it; and the pause grows."""
    walk = at_poll(ADS.replace("poll = { ", "poll = { first_seconds = 0, factor = 2, "))
    pending = answer({"status": "PENDING"}, retry_after=told)

    assert [walk.take(pending).wait_seconds for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert walk.take(answer({"status": "PENDING"}, retry_after="0.1s")).wait_seconds == 0.5


def test_a_report_that_takes_too_long_is_made_anew() -> None:
    """Three hours after its create, by what its step record says."""
    walk = at_poll()
    walk.now = NOW + 3 * 3600

    assert walk.take(answer({"status": "PENDING"})).outcome is Outcome.FAILED


STATES = """done = "status == 'COMPLETED'", failed = "status == 'FAILED'", reason = "why",
  cancelled = "status == 'CANCELLED'", expired = "status == 'EXPIRED'",
  empty = "status == 'COMPLETED' && !url" }""".replace("\n", " ")
DONE = "done = \"status == 'COMPLETED'\", failed = \"status == 'FAILED'\" }"


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ({"status": "FAILED", "why": "no"}, Outcome.FAILED, "HTTP 200: the report failed: no"),
        ({"status": "CANCELLED"}, Outcome.FAILED, "HTTP 200: the report is cancelled"),
        ({"status": "EXPIRED"}, Outcome.FAILED, "HTTP 200: the report is expired"),
        ({"status": "FAILED", "why": f"see {URL} "}, Outcome.FAILED, "[url]"),
        ({"status": "COMPLETED"}, Outcome.OK, ""),
        ({"status": "WHATEVER"}, Outcome.PENDING, ""),
        (b"<html>", Outcome.TRANSIENT, "HTML"),
        (b"nope", Outcome.UNEXPECTED, "not JSON"),
    ],
)
def test_states(body: Any, outcome: Outcome, reason: str) -> None:
    """What a poll's answer says, in the order of the states."""
    verdict = at_poll(ADS.replace(DONE, STATES)).take(answer(body))

    assert verdict.outcome is outcome
    assert reason in verdict.reason
    if outcome is Outcome.OK:
        assert (verdict.next_cursor, verdict.empty) == (None, True)


def test_a_state_that_nobody_named() -> None:
    """With both done and pending named, another word is not taken for either."""
    text = ADS.replace(DONE, "done = \"s == 'D'\", pending = \"s == 'P'\" }")

    assert at_poll(text).take(answer({"s": "P"})).outcome is Outcome.PENDING
    assert at_poll(text).take(answer({"s": "?"})).outcome is Outcome.UNEXPECTED


@pytest.mark.parametrize("body", [{"status": "COMPLETED"}, {"status": "COMPLETED", "url": [1]}])
def test_what_should_be_picked_and_is_not_there(body: Any) -> None:
    """It is not understood; and no URL is in what people see of it."""
    verdict = at_poll().take(answer({**body, "other": URL}))

    assert verdict.outcome is Outcome.UNEXPECTED
    assert "pick.url" in verdict.reason
    assert b"amazonaws" not in verdict.sample


def test_a_list_and_one_call_for_each() -> None:
    """With pages within each, and none for an empty list."""
    walk = ads(LIST)
    listed = walk.take(answer({"data": [{"id": "x/1"}, {"id": "2"}]}))
    assert (listed.picked, listed.next_cursor) == ({"ids": ["x/1", "2"]}, {"step": "stats"})

    walk.take(answer([]))
    assert walk.cursor == {"step": "stats", "item": "1"}
    paged = walk.take(answer({"next": "c", "rows": []}))
    assert paged.outcome is Outcome.UNEXPECTED
    assert walk.calls[1].url == "https://api.acme.com/campaigns/x%2F1/stats"
    assert ads(LIST).take(answer({"data": []})).next_cursor is None


def test_pages_within_each() -> None:
    """The pager's keys stand beside the item's."""
    walk = ads(LIST.replace("columns", 'rows = "rows"\ncolumns'))
    walk.take(answer({"data": [{"id": "1"}, {"id": "2"}]}))

    walk.take(answer({"rows": [], "next": "c"}))
    mark = walk.of.reports["ads"].mark
    assert walk.cursor == {"step": "stats", "cursor": "c", "calls": "1", "mark": mark}
    walk.take(answer({"rows": []}))
    assert (walk.cursor["step"], walk.cursor["item"]) == ("stats", "1")
    walk.take(answer({"rows": [], "next": "d"}))
    assert walk.cursor["cursor"] == "d"
    assert walk.cursor["item"] == "1"
    assert walk.take(answer({"rows": []})).next_cursor is None
    assert walk.calls[2].url.endswith("/campaigns/1/stats?after=c")
    assert walk.calls[4].url.endswith("/campaigns/2/stats?after=d")


def test_a_list_that_comes_in_pages() -> None:
    """What they pick is one list."""
    walk = ads(LIST.replace('ids = "data[].id" }', 'ids = "data[].id" }\nnext = { url = "more" }'))

    first = walk.take(answer({"data": [{"id": "1"}], "more": "https://api.acme.com/campaigns?p=2"}))
    assert (first.empty, first.next_cursor and first.next_cursor["calls"]) == (True, "1")
    second = walk.take(answer({"data": [{"id": "2"}]}))

    assert second.picked == {"ids": ["1", "2"]}


def test_each_is_asked_for_once() -> None:
    """What stands in a list twice, or on two of its pages, would give its rows twice."""
    walk = ads(LIST.replace('ids = "data[].id" }', 'ids = "data[].id" }\nnext = { url = "more" }'))
    more = "https://api.acme.com/campaigns?p=2"

    walk.take(answer({"data": [{"id": "1"}, {"id": "2"}, {"id": "1"}], "more": more}))
    second = walk.take(answer({"data": [{"id": "2"}, {"id": {"b": 1, "a": 2}}, {"id": 2}]}))

    assert second.picked == {"ids": ["1", "2", {"b": 1, "a": 2}, 2]}


def test_no_data_for_one_item() -> None:
    """The others are still asked."""
    walk = ads(LIST, "empty = [{ status = 404 }]\n")
    walk.take(answer({"data": [{"id": "1"}, {"id": "2"}]}))

    nothing = walk.take(answer({}, 404))

    assert (nothing.empty, nothing.next_cursor) == (True, {"step": "stats", "item": "1"})
    assert walk.take(answer(b"", 204)).next_cursor is None


def test_a_rule_says_that_there_is_nothing() -> None:
    """Of a report that is made, whatever step says so: nothing is left to be asked."""
    picked = ADS.replace('pick = { url = "url" }', "").replace("{{ picked.url }}", OWN_FILE)
    top = "empty = [{ body = \"status == 'NO_DATA'\" }]\n"

    for text in (ADS, picked):
        nothing = at_poll(text, top).take(answer({"status": "NO_DATA"}))
        assert (nothing.outcome, nothing.empty) == (Outcome.OK, True)
        assert nothing.next_cursor is None


OWN_FILE = "https://api.acme.com/v3/reports/{{ picked.report }}/file"
TOO_BIG = "too_big = [{ status = 400, body = \"code == 'TOO_BIG'\" }]\n"
BIG = answer({"code": "TOO_BIG"}, 400)


def days_of(call: Call) -> tuple[str, str, str]:
    """Return what a create asked for."""
    sent = orjson.loads(call.body or b"")
    return sent["start"], sent["end"], sent["hour"]


def test_what_is_too_big_is_halved() -> None:
    """The parts are asked one after the other, each with all its steps."""
    walk = ads(ADS, TOO_BIG)

    halved = walk.take(BIG)
    assert (halved.outcome, halved.part_days, halved.dropped) == (Outcome.TOO_BIG, 4, 0)
    assert halved.next_cursor == {"parts": "2025-11-15..2025-11-21/4"}
    for _ in range(2):
        walk.take(answer({"reportId": "r-1"}))
        walk.take(answer({"status": "COMPLETED", "url": URL}))
        last = walk.take(answer([]))

    assert last.next_cursor is None
    assert [days_of(call) for call in walk.calls if call.body] == [
        ("2025-11-15", "2025-11-21", "all"),
        ("2025-11-15", "2025-11-18", "all"),
        ("2025-11-19", "2025-11-21", "all"),
    ]


def test_a_poll_may_say_too_big() -> None:
    """The report was made, and cannot be finished."""
    walk = at_poll(ADS.replace("poll = { ", "poll = { too_big = \"code == 'BIG'\", "))

    assert walk.take(answer({"code": "BIG"})).outcome is Outcome.TOO_BIG


def test_a_single_day_is_split_by_the_declared_parameter() -> None:
    """One part for each value; after that it is the request's own trouble."""
    text = ADS.replace("day_column", "split = { param = 'hour', values = ['a', 'b'] }\nday_column")
    walk = ads(text, TOO_BIG)
    walk.fields = {"first_day": "2025-11-20"}

    sizes = [walk.take(BIG).part_days for _ in range(2)]
    assert (sizes, walk.cursor) == ([1, 0], {"parts": "2025-11-20..2025-11-21/0"})
    for _ in range(4):
        walk.take(answer({"reportId": "r-1"}))
        walk.take(answer({"status": "COMPLETED", "url": URL}))
        last = walk.take(answer([]))

    assert last.next_cursor is None
    sent = [days_of(call) for call in walk.calls if call.body][2:]
    assert [(first[-2:], value) for first, _, value in sent] == [
        ("20", "a"),
        ("20", "b"),
        ("21", "a"),
        ("21", "b"),
    ]
    walk.cursor = {"parts": "2025-11-20..2025-11-21/0"}
    refused = walk.take(BIG)
    assert (refused.outcome, "see split" in refused.reason) == (Outcome.PERMANENT, True)


def test_pages_of_what_turned_out_too_big_are_dropped() -> None:
    """Their rows come again in the smaller parts."""
    base = (
        "[reports.ads]\nget = 'https://api.acme.com/{{ from }}/{{ to }}'\nrows = 'rows'\n"
        "columns = { date = 'date' }\nday_column = 'date'\nnext = { cursor = 'n', query = 'c' }\n"
    )
    walk = ads(base, TOO_BIG)
    walk.take(answer({"rows": [], "n": "2"}))
    walk.take(answer({"rows": [], "n": "3"}))

    halved = walk.take(BIG)

    assert halved.dropped == 2
    assert walk.take(answer({"rows": []})).next_cursor == {"parts": "2025-11-19..2025-11-21/4"}
    assert walk.calls[-1].url == "https://api.acme.com/2025-11-15/2025-11-18"


def test_an_answer_without_a_byte_is_no_file_that_could_be_dropped() -> None:
    """Nothing of it is spooled: else the rows of the part before would go in its place."""
    walk = ads(LIST.replace("columns", 'format = "jsonl"\ncolumns'), TOO_BIG)
    walk.take(answer({"data": [{"id": "1"}, {"id": "2"}, {"id": "3"}]}))
    walk.take(answer({"date": "2025-11-15"}))
    walk.take(answer(b""))

    assert walk.take(BIG).dropped == 1


def test_a_rule_of_one_step() -> None:
    """A partner's false 401 while polling is not the credential's trouble."""
    top = "transient = [{ status = 401, steps = ['poll'] }]\n"

    assert at_poll(top=top).take(answer({}, 401)).outcome is Outcome.TRANSIENT
    assert ads(top=top).take(answer({}, 401)).outcome is Outcome.AUTH


def test_a_form() -> None:
    """Fields are encoded; a list gives one each."""
    (json,) = [line for line in ADS.splitlines() if line.startswith("json = ")]
    text = ADS.replace(json, 'form = { q = "a&b {{ from }}", n = [1, true] }')
    walk = ads(text.replace("params = ", "# "))
    walk.take(answer({"reportId": 5}))

    assert walk.calls[0].body == b"q=a%26b+2025-11-15&n=1&n=true"
    assert walk.calls[0].headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert walk.flow().call(walk.cursor).url.endswith("/5")


@pytest.mark.parametrize(
    "cursor",
    [{"step": "gone"}, {"parts": "nonsense"}, {"step": "stats", "item": "7"}, {"step": "stats"}],
)
def test_a_cursor_that_fits_no_more(cursor: Cursor) -> None:
    """The file has changed since: that request starts over."""
    walk = ads(LIST)
    walk.cursor = cursor

    with pytest.raises(StaleCursorError):
        walk.flow().call(walk.cursor)


PAGED = """
[reports.ads]
get = "https://api.acme.com/{{ from }}/{{ to }}?hour={{ params.hour }}"
rows = "rows"
columns = { date = "date" }
day_column = "date"
params = { hour = "all" }
split = { param = "hour", values = ["a", "b", "c"] }
next = { page = 1, query = "page", size = 1 }
"""


@pytest.mark.parametrize(
    ("cursor", "before", "after"),
    [
        ({}, "size = 1", "size = 2"),
        ({}, "?hour", "?kind=x&hour"),
        ({"parts": "2025-11-20..2025-11-21/0#1"}, '"b", "c"', '"b", "d"'),
        ({"parts": "2025-11-20..2025-11-21/0#2"}, '"b", "c"', '"b"'),
        ({"parts": "2025-11-20..2025-11-21/0"}, "split = ", "# "),
    ],
)
def test_pages_and_parts_of_what_was_asked_before(cursor: Cursor, before: str, after: str) -> None:
    """The fifth page of another size, or another third of a day, would be other rows."""
    walk = ads(PAGED, TOO_BIG)
    walk.cursor = cursor
    walk.take(answer({"rows": [{}]}))
    walk.flow().call(walk.cursor)

    walk.of = compiled(PAGED.replace(before, after), TOO_BIG)
    with pytest.raises(StaleCursorError):
        walk.flow().call(walk.cursor)


def test_a_day_whose_split_has_changed_amid_it() -> None:
    """Its second part follows on the first of the values of before."""
    walk = ads(PAGED, TOO_BIG)
    walk.cursor = {"parts": "2025-11-20..2025-11-21/0"}
    walk.take(answer({"rows": []}))
    walk.flow().call(walk.cursor)

    walk.of = compiled(PAGED.replace('"b", "c"', '"b1", "b2", "c"'), TOO_BIG)
    with pytest.raises(StaleCursorError):
        walk.flow().call(walk.cursor)


def test_a_file_that_changed_elsewhere_costs_nothing() -> None:
    """What was created is polled, and the next page asked for, by a mended file, too."""
    walk = at_poll()
    walk.of = compiled(ADS.replace("FAILED", "FAILURE").replace("int64", "float64"), "")
    assert walk.flow().call(walk.cursor).url.endswith("/r-1")

    paged = ads(PAGED, TOO_BIG)
    paged.take(answer({"rows": [{}]}))
    paged.of = compiled(PAGED.replace('"date" }', '{ type = "date", format = "%Y" } }'), TOO_BIG)
    assert paged.flow().call(paged.cursor).url.endswith("page=2")


@pytest.mark.parametrize("step", ["poll", "download"])
def test_a_pick_of_another_name(step: str) -> None:
    """What was picked under the old one is of no use: the request starts over, it is no poison."""
    walk = at_poll()
    walk.cursor = {"step": step}
    walk.of = compiled(ADS.replace("pick = { report =", "pick = { id =")
                       .replace("picked.report", "picked.id"), "")  # fmt: skip

    with pytest.raises(StaleCursorError):
        walk.flow().call(walk.cursor)


def test_what_later_steps_need_is_known_before_the_first_call() -> None:
    """A message that lacks it is poison, before anything is created."""
    found = partner(
        base=ADS.replace("hosts = [", "query = { r = '{{ account.region }}' }\nhosts = [")
    )

    found.check_request(request(report="ads", attributes={"region": "eu"}))
    with pytest.raises(InvalidMessageError, match=r"account\.region"):
        found.check_request(request(report="ads"))


@pytest.mark.parametrize("make", [ads, at_poll, at_download])
def test_every_step_has_the_usual_table(make: Callable[[], Walk]) -> None:
    """A busy partner is waited for wherever the request stands."""
    assert make().take(answer(b"", 429)).outcome is Outcome.THROTTLED
    assert make().take(answer(b"", 503)).outcome is Outcome.TRANSIENT


def test_picks_have_a_bound() -> None:
    """The ledger is no place for megabytes."""
    big = answer({"data": [{"id": f"{number:01000}"} for number in range(300)]})

    assert "pick: " in ads(LIST).take(big).reason


def orjson_or_empty(value: Any) -> bytes:
    """Return JSON, or nothing for what has none."""
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError):
        return b""


ANSWERS = st.one_of(
    st.binary(max_size=80),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["status", "url", "reportId", "data", "id", "next", "rows"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=12,
    ).map(orjson_or_empty),
)


@given(ANSWERS, st.sampled_from([200, 202, 204, 400, 403, 425, 429, 500]))
def test_whatever_comes_has_a_class(body: bytes, status: int) -> None:
    """At every step: a verdict, no exception; what is OK can be recorded and gone on from."""
    for walk in (ads(), at_poll(), at_download(), ads(LIST), ads(ADS, TOO_BIG)):
        verdict = walk.take(answer(body, status))

        orjson.dumps({**verdict.picked, "cursor": verdict.next_cursor})
        if verdict.next_cursor is not None:
            walk.flow().call(walk.cursor)
