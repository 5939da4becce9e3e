"""How calls are authorized, as a partner file says it: ``[auth]``.

Pure declarations; part of `reportd.partners.spec`, compiled by `reportd.partners.auth`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from reportd.config.base import Section, as_tuple
from reportd.config.problems import FieldProblems, Location, did_you_mean
from reportd.model.base import Name
from reportd.partners.fields import HeaderName, Host, TemplateText, authority, known_roots
from reportd.partners.templates import ROOTS, mentions
from reportd.transport.guard import refusal

SECRETS = "secrets"
"""What templates of headers and query parameters call the secrets that ``[auth]`` declares."""
TOKEN = "token"  # noqa: S105 - a name in templates
"""What they call the access token of ``oauth2``."""
AUTH_ROOTS = ROOTS - {"picked", "item"} | {SECRETS, TOKEN}


def _auth_text(text: str) -> str:
    known_roots(text, AUTH_ROOTS)
    return text


AuthText = Annotated[str, AfterValidator(_auth_text)]
"""A template that may also speak of ``secrets``."""


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


_NEEDS: Mapping[str, tuple[str, ...]] = {
    "refresh_token": ("client_id", "refresh_token"),
    "client_credentials": ("client_id", "client_secret"),
    "service_account": ("key", "scopes"),
}
_MAY: Mapping[str, tuple[str, ...]] = {
    "refresh_token": ("client_secret", "client_auth", "scopes", "rotates"),
    "client_credentials": ("client_auth", "scopes"),
    "service_account": ("subject",),
}
_OF_GRANTS = frozenset(
    name for table in (_NEEDS, _MAY) for names in table.values() for name in names
)


class OAuth2Spec(Section):
    """Access tokens that are fetched: once a VM, before they end and when one is refused."""

    grant: Literal["refresh_token", "client_credentials", "service_account"]
    """What is given for a token; ``service_account`` is Google's, with a key file."""
    token_url: TemplateText
    """Where: the token server's host is the only one that sees what follows."""
    hosts: Annotated[tuple[Host, ...], BeforeValidator(as_tuple)] = ()
    """The token servers' hosts, where that of ``token_url`` is templated."""
    client_id: str | SecretName | None = None
    """The app's id, or the secret that holds it."""
    client_secret: SecretName | None = None
    """The app's secret."""
    client_auth: Literal["form", "basic"] = "form"
    """Where id and secret of the app are sent: in the form, or as ``Authorization: Basic``."""
    refresh_token: SecretName | None = None
    """refresh_token: the secret that holds it, one a credential."""
    rotates: bool = True
    """refresh_token: whether an answer may bring the token for the next time. Such ones are kept,
    sealed, at the output (``_reportd/tokens``), before their access token is used. False: the one
    in the secret's file stays (Google, Amazon, LinkedIn)."""
    key: SecretName | None = None
    """service_account: the secret that holds the key file, JSON as Google gives it."""
    subject: TemplateText | None = None
    """service_account: whom it acts for, with domain-wide delegation."""
    scopes: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """What the token is for, as the partner names it."""
    fields: dict[str, TemplateText] = {}
    """Further fields of the form: ``audience``, ``resource`` ..."""
    header: HeaderName | Literal[""] = "Authorization"
    """The header that carries the token; empty: none, ``{{ token }}`` stands somewhere below."""
    prefix: str = "Bearer "
    """What stands before the token there."""
    lifetime_seconds: Annotated[float, Field(ge=60, le=366 * 86400)] = 3600.0
    """How long a token works whose answer does not say."""
    timeout_seconds: Annotated[float, Field(gt=0, le=45)] = 20.0
    """For one request to the token server."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed, may = _NEEDS[self.grant], _MAY[self.grant]
        problems: dict[str, str] = {
            name: f'is missing; grant = "{self.grant}" needs it'
            for name in needed
            if not getattr(self, name)
        }
        for name in sorted(self.model_fields_set & _OF_GRANTS - {*needed, *may}):
            problems[name] = f'not with grant = "{self.grant}"'
        _, own = authority(self.token_url)
        if not own and not self.hosts:
            problems |= {"token_url": "write the whole URL; name its hosts in hosts if it varies"}
        if problems:
            raise FieldProblems(problems)
        return self

    @property
    def token_hosts(self) -> tuple[str, ...]:
        """Return the only hosts that are asked for tokens."""
        return self.hosts or (authority(self.token_url)[1],)


class AuthSpec(Section):
    """How calls are authorized; any of these together, but one of bearer, basic and oauth2."""

    bearer: SecretName | None = None
    """``Authorization: Bearer ...``."""
    basic: BasicSpec | None = None
    """``Authorization: Basic ...``."""
    oauth2: OAuth2Spec | None = None
    """``Authorization: Bearer ...`` with a token that is fetched; see ``auth.oauth2``."""
    secrets: dict[Name, SecretName] = {}
    """Secrets by the names that templates below call them: ``{{ secrets.app }}``."""
    headers: dict[HeaderName, SecretName | AuthText] = {}
    """Headers of every call: API keys, ``headers = { X-Api-Key = { secret = "acme-key" } }``, and
    templates, ``{ ClientId = "{{ account.client }}" }``. What becomes empty is left out."""
    query: dict[str, SecretName | AuthText] = {}
    """The same in the query, unseen in logs: ``query = { key = { secret = "acme-key" } }``, or a
    proof, ``{ proof = "{{ secrets.token | hmac_sha256(secrets.app) }}" }``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bearer and self.basic:
            raise ValueError("bearer and basic exclude each other: both are one header")
        if "authorization" in self._of_oauth2() and (self.bearer or self.basic):
            raise ValueError("oauth2 excludes bearer and basic: all are one header")
        problems = dict(self._text_problems())
        for name in self.headers:
            if name.lower() in self._own_headers():
                problems["headers", name] = "bearer, basic or oauth2 sets this header, too"
        if problems:
            raise FieldProblems(problems)
        return self

    def _own_headers(self) -> set[str]:
        own = {"authorization"} if self.bearer or self.basic else set()
        return own | self._of_oauth2()

    def _of_oauth2(self) -> set[str]:
        return {self.oauth2.header.lower()} if self.oauth2 and self.oauth2.header else set()

    def carried(self) -> frozenset[str]:
        """Return the headers that authorize, in lower case."""
        return frozenset({name.lower() for name in self.headers} | self._own_headers())

    def token_problems(self, *, allow_private: bool) -> Iterator[tuple[Location, str]]:
        """Yield why the token server's URL is none that may be asked."""
        if self.oauth2 is None:
            return
        scheme, own = authority(self.oauth2.token_url)
        refused = own and refusal(
            f"{scheme}://{own}/", self.oauth2.token_hosts, allow_private=allow_private
        )
        if refused:
            yield ("auth", "oauth2", "token_url"), refused

    def _text_problems(self) -> Iterator[tuple[Location, str]]:
        for part, table in (("headers", self.headers), ("query", self.query)):
            for name, text in table.items():
                if isinstance(text, SecretName):
                    continue
                for path in mentions(text):
                    if path[0] == TOKEN and self.oauth2 is None:
                        yield (part, name), "{{ token }} is that of oauth2, which is missing"
                    if path[0] == SECRETS and len(path) > 1 and path[1] not in self.secrets:
                        hint = did_you_mean(path[1], self.secrets)
                        yield (part, name), f"{{{{ secrets.{path[1]} }}}} is unknown; {hint}"
