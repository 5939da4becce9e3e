"""A partner file as data: what may stand in ``partners/<name>.toml``; see docs/partners.rst.

Pure declarations. `reportd.partners.load` reads files with them, `reportd.partners.partner`
compiles them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from reportd.config.base import Section, as_tuple, known_zone
from reportd.config.problems import FieldProblems, Location, did_you_mean
from reportd.model.base import Name
from reportd.partners.picking import compile_pick
from reportd.partners.templates import REQUEST_FIELDS, ROOTS, compile_json, mentions
from reportd.sinks.columns import Columns, column_problems
from reportd.transport.guard import refusal, split_pattern

_HEADER_NAME = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
_OWN_HEADERS = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "te",
        "upgrade",
    }
)
_HOST = re.compile(
    r"^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,62})\.)*[a-z0-9][a-z0-9-]{0,62}(?::\d{1,5})?$"
    r"|^\[[0-9a-f:.]+\](?::\d{1,5})?$"
)
_WAIT = re.compile(r"^(header:[A-Za-z0-9-]+(:.+)?|body:.+)$", re.DOTALL)
_AUTHORITY = re.compile(r"^([a-z]+)://([^/?#{}]+)(?:[/?#]|$)")
_UNTIL = re.compile(r"^midnight \S+$")


def _template(text: str) -> str:
    unknown = sorted({path[0] for path in mentions(text)} - ROOTS)
    if unknown:
        raise ValueError(f"{{{{ {unknown[0]} }}}} is unknown; {did_you_mean(unknown[0], ROOTS)}")
    for path in mentions(text):
        if path[0] == "request" and len(path) > 1 and path[1] not in REQUEST_FIELDS:
            hint = did_you_mean(path[1], REQUEST_FIELDS)
            raise ValueError(f"{{{{ request.{path[1]} }}}} is unknown; {hint}")
    return text


def _json(value: Any) -> Any:
    for text in texts_in(value):
        _template(text)
    compile_json(value)
    return value


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def _pick(text: str) -> str:
    compile_pick(text)
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def _header(name: str) -> str:
    if not _HEADER_NAME.match(name):
        raise ValueError("not the name of a header")
    if name.lower() in _OWN_HEADERS:
        raise ValueError("reportd sets this header itself")
    return name


def _host(text: str) -> str:
    if "://" in text or "/" in text:
        raise ValueError("a host alone, like api.acme.com, without https:// and path")
    if not _HOST.match(text.lower()):
        raise ValueError("not a host like api.acme.com, *.acme.com or 127.0.0.1:8080")
    return text.lower()


def _wait(text: str) -> str:
    if not _WAIT.match(text):
        raise ValueError("write header:NAME, header:NAME:JMESPATH or body:JMESPATH")
    kind, _, rest = text.partition(":")
    expression = rest if kind == "body" else rest.partition(":")[2]
    if expression:
        compile_pick(expression)
    return text


def _until(text: str) -> str:
    if not _UNTIL.match(text):
        raise ValueError('write "midnight ZONE", like "midnight America/Los_Angeles"')
    return text


def _statuses(value: Any) -> Any:
    """Take ``429``, ``[500, 503]`` and ``"5xx"`` alike; raises `ValueError`."""
    if isinstance(value, frozenset):
        return value
    found: set[int] = set()
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, int) and not isinstance(one, bool) and 100 <= one <= 599:
            found.add(one)
        elif isinstance(one, str) and re.fullmatch(r"[1-5]xx", one):
            found.update(range(int(one[0]) * 100, int(one[0]) * 100 + 100))
        else:
            raise ValueError('a status like 429, a list of them, or "5xx"')
    if not found:
        raise ValueError("at least one status")
    return frozenset(found)


def _query_value(value: Any) -> Any:
    for one in value if isinstance(value, list | tuple) else (value,):
        if isinstance(one, str):
            _template(one)
        elif not isinstance(one, int | float):
            raise ValueError("must be text, a number, true or false, or a list of them")  # noqa: TRY004
    return as_tuple(value)


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else as_tuple(value)


TemplateText = Annotated[str, AfterValidator(_template)]
Jmes = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_pick)]
Regex = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_regex)]
HeaderName = Annotated[str, AfterValidator(_header)]
Host = Annotated[str, AfterValidator(_host)]
Wait = Annotated[str, AfterValidator(_wait)]
Statuses = Annotated[
    frozenset[int],
    BeforeValidator(_statuses),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array"}, {"type": "string"}]}),
]
Per = Literal["partner", "credential", "account", "report"]
QueryValue = Annotated[
    Any,
    PlainValidator(_query_value),
    WithJsonSchema({"type": ["string", "number", "boolean", "array"]}),
]
"""A template, a number, true or false, or a list of them: one parameter each."""
RULE_KINDS: Final = ("slow_down", "quota", "transient", "permanent", "unauthorized", "empty")


class SecretName(Section):
    """``{ secret = "acme-{{ account.credential }}" }``: a file of the secrets folder."""

    secret: TemplateText
    """The file's name."""


class BasicSpec(Section):
    """``basic = { user = "reports", password = { secret = "acme" } }``."""

    user: str | SecretName
    """The user's name, or the secret that holds it."""
    password: SecretName
    """The secret that holds the password."""


class AuthSpec(Section):
    """How calls are authorized; any of these together, but one of bearer and basic."""

    bearer: SecretName | None = None
    """``Authorization: Bearer ...``."""
    basic: BasicSpec | None = None
    """``Authorization: Basic ...``."""
    headers: dict[HeaderName, SecretName] = {}
    """API keys in headers: ``headers = { X-Api-Key = { secret = "acme-key" } }``."""
    query: dict[str, SecretName] = {}
    """API keys in the query: ``query = { key = { secret = "acme-key" } }``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bearer and self.basic:
            raise ValueError("bearer and basic exclude each other: both are one header")
        return self


class LimitSpec(Section):
    """``{ per = "account", calls = 5, seconds = 1 }``: a limit, as the partner counts it."""

    per: Per
    """What is counted together. ``report``: each report for itself, over all accounts."""
    calls: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """How many calls ..."""
    seconds: Annotated[float, Field(gt=0, le=366 * 86400)] = 1.0
    """... in how many seconds."""
    meter: Literal["bucket", "fixed", "sliding"] = "sliding"
    """bucket: evenly spaced, with ``burst``; fixed: windows by the clock; sliding: any window."""
    burst: Annotated[int | None, Field(ge=1)] = None
    """bucket: how many calls may come at once; default 1."""
    margin_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """How much longer than ``seconds`` a window is taken, for clocks and networks that differ."""
    reports: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = ()
    """Only calls of these reports count; default: all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.burst is not None and self.meter != "bucket":
            raise FieldProblems({"burst": 'only with meter = "bucket"'})
        return self


class RetrySpec(Section):
    """How often and how soon a failed call is tried again."""

    attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many failed attempts end a request as a dead letter."""
    base_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """The first back-off's limit; each next one's is twice that (full jitter)."""
    max_seconds: Annotated[float, Field(gt=0, le=86400)] = 300.0
    """The longest back-off."""
    hold_seconds: Annotated[float, Field(gt=0, le=86400)] = 60.0
    """First wait of a request that may be part of an outage; each next one is twice that."""
    give_up_seconds: Annotated[float, Field(gt=0, le=31 * 86400)] = 6 * 3600.0
    """How long a request is held where no other account can show that it alone fails."""


class RuleSpec(Section):
    """Which answers are meant: all that is given must hold."""

    status: Statuses | None = None
    """``429``, ``[500, 503]``, ``"5xx"``."""
    header: dict[HeaderName, Regex] = {}
    """A header and a regular expression that is found in it."""
    body: Jmes | None = None
    """A JMESPath that is true for the JSON body: ``"code == `40100`"``."""
    text: Regex | None = None
    """A regular expression that is found in the first 4 KiB of the body."""
    reason: Annotated[str, StringConstraints(max_length=200)] = ""
    """What people read; default: the rule itself."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.status is None and not self.header and not self.body and not self.text:
            raise ValueError("give at least one of status, header, body, text")
        return self


class WaitRuleSpec(RuleSpec):
    """A rule that also says how long its scope waits."""

    wait: Annotated[tuple[Wait, ...], BeforeValidator(_as_list)] = ()
    """Where the answer says it: ``header:Retry-After``, ``body:error.retryDelay``; a list is
    tried in order."""
    wait_unit: Literal["seconds", "minutes", "milliseconds", "epoch"] = "seconds"
    """What a plain number there means."""
    wait_seconds: Annotated[float | None, Field(ge=0, le=86400 * 31)] = None
    """How long when the answer does not say."""
    wait_until: Annotated[str | None, AfterValidator(lambda v: v if v is None else _until(v))] = (
        None
    )
    """``midnight America/Los_Angeles``: when the answer does not say."""
    scope: Per | None = None
    """What waits; default: the narrowest limit."""

    @model_validator(mode="after")
    def _check_zone(self) -> Self:
        if self.wait_until:
            from_text = self.wait_until.partition(" ")[2]
            try:
                known_zone(from_text)
            except ValueError as error:
                raise FieldProblems({"wait_until": str(error)}) from None
        return self


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


class CsvSpec(Section):
    """How a CSV answer is written."""

    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    """What stands between values."""
    quote: Annotated[str, StringConstraints(max_length=1)] = '"'
    """Empty: nothing is quoted."""
    skip_lines: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Lines before the header."""
    header_starts: Annotated[str, StringConstraints(max_length=200)] = ""
    """Lines are skipped until one starts with this column's name, quoted or not."""
    footer_lines: Annotated[int, Field(ge=0, le=1000)] = 0
    """Lines after the last row, empty ones not counted."""
    header: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """The columns' names, where the answer has no header."""


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
    json_: Annotated[
        dict[str, Any] | list[Any] | None, Field(alias="json"), AfterValidator(_json)
    ] = None
    """post: the body; every text in it is a template."""
    params: dict[Name, ParamSpec] = {}
    """What requests may give beyond account and days."""
    format: Literal["json", "jsonl", "csv"] = "json"
    """What answers are; gzip is recognised by itself."""
    encoding: str = "utf-8"
    """The answers' characters; a byte order mark is dropped."""
    csv: CsvSpec = CsvSpec()
    """How CSV is written."""
    rows: Jmes = "@"
    """json: where the list of records is; jsonl: what of a line is the record."""
    next_: Annotated[NextSpec | None, Field(alias="next")] = None
    """How one page leads to the next; without it one call is all."""
    day_column: str | None = None
    """The column that splits a range into day files; without it a request is one day."""
    columns: Columns
    """The files' columns, in their order: ``name = "type"`` or a table, see ``columns``."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """For one call, from connecting to the last byte."""
    max_answer_mib: Annotated[int, Field(ge=1, le=4096)] = 64
    """The largest answer that is taken, decompressed; memory has to hold it."""
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
        if self.format == "csv":
            if "rows" in self.model_fields_set:
                problems["rows",] = 'not with format = "csv"'
        elif "csv" in self.model_fields_set:
            problems["csv",] = 'only with format = "csv"'
        try:
            "".encode(self.encoding)
        except LookupError:
            problems["encoding",] = "unknown; write one like utf-8, utf-16, windows-1252"
        for text in column_problems(
            self.columns, "csv" if self.format == "csv" else "json", self.day_column
        ):
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

    @property
    def url(self) -> str:
        """Return the URL's template."""
        return self.get or self.post or ""


class PartnerSpec(Section):
    """A whole partner file."""

    hosts: Annotated[tuple[Host, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """The only hosts that are ever called: ``api.acme.com``, ``*.acme.com``, ``host:port``."""
    allow_private: bool = False
    """Private and loopback addresses, and plain http: for a partner inside the house, or tests."""
    auth: AuthSpec = AuthSpec()
    """How calls are authorized."""
    limits: Annotated[tuple[LimitSpec, ...], BeforeValidator(as_tuple)] = ()
    """What the partner allows; a call waits until every limit that counts it has room."""
    retry: RetrySpec = RetrySpec()
    """How often and how soon a failed call is tried again."""
    partitions: Annotated[int | None, Field(ge=1, le=10_000)] = None
    """Of this partner's topics; default: 1 when the partner as a whole is limited, else 12."""
    ready_hours: Annotated[float, Field(ge=0, le=24 * 31)] = 0.0
    """When a day's data is there: hours after the account's midnight."""
    restatement_days: Annotated[int, Field(ge=0, le=400)] = 0
    """For how many days after it a day's data may still change: until then it is provisional."""
    slow_down: Annotated[tuple[WaitRuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: wait. No attempt is counted."""
    quota: Annotated[tuple[WaitRuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: the day's quota is spent."""
    transient: Annotated[tuple[WaitRuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: try again."""
    permanent: Annotated[tuple[RuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: this request can never work."""
    unauthorized: Annotated[tuple[RuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: the credential is refused."""
    empty: Annotated[tuple[RuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: there is no data for these days."""
    reports: Annotated[dict[Name, ReportSpec], Field(min_length=1)]
    """What can be asked for: ``[reports.NAME]``, in schedules ``partner.NAME``."""

    _rule_kinds: tuple[str, ...] = PrivateAttr(default=RULE_KINDS)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_order(cls, data: Any, handler: Any) -> Any:
        spec = handler(data)
        if isinstance(data, Mapping):
            spec._rule_kinds = tuple(key for key in data if key in RULE_KINDS)
        return spec

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: dict[Location, str] = {}
        for number, limit in enumerate(self.limits):
            for name in limit.reports:
                if name not in self.reports:
                    hint = did_you_mean(name, self.reports)
                    problems["limits", number, "reports"] = f"unknown report {name!r}; {hint}"
        problems.update(self._url_problems())
        carried = {name.lower() for name in self.auth.headers}
        if self.auth.bearer or self.auth.basic:
            carried.add("authorization")
        for name, report in self.reports.items():
            for header in report.headers:
                if header.lower() in carried:
                    problems["reports", name, "headers", header] = "auth sets this header, too"
        if problems:
            raise FieldProblems(problems)
        return self

    def _url_problems(self) -> Iterator[tuple[Location, str]]:
        hosts = allowed_hosts(self)
        for name, report in self.reports.items():
            key = ("reports", name, "get" if report.get is not None else "post")
            scheme, own = authority(report.url)
            if own:
                where = f"{scheme}://{own}/"
                refused = refusal(where, hosts, allow_private=self.allow_private)
                if refused:
                    yield key, refused
            elif not re.match(r"^https?://", report.url):
                yield key, "write the whole URL, with https://"

    def rules(self) -> Iterator[tuple[str, int, RuleSpec]]:
        """Yield every rule in the file's order: kind, number within its kind, rule."""
        for kind in self._rule_kinds:
            for number, rule in enumerate(getattr(self, kind)):
                yield kind, number, rule


def authority(url: str) -> tuple[str, str]:
    """Return scheme and authority of a URL's template; empty when the host is templated."""
    found = _AUTHORITY.match(url)
    return (found[1], found[2].lower()) if found else ("", "")


def allowed_hosts(spec: PartnerSpec) -> tuple[str, ...]:
    """Return the hosts; inside the house also with the ports that the file's own URLs name."""
    hosts = list(spec.hosts)
    if not spec.allow_private:
        return spec.hosts
    names = {split_pattern(host)[0] for host in hosts}
    for report in spec.reports.values():
        _, own = authority(report.url)
        name, port = split_pattern(own)
        if port and name in names and own not in hosts:
            hosts.append(own)
    return tuple(hosts)
