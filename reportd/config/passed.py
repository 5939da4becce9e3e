"""Settings of somebody else (Spark's, a reader's): names and values that are passed on as text."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, ValidationInfo

from reportd.config.base import read_secret
from reportd.config.kafka import flatten
from reportd.config.problems import FieldProblems
from reportd.config.secrets import Secret


def _passed(value: Any, info: ValidationInfo) -> Any:
    """Take a table of settings of somebody else: text, numbers, truth values, secrets."""
    if not isinstance(value, Mapping):
        return value
    taken: dict[str, str | Secret] = {}
    problems: dict[str, str] = {}
    for name, each in flatten(value):
        try:
            taken[name] = plain(each, info)
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise FieldProblems(problems)
    return taken


def plain(value: Any, info: ValidationInfo) -> str | Secret:
    """Return one value as text, or the secret that is meant; raises `ValueError`."""
    if isinstance(value, Secret):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, Mapping):
        return read_secret(value, info)
    raise ValueError('must be text, a number, true, false or { secret = "name" }')


Passed: TypeAlias = Annotated[Mapping[str, str | Secret], BeforeValidator(_passed)]
"""Text by dotted name; numbers and truth values become text, ``{ secret = "name" }`` is read."""
