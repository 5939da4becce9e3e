"""Records that stand in lists within rows: what is above each is within its reach. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from reportd.errors import UnexpectedAnswerError
from reportd.partners.picking import Pick, PickError

ABOVE = "above"
"""What a record calls the row that its list stands in; in that, again, what is above it."""


def unfolded(rows: list[Any], lists: Sequence[Pick]) -> list[Any]:
    """Return the records of the lists within some rows; raises `UnexpectedAnswerError`."""
    for pick in lists:
        rows = [{**inner, ABOVE: row} for row in rows for inner in _inner(pick, row)]
    return rows


def _inner(pick: Pick, row: Any) -> Iterator[dict[str, Any]]:
    """Yield what one row's list holds."""
    try:
        found = pick(row)
    except PickError as error:
        raise UnexpectedAnswerError(f"unfold: {error}") from None
    if not isinstance(found, list):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise UnexpectedAnswerError(
            f"unfold: {what} at {pick.text!r}, wanted a list; where a row may be without it, write"
            f" {pick.text} || `[]`"
        )
    for inner in found:
        if not isinstance(inner, dict):
            what = type(inner).__name__
            raise UnexpectedAnswerError(f"unfold: a {what} in {pick.text!r}, wanted objects")
        yield inner
