"""One report of a partner file as data: what is called, how it is paged, what the rows are.

Pure declarations; part of `reportd.partners.spec`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from reportd.config.base import Section, as_tuple
from reportd.config.problems import FieldProblems, Location, did_you_mean
from reportd.model.base import Name
from reportd.partners.answer_spec import (
    WHOLE_MOST_MIB,
    CsvSpec,
    Format,
    ListsSpec,
    Members,
    Nulls,
    answer_problems,
)
from reportd.partners.fields import HeaderName, Jmes, JsonBody, QueryValue, TemplateText, texts_in
from reportd.partners.picking import compile_pick, rows_path
from reportd.partners.templates import mentions
from reportd.sinks.columns import Columns, ColumnSpec, column_problems


class NextSpec(Section):
    """How an answer leads to the next page: one of page, cursor, url."""

    page: Annotated[int | None, Field(ge=0)] = None
    """Pages are numbered; this is the first one's number (or offset, with ``step``)."""
    step: Annotated[int, Field(ge=1)] = 1
    """page: what is added for the next one; the page's size where rows are counted."""
    cursor: Jmes | None = None
    """Where the body holds the next page's cursor; null or empty: that was the last."""
    url: Annotated[str | None, StringConstraints(min_length=1)] = None
    """Where the body holds the next page's URL, or ``header:Link``."""
    query: str | None = None
    """page, cursor: the query parameter that carries it ..."""
    json_: Annotated[str | None, Field(alias="json")] = None
    """... or the dotted key in the JSON body."""
    size: Annotated[int | None, Field(ge=1)] = None
    """page, cursor: rows a page; with page, a shorter one is the last."""
    size_query: str | None = None
    """The query parameter that carries ``size``."""
    more: Jmes | None = None
    """Where the body says whether there is more: false ends it."""
    pages: Jmes | None = None
    """page: where the body says how many pages there are."""
    total: Jmes | None = None
    """page: where the body says how many rows there are; needs ``size``."""
    max_pages: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """More is taken for running in circles."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [n for n in ("page", "cursor", "url") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of page, cursor, url")
        problems = dict(self._url_problems() if self.url else self._carrier_problems())
        if self.size is None and (self.size_query or self.total):
            problems["size"] = "is missing; add it"
        if problems:
            raise FieldProblems(problems)
        return self

    def _url_problems(self) -> Iterator[tuple[str, str]]:
        for name in ("query", "size", "size_query", "pages", "total"):
            if getattr(self, name) is not None:
                yield name, "not with url: the partner's URL holds everything"
        if (self.url or "").startswith("header:"):
            if (self.url or "").lower() != "header:link":
                yield "url", "a JMESPath, or header:Link"
            return
        try:
            compile_pick(self.url or "")
        except ValueError as error:
            yield "url", str(error)

    def _carrier_problems(self) -> Iterator[tuple[str, str]]:
        if (self.query is None) == (self.json_ is None):
            yield "query", "give either query or json: where the next call carries it"
        if self.cursor is not None:
            for name in ("pages", "total"):
                if getattr(self, name) is not None:
                    yield name, "only with page"


class ParamSpec(Section):
    """A parameter that requests may give; ``"text"`` is short for its default."""

    default: Annotated[str | None, StringConstraints(max_length=4096)] = None
    """None: every request must give it."""
    one_of: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """The only values allowed; empty: any."""

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, data: Any) -> Any:
        return {"default": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.one_of and self.default is not None and self.default not in self.one_of:
            raise FieldProblems({"default": "not among one_of"})
        return self


class ReportSpec(Section):
    """``[reports.NAME]``: what is called, and what the rows are."""

    get: TemplateText | None = None
    """The URL; its host stands in ``hosts``."""
    post: TemplateText | None = None
    """The URL, where the partner wants a POST."""
    query: dict[str, QueryValue] = {}
    """Query parameters, beside those of the URL; a list gives one parameter each."""
    headers: dict[HeaderName, TemplateText] = {}
    """Headers; secrets belong into ``auth``."""
    json_: Annotated[JsonBody | None, Field(alias="json")] = None
    """post: the body; every text in it is a template."""
    params: dict[Name, ParamSpec] = {}
    """What requests may give beyond account and days."""
    format: Format = "json"
    """What answers are; gzip and ZIP are recognised by themselves."""
    members: Members = "*"
    """In a ZIP: which of its files are read, in the order of their names; a pattern."""
    encoding: str = "utf-8"
    """The answers' characters; a byte order mark is dropped."""
    csv: CsvSpec = CsvSpec()
    """How CSV is written."""
    rows: Jmes = "@"
    """json: where the list of records is; jsonl: what of a line is the record."""
    lists: ListsSpec | None = None
    """json: rows are lists of values, not objects: a header and rows, or a list a column."""
    null: Nulls = None
    """Texts that mean "no value" in all columns that do not say others."""
    next_: Annotated[NextSpec | None, Field(alias="next")] = None
    """How one page leads to the next; without it one call is all."""
    day_column: str | None = None
    """The column that splits a range into day files; without it a request is one day."""
    columns: Columns
    """The files' columns, in their order: ``name = "type"`` or a table, see ``columns``."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """For one call, from connecting to the last byte."""
    max_answer_mib: Annotated[int, Field(ge=1, le=65_536)] = 64
    """The largest answer that is taken, decompressed. Memory has to hold JSON that is no plain list
    of objects, so for that 256 is the most."""
    max_days: Annotated[int, Field(ge=1, le=400)] = 400
    """The longest range a request may ask for."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: dict[Location, str] = {}
        if (self.get is None) == (self.post is None):
            problems["get",] = "give exactly one of get, post: the URL"
        if self.json_ is not None and self.post is None:
            problems["json",] = "only with post"
        if self.next_ and self.next_.json_ and not isinstance(self.json_, dict):
            problems["next", "json"] = "the report has no json body"
        problems.update(
            answer_problems(self.format, self.model_fields_set, has_lists=self.lists is not None)
        )
        whole = self.format == "json" and (self.lists or rows_path(self.rows) is None)
        if whole and self.max_answer_mib > WHOLE_MOST_MIB:
            problems["max_answer_mib",] = (
                f"more than {WHOLE_MOST_MIB} only where rows is a plain path, without lists"
            )
        try:
            "".encode(self.encoding)
        except LookupError:
            problems["encoding",] = "unknown; write one like utf-8, utf-16, windows-1252"
        named = self.format == "csv" or self.lists is not None
        for text in column_problems(self.columns, "csv" if named else "json", self.day_column):
            key, _, what = text.partition(": ")
            problems[tuple(key.split("."))] = what
        problems.update(self._template_problems())
        if problems:
            raise FieldProblems(problems)
        return self

    def _template_problems(self) -> Iterator[tuple[Location, str]]:
        for key, text in self.templates():
            for path in mentions(text):
                if path[0] == "params" and len(path) > 1 and path[1] not in self.params:
                    hint = did_you_mean(path[1], self.params)
                    yield key, f"params.{path[1]} is not declared in params; {hint}"

    def templates(self) -> Iterator[tuple[Location, str]]:
        """Yield every template with its location."""
        for key in ("get", "post"):
            text = getattr(self, key)
            if text is not None:
                yield (key,), text
        for part, table in (("query", self.query), ("headers", self.headers)):
            for name, value in table.items():
                for text in texts_in(value):
                    yield (part, name), text
        for text in texts_in(self.json_):
            yield ("json",), text

    def typed_columns(self) -> dict[str, ColumnSpec]:
        """Return the columns with what the report says for all of them."""
        if self.null is None:
            return self.columns
        return {
            name: spec if spec.null is not None else spec.model_copy(update={"null": self.null})
            for name, spec in self.columns.items()
        }

    @property
    def url(self) -> str:
        """Return the URL's template."""
        return self.get or self.post or ""
