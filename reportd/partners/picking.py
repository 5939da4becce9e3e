"""Picking from JSON with JMESPath, compiled once; plain paths take a short cut.

Pure and thread-safe.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import ParsedResult

from reportd.config.expressions import unparsed

ELEMENTS = "[]"
VALUES = "*"
Parts = tuple[str, ...]
"""A way to lists: keys, `ELEMENTS` for each element of a list, `VALUES` for an object's values."""

_Find = Callable[[Any], Any]

_PLAIN = re.compile(r"(?:@|[A-Za-z_][A-Za-z0-9_]*)?(?:\.[A-Za-z_][A-Za-z0-9_]*|\[\])*")
_QUOTED = re.compile(r"""[=!]=\s*"([^"]*)"(?=(?:[^'`]|'[^']*'|`[^`]*`)*$)""")
_PARTS = re.compile(r"\[\]|[A-Za-z_][A-Za-z0-9_]*")
_HERE = {"type": "identity", "children": []}
_FUNCTIONS = frozenset(Functions.FUNCTION_TABLE)
_ONE_BY_ONE = ("projection", "filter_projection", "flatten")
"""What makes of a list the same as of its pieces, one after the other."""


class PickError(ValueError):
    """An expression does not fit what it is applied to (``length(`1`)``)."""


class Pick:
    """A compiled expression: called with a document, it returns what it finds there."""

    __slots__ = ("_find", "names", "text")

    def __init__(self, text: str, find: _Find, names: frozenset[str] = frozenset()) -> None:
        """Take the expression, what finds, and every field's name that it speaks of."""
        self.text = text
        self.names = names
        self._find = find

    def __call__(self, document: Any) -> Any:
        """Return what is found, None when nothing; raises `PickError`."""
        return self._find(document)


def compile_pick(expression: str) -> Pick:
    """Compile a JMESPath expression; raises ``ValueError`` when it is none."""
    try:
        compiled = jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(unparsed(error)) from None
    if quoted := _QUOTED.search(expression):
        name = quoted[1]
        raise ValueError(f"\"{name}\" is a field's name in JMESPath; for the text write '{name}'")
    unknown = sorted(set(_values(compiled.parsed, "function_expression")) - _FUNCTIONS)
    if unknown:
        raise ValueError(f"not a JMESPath: unknown function {unknown[0]}()")
    if _PLAIN.fullmatch(expression):
        find = _plain_find(tuple(_PARTS.findall(expression)))
    else:
        find = _searching(compiled, expression)
    return Pick(expression, find, frozenset(_values(compiled.parsed, "field")))


def _searching(compiled: ParsedResult, expression: str) -> _Find:
    def find(document: Any) -> Any:
        try:
            return compiled.search(document)
        except (JMESPathError, TypeError, ValueError, RecursionError) as error:
            raise PickError(f"{type(error).__name__} in {expression!r}") from None

    return find


@lru_cache(maxsize=1024)
def rows_path(expression: str) -> tuple[Parts, Pick] | None:
    """Return where the lists of rows are, and what is picked of a piece of such a list.

    None when only the whole document tells. Of a document without its rows the expression itself
    picks an empty list then, and nothing where there is no such list.
    """
    if _PLAIN.fullmatch(expression):
        return _plain_rows(tuple(_PARTS.findall(expression)))
    node = jmespath.compile(expression).parsed
    if node["type"] == "or_expression" and node["children"][1].get("value") == []:
        node = node["children"][0]
    found = _rows_in(node)
    if found is None:
        return None
    path, rest = found
    return path, Pick(expression, _searching(ParsedResult(expression, rest), expression))


def looks_at_rows(pick: Pick, path: Parts) -> bool:
    """Say whether an expression may find something else in a document without its rows.

    ``path``: the way to them. Where it ends with no key, nothing can be told: it may.
    """
    key = path[-1] if path else ELEMENTS
    return key == ELEMENTS or key in pick.names


def _plain_rows(parts: Parts) -> tuple[Parts, Pick]:
    if ELEMENTS not in parts:
        return parts, Pick("", _plain_find(()))
    last = len(parts) - 1 - parts[::-1].index(ELEMENTS)
    if ELEMENTS in parts[:last]:  # of lists in lists the inner ones are cut: that is the flattening
        return parts[:last], Pick("", _plain_find(parts[last + 1 :], projecting=True))
    return parts[:last], Pick("", _plain_find(parts[last:]))


def _rows_in(node: Any) -> tuple[Parts, Any] | None:
    """Return where an expression's first list is, and the rest of it, which begins there."""
    path = _path_of(node)
    if path is not None:
        return path, _HERE
    kind, children = node["type"], node["children"]
    if kind == "flatten" and (path := _values_of(children[0])) is not None:
        return path, _HERE
    found = _rows_in(children[0]) if kind in _ONE_BY_ONE else None
    if found is None:
        return None
    return found[0], {**node, "children": [found[1], *children[1:]]}


def _values_of(node: Any) -> Parts | None:
    """Return the way to the lists that are an object's values: ``values(data)``, ``data.*``."""
    kind, children = node["type"], node["children"]
    is_values = kind == "function_expression" and node["value"] == "values"
    if not is_values and not (kind == "value_projection" and children[1] == _HERE):
        return None
    path = _path_of(children[0])
    return None if path is None else (*path, VALUES)


def _path_of(node: Any) -> Parts | None:
    match node["type"]:
        case "identity" | "current":
            return ()
        case "field":
            return None if node["value"] in (ELEMENTS, VALUES) else (node["value"],)
        case "subexpression":
            paths = [_path_of(child) for child in node["children"]]
            known = [path for path in paths if path is not None]
            return None if len(known) < len(paths) else tuple(part for one in known for part in one)
    return None


def _values(node: Any, kind: str) -> Iterator[str]:
    """Yield what stands in all nodes of a kind."""
    if isinstance(node, dict):
        if node["type"] == kind:
            yield node["value"]
        for child in node["children"]:
            yield from _values(child, kind)


def _plain_find(parts: Parts, *, projecting: bool = False) -> _Find:
    """Return what finds keys and ``[]``: what JMESPath does, without its interpreter.

    ``projecting``: of each element of a list.
    """
    of_each = projecting

    def find(document: Any) -> Any:
        value = document
        projecting = of_each
        for part in parts:
            if part == ELEMENTS:
                if not isinstance(value, list):
                    return None
                value = _flat(value)
                projecting = True
            elif projecting:
                found = [one.get(part) for one in value if isinstance(one, dict)]
                value = [one for one in found if one is not None]
            elif isinstance(value, dict):
                value = value.get(part)
            else:
                return None
        if projecting:
            return [one for one in value if one is not None]
        return value

    return find


def _flat(values: list[Any]) -> list[Any]:
    if not any(isinstance(one, list) for one in values):
        return values
    flat: list[Any] = []
    for one in values:
        if isinstance(one, list):
            flat.extend(one)
        else:
            flat.append(one)
    return flat
