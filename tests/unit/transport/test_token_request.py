"""What a token server is asked, and what its answers mean."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from reportd.transport.exchange import Answer, Failure, FailureKind
from reportd.transport.token_request import (
    LIFETIME_MOST_SECONDS,
    Minted,
    TokenSecrets,
    Trouble,
    token_call,
    token_in,
)
from tests.unit.transport.token_server import NOW, PLAN, said

RECORDED = Path(__file__).parents[2] / "data" / "recorded"
SECRETS = TokenSecrets(client_id="app", client_secret="s3&cret", refresh_token="r/1", key="{}")


def form(**changes: Any) -> dict[str, list[str]]:
    call = token_call(replace(PLAN, **changes), SECRETS, lambda *_: "signed", NOW)
    return parse_qs((call.body or b"").decode())


def test_a_refresh_token() -> None:
    """RFC 6749, 6, with the client in the form."""
    assert form(scopes=("a", "b")) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["r/1"],
        "scope": ["a b"],
        "client_id": ["app"],
        "client_secret": ["s3&cret"],
    }


def test_client_credentials_with_basic() -> None:
    """RFC 6749, 4.4 and 2.3.1: id and secret are encoded before they are joined."""
    plan = replace(
        PLAN, grant="client_credentials", client_basic=True, fields=(("audience", "x y"),)
    )

    call = token_call(plan, SECRETS, lambda *_: "", NOW)

    packed = base64.b64encode(b"app:s3%26cret").decode()
    assert call.secret_headers == (("Authorization", f"Basic {packed}"),)
    assert call.body == b"grant_type=client_credentials&audience=x+y"
    assert (call.method, call.url, call.hosts) == ("POST", PLAN.url, PLAN.hosts)


def test_a_service_account() -> None:
    """RFC 7523: nothing but the assertion."""
    assert form(grant="service_account") == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "assertion": ["signed"],
    }


def test_nothing_of_it_shows() -> None:
    """Call, secrets and what was minted hold no secret in their reprs."""
    call = token_call(PLAN, SECRETS, lambda *_: "", NOW)
    found = token_in(PLAN, said(200, access_token="t0ken", refresh_token="n3xt"))

    shown = f"{call}{SECRETS}{found}"
    assert not [word for word in ("s3&", "r/1", "t0ken", "n3xt") if word in shown]


@pytest.mark.parametrize("name", ["google_ads", "bing"])
def test_recorded_answers(name: str) -> None:
    """Google and Microsoft answer like that."""
    body = (RECORDED / name / "oauth.json").read_bytes()

    found = token_in(PLAN, Answer(status=200, headers={}, body=body, seconds=0.1))

    assert isinstance(found, Minted)
    assert found.access == orjson.loads(body)["access_token"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(60, 60), ("60", 60), (None, 3600), ("soon", 3600), (0, 3600), (-1, 3600), (True, 3600),
     (1e300, LIFETIME_MOST_SECONDS), ([], 3600)],
)  # fmt: skip
def test_lifetimes(given: Any, seconds: float) -> None:
    """Numbers, as text too; anything else is the file's default."""
    found = token_in(PLAN, said(200, access_token="a", expires_in=given))

    assert isinstance(found, Minted)
    assert found.lifetime_seconds == seconds


@pytest.mark.parametrize(
    ("status", "document", "refused"),
    [
        (400, {"error": "invalid_grant"}, True),
        (401, {"error": "invalid_client"}, True),
        (403, {}, True),
        (400, {"error": "temporarily_unavailable"}, False),
        (404, {}, False),
        (429, {"error": "invalid_grant"}, False),
        (500, {"error": "invalid_grant"}, False),
        (200, {}, False),
        (200, {"access_token": ""}, False),
        (200, {"access_token": "a\r\nb"}, False),
        (200, {"access_token": 7}, False),
        (302, {}, False),
    ],
)
def test_refused_or_away(status: int, document: dict[str, Any], refused: bool) -> None:
    """4xx is the credential, but for those that are the server; all else may pass."""
    found = token_in(PLAN, said(status, **document))

    assert isinstance(found, Trouble)
    assert found.refused is refused


def test_what_the_server_said_is_told() -> None:
    """Its own words, bounded and in one line."""
    found = token_in(
        PLAN, said(400, error="invalid_grant", error_description="expired\nor revoked" + "x" * 999)
    )

    assert isinstance(found, Trouble)
    assert found.reason.startswith("HTTP 400 invalid_grant: expired or revoked")
    assert len(found.reason) < 320


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{", b"\xff"])
def test_whatever_comes_is_trouble(body: bytes) -> None:
    """No answer breaks the one who reads it."""
    for status in (200, 400, 503):
        answer = Answer(status=status, headers={"retry-after": "x"}, body=body, seconds=0.1)
        assert isinstance(token_in(PLAN, answer), Trouble)


def test_the_server_says_when_to_come_again() -> None:
    """Retry-After in seconds; a failed connection says nothing."""
    busy = Answer(status=429, headers={"retry-after": "30"}, body=b"", seconds=0.1)
    gone = Failure(kind=FailureKind.TIMEOUT, detail="no complete answer in time", seconds=20)

    assert token_in(PLAN, busy) == Trouble("HTTP 429", refused=False, wait_seconds=30)
    assert token_in(PLAN, gone) == Trouble("timeout: no complete answer in time")
