"""A partner file as data: what may stand in ``partners/<name>.toml``; see docs/partners.rst.

Pure declarations. `reportd.partners.load` reads files with them, `reportd.partners.partner`
compiles them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, StringConstraints, model_validator

from reportd.config.base import Section, as_tuple
from reportd.config.problems import FieldProblems, Location, did_you_mean
from reportd.model.base import Name
from reportd.partners.fields import (
    HeaderName,
    Host,
    Jmes,
    Per,
    Regex,
    Statuses,
    TemplateText,
    Until,
    Waits,
)
from reportd.partners.report_spec import ReportSpec
from reportd.transport.guard import refusal, split_pattern

RULE_KINDS: Final = ("slow_down", "quota", "transient", "permanent", "unauthorized", "empty")
SLIDING_MOST = 100_000
_AUTHORITY = re.compile(r"^([a-z]+)://([^/?#{}]+)(?:[/?#]|$)")


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

    wait: Waits = ()
    """Where the answer says it: ``header:Retry-After``, ``body:error.retryDelay``; a list is
    tried in order."""
    wait_unit: Literal["seconds", "minutes", "milliseconds", "epoch"] = "seconds"
    """What a plain number there means."""
    wait_seconds: Annotated[float | None, Field(ge=0, le=86400 * 31)] = None
    """How long when the answer does not say."""
    wait_until: Until | None = None
    """``midnight America/Los_Angeles``: when the answer does not say."""
    scope: Per | None = None
    """What waits; default: the narrowest limit."""


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
