"""A partner, compiled from its file: what it can be asked, which key and which limits count.

Made at start and reload, read by every process; immutable and thread-safe.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from reportd.errors import InvalidMessageError
from reportd.model.request import Request
from reportd.partners.answer_spec import WHOLE_MOST_MIB
from reportd.partners.auth import compile_auth
from reportd.partners.picking import Pick, compile_pick, rows_path
from reportd.partners.report_spec import ReportSpec
from reportd.partners.rules import Rule, compile_rule
from reportd.partners.spec import LimitSpec, PartnerSpec, allowed_hosts
from reportd.partners.steps import Step, check_early, compile_steps
from reportd.partners.templates import Values, compile_template, in_url, mentions, suspicious
from reportd.partners.usage import compile_usage
from reportd.partners.waits import compile_source
from reportd.transport.credentials import AuthPlan
from reportd.transport.exchange import Call

KeyScope = Literal["partner", "credential", "account"]
FORMATS = ("parquet", "csv", "csv.gz", "csv.zst", "jsonl", "jsonl.gz", "jsonl.zst")
DEFAULT_PARTITIONS = 12
LONGEST_RATE_SECONDS = 3600.0
"""A limit over longer is a quota, no rate."""
SHARE_LEAST = 10
"""A limit is divided into shares of so many calls or more: a tenth of it at most is lost."""
_ASKED = {"name", "get", "post", "query", "json_", "form", "next_", "each", "data"}
"""What of a call makes its answers what they are."""
_WIDTH = {"account": 0, "credential": 1, "report": 2, "partner": 2}
_NARROWEST_FIRST = ("account", "report", "credential", "partner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report, compiled."""

    name: str
    spec: ReportSpec
    rows: Pick
    unfold: tuple[Pick, ...]
    steps: tuple[Step, ...]
    may_split: bool
    """Whether an answer may say that what is asked for is too big."""
    mark: str
    """Stands for all that it asks for: where that changes, pages and parts are others."""

    def problems_of(self, days: int, params: Mapping[str, str]) -> Iterator[str]:
        """Yield why it cannot be asked for so many days with these parameters."""
        longest = self.spec.max_days if self.spec.day_column else 1
        if days > longest:
            why = "" if self.spec.day_column else ", as it names no day_column"
            yield f"days: {days}, but this report gives at most {longest}{why}"
        if params.keys() - self.spec.params.keys():
            yield "params: one that the report does not declare"
        for name, declared in self.spec.params.items():
            value = params.get(name, declared.default)
            if value is None:
                yield f"params: {name} is missing"
            elif declared.one_of and value not in declared.one_of:
                yield f"params: {name} is none of those allowed"


class Partner:
    """One partner. Methods that take a request are pure and cheap."""

    def __init__(self, name: str, spec: PartnerSpec) -> None:
        """Compile a checked spec."""
        self.name = name
        self.spec = spec
        self.key_scope: KeyScope = key_scope(spec.limits)
        self.reports: Mapping[str, Report] = {
            key: _compile_report(key, report, bool(spec.too_big))
            for key, report in spec.reports.items()
        }
        self.hosts = allowed_hosts(spec)
        self._slowed = {name: _narrowest_scope(spec.limits, name) for name in spec.reports}
        self._rules = tuple(compile_rule(*each) for each in spec.rules())
        self.usage = tuple(compile_usage(each) for each in spec.usage)
        self.costs = tuple(
            (number, compile_source(limit.cost_from))
            for number, limit in enumerate(spec.limits)
            if limit.cost_from
        )
        self._grouped = {
            limit.per: compile_template(limit.per) for limit in spec.limits if "{{" in limit.per
        }
        self._rules_of: dict[int, tuple[Rule, ...]] = {}
        self._auth = compile_auth(name, spec.auth, allow_private=spec.allow_private)

    @property
    def partitions(self) -> int:
        """Return how many partitions the partner's topics have."""
        return self.spec.partitions or (1 if self.key_scope == "partner" else DEFAULT_PARTITIONS)

    def key_of(self, request: Request) -> str:
        """Return the message's key: the value of the widest scope that has a limit."""
        return scope_value(self.name, self.key_scope, request)

    def scopes(self, request: Request) -> dict[tuple[str, tuple[str, ...]], str]:
        """Return whom the limits of each call of a request count: the value by (per, reports).

        Raises `InvalidMessageError` when the request lacks what a limit's template needs, and for a
        report that there is not.
        """
        if request.report not in self.reports:
            raise InvalidMessageError("report: this partner has no such report")
        values = self.values(request) if self._grouped else {}
        return {
            (limit.per, limit.reports): self._counted(limit.per, request, values)
            for limit in self.spec.limits
            if not limit.reports or request.report in limit.reports
        }

    def _counted(self, per: str, request: Request, values: Values) -> str:
        template = self._grouped.get(per)
        if template is None:
            return scope_value(self.name, per, request)
        group = template(values)
        around = narrows(per)
        return f"{scope_value(self.name, around, request)} {group}" if around else group

    def slowed_by(self, report: str) -> str:
        """Return what waits when the partner says "slow down" and no rule says whom it means."""
        return self._slowed[report]

    def rules_for(self, status: int) -> tuple[Rule, ...]:
        """Return the rules that an answer of this status may match, in the file's order."""
        found = self._rules_of.get(status)
        if found is None:
            found = tuple(rule for rule in self._rules if rule.may_match(status))
            self._rules_of[status] = found
        return found

    def check_request(self, request: Request) -> None:
        """Look whether a message can be worked on at all; raises `InvalidMessageError`."""
        report = self.reports.get(request.report)
        if request.partner != self.name or report is None:
            raise InvalidMessageError("report: this partner has no such report")
        unknown = [name for name in request.formats if name not in FORMATS]
        if unknown or len(set(request.formats)) != len(request.formats):
            raise InvalidMessageError(f"formats: each once, of {', '.join(FORMATS)}")
        days = (request.last_day - request.first_day).days + 1
        for what in report.problems_of(days, request.params):
            raise InvalidMessageError(what)
        self._check_texts(request)
        values = self.values(request)
        self.auth_plan(request)
        if self._grouped:
            self.scopes(request)
        first, *later = report.steps
        render_call(self, report, first, values)
        for step in later:
            check_early(step, values)

    @staticmethod
    def _check_texts(request: Request) -> None:
        texts = {
            "account": request.account,
            "credential": request.credential,
            "currency": request.currency,
            "timezone": request.timezone,
        }
        for kind, table in (("params", request.params), ("attributes", request.attributes)):
            for key, value in table.items():
                texts[f"{kind}: a value"] = value
                if suspicious(value) or suspicious(key):
                    raise InvalidMessageError(f"{kind}: control characters")
        for name, text in texts.items():
            if suspicious(text):
                raise InvalidMessageError(f"{name}: control characters")
        in_url(request.account)
        for value in request.params.values():
            in_url(value)
        try:
            ZoneInfo(request.timezone)
        except (KeyError, ValueError, OSError):
            raise InvalidMessageError("timezone: not an IANA time zone") from None

    def params_of(self, request: Request) -> dict[str, str]:
        """Return a request's parameters, defaults filled in: what paths and templates see."""
        report = self.reports[request.report]
        filled = {
            name: declared.default
            for name, declared in report.spec.params.items()
            if declared.default is not None
        }
        return {**filled, **request.params}

    def completed(self, request: Request) -> Request:
        """Return the request with the defaults of its parameters: what paths and columns see.

        Its id stays: it is the hash of what was asked.
        """
        params = self.params_of(request)
        if params == request.params:
            return request
        return request.model_copy(update={"params": params})

    def values(self, request: Request) -> Values:
        """Return what templates may speak of."""
        return {
            "account": {
                **request.attributes,
                "id": request.account,
                "credential": request.credential,
                "currency": request.currency,
                "timezone": request.timezone,
                "attributes": request.attributes,
            },
            "params": self.params_of(request),
            "from": request.first_day.isoformat(),
            "to": request.last_day.isoformat(),
            "request": {
                "id": request.id,
                "run": request.run,
                "report": request.report,
                "class": request.class_,
            },
        }

    def auth_plan(self, request: Request) -> AuthPlan:
        """Return the names of the secrets that a request's calls need.

        For `reportd.transport.credentials.Credentials`. Raises `InvalidMessageError` when the
        account's credential makes no plain file name, or lacks what ``auth`` speaks of.
        """
        return self._auth(self.values(request))


def key_scope(limits: tuple[LimitSpec, ...]) -> KeyScope:
    """Return the widest scope that has a limit; a report's limit counts over all accounts.

    One that is divided needs no worker that has it all.
    """
    scopes = {narrows(limit.per) or "partner" for limit in limits if not limit.divide}
    if scopes & {"partner", "report"}:
        return "partner"
    return "credential" if "credential" in scopes else "account"


def division_problems(partner: Partner) -> Iterator[str]:
    """Yield which limits cannot be divided, or need not be."""
    for number, limit in enumerate(partner.spec.limits, 1):
        if not limit.divide:
            continue
        what, value = "calls", limit.calls
        least = SHARE_LEAST * partner.partitions
        if limit.meter == "bucket":
            what, value, least = "burst", limit.burst or 1, 2 * partner.partitions
        key = partner.key_scope
        where = f"limits[{number}].divide"
        if _WIDTH[narrows(limit.per) or "partner"] <= _WIDTH[key]:
            yield f"{where}: not needed: the key is {key}, so one worker has all of it"
        elif value < least:
            why = f"{what} = {value} cannot be divided into {partner.partitions} partitions"
            yield f"{where}: {why}: at least {least}, or fewer partitions"


def heard_apart(partner: Partner) -> Iterator[str]:
    """Yield which words of the partner reach less of the fleet than they are meant for.

    "Slow down" is heard by the partition that asked. One that is meant for more accounts than the
    key keeps together has to be said to each partition anew.
    """
    if partner.partitions == 1:
        return
    rules = [(f"{kind}[{number + 1}]", rule) for kind, number, rule in partner.spec.rules()]
    usage = [(f"usage[{number}]", each) for number, each in enumerate(partner.spec.usage, 1)]
    for label, rule in (*rules, *usage):
        scope = getattr(rule, "scope", None) or ""
        if _WIDTH.get(narrows(scope), 0) > _WIDTH[partner.key_scope]:
            yield (
                f'{label}: scope = "{scope}" is wider than the key, {partner.key_scope}: each of'
                f" the {partner.partitions} partitions goes on until it is told itself; partitions"
                f' = 1, or a limit per = "{scope}" without divide, keeps them together'
            )


def blind_rules(partner: Partner) -> Iterator[str]:
    """Yield which rules look at rows that memory cannot hold: they fit no such answer."""
    for kind, number, rule in partner.spec.rules():
        names = compile_pick(rule.body).names if rule.body else frozenset()
        for name, report in partner.reports.items():
            path = None if report.spec.format != "json" else rows_path(report.spec.rows)
            key = path[0][-1] if path and path[0] else ""
            taken = rule.status is None or 200 in rule.status
            if taken and key in names and report.spec.max_answer_mib > WHOLE_MOST_MIB:
                yield (
                    f"{kind}[{number + 1}] looks at the rows of report {name}, {key}: it fits no"
                    f" answer of more than {WHOLE_MOST_MIB} MiB; max_answer_mib = {WHOLE_MOST_MIB}"
                    " there refuses those, or asks for less"
                )


def narrows(per: str) -> str:
    """Return within what a limit's scope lies: itself; of a template the account or credential.

    Empty: a template that may come to the same for any accounts.
    """
    if "{{" not in per:
        return per
    named = mentions(per)
    kinds = {("account", "id"): "account", ("account", "credential"): "credential"}
    return next((kind for path, kind in kinds.items() if path in named), "")


def _narrowest_scope(limits: tuple[LimitSpec, ...], report: str) -> str:
    """Return the narrowest scope with a limit that counts a report; the account if none does."""
    scopes = {limit.per for limit in limits if not limit.reports or report in limit.reports}
    return next((per for per in _NARROWEST_FIRST if per in scopes), "account")


def sunsets(partners: Mapping[str, Partner]) -> dict[str, float]:
    """Return when each partner refuses the version that its file speaks (epoch, UTC)."""
    return {
        name: datetime.combine(partner.spec.sunset, time(), UTC).timestamp()
        for name, partner in partners.items()
        if partner.spec.sunset is not None
    }


def allowed_rates(partners: Mapping[str, Partner]) -> dict[str, dict[str, float]]:
    """Return the calls a second that each partner allows to one scope, by kind of scope.

    Of limits that count all calls; quotas of a day are no rate.
    """
    found: dict[str, dict[str, float]] = {}
    for name, partner in partners.items():
        rates = found.setdefault(name, {})
        for limit in partner.spec.limits:
            is_rate = 0 < limit.window_seconds <= LONGEST_RATE_SECONDS
            if is_rate and limit.counts == "calls" and not limit.reports:
                rate = limit.calls / limit.cost / (limit.window_seconds + limit.margin_seconds)
                if limit.divide:  # each partition is a scope of its own, with its share
                    rate /= partner.partitions
                rates[limit.per] = min(rate, rates.get(limit.per, rate))
    return found


def scope_value(partner: str, per: str, request: Request) -> str:
    """Return whom a limit counts for a request."""
    match per:
        case "account":
            return request.account
        case "credential":
            return request.credential
        case "report":
            return request.report
    return partner


def render_call(partner: Partner, report: Report, step: Step, values: Values, **rest: Any) -> Call:
    """Render a step's call to the partner's hosts, without auth, page and body.

    Raises `InvalidMessageError`.
    """
    url = step.url(values)
    query = [f"{name}={quote(template(values), safe='')}" for name, template in step.query]
    if query:
        url += ("&" if "?" in url else "?") + "&".join(query)
    headers = step.shared_headers + step.headers if step.shared_headers else step.headers
    return Call(
        method=step.method,
        url=url,
        hosts=partner.hosts,
        headers={name: template(values) for name, template in headers},
        timeout_seconds=step.timeout_seconds,
        max_answer_bytes=report.spec.max_answer_bytes,
        allow_private=partner.spec.allow_private,
        **rest,
    )


def _compile_report(name: str, spec: ReportSpec, may_split: bool) -> Report:
    return Report(
        name=name,
        spec=spec,
        rows=compile_pick(spec.rows),
        unfold=tuple(map(compile_pick, spec.unfold)),
        steps=compile_steps(spec),
        may_split=may_split or any(step.poll and step.poll.too_big for step in spec.steps),
        mark=_mark(spec),
    )


def _mark(spec: ReportSpec) -> str:
    asked = [call.model_dump(include=_ASKED) for _, call in spec.calls()]
    split = spec.split and spec.split.model_dump()
    params = {name: declared.default for name, declared in spec.params.items()}
    text = repr((asked, split, params)).encode()
    return hashlib.sha256(text).hexdigest()[:8]
