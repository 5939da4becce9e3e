"""One call of a partner file as data: where it goes, what it carries, how it is paged.

Pure declarations, shared by `reportd.partners.report_spec` and `reportd.partners.step_spec`.
"""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from reportd.config.base import Section
from reportd.config.problems import FieldProblems, Location
from reportd.partners.fields import HeaderName, Jmes, JsonBody, QueryValue, TemplateText, texts_in
from reportd.partners.picking import compile_pick


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


class CallSpec(Section):
    """What is called."""

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
    form: dict[str, QueryValue] = {}
    """post: the body as a form's fields, like ``query``."""
    next_: Annotated[NextSpec | None, Field(alias="next")] = None
    """How one page leads to the next; without it one call is all."""

    def call_problems(self) -> Iterator[tuple[Location, str]]:
        """Yield what does not fit together, for a call that must have a URL."""
        if (self.get is None) == (self.post is None):
            yield ("get",), "give exactly one of get, post: the URL"
        for key, given in (("json", self.json_ is not None), ("form", bool(self.form))):
            if given and self.post is None:
                yield (key,), "only with post"
        if self.json_ is not None and self.form:
            yield ("form",), "a body is either json or form"
        if self.next_ and self.next_.json_ and not isinstance(self.json_, dict):
            yield ("next", "json"), "there is no json body"

    def templates(self) -> Iterator[tuple[Location, str]]:
        """Yield every template with its location."""
        for key in ("get", "post"):
            text = getattr(self, key)
            if text is not None:
                yield (key,), text
        tables = (("query", self.query), ("headers", self.headers), ("form", self.form))
        for part, table in tables:
            for name, value in table.items():
                for text in texts_in(value):
                    yield (part, name), text
        for text in texts_in(self.json_):
            yield ("json",), text

    @property
    def url(self) -> str:
        """Return the URL's template."""
        return self.get or self.post or ""
