"""JSON whose values stand in lists: a header and rows, or one list a column. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reportd.errors import UnexpectedAnswerError
from reportd.partners.answer_spec import ListsSpec
from reportd.partners.picking import Pick, PickError, compile_pick


@dataclass(frozen=True, slots=True)
class Listed:
    """The values of one answer, by column."""

    names: Sequence[str]
    values: Sequence[Sequence[Any]]
    """A sequence for every name, all of the same length."""
    rows: int


def listed(document: Any, rows: Pick, spec: ListsSpec) -> Listed:
    """Return what a document lists; raises `UnexpectedAnswerError`."""
    found = _picked(rows, document, "rows")
    if spec.by == "column":
        return _by_column(found, document, spec)
    return listed_rows(_lists(found, "rows"), document, spec)


def listed_rows(lists: list[Any], document: Any, spec: ListsSpec) -> Listed:
    """Return what some rows of a document list; raises `UnexpectedAnswerError`."""
    names = _names(document, spec)
    if spec.values is not None:
        lists = _picked_of_each(_compiled(spec.values), lists)
    if not (set(map(type, lists)) <= {list} and set(map(len, lists)) <= {len(names)}):
        raise UnexpectedAnswerError(_misfit(lists, len(names)))
    return Listed(names, list(zip(*lists, strict=True)) or [()] * len(names), len(lists))


def _picked_of_each(pick: Pick, lists: list[Any]) -> list[Any]:
    try:
        return [pick(row) for row in lists]
    except PickError as error:
        raise UnexpectedAnswerError(f"lists.values: {error}") from None


def _misfit(lists: list[Any], wanted: int) -> str:
    """Say which row it is that does not have as many values as there are names."""
    number, row = next(
        (number, row)
        for number, row in enumerate(lists, 1)
        if not isinstance(row, list) or len(row) != wanted
    )
    what = f"{len(row)} values" if isinstance(row, list) else "no list"
    return f"row {number}: {what}, wanted {wanted} values"


def _by_column(found: Any, document: Any, spec: ListsSpec) -> Listed:
    if spec.names is None:
        if not isinstance(found, dict):
            raise UnexpectedAnswerError("rows: wanted an object of lists")
        names, columns = list(found), list(found.values())
    else:
        names, columns = _names(document, spec), _lists(found, "rows")
        if len(names) != len(columns):
            raise UnexpectedAnswerError(f"rows: {len(columns)} lists for {len(names)} names")
    rows = len(columns[0]) if columns and isinstance(columns[0], list) else 0
    for name, column in zip(names, columns, strict=True):
        if not isinstance(column, list) or len(column) != rows:
            raise UnexpectedAnswerError(f"column {name[:80]}: not a list as long as the others")
    return Listed(names, columns, rows)


def _names(document: Any, spec: ListsSpec) -> list[str]:
    names = _lists(_picked(_compiled(spec.names or "@"), document, "lists.names"), "lists.names")
    if not all(isinstance(name, str) for name in names):
        raise UnexpectedAnswerError("lists.names: one of them is no text")
    return names


def _lists(found: Any, what: str) -> list[Any]:
    if not isinstance(found, list):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise UnexpectedAnswerError(f"{what}: {kind}, wanted a list")
    return found


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Pick:
    return compile_pick(expression)


def _picked(pick: Pick, document: Any, what: str) -> Any:
    try:
        return pick(document)
    except PickError as error:
        raise UnexpectedAnswerError(f"{what}: {error}") from None
