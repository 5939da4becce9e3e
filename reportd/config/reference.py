"""The declared settings, as data for people: what the sample files and the docs page show.

Used by `reportd.config.render` alone. Pure.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from reportd.config.base import Section
from reportd.config.calendar import Calendar
from reportd.config.days import FixedDays, RelativeDays
from reportd.config.docstrings import field_texts
from reportd.config.schedule import Deadline
from reportd.config.secrets import Secret

_KINDS: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    Secret: '``{ secret = "name" }``',
    Calendar: "calendar",
    Deadline: "time of day with zone",
    RelativeDays: "days",
    FixedDays: "days",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a table."""

    name: str
    kind: str
    """What may stand there, in words."""
    description: str
    is_needed: bool
    default: Any
    """None: there is none."""
    example: Any
    is_shown: bool
    """Whether the sample file sets it, to the example, although there is a default."""
    table: "Table | None"
    """What may stand in it, when it is a table that the sample file shows in one line."""

    @property
    def sample(self) -> Any:
        """What the sample file shows."""
        show_example = self.is_needed or self.is_shown or self.default in (None, {}, ())
        return self.example if show_example and self.example is not None else self.default


@dataclass(frozen=True, slots=True)
class Table:
    """A table, and the tables in it."""

    name: str
    """Dotted; empty: the file itself."""
    description: str
    is_list: bool
    settings: tuple[Setting, ...]
    tables: "tuple[Table, ...]"


def table_of(model: type[Section], name: str = "", *, is_list: bool = False) -> Table:
    """Return what a model declares."""
    settings: list[Setting] = []
    tables: list[Table] = []
    texts = field_texts(model)
    for key, field in model.model_fields.items():
        shown = field.alias or key
        path = f"{name}.{shown}" if name else shown
        inner, inner_is_list = _model_in(field)
        table = table_of(inner, path, is_list=inner_is_list) if inner else None
        if table is None or field.examples:
            settings.append(_setting(shown, field, texts.get(key, ""), table))
        else:
            tables.append(table)
    description = inspect.cleandoc(model.__doc__ or "")
    return Table(name, description, is_list, tuple(settings), tuple(tables))


def undescribed(table: Table) -> Iterator[str]:
    """Yield the dotted names of settings without a description."""
    for setting in table.settings:
        if not setting.description:
            yield f"{table.name}.{setting.name}"
    inline = (setting.table for setting in table.settings if setting.table)
    for inner in (*inline, *table.tables):
        yield from undescribed(inner)


def _model_in(field: FieldInfo) -> tuple[type[Section] | None, bool]:
    """Return the model that a field is a table of, and whether it is a list of them."""
    annotation = field.annotation
    for each in get_args(annotation) or (annotation,):
        if isinstance(each, type) and issubclass(each, Section):
            return each, get_origin(annotation) is tuple
    return None, False


def _setting(name: str, field: FieldInfo, text: str, table: Table | None) -> Setting:
    extra = field.json_schema_extra
    default = None if field.is_required() else field.default
    return Setting(
        name=name,
        kind=_kind(field.annotation) + _bounds(field),
        description=text,
        is_needed=field.is_required(),
        default=default,
        example=field.examples[0] if field.examples else None,
        is_shown=isinstance(extra, dict) and bool(extra.get("shown")),
        table=table,
    )


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(f'``"{value}"``' for value in get_args(annotation))
    if origin in {Union, UnionType}:
        kinds = [_kind(each) for each in get_args(annotation) if each is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is tuple:
        return f"list of {_kind(get_args(annotation)[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return "table"
    if hasattr(annotation, "__metadata__"):
        return _kind(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "table"
    return _KINDS[annotation]


def _bounds(field: FieldInfo) -> str:
    found = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("ge", "le")
        if getattr(each, name, None) is not None
    }
    if found.keys() >= {"ge", "le"}:
        return f" from {found['ge']} to {found['le']}"
    return f", at least {found['ge']}" if "ge" in found else ""
