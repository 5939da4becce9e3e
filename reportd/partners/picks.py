"""What a step picks from its answer, for later steps. Compiled once; pure and thread-safe."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from reportd.errors import UnexpectedAnswerError
from reportd.partners.body import Body
from reportd.partners.picking import PickError, compile_pick
from reportd.transport.exchange import Answer

PICKED_BYTES_MOST = 256 * 1024
"""What one answer may give to be recorded, as JSON: a record of the ledger holds it."""

Source = Callable[[Answer, Body], Any]
"""Finds a value in an answer; None: nothing there. Raises `UnexpectedAnswerError`."""


def compile_picks(picks: Mapping[str, str]) -> Mapping[str, Source]:
    """Compile what a checked step, or one of its answers to adopt, picks."""
    return {name: _compiled(text) for name, text in picks.items()}


def needs_json(picks: Mapping[str, str]) -> bool:
    """Say whether any of these looks into a JSON body."""
    return any(text.partition(":")[0] not in ("header", "text") for text in picks.values())


def picked_from(sources: Mapping[str, Source], answer: Answer, body: Body) -> dict[str, Any]:
    """Return what an answer gives; raises `UnexpectedAnswerError` when anything is missing."""
    found = {}
    for name, source in sources.items():
        value = source(answer, body)
        if value is None or value == "":
            raise UnexpectedAnswerError(f"pick.{name}: nothing there")
        found[name] = value
    return found


def check_recordable(picked: Mapping[str, Any]) -> None:
    """Look whether a record can hold what was picked; raises `UnexpectedAnswerError`."""
    size = len(orjson.dumps(picked)) if picked else 0
    if size > PICKED_BYTES_MOST:
        raise UnexpectedAnswerError(f"pick: {size} bytes, more than {PICKED_BYTES_MOST}")


def _compiled(text: str) -> Source:
    kind, _, rest = text.partition(":")
    if kind == "header" and rest:
        name, _, pattern = rest.partition(":")
        name, found = name.lower(), re.compile(pattern or ".+")
        return lambda answer, _body: _first(found, answer.headers.get(name, ""))
    if kind == "text" and rest:
        within = re.compile(rest)
        return lambda _answer, body: _first(within, body.text())
    pick = compile_pick(text)

    def picked(_answer: Answer, body: Body) -> Any:
        try:
            return body.pick(pick)
        except PickError as error:
            raise UnexpectedAnswerError(f"pick: {error}") from None

    return picked


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    if found is None:
        return None
    return found[1] if pattern.groups else found[0]
