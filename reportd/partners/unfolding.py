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
    """Yield what one row's list holds; a row without it has no records."""
    try:
        found = pick(row)
    except PickError as error:
        raise UnexpectedAnswerError(f"unfold: {error}") from None
    if found is not None and not isinstance(found, list):
        what = type(found).__name__
        raise UnexpectedAnswerError(f"unfold: a {what} at {pick.text!r}, wanted a list")
    for inner in found or ():
        if not isinstance(inner, dict):
            what = type(inner).__name__
            raise UnexpectedAnswerError(f"unfold: a {what} in {pick.text!r}, wanted objects")
        yield inner
