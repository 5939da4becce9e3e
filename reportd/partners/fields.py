"""The kinds of values in a partner file, each checked as far as it can be by itself.

Pure declarations, used by `reportd.partners.spec` and `reportd.partners.report_spec`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)

from reportd.config.base import as_tuple, known_zone
from reportd.config.problems import did_you_mean
from reportd.partners.picking import compile_pick
from reportd.partners.templates import REQUEST_FIELDS, ROOTS, compile_json, mentions

_HEADER_NAME = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
_OWN_HEADERS = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "te",
        "upgrade",
    }
)
_HOST = re.compile(
    r"^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,62})\.)*[a-z0-9][a-z0-9-]{0,62}(?::\d{1,5})?$"
    r"|^\[[0-9a-f:.]+\](?::\d{1,5})?$"
)
_AUTHORITY = re.compile(r"^([a-z]+)://([^/?#{}]+)(?:[/?#]|$)")
_WAIT = re.compile(r"^(header:[A-Za-z0-9-]+(:.+)?|body:.+|text:.+)$", re.DOTALL)
_WAIT_GROUPS = frozenset({"hours", "minutes", "seconds", "milliseconds"})
_PICKED = re.compile(r"^picked\.[a-z][a-z0-9_]{0,63}$")
_UNTIL = re.compile(r"^(hour|(midnight|([01]\d|2[0-3]):[0-5]\d) \S+)$")


def known_roots(text: str, roots: Collection[str]) -> None:
    """Check what a template speaks of; raises ``ValueError`` with a hint."""
    unknown = sorted({path[0] for path in mentions(text)} - set(roots))
    if unknown:
        raise ValueError(f"{{{{ {unknown[0]} }}}} is unknown; {did_you_mean(unknown[0], roots)}")
    for path in mentions(text):
        if path[0] == "request" and len(path) > 1 and path[1] not in REQUEST_FIELDS:
            hint = did_you_mean(path[1], REQUEST_FIELDS)
            raise ValueError(f"{{{{ request.{path[1]} }}}} is unknown; {hint}")


def _template(text: str) -> str:
    known_roots(text, ROOTS)
    return text


def _limit_per(text: str) -> str:
    kinds = get_args(Per)
    if text in kinds:
        return text
    if "{{" not in text:
        hint = did_you_mean(text, kinds)
        raise ValueError(f"must be one of {', '.join(kinds)}, or a template; {hint}")
    known_roots(text, ROOTS - {"picked", "item"})
    return text


def _json(value: Any) -> Any:
    for text in texts_in(value):
        _template(text)
    compile_json(value)
    return value


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def _pick(text: str) -> str:
    compile_pick(text)
    return text


def _pick_text(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind == "header" and rest:
        name, _, pattern = rest.partition(":")
        if not _HEADER_NAME.match(name):
            raise ValueError("write header:NAME or header:NAME:REGEX")
        return text if not pattern else f"header:{name}:{_regex(pattern)}"
    if kind == "text" and rest:
        return f"text:{_regex(rest)}"
    return _pick(text)


def _picked_name(text: str) -> str:
    if not _PICKED.match(text):
        raise ValueError("write picked.NAME: what an earlier step picks")
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def _header(name: str) -> str:
    if not _HEADER_NAME.match(name):
        raise ValueError("not the name of a header")
    if name.lower() in _OWN_HEADERS:
        raise ValueError("reportd sets this header itself")
    return name


def _host(text: str) -> str:
    if "://" in text or "/" in text:
        raise ValueError("a host alone, like api.acme.com, without https:// and path")
    if not _HOST.match(text.lower()):
        raise ValueError("not a host like api.acme.com, *.acme.com or 127.0.0.1:8080")
    return text.lower()


def authority(url: str) -> tuple[str, str]:
    """Return scheme and authority of a URL's template; empty when the host is templated."""
    found = _AUTHORITY.match(url)
    return (found[1], found[2].lower()) if found else ("", "")


def _wait(text: str) -> str:
    if not _WAIT.match(text):
        raise ValueError("write header:NAME, header:NAME:JMESPATH, body:JMESPATH or text:REGEX")
    kind, _, rest = text.partition(":")
    if kind == "text":
        unknown = sorted(set(re.compile(_regex(rest)).groupindex) - _WAIT_GROUPS)
        if unknown:
            hint = did_you_mean(unknown[0], _WAIT_GROUPS)
            raise ValueError(f"a group named {unknown[0]!r} says no unit; {hint}")
        return text
    expression = rest if kind == "body" else rest.partition(":")[2]
    if expression:
        compile_pick(expression)
    return text


def _until(text: str) -> str:
    if not _UNTIL.match(text):
        raise ValueError('write "midnight ZONE", "03:00 ZONE" (like America/Los_Angeles) or "hour"')
    if text != "hour":
        known_zone(text.partition(" ")[2])
    return text


def _statuses(value: Any) -> Any:
    """Take ``429``, ``[500, 503]`` and ``"5xx"`` alike; raises `ValueError`."""
    if isinstance(value, frozenset):
        return value
    found: set[int] = set()
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, int) and not isinstance(one, bool) and 100 <= one <= 599:
            found.add(one)
        elif isinstance(one, str) and re.fullmatch(r"[1-5]xx", one):
            found.update(range(int(one[0]) * 100, int(one[0]) * 100 + 100))
        else:
            raise ValueError('a status like 429, a list of them, or "5xx"')
    if not found:
        raise ValueError("at least one status")
    return frozenset(found)


def _query_value(value: Any) -> Any:
    for one in value if isinstance(value, list | tuple) else (value,):
        if isinstance(one, str):
            _template(one)
        elif not isinstance(one, int | float):
            raise ValueError("must be text, a number, true or false, or a list of them")  # noqa: TRY004
    return as_tuple(value)


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else as_tuple(value)


TemplateText = Annotated[str, AfterValidator(_template)]
Jmes = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_pick)]
PickText = Annotated[
    str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_pick_text)
]
PickedName = Annotated[str, AfterValidator(_picked_name)]
Regex = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_regex)]
HeaderName = Annotated[str, AfterValidator(_header)]
Host = Annotated[str, AfterValidator(_host)]
Wait = Annotated[str, AfterValidator(_wait)]
Statuses = Annotated[
    frozenset[int],
    BeforeValidator(_statuses),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array"}, {"type": "string"}]}),
]
Per = Literal["partner", "credential", "account", "report"]
LimitPer = Annotated[
    str,
    AfterValidator(_limit_per),
    WithJsonSchema({"type": "string"}),
]
"""What a limit counts together: one of ``Per``, or a template."""
Scope = Literal["partner", "credential", "account", "report", "call"]
"""What waits."""
QueryValue = Annotated[
    Any,
    PlainValidator(_query_value),
    WithJsonSchema({"type": ["string", "number", "boolean", "array"]}),
]
"""A template, a number, true or false, or a list of them: one parameter each."""
JsonBody = Annotated[dict[str, Any] | list[Any], AfterValidator(_json)]
"""A JSON value whose texts are templates."""
Until = Annotated[str, AfterValidator(_until)]
_TEXT_OR_LIST = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"items": {"type": "string"}, "type": "array"}]}
)
Waits = Annotated[tuple[Wait, ...], BeforeValidator(_as_list), _TEXT_OR_LIST]
Jmeses = Annotated[tuple[Jmes, ...], BeforeValidator(_as_list), _TEXT_OR_LIST]
"""One expression, or several."""
