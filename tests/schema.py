"""As much of JSON Schema as the schema of partner files uses, to see whether it is true."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": (str, date),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
_KNOWN = {
    "$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default",
    "description", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems",
    "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
    "pattern", "patternProperties", "properties", "propertyNames", "required", "title", "type",
}  # fmt: skip


def problems(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str = ""
) -> Iterator[str]:
    """Yield where a value does not fit: structure and types, not the bounds of numbers."""
    unknown = schema.keys() - _KNOWN
    assert not unknown, f"this validator does not know {unknown}"
    if "$ref" in schema:
        yield from problems(value, root["$defs"][schema["$ref"].split("/")[-1]], root, at)
    if "anyOf" in schema:
        tries = [list(problems(value, one, root, at)) for one in schema["anyOf"]]
        if all(tries):
            yield from min(tries, key=len)
    if "const" in schema and value != schema["const"]:
        yield f"{at}: not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: none of {schema['enum']}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"{at}: does not match"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{at}: not {' or '.join(kinds)}"
    elif isinstance(value, dict):
        yield from _table_problems(value, schema, root, at)
    elif isinstance(value, list) and "items" in schema:
        for number, each in enumerate(value):
            yield from problems(each, schema["items"], root, f"{at}[{number}]")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _table_problems(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}.{name}: missing"
    other = schema.get("additionalProperties", True)
    for key, each in value.items():
        fitting = [
            inner
            for pattern, inner in schema.get("patternProperties", {}).items()
            if re.search(pattern, key)
        ]
        if key in schema.get("properties", {}):
            fitting.append(schema["properties"][key])
        if not fitting and isinstance(other, dict):
            fitting = [other]
        if not fitting and other is False:
            yield f"{at}.{key}: unknown"
        for inner in fitting:
            yield from problems(each, inner, root, f"{at}.{key}")
