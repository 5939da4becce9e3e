"""Calls and judgements of a flow."""

import contextlib
import gzip
from base64 import b64encode, urlsafe_b64encode
from html import escape
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import NoRoomError, UnexpectedAnswerError
from reportd.partners.body import Body
from reportd.partners.flow import NO_ROOM_SECONDS
from reportd.partners.unpacking import Part
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.credentials import Auth
from reportd.transport.exchange import Answer, Failure, FailureKind
from tests.unit.partners.making import AUTH, NOW, REPORT, answer, flow, partner

ROWS = {"data": [{"date": "2025-11-15", "clicks": 1}]}


def judge(reply: Answer | Failure, top: str = "", report: str = "", base: str = REPORT) -> Verdict:
    """Judge the answer to a first call."""
    return flow(partner(top, report, base=base)).judge({}, reply, NOW)


def test_the_first_call() -> None:
    """URL, query and headers are rendered; secrets stand apart and are not shown."""
    report = "query = { level = 'a b', n = 5, flag = true, x = ['1', '{{ account.id }}'] }\n"
    report += "headers = { X-Account = '{{ account.id }}' }\ntimeout_seconds = 9\n"

    call = flow(partner("", report)).call({})

    assert call.method == "GET"
    assert call.url == (
        "https://api.acme.com/v2/acc-1/stats?from=2025-11-15&to=2025-11-21"
        "&level=a%20b&n=5&flag=true&x=1&x=acc-1"
    )
    assert call.hosts == ("api.acme.com",)
    assert dict(call.headers) == {"X-Account": "acc-1"}
    assert call.secret_headers == AUTH.headers
    assert call.secret_query == AUTH.query
    assert call.timeout_seconds == 9
    assert call.body is None
    assert "hunter2" not in repr(call)
    assert "k3y" not in repr(call)


def test_a_post_with_a_json_body() -> None:
    """A body is built from templates, paging included."""
    base = (
        "[reports.stats]\npost = 'https://api.acme.com/q'\ncolumns = { a = 'string' }\n"
        "json = { query = 'from {{ from }}', page = { size = 50 } }\nrows = 'data'\n"
        "next = { cursor = 'next', json = 'page.token' }\n"
    )
    of = flow(partner(base=base), first_day="2025-11-21")

    call = of.call({})
    second = of.call({"cursor": "abc", "calls": "1"})

    assert call.method == "POST"
    assert call.headers["Content-Type"] == "application/json"
    assert orjson.loads(call.body or b"") == {"query": "from 2025-11-21", "page": {"size": 50}}
    assert orjson.loads(second.body or b"")["page"] == {"size": 50, "token": "abc"}
    assert orjson.loads(of.call({}).body or b"")["page"] == {"size": 50}


def test_an_answer_is_taken() -> None:
    """Rows with status 200 and nothing said about more: that was all."""
    assert judge(answer(ROWS)) == Verdict(outcome=Outcome.OK)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (202, Outcome.TRANSIENT),
        (206, Outcome.TRANSIENT),
        (301, Outcome.PERMANENT),
        (304, Outcome.PERMANENT),
        (400, Outcome.PERMANENT),
        (401, Outcome.AUTH),
        (403, Outcome.PERMANENT),
        (404, Outcome.PERMANENT),
        (408, Outcome.TRANSIENT),
        (425, Outcome.TRANSIENT),
        (418, Outcome.PERMANENT),
        (429, Outcome.THROTTLED),
        (500, Outcome.TRANSIENT),
        (501, Outcome.TRANSIENT),
        (503, Outcome.TRANSIENT),
        (599, Outcome.TRANSIENT),
        (299, Outcome.UNEXPECTED),
        (999, Outcome.TRANSIENT),
    ],
)
def test_the_usual_table(status: int, outcome: Outcome) -> None:
    """What statuses mean when the partner file says nothing."""
    found = judge(answer(ROWS, status))

    assert found.outcome is outcome
    assert str(status) in found.reason
    assert found.sample


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (FailureKind.CONNECT, Outcome.TRANSIENT),
        (FailureKind.TIMEOUT, Outcome.TRANSIENT),
        (FailureKind.RESET, Outcome.TRANSIENT),
        (FailureKind.SHORT_BODY, Outcome.TRANSIENT),
        (FailureKind.BAD_ENCODING, Outcome.TRANSIENT),
        (FailureKind.TOO_LARGE, Outcome.PERMANENT),
        (FailureKind.REFUSED, Outcome.PERMANENT),
    ],
)
def test_failures(kind: FailureKind, outcome: Outcome) -> None:
    """No answer is tried again, but for what would not change."""
    assert judge(Failure(kind=kind, detail="x", seconds=1)).outcome is outcome


def no_room_to_unpack(monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """Judge an answer that judging would have to put into a file."""

    def full(_body: Body) -> list[Part]:
        raise NoRoomError("TMPDIR has no room for it")

    monkeypatch.setattr(Body, "parts", full)
    return judge(answer(ROWS))


def test_no_room_is_no_failure_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others that are smaller get through: it waits, however often, and is not given up."""
    failure = Failure(kind=FailureKind.NO_ROOM, detail="TMPDIR is full", seconds=1)
    for verdict in (judge(failure), no_room_to_unpack(monkeypatch)):
        assert (verdict.outcome, verdict.scope) == (Outcome.THROTTLED, "call")
        assert verdict.wait_seconds == NO_ROOM_SECONDS
        assert "TMPDIR" in verdict.reason


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "17", 17),
        (429, "Sat, 22 Nov 2025 04:01:00 GMT", 60),
        (429, "", None),
        (429, "soon", None),
        (503, "5", 5),
    ],
)
def test_retry_after_is_honoured(status: int, header: str, seconds: float | None) -> None:
    """Seconds or an HTTP date, for 429 and 5xx alike."""
    assert judge(answer(b"", status, retry_after=header)).wait_seconds == seconds


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"<html><body>Bad gateway</body></html>", Outcome.TRANSIENT),
        (b"  \n<!DOCTYPE html>", Outcome.TRANSIENT),
        (b"<?xml version='1.0'?><a/>", Outcome.TRANSIENT),
        (b"", Outcome.TRANSIENT),
        (b"  \n ", Outcome.TRANSIENT),
        (b'{"data": [{"date": "2025-11-15"', Outcome.TRANSIENT),
        (b'{"data": [1, 2]', Outcome.TRANSIENT),
        (b"Internal error", Outcome.UNEXPECTED),
        (gzip.compress(b'{"data": []}', mtime=0)[:-4], Outcome.TRANSIENT),
        (gzip.compress(b'{"data": []}', mtime=0), Outcome.OK),
        (b"\xef\xbb\xbf" + b'{"data": []}', Outcome.OK),
        (b' {"data": []}\r\n' + b" " * 200, Outcome.OK),
    ],
)
def test_status_200_is_looked_at(body: bytes, outcome: Outcome) -> None:
    """HTML, nothing and half of it are asked for again: they are no data."""
    assert judge(answer(body)).outcome is outcome


def test_no_content_is_empty() -> None:
    """204 is an answer without rows."""
    assert judge(answer(b"", 204)) == Verdict(outcome=Outcome.OK, empty=True)


def test_code_in_the_body_with_status_200() -> None:
    """TikTok says 'slow down' with status 200."""
    top = "slow_down = [{ status = 200, body = 'code == `40100`', wait_seconds = 60 }]\n"

    found = judge(answer({"code": 40100, "message": "hunter2-token"}), top)

    assert (found.outcome, found.wait_seconds) == (Outcome.THROTTLED, 60)
    assert found.reason == "HTTP 200: slow_down[1]"
    assert b"hunter2" not in found.sample
    assert judge(answer({"code": 0, **ROWS}), top).outcome is Outcome.OK


def test_a_limit_with_status_403() -> None:
    """CM360 says 'quota' with status 403; the rule comes before the table."""
    top = (
        "quota = [{ status = 403, body = \"error.errors[0].reason == 'dailyLimitExceeded'\","
        " wait_until = 'midnight America/Los_Angeles', scope = 'partner' }]\n"
    )
    reply = answer({"error": {"errors": [{"reason": "dailyLimitExceeded"}]}}, 403)

    found = judge(reply, top, base="limits = [{ per = 'partner', calls = 1 }]\n" + REPORT)

    assert (found.outcome, found.scope) == (Outcome.QUOTA, "partner")
    assert found.wait_seconds == 4 * 3600 + 60
    assert judge(answer({"error": {}}, 403), top).outcome is Outcome.PERMANENT


@pytest.mark.parametrize("first", ["permanent", "transient"])
def test_rules_in_the_order_of_the_file(first: str) -> None:
    """The first rule of the file that fits decides, whichever kind it is."""
    kinds = [first, *({"permanent", "transient"} - {first})]
    top = "".join(f"{kind} = [{{ status = 400, reason = '{kind} it is' }}]\n" for kind in kinds)

    found = judge(answer(b"{}", 400), top)

    assert found.outcome is Outcome(first)
    assert found.reason == f"HTTP 400: {first} it is"


def test_all_of_a_rule_must_hold() -> None:
    """Status, header, body and text are joined by 'and'."""
    top = (
        "transient = [{ status = '4xx', header = { X-Kind = '^soft' }, body = 'again',"
        " text = 'oops' }]\n"
    )

    def outcome(status: int, kind: str, body: dict[str, Any]) -> Outcome:
        return judge(answer(body, status, **{"x-kind": kind}), top).outcome

    assert outcome(410, "softly", {"again": True, "m": "oops"}) is Outcome.TRANSIENT
    assert outcome(510, "softly", {"again": True, "m": "oops"}) is Outcome.TRANSIENT  # the table
    assert outcome(410, "hard", {"again": True, "m": "oops"}) is Outcome.PERMANENT
    assert outcome(410, "softly", {"again": False, "m": "oops"}) is Outcome.PERMANENT
    assert outcome(410, "softly", {"again": True}) is Outcome.PERMANENT


def test_text_rules_for_what_is_no_json() -> None:
    """A body that does not parse can still be recognised; a body rule just does not match."""
    top = "slow_down = [{ body = 'code' }, { text = 'QPS limit \\d+', wait = 'header:X-Wait' }]\n"

    found = judge(answer(b"App reaches the QPS limit 10", 200, **{"x-wait": "3"}), top)

    assert (found.outcome, found.wait_seconds) == (Outcome.THROTTLED, 3)


@pytest.mark.parametrize(
    "form", ["format = 'jsonl'\n", "format = 'csv'\nencoding = 'utf-16'\n", ""]
)
def test_a_refusal_is_json_whatever_the_rows_come_as(form: str) -> None:
    """Written over several lines, or in other characters than the report's: rules look into it."""
    base = REPORT.replace('rows = "data[]"\n', form)
    top = "too_big = [{ status = 400, body = \"error.code == 'TOO_BIG'\" }]\n"
    refused = orjson.dumps({"error": {"code": "TOO_BIG"}}, option=orjson.OPT_INDENT_2)

    assert judge(answer(refused, 400), top, base=base).outcome is Outcome.TOO_BIG


def test_waits_in_order_then_the_rules_own() -> None:
    """The first place that says something counts."""
    top = (
        "slow_down = [{ status = 429, wait = ['header:Retry-After', 'body:error.delay',"
        " 'header:X-Usage:max(values(@)[].wait)'], wait_unit = 'minutes', wait_seconds = 7 }]\n"
    )

    def wait(body: Any, **headers: str) -> float | None:
        return judge(answer(body, 429, **headers), top).wait_seconds

    assert wait({}, retry_after="1") == 60
    assert wait({"error": {"delay": "40591s"}}) == 40591
    assert wait({}, **{"x-usage": '{"a": {"wait": 2}, "b": {"wait": 3}}'}) == 180
    assert wait({}, **{"x-usage": "not json"}) == 7
    assert wait(b"not json") == 7


def test_no_data_is_no_failure() -> None:
    """An 'empty' rule makes a 404 an answer without rows."""
    top = "empty = [{ status = 404, body = \"reason == 'noData'\" }]\n"

    assert judge(answer({"reason": "noData"}, 404), top) == Verdict(outcome=Outcome.OK, empty=True)


def test_unauthorized_rules() -> None:
    """Meta says 400 with code 190 where others say 401."""
    top = "unauthorized = [{ status = 400, body = 'error.code == `190`' }]\n"

    assert judge(answer({"error": {"code": 190}}, 400), top).outcome is Outcome.AUTH


def test_samples_hold_no_secret_and_are_short() -> None:
    """A partner that echoes the token puts it into no dead letter, in no spelling."""
    body = b'{"a":"hunter2-token","b":"k3y%2Fsecret","c":"aHVudGVyMi10b2tlbg=="}' + b"x" * 9000

    sample = judge(answer(body, 400)).sample

    assert len(sample) <= 4096
    assert sample.count(b"[secret]") == 3
    for part in (b"hunter2", b"k3y", b"aHVudGVy"):
        assert part not in sample


@pytest.mark.parametrize("before", ["", "B", "Be", "Bearer ", "user:"])
@pytest.mark.parametrize("behind", ["", "\n", "; x"])
def test_a_secret_in_other_spellings(before: str, behind: str) -> None:
    """Percent-encoded, in JSON, in HTML, in Base64 with what stands around it: it is hidden."""
    secret = 'sword/fish"of+the=house%&<'
    echo = f"{before}{secret}{behind}"
    percented = quote(echo)
    spelled = [
        *(echo, percented, percented.lower()),
        orjson.dumps(echo).decode(),
        orjson.dumps(echo).decode().replace("/", "\\/"),
        escape(echo),
        b64encode(echo.encode()).decode(),
        urlsafe_b64encode(echo.encode()).decode(),
    ]
    auth = Auth(secrets=(secret,))

    for text in spelled:
        sample = flow(partner(), auth).judge({}, answer(f"a {text} b".encode(), 400), NOW).sample

        assert sample.count(b"[secret]") == 1, text
        assert len(sample) < len(before) * 2 + len(behind) * 6 + 24, sample


def test_a_secret_at_the_end_of_a_sample() -> None:
    """A secret that the sample's end cuts is not shown by half."""
    for cut in range(14):
        body = b"x" * (4096 - cut) + b"hunter2-token" + b"y" * 100
        assert b"hunt" not in judge(answer(body, 400)).sample


def test_secrets_of_all_shapes() -> None:
    """A secret with quotes, line ends or umlauts is hidden in JSON, too."""
    auth = Auth(secrets=('qu"ote\\x', "p\u00e4ss"))
    reply = answer({"echo": 'qu"ote\\x', "b": "p\u00e4ss"}, 400)

    sample = flow(partner(), auth).judge({}, reply, NOW).sample

    assert sample == b'{"echo":"[secret]","b":"[secret]"}'


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError):
        return b"null"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "next", "code", "error"]), inner, max_size=3)
    ),
    max_leaves=10,
).map(_dumps)
BODIES = (
    JSON
    | st.binary(max_size=200)
    | JSON.map(gzip.compress)
    | JSON.map(lambda body: body[: len(body) // 2])
    | st.binary(max_size=50).map(lambda tail: b"\x1f\x8b\x08" + tail)
)


@given(
    body=BODIES,
    status=st.integers(100, 599),
    header=st.text(max_size=20),
    page=st.sampled_from(
        [
            "",
            "next = { cursor = 'next', query = 'after' }\n",
            "next = { page = 1, query = 'page', size = 2, total = 'code' }\n",
            "next = { page = 1, query = 'page', pages = 'code', more = 'next' }\n",
            "next = { url = 'next' }\n",
            "next = { url = 'header:Link' }\n",
        ]
    ),
    form=st.sampled_from(["json", "jsonl"]),
)
def test_no_answer_breaks_the_judge(
    body: bytes, status: int, header: str, page: str, form: str
) -> None:
    """Whatever a partner sends, there is a verdict; parsing raises one kind of error alone."""
    top = (
        "slow_down = [{ body = 'contains(error, code)' }, { body = 'code > `5`', wait = "
        "'body:next' }, { header = { X-A = '^z' }, wait = 'header:X-A:a.b' }]\n"
    )
    of = partner(top, page + f"format = '{form}'\n")
    reply = Answer(
        status=status,
        headers={"retry-after": header, "x-a": header, "link": header},
        body=body,
        seconds=0,
    )

    found = flow(of).judge({}, reply, NOW)

    assert found.reason.isprintable()
    assert len(found.sample) <= 4096
    if found.outcome is Outcome.OK and found.next_cursor:
        assert flow(of).call(found.next_cursor).url.startswith("https://api.acme.com")
    report = of.reports["stats"]
    with contextlib.suppress(UnexpectedAnswerError):
        Body(body, report.spec).rows(report.rows)


@pytest.mark.parametrize(
    ("pers", "slowed"),
    [
        ((), "account"),
        (("partner",), "partner"),
        (("partner", "account"), "account"),
        (("credential", "partner"), "credential"),
    ],
)
def test_slow_down_is_for_the_narrowest_limit(pers: tuple[str, ...], slowed: str) -> None:
    """Where only the app is limited, a 429 for one account means all of them; also by a rule."""
    limits = ", ".join(f"{{ per = '{per}', calls = 5 }}" for per in pers)
    top = f"limits = [{limits}]\nslow_down = [{{ status = 420 }}]\n"
    of = flow(partner(top))

    found = [of.judge({}, answer(b"", status), NOW).scope for status in (429, 420)]
    assert found == [slowed, slowed]
