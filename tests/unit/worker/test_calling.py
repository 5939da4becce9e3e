"""One call of an entry: its limits, its secrets, its answer."""

from collections.abc import Sequence

import pytest

from reportd.config.secrets import Secret
from reportd.errors import (
    ConfigError,
    CredentialRefusedError,
    InvalidMessageError,
    NotYetError,
)
from reportd.limits.limiter import Scope
from reportd.model.request import Request
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.client import Client
from reportd.transport.credentials import Credentials
from reportd.transport.exchange import Answer, Call, Failure
from reportd.transport.token_request import TokenPlan
from reportd.worker.calling import PartnerCaller, Rules
from tests.unit.partners.making import answer, partner
from tests.unit.partners.test_step_spec import ADS
from tests.unit.worker.making import WALL, entry, request

AUTH = 'auth = { bearer = { secret = "acme.token" } }\n'
ROWS = answer({"data": []})


class Sent(Client):
    """A client that sends nothing: it notes each call and gives the next answer."""

    def __init__(self, answers: Sequence[Answer | Failure]) -> None:
        self.answers = list(answers)
        self.calls: list[Call] = []

    def send(self, call: Call) -> Answer | Failure:
        self.calls.append(call)
        return self.answers.pop(0)


def called(
    *answers: Answer, secrets: Sequence[str | ConfigError] = ("one",)
) -> tuple[Sent, Verdict]:
    """Make one call with a partner that needs a secret, read anew as often as given."""
    left = list(secrets)

    def read(name: str) -> Secret:
        value = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(value, ConfigError):
            raise value
        return Secret(value, name)

    client = Sent(answers)
    caller = PartnerCaller({"acme": partner(AUTH)}, client, Credentials(read), lambda: WALL)
    return client, caller.call(entry())[1]


def test_a_call_is_sent_with_its_secret() -> None:
    """The first call of a request, authorized."""
    client, verdict = called(ROWS)

    assert verdict.outcome is Outcome.OK
    assert [call.secret_headers for call in client.calls] == [(("Authorization", "Bearer one"),)]


def test_a_401_with_a_new_secret_asks_to_be_called_again() -> None:
    """The token was rotated. It is sent once here: the next call takes from the limits first."""
    client, verdict = called(answer(status=401), secrets=("old", "new"))

    assert (verdict.outcome, verdict.is_renewed, len(client.calls)) == (Outcome.AUTH, True, 1)


def test_a_401_with_the_same_secret_is_not_tried_again() -> None:
    """Nothing has changed: asking twice would only spend the limit."""
    client, verdict = called(answer(status=401))

    assert (verdict.outcome, verdict.is_renewed, len(client.calls)) == (Outcome.AUTH, False, 1)


def test_a_new_secret_that_is_refused_too_is_the_credentials_trouble() -> None:
    """Refresh once, then the circuit's business: no token server is asked again and again."""
    given = Given("one", "two")
    client = Sent([answer(status=401), answer(status=401)])
    caller = PartnerCaller(
        {"acme": partner(OAUTH2)}, client, Credentials(Secret, given), lambda: WALL
    )
    one = entry()
    one.is_renewed = caller.call(one)[1].is_renewed
    given.tokens = ["two"]

    verdict = caller.call(one)[1]

    assert (verdict.outcome, verdict.is_renewed) == (Outcome.AUTH, False)
    assert given.refused == ["", "one", ""]


def test_a_missing_secret_is_the_credentials_trouble() -> None:
    """No call leaves without it, and no request is given up for it at once."""
    client, verdict = called(secrets=(ConfigError("secret 'acme.token': missing"),))

    assert (verdict.outcome, client.calls) == (Outcome.AUTH, [])


def test_a_request_that_cannot_be_rendered_is_permanent() -> None:
    """A template lacks what it needs: the request can never work, and costs no limit."""
    one = entry()
    one.cursor = {"url": "https://api.acme.com/next"}
    broken = partner('auth = { bearer = { secret = "{{ account.credential }}" } }\n')
    one.request = one.request.model_copy(update={"credential": "../x"})
    caller = PartnerCaller({"acme": broken}, Sent([]), Credentials(Secret), lambda: WALL)

    verdict = caller.call(one)[1]
    assert (verdict.outcome, verdict.unsent) == (Outcome.PERMANENT, True)


def test_a_step_is_called_with_what_was_picked() -> None:
    """A report's id from the ledger, a URL from memory."""
    one = entry(report="ads")
    one.cursor, one.picked = {"step": "poll"}, {"report": "r-1"}
    client = Sent([answer({"status": "PENDING"}), answer([])])
    caller = PartnerCaller({"acme": partner(base=ADS)}, client, Credentials(Secret), lambda: WALL)

    assert caller.call(one)[1].outcome is Outcome.PENDING
    one.cursor, one.volatile = {"step": "download"}, {"url": "https://a.s3.amazonaws.com/x"}
    assert caller.call(one)[1].outcome is Outcome.OK
    assert [call.url[-4:] for call in client.calls] == ["/r-1", "om/x"]


def test_a_cursor_that_the_file_knows_no_more_starts_over() -> None:
    """A reload changed the steps: no call is made with what is left of the old ones."""
    one = entry(report="ads")
    one.cursor = {"step": "renamed"}
    client = Sent([])
    caller = PartnerCaller({"acme": partner(base=ADS)}, client, Credentials(Secret), lambda: WALL)

    verdict = caller.call(one)[1]
    assert (verdict.outcome, verdict.unsent, client.calls) == (Outcome.FAILED, True, [])


def test_limits_stay_a_bit_inside_what_the_partner_allows() -> None:
    """A margin for windows (2 %, at most a quarter second), half of a bucket's burst."""
    rules = Rules(partner("""
limits = [
  { per = "account", calls = 5, seconds = 1 },
  { per = "partner", calls = 9, seconds = 3600, meter = "fixed" },
  { per = "partner", calls = 9, seconds = 1, meter = "bucket", burst = 7 },
  { per = "account", calls = 5, seconds = 1, margin_seconds = 0.5 },
]
"""))  # fmt: skip

    assert [rule.margin_seconds for rule in rules.limits] == [0.02, 0.25, 0.02, 0.5]
    assert [rule.burst for rule in rules.limits] == [1, 1, 3, 1]


def test_a_limit_of_some_reports_counts_only_those() -> None:
    """It has a scope of its own, which other reports are not in."""
    rules = Rules(partner('limits = [{ per = "account", calls = 1, reports = ["stats"] }]\n'))

    assert rules.limits[0].per == "account#stats"
    assert Scope("account#stats", "a") in rules.scopes_of(request())
    assert Scope("account#stats", "a") not in rules.scopes_of(request(report="ads"))
    assert Scope("account", "a") in rules.scopes_of(request(report="ads"))


def test_the_patience_is_the_files() -> None:
    """How often and how long is tried stands in the partner file."""
    retry = Rules(partner("retry = { attempts = 3, base_seconds = 2, max_seconds = 9 }\n")).retry

    assert (retry.attempts, retry.base_seconds, retry.max_seconds) == (3, 2.0, 9.0)


def test_requests_are_checked_and_keyed_by_the_file() -> None:
    """What the file does not know is refused; the key is its widest limit's scope."""
    rules = Rules(partner('limits = [{ per = "partner", calls = 1 }]\n'))
    assert (rules.key_of(request()), Rules(partner()).key_of(request())) == ("acme", "a")

    with pytest.raises(InvalidMessageError):
        rules.check(request(report="other"))


OAUTH2 = """
[auth.oauth2]
grant = "client_credentials"
token_url = "https://auth.acme.com/token"
client_id = "app"
client_secret = { secret = "app" }
"""


class Given:
    """Gives tokens, or the error that a test wants; says which tokens were refused."""

    def __init__(self, *tokens: str | Exception) -> None:
        self.tokens = list(tokens)
        self.refused: list[str] = []

    def token(self, _plan: TokenPlan, refused: str = "") -> str:
        self.refused.append(refused)
        found = self.tokens.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def known(self, _plan: TokenPlan) -> tuple[str, ...]:
        return ("app-secret",)


def with_tokens(given: Given, *answers: Answer) -> tuple[Sent, Verdict]:
    client = Sent(answers)
    caller = PartnerCaller(
        {"acme": partner(OAUTH2)}, client, Credentials(Secret, given), lambda: WALL
    )
    return client, caller.call(entry())[1]


def test_a_token_that_ends_in_the_middle_is_not_noticed() -> None:
    """The 401 brings a new token, and the call is made again with that."""
    given = Given("one", "two", "two")
    client = Sent([answer(status=401), ROWS])
    caller = PartnerCaller(
        {"acme": partner(OAUTH2)}, client, Credentials(Secret, given), lambda: WALL
    )

    verdicts = [caller.call(entry())[1] for _ in range(2)]

    assert [verdict.is_renewed for verdict in verdicts] == [True, False]
    sent = [call.secret_headers for call in client.calls]
    assert sent == [(("Authorization", "Bearer one"),), (("Authorization", "Bearer two"),)]
    assert given.refused == ["", "one", ""]


def test_a_token_that_is_not_there_yet_holds_no_thread() -> None:
    """Nothing is sent, no limit counts it, and the credential alone waits."""
    client, verdict = with_tokens(Given(NotYetError("its token is being fetched", 0.25)))

    assert client.calls == []
    assert (verdict.outcome, verdict.unsent) == (Outcome.THROTTLED, True)
    assert (verdict.scope, verdict.wait_seconds) == ("credential", 0.25)


def test_a_revoked_credential_is_said_with_its_reason() -> None:
    """Refused for certain: nothing is sent."""
    client, verdict = with_tokens(Given(CredentialRefusedError("refused: invalid_grant")))

    assert (verdict.outcome, verdict.unsent) == (Outcome.AUTH, True)
    assert "invalid_grant" in verdict.reason
    assert client.calls == []


def test_a_401_whose_new_token_is_refused_is_a_call_that_was_made() -> None:
    """The partner was asked: its limit counts it; people read both reasons."""
    given = Given("one", CredentialRefusedError("refused: invalid_grant"))

    _, verdict = with_tokens(given, answer(status=401))

    assert (verdict.outcome, verdict.unsent) == (Outcome.AUTH, False)
    assert "HTTP 401" in verdict.reason
    assert "invalid_grant" in verdict.reason


def test_a_401_while_another_fetches_waits_for_that() -> None:
    """It is no attempt, and no refusal."""
    given = Given("one", NotYetError("its token is being fetched", 0.25))

    _, verdict = with_tokens(given, answer(status=401))

    assert (verdict.outcome, verdict.unsent) == (Outcome.THROTTLED, False)


def test_a_grant_does_not_wait_for_a_token() -> None:
    """Sixteen calls that were granted over some seconds must not leave together."""
    walls = iter([WALL, WALL + 3.0])
    client = Sent([ROWS])
    credentials = Credentials(Secret, Given("one"))
    caller = PartnerCaller({"acme": partner(OAUTH2)}, client, credentials, lambda: next(walls))

    verdict = caller.call(entry())[1]

    assert (verdict.outcome, verdict.unsent, verdict.wait_seconds) == (Outcome.THROTTLED, True, 0)
    assert client.calls == []


def test_what_must_not_be_seen_of_a_call_asks_nobody() -> None:
    """The finishing thread hides tokens; it fetches none."""
    given = Given()
    caller = PartnerCaller(
        {"acme": partner(OAUTH2)}, Sent([]), Credentials(Secret, given), lambda: WALL
    )

    assert caller.secrets_of(request()) == ("app-secret",)
    assert given.refused == []


def test_secrets_that_are_not_there_any_more_are_said_to_be_unknown() -> None:
    """It is no trouble of the thread that wants to hide them."""

    def read(name: str) -> Secret:
        raise ConfigError(f"secret {name}: not there")

    caller = PartnerCaller({"acme": partner(AUTH)}, Sent([]), Credentials(read), lambda: WALL)

    assert caller.secrets_of(request()) is None


def test_limits_of_before_a_reload_are_kept_beside_the_new_ones() -> None:
    """Also those of kinds that the new file does not have any more."""
    before = partner('limits = [{ per = "account", calls = 1, reports = ["stats"] }]\n')
    rules = Rules(partner('limits = [{ per = "account", calls = 9 }]\n'), before)

    assert [(rule.per, rule.calls, rule.is_old) for rule in rules.limits] == [
        ("account", 9, False),
        ("account#stats", 1, True),
    ]
    assert Scope("account#stats", "a") in rules.scopes_of(request())


BY_BUSINESS = "limits = [{ per = '{{ account.business }}', calls = 9 }]\n"


def test_a_message_that_is_no_request_is_counted_nowhere() -> None:
    """A limit by a template speaks of what it does not have: it ends as poison, not the worker."""
    rules = Rules(partner(BY_BUSINESS))

    scopes = rules.scopes_of(Request.unreadable("poison-requests.acme-0-7", "acme"))

    assert [scope.per for scope in scopes] == ["partner", "credential", "report", "account"]


def test_what_the_file_of_before_a_reload_does_not_know_counts_in_the_new_limits() -> None:
    """A report that has just come, or an attribute: no worker of before has called with it."""
    rules = Rules(
        partner('limits = [{ per = "account", calls = 9, reports = ["stats"] }]\n'),
        partner(BY_BUSINESS),
    )

    assert Scope("account#stats", "a") in rules.scopes_of(request())
