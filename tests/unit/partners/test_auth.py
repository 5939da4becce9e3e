"""From ``[auth]`` to the headers and parameters of a call, secrets and all."""

import hashlib
import hmac
from typing import Any

import pytest

from reportd.config.secrets import Secret
from reportd.errors import ConfigError, InvalidMessageError
from reportd.transport.credentials import Auth, Credentials
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
