"""Picking from JSON with JMESPath, compiled once; plain paths take a short cut.

Pure and thread-safe.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

Pick = Callable[[Any], Any]
"""Returns what the expression finds, None when nothing; raises `PickError`."""

ELEMENTS = "[]"
Parts = tuple[str, ...]
"""A plain path: keys, and `ELEMENTS` for each element of a list."""

_PLAIN = re.compile(r"(?:@|[A-Za-z_][A-Za-z0-9_]*)?(?:\.[A-Za-z_][A-Za-z0-9_]*|\[\])*")
_QUOTED = re.compile(r"""[=!]=\s*"([^"]*)"(?=(?:[^'`]|'[^']*'|`[^`]*`)*$)""")
_PARTS = re.compile(r"\[\]|[A-Za-z_][A-Za-z0-9_]*")


class PickError(ValueError):
    """An expression does not fit what it is applied to (``length(`1`)``)."""


def compile_pick(expression: str) -> Pick:
    """Compile a JMESPath expression; raises ``ValueError`` when it is none."""
    try:
        compiled = jmespath.compile(expression)
    except JMESPathError as error:
        what = str(error).splitlines()[0]
        raise ValueError(f"not a JMESPath expression: {what}") from None
    if quoted := _QUOTED.search(expression):
        name = quoted[1]
        raise ValueError(f"\"{name}\" is a field's name in JMESPath; for the text write '{name}'")
    unknown = sorted(set(_functions(compiled.parsed)) - set(Functions.FUNCTION_TABLE))
    if unknown:
        raise ValueError(f"not a JMESPath expression: unknown function {unknown[0]}()")
    if _PLAIN.fullmatch(expression):
        return _plain_pick(tuple(_PARTS.findall(expression)))

    def pick(document: Any) -> Any:
        try:
            return compiled.search(document)
        except (JMESPathError, TypeError, ValueError, RecursionError) as error:
            raise PickError(f"{type(error).__name__} in {expression!r}") from None

    return pick


def rows_path(expression: str) -> tuple[Parts, Pick] | None:
    """Return where the lists of rows are, and what of such a list is picked.

    None when only the whole document tells. Of a document without its rows the expression itself
    picks an empty list then, and nothing where there is no such list.
    """
    if not _PLAIN.fullmatch(expression):
        return None
    parts = tuple(_PARTS.findall(expression))
    if ELEMENTS not in parts:
        return parts, _plain_pick(())
    last = len(parts) - 1 - parts[::-1].index(ELEMENTS)
    return parts[:last], _plain_pick(parts[last:])


def _functions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("type") == "function_expression":
            yield node["value"]
        for child in node.get("children", ()):
            yield from _functions(child)


def _plain_pick(parts: tuple[str, ...]) -> Pick:
    """Return a pick for keys and ``[]``: what JMESPath does, without its interpreter."""

    def pick(document: Any) -> Any:
        value = document
        projecting = False
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

    return pick


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
