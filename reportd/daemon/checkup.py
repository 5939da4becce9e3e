"""Whether all that reportd needs is there and fits, with what to mend. Run by ``reportctl doctor``.

Each check asks one thing and yields what it found; one that fails keeps no other from its answer.
Nothing is changed, but that the output's probe writes a small file and removes it.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from reportd.broker.access import Right, rights
from reportd.broker.message import Message, Part
from reportd.broker.reader import Committed
from reportd.broker.topics import Topics, problems_of_topics, topic_plans
from reportd.config.load import Config
from reportd.errors import (
    ConfigError,
    CredentialRefusedError,
    InvalidMessageError,
    NotYetError,
    ReportdError,
)
from reportd.model.account import Account
from reportd.model.request import Request
from reportd.model.vm import Vm
from reportd.observer.neighbours import FRESH_SECONDS
from reportd.partners.partner import Partner
from reportd.sinks.staging import OWN
from reportd.transport.credentials import AuthPlan, GivesTokens
from reportd.transport.token_request import TokenPlan
from reportd.worker.opening import open_output

Level = Literal["ok", "warning", "bad"]

CLOCK_WARNING_SECONDS = 2.0
CLOCK_BAD_SECONDS = 60.0
OFFSETS_RETENTION = "offsets.retention.minutes"
OFFSETS_BAD_MINUTES = 60
OFFSETS_WARNING_MINUTES = 3 * 24 * 60
"""A weekend: so long a whole fleet may stand still, and nobody renews the commits."""
NAMED_MOST = 5


def may_list(folder: Path) -> bool:
    """Say whether this user may look into a folder, or there is none."""
    return not folder.exists() or os.access(folder, os.R_OK | os.X_OK)


class Finding(NamedTuple):
    """One answer."""

    level: Level
    check: str
    what: str
    mend: str = ""
    """What to do about it; empty: nothing."""


class Cluster(Protocol):
    """What is asked of `reportd.broker.admin.Admin`; each call may raise `BrokerError`."""

    def brokers(self) -> int: ...  # noqa: D102  # see Admin
    def topics(self) -> dict[str, int]: ...  # noqa: D102
    def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]: ...  # noqa: D102
    def broker_settings(self) -> dict[str, dict[str, str]]: ...  # noqa: D102
    def allowed(self, topics: Collection[str], group: str) -> dict[str, frozenset[str]]: ...  # noqa: D102
    def group_offsets(self, group: str) -> dict[Part, Committed]: ...  # noqa: D102
    def begin_offsets(self, parts: Iterable[Part]) -> dict[Part, int]: ...  # noqa: D102


class Reader(Protocol):
    """What is asked of `reportd.broker.reader.PartitionReader`."""

    def read_all(self, topic: str) -> Iterator[Message]:
        """Yield all that a topic holds."""
        ...


@dataclass(frozen=True, slots=True)
class Checkup:
    """All checks of one configuration."""

    config: Config
    partners: Mapping[str, Partner]
    cluster: Cluster
    reader: Reader
    machine: str
    wall: Callable[[], float]
    tokens: GivesTokens | None = None
    """Who asks for access tokens, to try credentials; None: they are not tried."""
    may_read: Callable[[Path], bool] = may_list
    reached: Callable[[], object] = lambda: None
    """Raises `BrokerError` where no broker listens; the client would take longer to say so."""

    @property
    def topics(self) -> Topics:
        """The names of the topics."""
        return Topics(self.config.settings.kafka.prefix)

    def run(self) -> Iterator[Finding]:
        """Yield what each check finds; the broker's only if there is one."""
        yield from self._tried("output", self._output)
        for what in self.config.secrets.problems():
            mend = "move it away: systemd hands no secret over (status 243) as long as it is there"
            yield Finding("bad", "secrets", what, mend)
        try:
            self.reached()
            count = self.cluster.brokers()
        except ReportdError as error:
            servers = self.config.settings.kafka.servers
            mend = f"is {servers} right, and may this machine reach it? kafka = {{ ... }}"
            yield Finding("bad", "broker", str(error), mend)
            yield from self._tried("credentials", lambda: self._credentials([]))
            return
        yield Finding("ok", "broker", f"{count} brokers answer")
        yield from self._tried("topics", self._topics)
        if self._is_new(self.cluster.topics()):
            yield from self._tried("offsets", self._offsets)
            yield from self._tried("credentials", lambda: self._credentials([]))
            return
        for name, check in (
            ("rights", self._rights),
            ("offsets", self._offsets),
            ("retention", self._lost),
            ("credentials", lambda: self._credentials(self._accounts())),
            ("VMs", self._vms),
        ):
            yield from self._tried(name, check)

    def _is_new(self, present: Mapping[str, int]) -> bool:
        return not any(name.startswith(f"{self.topics.prefix}.") for name in present)

    @staticmethod
    def _tried(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        try:
            yield from check()
        except ReportdError as error:
            yield Finding("bad", name, str(error), "mend that, and start this again")

    def _output(self) -> Iterator[Finding]:
        output = self.config.settings.output
        root = Path(output.root)
        if not output.is_s3 and root.is_dir() and not (root / OWN / "store").exists():
            yield Finding(  # opening it would make it one of ours
                "warning",
                "output",
                f"{root} has no id: the first start of reportd gives it one",
                "nothing if that is to come; otherwise the folder is not mounted",
            )
            return
        try:
            store = open_output(output)
            store.probe()
        except ReportdError as error:
            yield Finding("bad", "output", str(error), f"see docs/output.rst; root = {output.root}")
            return
        yield Finding("ok", "output", f"{output.root} takes files; its id is {store.identity}")

    def _topics(self) -> Iterator[Finding]:
        present = self.cluster.topics()
        prefix = self.topics.prefix
        problems = problems_of_topics(present, prefix, sorted(self.partners))
        if self._is_new(present):  # before the first 'topics create': one thing is to be done
            problems = [f"none of the {len(problems)} topics {prefix}.* is there yet"]
        for problem in problems:
            yield Finding("bad", "topics", problem, "reportctl topics create")
        counts = {name: partner.partitions for name, partner in self.partners.items()}
        plans = [plan for plan in topic_plans(prefix, counts, 1) if plan.name in present]
        configs = self.cluster.configs(plan.name for plan in plans)
        fine = 0
        for plan in plans:
            wrong = [
                f"{name} is {configs[plan.name].get(name, 'not set')}, not {value}"
                for name, value in sorted(plan.config.items())
                if name != "min.insync.replicas" and configs[plan.name].get(name) != value
            ]
            if present[plan.name] < plan.partitions:
                few = f"{present[plan.name]} partitions, not {plan.partitions}"
                yield Finding("warning", "topics", f"{plan.name}: {few}", "reportctl topics grow")
            for what in wrong:
                yield Finding(
                    "bad", "topics", f"{plan.name}: {what}", "reportctl topics create --repair"
                )
            fine += not wrong
        if plans:
            yield Finding("ok", "topics", f"{fine} topics are as they should be")

    def _rights(self) -> Iterator[Finding]:
        present = self.cluster.topics()
        group = self.topics.prefix
        ours = [name for name in present if name.startswith(f"{group}.")]
        allowed = self.cluster.allowed(ours, group)
        missing = list(
            _missing([r for r in rights(group, group) if r.program == "reportd"], allowed)
        )
        for right, names, lacks in missing:
            yield Finding(
                "bad",
                "rights",
                f"{', '.join(sorted(lacks))} on {few(names)} is not allowed",
                f"kafka-acls.sh --add {right.command('User:reportd')}",
            )
        if not missing:
            yield Finding("ok", "rights", f"all that the daemon needs on {len(ours)} topics")

    def _offsets(self) -> Iterator[Finding]:
        for broker, settings in self.cluster.broker_settings().items():
            minutes = int(settings.get(OFFSETS_RETENTION, "0"))
            what = (
                f"broker {broker} keeps commits of a group without members for {minutes / 60:g} h"
            )
            mend = (
                f"set {OFFSETS_RETENTION} to a week (10080) or more: a fleet that is off for longer"
                " reads its whole ledgers when it starts"
            )
            if minutes < OFFSETS_BAD_MINUTES:
                yield Finding("bad", "offsets", what, mend)
            elif minutes < OFFSETS_WARNING_MINUTES:
                yield Finding("warning", "offsets", what, mend)
            else:
                yield Finding("ok", "offsets", what)

    def _lost(self) -> Iterator[Finding]:
        """Look for messages that were deleted before they were read."""
        commits = self.cluster.group_offsets(self.topics.prefix)
        begins = self.cluster.begin_offsets(list(commits))
        lost = [
            f"{topic}[{number}]: {begins[topic, number] - (commit.offset or 0):,} messages"
            for (topic, number), commit in sorted(commits.items())
            if begins[topic, number] > (commit.offset or 0)
        ]
        if lost:
            mend = "enqueue their runs again; who trims? retention.ms must be -1"
            yield Finding("bad", "retention", f"deleted before it was read: {few(lost)}", mend)
        else:
            yield Finding("ok", "retention", f"nothing unread is deleted ({len(commits)} commits)")

    def _accounts(self) -> list[Account]:
        found: dict[bytes, Account] = {}
        for message in self.reader.read_all(self.topics.accounts):
            with suppress(InvalidMessageError):
                found[message.key or b""] = Account.from_json(message.value)
        return [account for account in found.values() if account.active]

    def _credentials(self, accounts: Sequence[Account]) -> Iterator[Finding]:
        plans, problems = auth_plans(self.partners, accounts)
        for what in problems:
            yield Finding("bad", "credentials", what, "see [auth] of the partner's file")
        names = sorted({name for plan in plans.values() for name in plan.names})
        if not accounts:
            yield Finding(
                "warning", "credentials", "no account is known yet", "enqueue once, and look again"
            )
        elif names and not self.may_read(self.config.secrets.folder):
            what = f"{few(names)}: this user may not look into {self.config.secrets.folder}"
            mend = "systemd hands them to the daemon; 'sudo reportctl doctor' looks at them"
            yield Finding("warning", "credentials", what, mend)
        else:
            yield from self._secrets(names, plans)

    def _secrets(
        self, names: Sequence[str], plans: Mapping[tuple[str, str], AuthPlan]
    ) -> Iterator[Finding]:
        unread = set()
        for name in names:
            try:
                self.config.secrets.read(name)
            except ConfigError as error:
                unread.add(name)
                yield Finding("bad", "credentials", str(error), "put the file there, mode 0600")
        if not unread:
            yield Finding("ok", "credentials", f"{len(names)} secrets can be read by this user")
        for (name, credential), plan in plans.items():
            if plan.token is not None and self.tokens is not None and not unread & {*plan.names}:
                yield self._tried_token(name, credential, plan.token, self.tokens)

    def _tried_token(
        self, name: str, credential: str, plan: TokenPlan, tokens: GivesTokens
    ) -> Finding:
        what = f"{name}, credential {credential!r}"
        if plan.rotates:
            mend = "nothing: each can be used once, and that is the daemon's"
            return Finding("warning", "credentials", f"{what}: refresh tokens rotate", mend)
        try:
            tokens.token(plan)
        except (CredentialRefusedError, NotYetError, ConfigError) as error:
            mend = "renew it at the partner, and put it into the folder of secrets"
            return Finding("bad", "credentials", f"{what}: {error}", mend)
        return Finding("ok", "credentials", f"{what}: an access token was given")

    def _vms(self) -> Iterator[Finding]:
        history: dict[str, list[tuple[Vm, float]]] = {}
        for message in self.reader.read_all(self.topics.vms):
            with suppress(InvalidMessageError):
                vm = Vm.from_json(message.value)
                history.setdefault(vm.machine, []).append((vm, message.timestamp))
        yield from _twins(history)
        now = self.wall()
        live = {
            name: seen[-1]
            for name, seen in history.items()
            if not seen[-1][0].gone and now - seen[-1][1] < FRESH_SECONDS
        }
        yield from _clocks(live, self.machine)
        hashes = {vm.config for vm, _ in live.values()}
        if len(hashes) > 1:
            what = f"{len(live)} VMs have {len(hashes)} different configurations"
            yield Finding("warning", "VMs", what, "roll one out everywhere, and reload")
        if len({vm.store for vm, _ in live.values() if vm.store}) > 1:
            yield Finding("bad", "VMs", "VMs write to different outputs", "mount one everywhere")


def _twins(history: Mapping[str, Sequence[tuple[Vm, float]]]) -> Iterator[Finding]:
    """Look for two daemons that tell of themselves under one id, in turns."""
    twins = []
    for machine, seen in sorted(history.items()):
        told: list[str] = []
        for vm, _ in seen:
            if told[-1:] != [vm.incarnation]:
                told.append(vm.incarnation)
        if len(told) > len(set(told)):
            twins.append(machine)
    if twins:
        mend = "give each its own: workers.machine_id, or systemd-machine-id-setup on the clone"
        yield Finding("bad", "VMs", f"two daemons have the id {few(twins)}", mend)
    else:
        yield Finding("ok", "VMs", f"{len(history)} ids, no two daemons with one")


def _clocks(live: Mapping[str, tuple[Vm, float]], machine: str) -> Iterator[Finding]:
    """Compare what a VM took the time to be with the broker's, when its last record came."""
    if machine not in live:
        yield Finding(
            "warning",
            "clock",
            f"not known: no daemon of {machine} has told of itself within {FRESH_SECONDS:g} s",
            "start reportd here, and look again",
        )
    for name, (vm, arrived) in sorted(live.items()):
        off = vm.at - arrived
        what = f"{name} is {abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} the broker"
        mend = "have both keep time (chrony, systemd-timesyncd); see timedatectl"
        if abs(off) > CLOCK_BAD_SECONDS:
            yield Finding("bad", "clock", what, mend)
        elif abs(off) > CLOCK_WARNING_SECONDS:
            yield Finding("warning", "clock", what, mend)
        else:
            yield Finding("ok", "clock", what)


def _missing(
    needed: Iterable[Right], allowed: Mapping[str, frozenset[str]]
) -> Iterator[tuple[Right, list[str], frozenset[str]]]:
    """Yield each right with the topics or groups that lack any of its operations, and which."""
    for right in needed:
        meant = [
            name
            for name in allowed
            if (name.startswith(right.name) if right.prefixed else name == right.name)
        ]
        wanted = frozenset(right.operations)
        lacking = [name for name in meant if wanted - allowed[name]]
        if lacking:
            yield right, lacking, frozenset().union(*(wanted - allowed[name] for name in lacking))


def auth_plans(
    partners: Mapping[str, Partner], accounts: Iterable[Account]
) -> tuple[dict[tuple[str, str], AuthPlan], list[str]]:
    """Return what each partner's credentials need, and what is wrong where that cannot be told."""
    by_credential = {(one.partner, one.credential): one for one in accounts}
    plans: dict[tuple[str, str], AuthPlan] = {}
    problems = []
    for (name, credential), account in sorted(by_credential.items()):
        if (partner := partners.get(name)) is None:
            continue
        try:
            plans[name, credential] = partner.auth_plan(_sample(partner, account))
        except InvalidMessageError as error:
            problems.append(f"{name}, credential {credential!r}: {error}")
    return plans, problems


def _sample(partner: Partner, account: Account) -> Request:
    """Return a request of an account, for what its auth speaks of."""
    return Request.model_validate(
        {
            "v": 1,
            "run": "doctor/2000-01-01T00:00Z#1",
            "partner": partner.name,
            "report": next(iter(partner.reports)),
            "first_day": "2000-01-01",
            "last_day": "2000-01-01",
            "formats": ["parquet"],
            **account.model_dump(
                include={"account", "timezone", "currency", "credential", "attributes"}
            ),
        }
    )


def few(names: Sequence[str]) -> str:
    """Name some, and count the others."""
    more = len(names) - NAMED_MOST
    return ", ".join(names[:NAMED_MOST]) + (f" and {more} more" if more > 0 else "")
