"""Signs for Google's service accounts: the assertion of RFC 7523, by google-auth. Only here.

Google-auth's own exchange with the token server is not used: it would bring an HTTP client that
guards nothing.
"""

import orjson
from google.auth import crypt, jwt

from reportd.errors import ConfigError
from reportd.transport.token_request import TokenPlan

LIFETIME_SECONDS = 3600


def signed(key: str, plan: TokenPlan, now: float) -> str:
    """Return the assertion; ``key``: the key file's JSON, ``now``: epoch seconds.

    Raises `ConfigError`, never with a part of the key.
    """
    try:
        info = orjson.loads(key)
        email = info["client_email"]
        signer = crypt.RSASigner.from_service_account_info(info)  # type: ignore[no-untyped-call]  # theirs
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise ConfigError(
            f"secret {plan.key!r}: not the key file of a service account (JSON with client_email "
            "and private_key); put it there as Google gave it"
        ) from None
    claims = {
        "iss": email,
        "aud": plan.url,
        "scope": " ".join(plan.scopes),
        "iat": int(now),
        "exp": int(now) + LIFETIME_SECONDS,
        **({"sub": plan.subject} if plan.subject else {}),
    }
    packed: bytes = jwt.encode(signer, claims)  # type: ignore[no-untyped-call]  # theirs
    return packed.decode()
