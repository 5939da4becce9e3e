"""What a service account signs, checked with its public key."""

import base64
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reportd.errors import ConfigError
from reportd.transport.assertion import signed
from tests.unit.transport.token_server import NOW, PLAN

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
FILE = orjson.dumps(
    {
        "type": "service_account",
        "client_email": "reports@project.iam.example.com",
        "private_key_id": "k1",
        "private_key": PEM,
        "token_uri": "https://elsewhere.example.com/token",
    }
).decode()
ACCOUNT = replace(PLAN, grant="service_account", key="ga4", scopes=("analytics.readonly", "b"))


def parts(text: str) -> tuple[Any, Any, str]:
    """Return a JWT's header, claims and signature."""
    header, claims, signature = text.split(".")
    opened = [orjson.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims)]
    return opened[0], opened[1], signature


def test_the_claims() -> None:
    """RFC 7523 as Google wants it; the audience is the partner file's, not the key file's."""
    text = signed(FILE, ACCOUNT, NOW)

    header, claims, signature = parts(text)
    KEY.public_key().verify(
        base64.urlsafe_b64decode(signature + "=="),
        text.rpartition(".")[0].encode(),
        PKCS1v15(),
        SHA256(),
    )
    assert header == {"typ": "JWT", "alg": "RS256", "kid": "k1"}
    assert claims == {
        "iss": "reports@project.iam.example.com",
        "aud": PLAN.url,
        "scope": "analytics.readonly b",
        "iat": int(NOW),
        "exp": int(NOW) + 3600,
    }


def test_whom_it_acts_for() -> None:
    """Domain-wide delegation."""
    text = signed(FILE, replace(ACCOUNT, subject="ads@example.com"), NOW)

    assert parts(text)[1]["sub"] == "ads@example.com"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", FILE.replace("BEGIN", "BEGUN"), PEM, '{"private_key": 1}']
)
def test_what_is_no_key_file(text: str) -> None:
    """The secret is named, nothing of it is shown."""
    with pytest.raises(ConfigError, match=r"'ga4': not the key file") as caught:
        signed(text, ACCOUNT, NOW)

    assert "PRIVATE" not in str(caught.value)
