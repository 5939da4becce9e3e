"""From ``[auth]`` to the headers and parameters of a call, secrets and all."""

import hashlib
import hmac
from typing import Any

import pytest

from reportd.config.secrets import Secret
from reportd.errors import ConfigError, InvalidMessageError
from reportd.transport.credentials import Auth, Credentials
from reportd.transport.token_request import TokenPlan
from tests.unit.partners.making import partner, request

SECRETS = {"app": "app-s3cret", "token-main": "tok3n", "token-second": "0ther", "umlaut": "ü"}


def credentials() -> Credentials:
    return Credentials(lambda name: Secret(SECRETS[name], name))


def auth(section: str, **fields: Any) -> Auth:
    return credentials().auth(partner(f"[auth]\n{section}\n").auth_plan(request(**fields)))


META = """
secrets = { token = { secret = "token-{{ account.credential }}" }, app = { secret = "app" } }

[auth.query]
access_token = "{{ secrets.token }}"
proof = "{{ secrets.token | hmac_sha256(secrets.app) }}"
"""


def test_a_proof_of_secrets() -> None:
    """Meta's appsecret_proof: made of two secrets, itself one; the key is sent nowhere."""
    proof = hmac.new(b"app-s3cret", b"tok3n", hashlib.sha256).hexdigest()

    found = auth(META)

    assert found.query == (("access_token", "tok3n"), ("proof", proof))
    assert set(found.secrets) == {proof, "tok3n", "app-s3cret"}
    assert proof not in repr(found)


def test_a_secret_with_words_around_it() -> None:
    """A key that is not alone in its header; all of it is hidden."""
    found = auth(
        "secrets = { key = { secret = 'app' } }\nheaders = { X-Auth = 'Key {{ secrets.key }}' }"
    )

    assert found.headers == (("X-Auth", "Key app-s3cret"),)
    assert "Key app-s3cret" in found.secrets


def test_headers_of_the_account() -> None:
    """What is no secret is not hidden; what an account does not have is left out."""
    section = (
        "headers = { login-customer-id = '{{ account.manager | default(\"\") }}',"
        " developer-token = { secret = 'app' } }"
    )

    managed = auth(section, attributes={"manager": "77"})
    alone = auth(section)

    assert managed.headers == (("developer-token", "app-s3cret"), ("login-customer-id", "77"))
    assert managed.secrets == ("app-s3cret",)
    assert alone.headers == (("developer-token", "app-s3cret"),)


def test_accounts_share_what_is_kept() -> None:
    """A plan knows of a request only what its texts speak of."""
    found = partner(f"[auth]\n{META}\n")

    one = found.auth_plan(request(account="a", attributes={"x": "1"}))
    two = found.auth_plan(request(account="b"))
    other = found.auth_plan(request(credential="second"))

    assert one == two
    assert hash(one) == hash(two)
    assert one != other


def test_what_an_account_lacks_is_found_before_the_call() -> None:
    """A message without what auth speaks of is a dead letter, not a call without a header."""
    found = partner("[auth]\nheaders = { Scope = '{{ account.profile }}' }\n")

    found.check_request(request(attributes={"profile": "p"}))
    with pytest.raises(InvalidMessageError, match=r"account\.profile"):
        found.check_request(request())
    with pytest.raises(InvalidMessageError, match="plain ASCII"):
        found.check_request(request(attributes={"profile": "ü"}))


def test_a_secret_that_does_not_fit_is_named_only() -> None:
    """A broken secret is the credential's trouble, and stands in no message."""
    with pytest.raises(ConfigError, match=r"auth\.header\.X: .*ASCII") as caught:
        auth("secrets = { key = { secret = 'umlaut' } }\nheaders = { X = '{{ secrets.key }}' }")

    assert "ü" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("headers = { X = '{{ secrets.nope }}' }", "auth.headers.X: {{ secrets.nope }} is unknown"),
        ("query = { x = '{{ secret.app }}' }", "did you mean 'secrets'?"),
        ("bearer = { secret = '{{ secrets.app }}' }", "{{ secrets }} is unknown"),
        (
            "bearer = { secret = 'a' }\nheaders = { authorization = { secret = 'b' } }",
            "sets this header, too",
        ),
    ],
)
def test_mistakes(section: str, wanted: str) -> None:
    """Each is said in words that help; secrets stand in ``auth`` alone."""
    with pytest.raises(ConfigError) as caught:
        partner(f"[auth]\n{section}\n")

    assert wanted in str(caught.value)


def test_secrets_are_for_auth_alone() -> None:
    """A report's templates cannot speak of them: their URLs and bodies are logged."""
    with pytest.raises(ConfigError, match=r"secrets }} is unknown"):
        partner(f"[auth]\n{META}\n", "headers = { X = '{{ secrets.app }}' }\n")


OAUTH2 = """
[auth.oauth2]
grant = "refresh_token"
token_url = "https://login.acme.com/{{ account.tenant }}/token"
client_id = { secret = "acme-client" }
client_secret = { secret = "acme-client-secret" }
refresh_token = { secret = "acme-{{ account.credential }}" }
scopes = ["offline_access"]
fields = { resource = "ads-{{ account.tenant }}" }
"""


def test_the_plan_of_a_refresh_token() -> None:
    """Names of secrets, and the one host that is sent them."""
    found = partner(OAUTH2).auth_plan(request(attributes={"tenant": "a/b"}))

    assert found.token_header == "Authorization"
    assert found.token_prefix == "Bearer "
    assert found.token == TokenPlan(
        partner="acme",
        grant="refresh_token",
        url="https://login.acme.com/a%2Fb/token",
        hosts=("login.acme.com",),
        client_id_secret="acme-client",
        client_secret="acme-client-secret",
        refresh_token="acme-main",
        scopes=("offline_access",),
        fields=(("resource", "ads-a/b"),),
        rotates=True,
    )


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        (
            'grant = "client_credentials"\nclient_id = "app"\nclient_secret = { secret = "s" }\n'
            'client_auth = "basic"',
            {"client_id": "app", "client_secret": "s", "client_basic": True},
        ),
        (
            'grant = "service_account"\nkey = { secret = "k" }\nscopes = ["a"]\n'
            'subject = "{{ account.id }}"',
            {"key": "k", "scopes": ("a",), "subject": "acc-1"},
        ),
    ],
)
def test_the_plans_of_other_grants(section: str, fields: dict[str, Any]) -> None:
    """No refresh token, so nothing rotates."""
    text = f'[auth.oauth2]\ntoken_url = "https://login.acme.com/t"\n{section}\n'

    found = partner(text).auth_plan(request()).token

    assert found is not None
    assert {name: getattr(found, name) for name in fields} == fields
    assert not found.rotates


def test_token_servers_by_region() -> None:
    """A templated host has to be one of those that the file names."""
    text = OAUTH2.replace("login.acme.com", "api.acme.{{ account.tld }}").replace(
        "scopes =", 'hosts = ["api.acme.com", "api.acme.co.uk"]\nscopes ='
    )

    found = partner(text).auth_plan(request(attributes={"tenant": "t", "tld": "co.uk"})).token

    assert found is not None
    assert (found.url, found.hosts) == (
        "https://api.acme.co.uk/t/token",
        ("api.acme.com", "api.acme.co.uk"),
    )


class Tokens:
    """Gives one token."""

    def token(self, _plan: TokenPlan, _refused: str = "") -> str:
        return "t0ken"

    def known(self, _plan: TokenPlan) -> tuple[str, ...]:
        return ("t0ken",)


def test_where_a_token_stands() -> None:
    """In another header, with other words, or within a text; hidden in each."""
    top = 'header = ""\n[auth.headers]\nX-Token = "Token {{ token }}"\n'
    found = partner(OAUTH2 + top + '[auth.query]\nproof = "{{ token | sha256 }}"\n')
    given = Credentials(lambda name: Secret(name, name), Tokens())

    made = given.auth(found.auth_plan(request(attributes={"tenant": "t"})))

    proof = hashlib.sha256(b"t0ken").hexdigest()
    assert made.headers == (("X-Token", "Token t0ken"),)
    assert made.query == (("proof", proof),)
    assert {"t0ken", "Token t0ken", proof} <= set(made.secrets)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("client_id =", "# client_id ="), "auth.oauth2.client_id: is missing"),
        (("refresh_token = {", "# refresh_token = {"), "auth.oauth2.refresh_token: is missing"),
        (("scopes =", 'key = { secret = "k" }\nscopes ='), "auth.oauth2.key: not with grant"),
        (("https://login", "http://login"), "auth.oauth2.token_url: not an https URL"),
        (("https://login.acme.com/", "login/"), "auth.oauth2.token_url: write the whole URL"),
        (("login.acme.com", "{{ account.host }}"), "auth.oauth2.token_url: write the whole URL"),
        (
            ("scopes =", 'hosts = ["other.com"]\nscopes ='),
            "auth.oauth2.token_url: not a host that the partner file names",
        ),
        (('"refresh_token"', '"password"'), "auth.oauth2.grant: must be one of"),
        (("[auth.oauth2]", "[auth]\nbearer = { secret = 'x' }\n[auth.oauth2]"), "all are one"),
        (
            ("[auth.oauth2]", "[auth]\nheaders.authorization = 'x'\n[auth.oauth2]"),
            "sets this header",
        ),
    ],
)
def test_mistakes_of_oauth2(change: tuple[str, str], wanted: str) -> None:
    """Each is said with its path."""
    with pytest.raises(ConfigError) as caught:
        partner(OAUTH2.replace(*change, 1))

    assert wanted in str(caught.value)


def test_a_token_without_oauth2() -> None:
    """Nobody would fetch it."""
    with pytest.raises(ConfigError, match=r"auth\.headers\.X: {{ token }} is that of oauth2"):
        partner("[auth]\nheaders = { X = '{{ token }}' }\n")
