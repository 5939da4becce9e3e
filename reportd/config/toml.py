"""TOML as people write it: what the samples, the docs page and ``partner show`` print. Pure."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

WIDTH = 100
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(key: str) -> str:
    """Return a key as TOML wants it written."""
    return key if _BARE.fullmatch(key) else _text(key)


def toml_value(value: Any) -> str:
    """Return a value as TOML, in one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{toml_key(key)} = {toml_value(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(each) for each in value)}]"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | Path):
        return _text(str(value))
    return json.dumps(value)


def toml_lines(
    table: Mapping[str, Any], ordered: Collection[str] = (), name: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield a file's lines: what fits into one stays there, larger tables have their own heading.

    Lists stay in their order at the top, and so do the values of tables that are called
    ``ordered``: there, each has its one line. ``name`` is the heading that these lines stand under.
    """
    is_ordered = bool(name) and name[-1] in ordered
    headed = {
        key for key, value in table.items() if not is_ordered and _needs_heading(key, value, name)
    }
    for key, value in table.items():
        if key not in headed:
            yield from _assignment(key, value)
    for key in [key for key in table if key in headed]:
        path = (*name, key)
        heading = ".".join(toml_key(part) for part in path)
        is_list = isinstance(table[key], list)
        for each in table[key] if is_list else [table[key]]:
            lines = list(toml_lines(each, ordered, path))
            if is_list or (lines and lines[0]):
                yield ""
                yield f"[[{heading}]]" if is_list else f"[{heading}]"
            yield from lines


def _assignment(key: str, value: Any) -> Iterator[str]:
    line = f"{toml_key(key)} = {toml_value(value)}"
    if len(line) <= WIDTH or not isinstance(value, list) or len(value) == 0:
        yield line
        return
    yield f"{toml_key(key)} = ["
    for each in value:
        yield f"    {toml_value(each)},"
    yield "]"


def _needs_heading(key: str, value: Any, name: tuple[str, ...]) -> bool:
    if len(f"{toml_key(key)} = {toml_value(value)}") <= WIDTH:
        return False
    if isinstance(value, Mapping):
        return True
    # At the top, lists are rules, and their order among each other means something
    return bool(name) and isinstance(value, list) and all(isinstance(x, Mapping) for x in value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
