"""How calls are authorized, as a partner file says it: ``[auth]``.

Pure declarations; part of `reportd.partners.spec`, compiled by `reportd.partners.auth`.
"""

from typing import Self

from pydantic import model_validator

from reportd.config.base import Section
from reportd.partners.fields import HeaderName, TemplateText


class SecretName(Section):
    """``{ secret = "acme-{{ account.credential }}" }``: a file of the secrets folder."""

    secret: TemplateText
    """The file's name."""


class BasicSpec(Section):
    """``basic = { user = "reports", password = { secret = "acme" } }``."""

    user: str | SecretName
    """The user's name, or the secret that holds it."""
    password: SecretName
    """The secret that holds the password."""


class AuthSpec(Section):
    """How calls are authorized; any of these together, but one of bearer and basic."""

    bearer: SecretName | None = None
    """``Authorization: Bearer ...``."""
    basic: BasicSpec | None = None
    """``Authorization: Basic ...``."""
    headers: dict[HeaderName, SecretName] = {}
    """API keys in headers: ``headers = { X-Api-Key = { secret = "acme-key" } }``."""
    query: dict[str, SecretName] = {}
    """API keys in the query: ``query = { key = { secret = "acme-key" } }``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bearer and self.basic:
            raise ValueError("bearer and basic exclude each other: both are one header")
        return self
