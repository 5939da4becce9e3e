"""Templates of partner files: Jinja2, sandboxed, strict, compiled once.

What a request brings is only ever a value: it is inserted, never evaluated. Values that go into
a URL are percent-encoded here. Thread-safe.
"""

import datetime
import unicodedata
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Protocol
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.sandbox import SandboxedEnvironment

from reportd.errors import InvalidMessageError
from reportd.partners.filters import FILTERS

ROOTS = frozenset({"account", "params", "from", "to", "request", "picked", "item"})
"""What a template may speak of; the last two only within steps."""
SECRET_ROOTS = frozenset({"secrets", "token"})
"""... and those of ``[auth]`` beside it."""
REQUEST_FIELDS = ("id", "run", "report", "class")
_SAMPLE = "2026-11-22"
"""What filters are tried with: a day, and a text."""
Values = Mapping[str, Any]
Encode = Callable[[str], str]


def plain(text: str) -> str:
    """Insert a value as it is."""
    return text


def in_url(text: str) -> str:
    """Insert a value into a URL: one path segment or query value, whatever it holds.

    Raises `InvalidMessageError` for values that servers might read as a way up (``a/../b``).
    """
    if "." in text:
        parts = text.replace("\\", "/").split("/")
        if "." in parts or ".." in parts:
            raise InvalidMessageError("a value that goes into a URL has a '.' or '..' segment")
    return quote(text, safe="")


def in_header(text: str) -> str:
    """Insert a value into a header; raises `InvalidMessageError` when it cannot stand there."""
    if not text.isascii() or not text.isprintable():
        raise InvalidMessageError("a value that goes into a header is not plain ASCII text")
    return text


def suspicious(text: str) -> bool:
    """Return whether a text holds control characters, separators of lines, or lone surrogates."""
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(ch) in {"Cc", "Cs", "Zl", "Zp"} for ch in text)


class Template(Protocol):
    """A compiled text with places for values."""

    def __call__(self, values: Values) -> str:
        """Render; raises `InvalidMessageError` when the request lacks what it needs."""
        ...


class _Environment(SandboxedEnvironment):
    """Dots look into mappings only: an attribute named ``items`` is that attribute."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a key's value, or an undefined."""
        if isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


def _environment(encode: Encode) -> Environment:
    environment = _Environment(
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        finalize=lambda value: encode(_text(value)),
    )
    environment.filters.update(FILTERS)
    return environment


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


_ENVIRONMENTS: Mapping[Encode, Environment] = {
    encode: _environment(encode) for encode in (plain, in_url, in_header)
}


def mentions(source: str) -> list[tuple[str, ...]]:
    """Return what a template speaks of: ``("account", "id")``, ``("from",)``, sorted.

    Raises ``ValueError`` naming the line when it is no template.
    """
    tree = _parse(source)
    found: set[tuple[str, ...]] = {(name,) for name in meta.find_undeclared_variables(tree)}
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        path = _path_of(node)
        if path and path[0] in ROOTS | SECRET_ROOTS:
            found.add(path)
    return sorted(found)


def _parse(source: str) -> nodes.Template:
    try:
        tree = _ENVIRONMENTS[plain].parse(source)
        _ENVIRONMENTS[plain].from_string(source)  # unknown filters are found only here
    except TemplateSyntaxError as error:
        raise ValueError(f"template: {error.message}") from None
    for node in tree.find_all(nodes.Filter):
        if node.name in FILTERS:
            _check_filter(node)
    return tree


def _check_filter(node: nodes.Filter) -> None:
    """Look whether a filter of ours can be called so; raises ``ValueError``."""
    function = FILTERS[node.name]
    called = signature(function)
    try:
        given = [argument.as_const() for argument in node.args]
        named = {str(argument.key): argument.value.as_const() for argument in node.kwargs}
    except nodes.Impossible:  # the request says what is given
        given = list(node.args)
        named = {str(argument.key): argument.value for argument in node.kwargs}
        function = called.bind
    try:
        called.bind(_SAMPLE, *given, **named)
        function({} if node.name == "form" else _SAMPLE, *given, **named)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        what = str(error.args[0]) if error.args else type(error).__name__
        raise ValueError(f"template: {node.name}: {what[:200]}") from None


def _path_of(node: nodes.Node) -> tuple[str, ...]:
    """Return ``account.id`` as a path; empty when the node is anything else."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        inner = _path_of(node.node)
        return (*inner, node.attr) if inner else ()
    if (
        isinstance(node, nodes.Getitem)
        and isinstance(node.arg, nodes.Const)
        and isinstance(node.arg.value, str)
    ):
        inner = _path_of(node.node)
        return (*inner, node.arg.value) if inner else ()
    return ()


def alone(source: str) -> tuple[str, ...] | None:
    """Return the path of a template that is one path and nothing else: ``{{ picked.url }}``."""
    parts = _plain_parts(_parse(source))
    if parts is None or len(parts) != 1 or isinstance(parts[0], str):
        return None
    return parts[0]


def compile_template(source: str, encode: Encode = plain) -> Template:
    """Compile a template whose values are inserted with ``encode``; raises ``ValueError``."""
    tree = _parse(source)
    parts = _plain_parts(tree)
    if parts is None:
        return _jinja_template(source, encode)
    if all(isinstance(part, str) for part in parts):
        text = "".join(part for part in parts if isinstance(part, str))
        return lambda _values: text
    return _plain_template(parts, encode)


def _plain_parts(tree: nodes.Template) -> list[str | tuple[str, ...]] | None:
    """Return texts and paths when there is nothing else in a template, as nearly always."""
    parts: list[str | tuple[str, ...]] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append(node.data)
            elif path := _path_of(node):
                parts.append(path)
            else:
                return None
    return parts


def look_up(values: Values, path: tuple[str, ...]) -> Any:
    """Return the value at a path; raises `InvalidMessageError` when there is none."""
    found: Any = values
    try:
        for name in path:
            found = found[name]
    except (KeyError, TypeError):
        raise InvalidMessageError(f"the request gives no {'.'.join(path)}") from None
    return found


def _plain_template(parts: list[str | tuple[str, ...]], encode: Encode) -> Template:
    steps = tuple(parts)

    def render(values: Values) -> str:
        return "".join(
            [
                step if isinstance(step, str) else encode(_text(look_up(values, step)))
                for step in steps
            ]
        )

    return render


def _jinja_template(source: str, encode: Encode) -> Template:
    compiled = _ENVIRONMENTS[encode].from_string(source)

    def render(values: Values) -> str:
        try:
            return compiled.render(values)
        except InvalidMessageError:
            raise
        except UndefinedError as error:
            raise InvalidMessageError(f"template: {str(error)[:200]}") from None
        except (
            SecurityError,
            TemplateRuntimeError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise InvalidMessageError(f"template: {type(error).__name__}") from None

    return render


Builder = Callable[[Values], Any]
"""Builds a JSON value."""


def compile_json(node: Any) -> Builder:
    """Compile a JSON value whose texts are templates; raises ``ValueError``.

    A text that is one expression and nothing else keeps the type of its value:
    ``"{{ params.n | int }}"`` becomes a number.
    """
    if isinstance(node, Mapping):
        members = [(key, compile_json(value)) for key, value in node.items()]
        return lambda values: {key: build(values) for key, build in members}
    if isinstance(node, list | tuple):
        items = [compile_json(value) for value in node]
        return lambda values: [build(values) for build in items]
    if isinstance(node, str):
        return _native(node) or compile_template(node)
    if isinstance(node, datetime.date | datetime.time):
        text = node.isoformat()
        return lambda _values: text
    return lambda _values: node


def _native(source: str) -> Builder | None:
    tree = _parse(source)
    outputs = [node for body in tree.body if isinstance(body, nodes.Output) for node in body.nodes]
    text = source.strip()
    if len(outputs) != 1 or isinstance(outputs[0], nodes.TemplateData) or _path_of(outputs[0]):
        return None
    if len(tree.body) != 1 or not (text.startswith("{{") and text.endswith("}}")):
        return None
    expression = _ENVIRONMENTS[plain].compile_expression(text[2:-2], undefined_to_none=False)

    def build(values: Values) -> Any:
        try:
            value = expression(**values)
            if isinstance(value, StrictUndefined):
                raise InvalidMessageError("template: the request lacks a value")
        except UndefinedError as error:
            raise InvalidMessageError(f"template: {str(error)[:200]}") from None
        except (
            SecurityError,
            TemplateRuntimeError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise InvalidMessageError(f"template: {type(error).__name__}") from None
        return value

    return build
