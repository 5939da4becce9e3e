"""Redirects are followed by calls of their own: where to, with what, and how often."""

from dataclasses import replace

import pytest

from reportd.partners.flow import Flow
from reportd.partners.redirects import MOST
from reportd.partners.verdict import Cursor, Outcome, Verdict
from reportd.transport.exchange import Answer, Call, Failure
from tests.unit.partners.making import AUTH, NOW, REPORT, answer, partner, request
from tests.unit.partners.test_step_spec import ADS


class Walk:
    """One request's calls, each judged before the next."""

    def __init__(self, top: str = "", **fields: str) -> None:
        self.of = partner(top, **fields)
        self.of.hosts = ("api.acme.com", "files.acme.com")
        self.volatile: dict[str, object] = {}
        self.cursor: Cursor = {}
        self.verdict = Verdict(outcome=Outcome.OK)

    def call(self) -> Call:
        return self.flow().call(self.cursor)

    def flow(self) -> Flow:
        return Flow(self.of, request(), AUTH, {}, self.volatile)

    def take(self, found: Answer | Failure) -> Call:
        """Take an answer, return the call that follows."""
        flow = self.flow()
        flow.call(self.cursor)
        self.verdict = flow.judge(self.cursor, found, NOW)
        self.volatile = dict(self.verdict.volatile)
        self.cursor = dict(self.verdict.next_cursor or {})
        return self.call()


def to(url: str, status: int = 302) -> Answer:
    return answer(b"", status, location=url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_on_the_same_host_it_goes_with_the_credentials(status: int) -> None:
    """It waits in memory for its turn: nothing is recorded, no row came."""
    walk = Walk()

    found = walk.take(to("/y?z=1", status))

    assert (found.url, found.secret_headers) == ("https://api.acme.com/y?z=1", AUTH.headers)
    assert (walk.verdict.outcome, walk.verdict.empty) == (Outcome.OK, True)
    assert not walk.verdict.is_recorded


def test_to_another_host_it_goes_without_and_stays_without() -> None:
    """A download host gets no token, and cannot send anybody back with it."""
    walk = Walk()

    there = walk.take(to("https://files.acme.com/y?sig=5ec4e7ab"))
    back = walk.take(to("https://api.acme.com/z"))

    assert (there.secret_headers, there.secret_query) == ((), ())
    assert (back.url, back.secret_headers) == ("https://api.acme.com/z", ())


def test_where_it_leads_is_seen_nowhere() -> None:
    """It may be presigned: as good as a credential."""
    walk = Walk()
    walk.take(to("https://files.acme.com/y?sig=5ec4e7ab"))

    refused = walk.flow().judge({}, answer(b"<E>5ec4e7ab</E>", 400), NOW)

    assert "5ec4e7ab" not in f"{walk.cursor}{refused!r}{refused.sample!r}"


@pytest.mark.parametrize(
    "url", ["https://evil.example/y", "//169.254.169.254/latest", "file:///etc/passwd"]
)
def test_elsewhere_nobody_goes(url: str) -> None:
    """No answer sends us to a host that the partner file does not name."""
    walk = Walk()

    walk.take(to(url))

    assert (walk.verdict.outcome, walk.verdict.volatile) == (Outcome.PERMANENT, {})
    assert "a redirect: " in walk.verdict.reason


def test_it_ends_somewhere() -> None:
    """A URL that is none, circles, and what is not followed at all are refusals."""
    walk = Walk()
    for number in range(MOST):
        assert walk.take(to(f"/{number}")).url == f"https://api.acme.com/{number}"
    walk.take(to("/again"))
    assert (walk.verdict.outcome, f"more than {MOST} redirects" in walk.verdict.reason) == (
        Outcome.PERMANENT,
        True,
    )
    for found in (to("http://[::1"), answer(b"", 302)):
        walk = Walk()
        walk.take(found)
        assert walk.verdict.outcome is Outcome.PERMANENT


def test_a_post_is_never_sent_again() -> None:
    """Not elsewhere either."""
    walk = Walk(base=REPORT.replace("get =", "post ="))

    walk.take(to("/y"))

    assert (walk.verdict.outcome, walk.verdict.volatile) == (Outcome.PERMANENT, {})


def test_the_next_page_is_asked_where_it_always_is() -> None:
    """A redirect is of the call that it answered alone."""
    walk = Walk(report="next = { cursor = 'next', query = 'after' }\n")
    walk.take(to("https://api.acme.com/elsewhere"))

    found = walk.take(answer({"data": [], "next": "c2"}))

    assert found.url.startswith("https://api.acme.com/v2/")
    assert found.url.endswith("after=c2")


def test_the_files_rules_come_first() -> None:
    """A redirect to a login page is no answer to follow."""
    rule = 'unauthorized = [{ status = 302, header = { Location = "/login" } }]\n'
    walk = Walk(rule)

    walk.take(to("/login?next=x"))

    assert walk.verdict.outcome is Outcome.AUTH


def test_a_picked_url_may_lead_on() -> None:
    """Both are kept for the call that follows: the URL, and where it led."""
    of = partner(base=ADS)
    url = "https://a.s3.amazonaws.com/x"
    cursor = {"step": "download", "since": "1"}
    flow = Flow(of, request(report="ads"), AUTH, {"report": "r-1"}, {"url": url})
    flow.call(cursor)
    verdict = flow.judge(cursor, to("https://b.s3.amazonaws.com/y"), NOW)

    following = Flow(of, request(report="ads"), AUTH, {"report": "r-1"}, verdict.volatile)

    assert following.call(cursor).url == "https://b.s3.amazonaws.com/y"
    assert replace(following.call(cursor), url=url) == flow.call(cursor)


PAGED = ADS.replace('{{ picked.url }}"', 'https://api.acme.com/f/{{ picked.report }}"').replace(
    "hosts = [", 'next = { url = "next" }\nhosts = ['
)
"""A file that is read in pages, after a redirect to storage."""
REPORT_HEAD = "rows = 'data[]'\nheaders = { X-Client = 'c' }"
AT_FILE: Cursor = {"step": "download", "since": "1"}


class FileWalk(Walk):
    """Stands where the report's file is asked for; the report has headers, too."""

    def __init__(self, top: str = "") -> None:
        text = PAGED.replace("[reports.ads]", f"[reports.ads]\n{REPORT_HEAD}")
        super().__init__(top, base=text)
        self.of.hosts = ("api.acme.com",)
        self.cursor = dict(AT_FILE)

    def flow(self) -> Flow:
        return Flow(self.of, request(report="ads"), AUTH, {"report": "r-1"}, self.volatile)


def test_a_steps_hosts_are_for_redirects_not_for_next_urls() -> None:
    """A URL out of an answer would take the credential to anybody's bucket."""
    walk = FileWalk()

    walk.take(answer({"data": [], "next": "https://evil.s3.amazonaws.com/p2"}))

    assert (walk.verdict.outcome, walk.verdict.next_cursor) == (Outcome.UNEXPECTED, None)
    assert "next.url: not a host" in walk.verdict.reason


def test_after_a_redirect_the_next_page_is_the_partners() -> None:
    """A relative URL is seen from the partner's own, which alone gets the credential."""
    walk = FileWalk()
    walk.take(to("https://a.s3.amazonaws.com/x?sig=1"))

    following = walk.take(answer({"data": [], "next": "/p2?key=k"}))

    assert walk.cursor["url"] == "https://api.acme.com/p2"
    assert (following.url, following.secret_headers) == (walk.cursor["url"], AUTH.headers)


def test_on_the_same_host_the_next_page_is_seen_from_where_it_led() -> None:
    """As any client does."""
    walk = FileWalk()
    walk.take(to("https://api.acme.com/elsewhere/x"))

    assert walk.take(answer({"data": [], "next": "p2"})).url == "https://api.acme.com/elsewhere/p2"


def test_other_hosts_get_nothing_of_the_report() -> None:
    """Neither by a redirect, nor by a cursor that was recorded long ago."""
    walk = FileWalk()
    assert walk.call().headers["X-Client"] == "c"
    there = walk.take(to("https://a.s3.amazonaws.com/x?sig=1"))
    walk.cursor = {**AT_FILE, "url": "https://evil.s3.amazonaws.com/p2"}
    recorded = walk.call()

    for call in (there, recorded):
        assert call.url.partition("/x")[0].partition("/p2")[0].endswith(".s3.amazonaws.com")
        assert (call.headers, call.secret_headers, call.secret_query) == ({}, (), ())


def test_the_default_port_is_no_other_host() -> None:
    """Some gateways name it in their redirects."""
    walk = Walk()

    assert walk.take(to("https://api.acme.com:443/x")).secret_headers == AUTH.headers


def test_redirects_of_pages_do_not_pile_up() -> None:
    """Only the page that is asked for stands in memory, and a URL that was picked."""
    walk = Walk(report="next = { cursor = 'next', query = 'after' }\n")
    walk.volatile = {"url": "https://files.acme.com/picked"}
    for page in range(5):
        kept = walk.volatile
        found = walk.take(to(f"https://files.acme.com/{page}"))
        assert found.url == f"https://files.acme.com/{page}"
        assert (len(walk.volatile), walk.volatile["url"]) == (2, kept["url"])
        kept = walk.volatile
        walk.take(answer({"data": [], "next": f"c{page}"}))
        walk.volatile = kept  # as the worker does


@pytest.mark.parametrize(
    ("status", "top"), [(401, ""), (403, ""), (403, "unauthorized = [{ status = 403 }]\n")]
)
def test_what_was_called_without_the_credential_cannot_refuse_it(status: int, top: str) -> None:
    """A presigned URL whose time is over: the partner is asked for a fresh one."""
    walk = FileWalk(top)
    own = walk.flow().judge(walk.cursor, answer(b"no", status), NOW)
    walk.take(to("https://a.s3.amazonaws.com/x?sig=1"))

    walk.take(answer(b"<Error/>", status))

    expected = Outcome.AUTH if status == 401 or top else Outcome.PERMANENT
    assert (own.outcome, walk.verdict.outcome) == (expected, Outcome.EXPIRED)
    assert "without the credential" in walk.verdict.reason
