"""What is wrong with a file, for the person who wrote it: ``file: section.key: what to do``.

Used for settings, schedules and partner files. Values are never shown: one may be a secret.
"""

import copy
import difflib
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

Location: TypeAlias = tuple[str | int, ...]


class FieldProblems(ValueError):  # noqa: N818  it is a bundle of problems
    """Raised by a validator that finds several problems, or knows better where they stand."""

    def __init__(
        self, problems: Mapping[str, str] | Mapping[Location, str], above: int = 0
    ) -> None:
        """Take what is wrong by key, or by the way to it; ``above``: levels to go up first."""
        self.problems: dict[Location, str] = {
            key if isinstance(key, tuple) else (key,): what for key, what in problems.items()
        }
        self.above = above
        super().__init__("; ".join(f"{dotted(k)}: {what}" for k, what in self.problems.items()))


_ROUNDS_MOST = 8

_TEXTS = {
    "missing": "is missing; add it",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "less_than": "must be less than {lt}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list: [ ... ]",
    "list_type": "must be a list: [ ... ]",
    "dict_type": "must be a table: {{ {key} = ... }}",
    "model_type": "must be a table: {{ {key} = ... }}",
    "model_attributes_type": "must be a table: {{ {key} = ... }}",
    "date_type": "must be a date like 2026-11-22",
}


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    file_of: Callable[[Location], object],
) -> tuple[str, ...]:
    """Return every problem as one line; ``file_of`` says which file a location stands in."""
    found = error.errors(include_url=False, include_input=False)
    lines = []
    for item in found:
        for location, what in _each(item, model):
            lines.append(f"{file_of(location)}: {dotted(location)}: {what}")
    return tuple(dict.fromkeys(lines))


def every_problem(
    data: Mapping[str, Any],
    model: type[BaseModel],
    file_of: Callable[[Location], object],
    leaning: Mapping[str, Iterable[str]],
) -> tuple[str, ...]:
    """Return also what is only looked at when something else is right.

    What is wrong is taken out, and the rest is looked at again. What speaks of something that was
    taken out may come of that alone, and waits until it is there; ``leaning`` says what else does,
    by the key that was taken out, or the table that it was in.
    """
    rest = copy.deepcopy(dict(data))
    lines: dict[str, None] = {}
    words: set[str] = set()
    for _ in range(_ROUNDS_MOST):
        try:
            model.model_validate(rest)
            break
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        doubtful = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")
        for item in found:
            for location, what in _each(item, model):
                said = f"{dotted(location)}: {what}"
                is_emptied = words and item["type"] == "too_short"
                if not (words and doubtful.search(said)) and not is_emptied:
                    lines.setdefault(f"{file_of(location)}: {said}")
        gone: set[Location] = set()
        for item in found:
            for location, _ in _each(item, model):
                at = location[: -1 if item["type"] == "missing" else None]
                if not any(at[: len(one)] == one for one in gone):
                    words |= _taken_out(rest, at, gone, leaning)
    return tuple(lines)


def _taken_out(
    rest: dict[str, Any], at: Location, gone: set[Location], leaning: Mapping[str, Iterable[str]]
) -> set[str]:
    """Take the innermost key of a location out, and return what speaks of it."""
    here: Any = rest
    table, key, depth = rest, "", 0
    for level, part in enumerate(at):
        if isinstance(here, dict) and isinstance(part, str) and part in here:
            table, key, depth = here, part, level + 1
        elif not (isinstance(here, list) and isinstance(part, int) and part < len(here)):
            break
        here = here[part]
    if not depth:
        return set()
    gone.add(at[:depth])
    above = str(at[depth - 2]) if depth > 1 else ""
    leans = (*leaning.get(above, ()), *leaning.get(key, ()))
    return {key, *_names_in(table.pop(key)), *leans}


def _names_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("name"), str):
            yield value["name"]
        for inner in value.values():
            yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)


def _each(item: Any, model: type[BaseModel]) -> Iterator[tuple[Location, str]]:
    location: Location = item["loc"]
    context = item.get("ctx", {})
    bundle = context.get("error")
    if not isinstance(bundle, FieldProblems):
        what = _what(item["type"], context, item["msg"], location, model)
        if location and location[-1] == "[key]":
            it = "it " if what.startswith("must ") else ""
            location, what = location[:-1], f"is no name: {it}{what}"
        yield location, what
        return
    base = location[: len(location) - bundle.above]
    for key, what in bundle.problems.items():
        yield (*base, *key), what


def dotted(location: Location) -> str:
    """Return a location as a reader finds it: ``ask[2].days``; lists count from 1."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            shown = part if part.replace("_", "").replace("-", "").isalnum() else f'"{part[:80]}"'
            text += f".{shown}" if text else shown
    return text or "file"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint for a word that is not known: the nearest one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(names)}" if names else "nothing is known here"


def _what(kind: str, context: dict[str, Any], text: str, at: Location, model: type) -> str:
    if kind == "extra_forbidden":
        return f"unknown setting; {did_you_mean(str(at[-1]), _known(model, at[:-1]))}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_too_short" and context["min_length"] == 1:
        return "must not be empty"
    if kind in _TEXTS:
        return _TEXTS[kind].format(**context, key=_only_key(model, at))
    return text[:1].lower() + text[1:]


def _only_key(model: type, location: Sequence[str | int]) -> str:
    """Return the key that the table at a location wants, where there is but one."""
    known = _known(model, location)
    return known.pop() if len(known) == 1 else "key"


def _known(model: type, location: Sequence[str | int]) -> set[str]:
    """Return the keys that the table at a location may have."""
    here: list[Any] = [model]
    for part in location:
        here = [inner for each in here for inner in _step(each, part)]
    return {
        field.alias or name
        for each in here
        for found in _models(each)
        for name, field in found.model_fields.items()
    }


def _step(annotation: Any, part: str | int) -> Iterator[Any]:
    for model in _models(annotation):
        for name, field in model.model_fields.items():
            if part in {name, field.alias}:
                yield field.annotation
    if get_origin(annotation) in {list, tuple, dict, Union, types.UnionType} or (
        hasattr(annotation, "__metadata__")
    ):
        for inner in get_args(annotation):
            if get_origin(annotation) in {list, tuple, dict}:
                yield inner
            else:
                yield from _step(inner, part)
    elif isinstance(part, str) and not any(_models(annotation)):
        yield annotation  # a tag of a union stands in the location too


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {Union, types.UnionType} or hasattr(annotation, "__metadata__"):
        for inner in get_args(annotation):
            yield from _models(inner)
