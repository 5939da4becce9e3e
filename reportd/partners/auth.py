"""From ``[auth]`` of a partner file to the names of the secrets a request's calls need. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from reportd.config.secrets import NAME as SECRET_NAME
from reportd.errors import InvalidMessageError
from reportd.partners.auth_spec import SECRETS, TOKEN, AuthSpec, OAuth2Spec, SecretName
from reportd.partners.templates import (
    SECRET_ROOTS,
    Encode,
    Template,
    Values,
    compile_template,
    in_header,
    in_url,
    look_up,
    mentions,
    plain,
)
from reportd.transport.credentials import AuthPlan, SecretText
from reportd.transport.token_request import TokenPlan

_compiled = lru_cache(maxsize=1024)(compile_template)


@dataclass(frozen=True, slots=True)
class AuthText:
    """A template with all that a request brings to it; what is secret comes when it is rendered.

    Equal ones render alike: accounts that a text does not name share what is kept of it.
    """

    source: str
    encode: Encode
    names: tuple[tuple[str, str], ...]
    """What the template calls its secrets, and the secrets' names."""
    brought: bytes
    """JSON of the request's values that it speaks of."""
    has_token: bool = False
    """Whether it speaks of the access token."""

    @property
    def is_secret(self) -> bool:
        """Whether what it becomes must be seen nowhere."""
        return bool(self.names) or self.has_token

    def render(self, secrets: Mapping[str, str], token: str) -> str:
        """Return the text; raises `InvalidMessageError`, without a value in it."""
        values = {**orjson.loads(self.brought), SECRETS: secrets, TOKEN: token}
        return _compiled(self.source, self.encode)(values)


def compile_auth(
    partner: str, auth: AuthSpec, *, allow_private: bool
) -> Callable[[Values], AuthPlan]:
    """Compile a checked section; what it returns raises `InvalidMessageError`."""
    bearer = _secret(auth.bearer)
    user = auth.basic.user if auth.basic else ""
    user_secret = _secret(user if isinstance(user, SecretName) else None)
    password = _secret(auth.basic.password if auth.basic else None)
    names = {name: _secret(value) for name, value in auth.secrets.items()}
    headers = _keys(auth.headers)
    query = _keys(auth.query)
    token = _tokens(partner, auth.oauth2, allow_private) if auth.oauth2 else None
    token_header = auth.oauth2.header if auth.oauth2 else ""
    token_prefix = auth.oauth2.prefix if auth.oauth2 else ""
    header_texts = _texts(auth.headers, in_header, names)
    query_texts = _texts(auth.query, plain, names)

    def plan(values: Values) -> AuthPlan:
        return AuthPlan(
            bearer=bearer(values),
            basic_user=user if isinstance(user, str) else "",
            basic_user_secret=user_secret(values),
            basic_password=password(values),
            headers=tuple((name, render(values)) for name, render in headers),
            query=tuple((name, render(values)) for name, render in query),
            header_texts=tuple((name, fill(values)) for name, fill in header_texts),
            token=token(values) if token else None,
            token_header=token_header,
            token_prefix=token_prefix,
            query_texts=tuple((name, fill(values)) for name, fill in query_texts),
        )

    return plan


def _tokens(partner: str, spec: OAuth2Spec, allow_private: bool) -> Callable[[Values], TokenPlan]:
    url = compile_template(spec.token_url, in_url)
    client_id = "" if isinstance(spec.client_id, SecretName) else spec.client_id or ""
    client_id_secret = _secret(spec.client_id if isinstance(spec.client_id, SecretName) else None)
    client_secret = _secret(spec.client_secret)
    refresh_token = _secret(spec.refresh_token)
    key = _secret(spec.key)
    subject = compile_template(spec.subject or "")
    fields = [(name, compile_template(text)) for name, text in spec.fields.items()]

    def plan(values: Values) -> TokenPlan:
        return TokenPlan(
            partner=partner,
            grant=spec.grant,
            url=url(values),
            hosts=spec.token_hosts,
            allow_private=allow_private,
            client_id=client_id,
            client_id_secret=client_id_secret(values),
            client_secret=client_secret(values),
            refresh_token=refresh_token(values),
            key=key(values),
            scopes=spec.scopes,
            subject=subject(values),
            fields=tuple((name, render(values)) for name, render in fields),
            client_basic=spec.client_auth == "basic",
            rotates=spec.grant == "refresh_token" and spec.rotates,
            lifetime_seconds=spec.lifetime_seconds,
            timeout_seconds=spec.timeout_seconds,
        )

    return plan


def _secret(name: SecretName | None) -> Template:
    template = compile_template(name.secret if name else "")

    def render(values: Values) -> str:
        text = template(values)
        if name and (not SECRET_NAME.match(text) or text in (".", "..")):
            raise InvalidMessageError("credential: it makes no plain name of a secret")
        return text

    return render


def _keys(table: Mapping[str, SecretName | str]) -> list[tuple[str, Template]]:
    return [(name, _secret(one)) for name, one in table.items() if isinstance(one, SecretName)]


def _texts(
    table: Mapping[str, SecretName | str], encode: Encode, secrets: Mapping[str, Template]
) -> list[tuple[str, Callable[[Values], SecretText]]]:
    return [
        (name, _filler(text, encode, secrets))
        for name, text in table.items()
        if not isinstance(text, SecretName)
    ]


def _filler(
    source: str, encode: Encode, secrets: Mapping[str, Template]
) -> Callable[[Values], SecretText]:
    paths = mentions(source)
    needed = {path[1]: secrets[path[1]] for path in paths if path[0] == SECRETS and path[1:]}
    if (SECRETS,) in paths and not needed:
        needed = dict(secrets)
    stand_ins = dict.fromkeys(needed, "x")

    def fill(values: Values) -> AuthText:
        text = AuthText(
            source,
            encode,
            tuple((name, template(values)) for name, template in needed.items()),
            orjson.dumps(_brought(paths, values)),
            (TOKEN,) in paths,
        )
        text.render(stand_ins, "x")  # what the request lacks is found here, before anything is sent
        return text

    return fill


def _brought(paths: list[tuple[str, ...]], values: Values) -> dict[str, Any]:
    """Return what a template speaks of, and nothing else of the request."""
    longer = {path[0] for path in paths if len(path) > 1}
    found: dict[str, Any] = {}
    for path in paths:
        if path[0] in SECRET_ROOTS or (len(path) == 1 and path[0] in longer):
            continue
        inner = found
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        try:
            inner[path[-1]] = look_up(values, path)
        except InvalidMessageError:
            continue  # the template says what then
    return found
