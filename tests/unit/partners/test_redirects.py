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
