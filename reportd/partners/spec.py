"""A partner file as data: what may stand in ``partners/<name>.toml``; see docs/partners.rst.

Pure declarations. `reportd.partners.load` reads files with them, `reportd.partners.partner`
compiles them.
"""

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    StringConstraints,
    model_validator,
)

from reportd.config.base import Section, as_tuple, known_zone
from reportd.config.problems import FieldProblems, Location, did_you_mean
from reportd.model.base import Name
from reportd.partners.accounts_spec import accounts_problems
from reportd.partners.auth_spec import AuthSpec
from reportd.partners.call_spec import CallSpec
from reportd.partners.fields import Host, LimitPer, Wait, authority
from reportd.partners.report_spec import ReportSpec
from reportd.partners.rule_spec import RuleSpec, UsageSpec, WaitRuleSpec, WaitsSpec
from reportd.partners.step_spec import StepSpec
from reportd.transport.guard import refusal, split_pattern

RULE_KINDS: Final = (
    "slow_down",
    "quota",
    "transient",
    "permanent",
    "unauthorized",
    "empty",
    "too_big",
    "expired",
)
SLIDING_MOST = 100_000
ROLLING_LEAST_SECONDS = 600.0
DAY_SECONDS = 86_400.0


class LimitSpec(Section):
    """``{ per = "account", calls = 5, seconds = 1 }``: a limit, as the partner counts it."""

    per: LimitPer
    """What is counted together. ``report``: each report for itself, over all accounts. Or a
    template, ``"{{ account.business }}"``: all calls for which it comes to the same; one that
    names ``account.id`` or ``account.credential`` is counted within each of these."""
    calls: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """How many calls, or how much of what ``cost`` counts, ..."""
    seconds: Annotated[float, Field(gt=0, le=366 * 86400)] = 1.0
    """... in how many seconds; rolling: 86,400 by default. concurrent: how long a call of a worker
    that died may go on: places count as taken so long after a start; default: the longest
    ``timeout_seconds`` of the file."""
    meter: Literal["bucket", "fixed", "sliding", "concurrent", "day", "rolling"] = "sliding"
    """bucket: evenly spaced, with ``burst``; fixed: windows by the clock; sliding: any window;
    concurrent: calls under way at once. Of long windows, recorded, so that a restart does not begin
    them spent: day: a calendar day of ``zone``; rolling: any window of ``seconds``."""
    zone: Annotated[str, AfterValidator(known_zone)] = "UTC"
    """day: whose midnight is the reset, as ``America/Los_Angeles``."""
    burst: Annotated[int | None, Field(ge=1)] = None
    """bucket: how many calls may come at once; default 1."""
    least: Annotated[int | None, Field(ge=1)] = None
    """bucket: the limit moves (it refuses calls although it is kept): the rate goes down to this at
    each refusal, and up to ``calls`` as long as calls succeed."""
    margin_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """How much longer than ``seconds`` a window is taken, for clocks and networks that differ.
    day: how long before and after the reset nothing is sent; default 60."""
    reports: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = ()
    """Only calls of these reports count; default: all."""
    counts: Literal["calls", "errors"] = "calls"
    """errors: answers with 5xx, where a partner allows so many. A call under way takes a place,
    which it gives back unless it fails so; with none left its scope waits."""
    divide: bool = False
    """Each partition has a share of it, so that more than one worker can use it: for limits that
    one cannot use up. It does not count for the messages' key; what one partition does not use of
    its share, no other can."""
    cost: Annotated[float, Field(gt=0, le=1_000_000_000)] = 1.0
    """What a call costs at most, where the partner counts more than calls (tokens, points)."""
    cost_from: Wait | None = None
    """Where the answer says what the call did cost: ``body:propertyQuota.tokensPerHour.consumed``,
    ``header:X-Cost``; what was charged before is corrected."""

    @property
    def window_seconds(self) -> float:
        """Return how long a window is; 0.0 where nothing comes back with time."""
        if self.meter == "concurrent":
            return 0.0
        long = self.meter == "day" or "seconds" not in self.model_fields_set
        return DAY_SECONDS if self.meter in ("day", "rolling") and long else self.seconds

    def words(self) -> str:
        """Return the limit for people: ``5 in 1 s per account``."""
        if self.meter == "concurrent":
            return f"{self.calls} at once per {self.per}"
        what = " errors" if self.counts == "errors" else ""
        window = f"a day ({self.zone})" if self.meter == "day" else f"{self.window_seconds:g} s"
        return f"{self.calls}{what} in {window} per {self.per}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.burst is not None and self.meter != "bucket":
            raise FieldProblems({"burst": 'only with meter = "bucket"'})
        if self.least is not None and (self.meter != "bucket" or self.least > self.calls):
            raise FieldProblems({"least": 'only with meter = "bucket", and at most "calls"'})
        if self.counts == "errors" and self.meter in ("bucket", "day", "rolling"):
            raise FieldProblems({"counts": f'errors not with meter = "{self.meter}"; use sliding'})
        if self.meter == "day" and "seconds" in self.model_fields_set:
            raise FieldProblems({"seconds": 'not with meter = "day": a day is as long as it is'})
        if self.meter != "day" and "zone" in self.model_fields_set:
            raise FieldProblems({"zone": 'only with meter = "day"'})
        if self.meter == "rolling" and 0 < self.window_seconds < ROLLING_LEAST_SECONDS:
            raise FieldProblems({"seconds": f"at least {ROLLING_LEAST_SECONDS:g}; use sliding"})
        if self.meter == "concurrent" and (self.counts == "errors" or self.cost_from):
            what = "counts" if self.counts == "errors" else "cost_from"
            raise FieldProblems({what: 'not with meter = "concurrent": places are given back'})
        if self.counts == "errors" and (self.cost != 1 or self.cost_from):
            what = "cost" if self.cost != 1 else "cost_from"
            raise FieldProblems({what: 'not with counts = "errors": each counts once'})
        if self.cost > self.calls:
            raise FieldProblems({"cost": "more than calls: no call could ever start"})
        if self.meter == "sliding" and self.calls > SLIDING_MOST:
            raise FieldProblems(
                {"calls": f"at most {SLIDING_MOST}: a sliding window remembers each; use fixed"}
            )
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
    give_up_seconds: Annotated[float, Field(gt=0, le=31 * 86400)] = 2 * 3600.0
    """How long a request is held where no other account can show that it alone fails."""


class PartnerSpec(Section):
    """A whole partner file."""

    extends: Name | None = None
    """A partner of the catalogue that this file begins with; what stands here is laid over it."""
    hosts: Annotated[tuple[Host, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """The only hosts that are ever called: ``api.acme.com``, ``*.acme.com``, ``host:port``."""
    allow_private: bool = False
    """Private and loopback addresses, and plain http: for a partner inside the house, or tests."""
    auth: AuthSpec = AuthSpec()
    """How calls are authorized."""
    limits: Annotated[tuple[LimitSpec, ...], BeforeValidator(as_tuple)] = ()
    """What the partner allows; a call waits until every limit that counts it has room."""
    waits: WaitsSpec = WaitsSpec()
    """How long it is waited where neither an answer nor a rule says so."""
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
    usage: Annotated[tuple[UsageSpec, ...], BeforeValidator(as_tuple)] = ()
    """What answers say of the use of limits: their scope slows down before it is refused."""
    permanent: Annotated[tuple[RuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: this request can never work."""
    unauthorized: Annotated[tuple[RuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: the credential is refused."""
    empty: Annotated[tuple[RuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: there is no data for these days."""
    too_big: Annotated[tuple[RuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: ask for less. The days are halved, a single day is ``split``."""
    expired: Annotated[tuple[RuleSpec, ...], BeforeValidator(as_tuple)] = ()
    """Answers that mean: what was made, or the cursor, is gone. A picked URL is polled for anew;
    anything else starts the request over, as an attempt."""
    api_version: Annotated[str, StringConstraints(max_length=40)] = ""
    """The version of the partner's interface that this file speaks; for people."""
    sunset: datetime.date | None = None
    """The day from which the partner refuses that version: status and a metric warn before it."""
    unverified: dict[str, str] = {}
    """What of this file nothing recorded or specified confirms: ``"limits.0" = "why"``, places in
    lists counted from 0."""
    reports: Annotated[dict[Name, ReportSpec], Field(min_length=1)]
    """What can be asked for: ``[reports.NAME]``, in schedules ``partner.NAME``."""
    accounts: ReportSpec | None = None
    """``[accounts]``, written as a report: how the accounts are listed that a credential can see.
    Its columns are those of the accounts table: ``account`` (needed), ``timezone``, ``currency``,
    ``credential``, ``active``, attributes. ``reportctl partner accounts`` asks it."""

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
        problems.update(self._header_problems())
        problems.update(self._rule_problems())
        if self.accounts is not None:
            found = accounts_problems(self.accounts)
            problems.update({("accounts", *at): what for at, what in found})
        if problems:
            raise FieldProblems(problems)
        return self

    def _header_problems(self) -> Iterator[tuple[Location, str]]:
        carried = self.auth.carried()
        for where, report in self.parts():
            tables = {(): report.headers, **{at: call.headers for at, call in report.calls()}}
            for at, headers in tables.items():
                for header in headers:
                    if header.lower() in carried:
                        yield (*where, *at, "headers", header), "auth sets this header, too"

    def _rule_problems(self) -> Iterator[tuple[Location, str]]:
        steps = {step.name for _, report in self.parts() for step in report.steps}
        for kind, number, rule in self.rules():
            for name in rule.steps:
                if name not in steps:
                    hint = did_you_mean(name, steps)
                    yield (kind, number, "steps"), f"unknown step {name!r}; {hint}"

    def _url_problems(self) -> Iterator[tuple[Location, str]]:
        hosts = allowed_hosts(self)
        yield from self.auth.token_problems(allow_private=self.allow_private)
        for at, call in self._calls():
            if isinstance(call, StepSpec) and call.picked_url:
                continue
            key = (*at, "get" if call.get is not None else "post")
            scheme, own = authority(call.url)
            if own:
                where = f"{scheme}://{own}/"
                refused = refusal(where, hosts, allow_private=self.allow_private)
                if refused:
                    yield key, refused
            elif not re.match(r"^https?://", call.url):
                yield key, "write the whole URL, with https://"

    def _calls(self) -> Iterator[tuple[Location, CallSpec]]:
        for where, report in self.parts():
            for at, call in report.calls():
                yield (*where, *at), call

    def parts(self) -> Iterator[tuple[Location, ReportSpec]]:
        """Yield the reports, and the list of accounts, with their locations."""
        for name, report in self.reports.items():
            yield ("reports", name), report
        if self.accounts is not None:
            yield ("accounts",), self.accounts

    def rules(self) -> Iterator[tuple[str, int, RuleSpec]]:
        """Yield every rule in the file's order: kind, number within its kind, rule."""
        for kind in self._rule_kinds:
            for number, rule in enumerate(getattr(self, kind)):
                yield kind, number, rule


def allowed_hosts(spec: PartnerSpec) -> tuple[str, ...]:
    """Return the hosts; inside the house also with the ports that the file's own URLs name."""
    hosts = list(spec.hosts)
    if not spec.allow_private:
        return spec.hosts
    names = {split_pattern(host)[0] for host in hosts}
    urls = [call.url for _, report in spec.parts() for _, call in report.calls()]
    for url in urls:
        _, own = authority(url)
        name, port = split_pattern(own)
        if port and name in names and own not in hosts:
            hosts.append(own)
    return tuple(hosts)
