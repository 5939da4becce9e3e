"""From ``[auth]`` of a partner file to the names of the secrets a request's calls need. Pure."""

from collections.abc import Callable

from reportd.config.secrets import NAME as SECRET_NAME
from reportd.errors import InvalidMessageError
from reportd.partners.auth_spec import AuthSpec, SecretName
from reportd.partners.templates import Template, Values, compile_template
from reportd.transport.credentials import AuthPlan


def compile_auth(auth: AuthSpec) -> Callable[[Values], AuthPlan]:
    """Compile a checked section; what it returns raises `InvalidMessageError`."""

    def secret(name: SecretName | None) -> Template:
        template = compile_template(name.secret if name else "")

        def render(values: Values) -> str:
            text = template(values)
            if name and (not SECRET_NAME.match(text) or text in (".", "..")):
                raise InvalidMessageError("credential: it makes no plain name of a secret")
            return text

        return render

    bearer = secret(auth.bearer)
    user = auth.basic.user if auth.basic else ""
    user_secret = secret(user if isinstance(user, SecretName) else None)
    password = secret(auth.basic.password if auth.basic else None)
    headers = [(name, secret(value)) for name, value in auth.headers.items()]
    query = [(name, secret(value)) for name, value in auth.query.items()]

    def plan(values: Values) -> AuthPlan:
        return AuthPlan(
            bearer=bearer(values),
            basic_user=user if isinstance(user, str) else "",
            basic_user_secret=user_secret(values),
            basic_password=password(values),
            headers=tuple((name, render(values)) for name, render in headers),
            query=tuple((name, render(values)) for name, render in query),
        )

    return plan
