"""The doctor: each thing that is wrong is found, and is told from what is right."""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reportd.broker.access import rights
from reportd.broker.message import Message, Part
from reportd.broker.reader import Committed
from reportd.broker.topics import Topics, topic_plans
from reportd.config.load import load
from reportd.daemon.checkup import Checkup, Finding
from reportd.errors import BrokerError, CredentialRefusedError, NotYetError
from reportd.model.account import Account
from reportd.model.vm import Vm
from reportd.partners.load import load_partners
from reportd.sinks.local import LocalStore
from reportd.transport.credentials import GivesTokens
from reportd.transport.token_request import TokenPlan

NOW = 1_795_000_000.0
TOPICS = Topics("reportd")
REQUESTS = TOPICS.requests("acme")
PARTNER = """
partitions = 2
hosts = ["api.acme.com"]
auth = { bearer = { secret = "acme-{{ account.credential }}" } }
limits = [ { per = "account", calls = 5, seconds = 1 } ]
[reports.stats]
get = "https://api.acme.com/{{ account.id }}"
rows = "data"
columns = { n = "int64" }
"""
PLANS = {plan.name: plan for plan in topic_plans("reportd", {"acme": 2}, 1)}
ALL = frozenset(word for right in rights("reportd", "reportd") for word in right.operations)


@dataclass
class Cluster:
    """A broker with which all is well; tests change it."""

    is_away: bool = False
    counts: dict[str, int] = field(
        default_factory=lambda: {name: plan.partitions for name, plan in PLANS.items()}
    )
    settings: dict[str, dict[str, str]] = field(
        default_factory=lambda: {name: dict(plan.config) for name, plan in PLANS.items()}
    )
    minutes: str = "10080"
    may: dict[str, frozenset[str]] = field(default_factory=dict)
    commits: dict[Part, int] = field(default_factory=dict)
    begins: dict[Part, int] = field(default_factory=dict)

    def brokers(self) -> int:
        if self.is_away:
            raise BrokerError("no broker answers")
        return 3

    def topics(self) -> dict[str, int]:
        return self.counts

    def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        return {name: self.settings[name] for name in topics}

    def broker_settings(self) -> dict[str, dict[str, str]]:
        return {"1": {"offsets.retention.minutes": self.minutes}}

    def allowed(self, topics: Collection[str], group: str) -> dict[str, frozenset[str]]:
        return {name: self.may.get(name, ALL) for name in (*topics, group)}

    def group_offsets(self, group: str) -> dict[Part, Committed]:
        return {part: Committed(offset, "") for part, offset in self.commits.items()}

    def begin_offsets(self, parts: Iterable[Part]) -> dict[Part, int]:
        return {part: self.begins.get(part, 0) for part in parts}


@dataclass
class Reader:
    """The topics ``accounts`` and ``vms``."""

    accounts: list[Account] = field(
        default_factory=lambda: [Account(partner="acme", account="1", credential="main")]
    )
    vms: list[tuple[Vm, float]] = field(default_factory=list)

    def read_all(self, topic: str) -> Iterator[Message]:
        if topic == TOPICS.accounts:
            for n, one in enumerate(self.accounts):
                yield Message(topic, 0, n, one.account.encode(), one.to_json())
        else:
            for n, (vm, at) in enumerate(self.vms):
                yield Message(topic, 0, n, vm.machine.encode(), vm.to_json(), (), at)


def vm(machine: str = "vm-a", at: float = NOW, incarnation: str = "i", **fields: Any) -> Vm:
    """Make a VM's record."""
    return Vm(machine=machine, incarnation=incarnation, at=at, **fields)


@dataclass
class Patient:
    """What the doctor looks at; well, until a test changes something."""

    folder: Path
    cluster: Cluster = field(default_factory=Cluster)
    reader: Reader = field(default_factory=lambda: Reader(vms=[(vm(), NOW)]))
    tokens: GivesTokens | None = None
    may_read: bool = True

    def found(self, reached: Callable[[], object] = lambda: None) -> list[Finding]:
        """Look at it."""
        config = load(self.folder / "reportd.toml")
        partners = load_partners(config.settings.partners_folder)
        checkup = Checkup(
            config,
            partners,
            self.cluster,
            self.reader,
            "vm-a",
            lambda: NOW,
            tokens=self.tokens,
            may_read=lambda _folder: self.may_read,
            reached=reached,
        )
        return list(checkup.run())

    def ill(self) -> list[Finding]:
        """Return what is not right."""
        return [one for one in self.found() if one.level != "ok"]


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """Give one with which all is well."""
    for name in ("partners", "secrets", "out"):
        (tmp_path / name).mkdir()
    LocalStore(tmp_path / "out")
    (tmp_path / "partners" / "acme.toml").write_text(PARTNER)
    (tmp_path / "secrets" / "acme-main").write_text("hush\n")
    (tmp_path / "reportd.toml").write_text(
        'kafka = { servers = "nobody:9092" }\n[output]\nroot = "out"\n'
    )
    return Patient(tmp_path)


def test_a_healthy_one_is_told_so(patient: Patient) -> None:
    """By check; there is nothing to mend."""
    found = patient.found()

    assert {one.level for one in found} == {"ok"}
    assert {one.check for one in found} == {
        "output", "broker", "topics", "rights", "offsets", "retention", "credentials", "VMs",
        "clock",
    }  # fmt: skip


def test_without_a_broker_the_rest_is_looked_at(patient: Patient) -> None:
    """And no secret is shown in any finding."""
    patient.cluster.is_away = True
    ill = patient.ill()

    assert [(one.level, one.check) for one in ill] == [
        ("bad", "broker"),
        ("warning", "credentials"),
    ]
    assert "nobody:9092" in ill[0].mend


def test_before_the_topics_are_made_that_is_one_thing_to_do(patient: Patient) -> None:
    """Not a line for each of them, and errors of whatever would read them."""
    patient.cluster.counts.clear()

    ill = patient.ill()

    assert [(one.level, one.check) for one in ill] == [
        ("bad", "topics"),
        ("warning", "credentials"),
    ]
    assert ill[0].what.startswith("none of the 8 topics reportd.* is there yet")


def test_where_nobody_listens_the_client_is_not_asked(patient: Patient) -> None:
    """It would try for ten seconds, and then say it in its own words."""

    def refused() -> None:
        raise BrokerError("no Kafka can be reached")

    (broker,) = [one for one in patient.found(refused) if one.check == "broker"]

    assert ("bad", "no Kafka can be reached") == (broker.level, broker.what)


def _missing(patient: Patient) -> None:
    del patient.cluster.counts[TOPICS.control]


def _expiring(patient: Patient) -> None:
    patient.cluster.settings[REQUESTS]["retention.ms"] = "604800000"


def _few_partitions(patient: Patient) -> None:
    for name in (REQUESTS, TOPICS.backfill("acme"), TOPICS.ledger("acme")):
        patient.cluster.counts[name] = 1


def _forbidden(patient: Patient) -> None:
    patient.cluster.may[TOPICS.dead] = frozenset({"Describe"})


def _forgetful(patient: Patient) -> None:
    patient.cluster.minutes = "30"


def _short(patient: Patient) -> None:
    patient.cluster.minutes = "1440"


def _lost(patient: Patient) -> None:
    patient.cluster.commits[REQUESTS, 1] = 5
    patient.cluster.begins[REQUESTS, 1] = 12


def _no_secret(patient: Patient) -> None:
    (patient.folder / "secrets" / "acme-main").unlink()


def _unhandable(patient: Patient) -> None:
    (patient.folder / "secrets" / "acme:emea").write_text("hush\n")


def _hidden(patient: Patient) -> None:
    patient.may_read = False


def _no_account(patient: Patient) -> None:
    patient.reader.accounts = []


def _twin(patient: Patient) -> None:
    names = ("i", "j", "i")
    patient.reader.vms = [(vm(incarnation=name), NOW) for name in names]


def _fast(patient: Patient) -> None:
    patient.reader.vms = [(vm(at=NOW + 3600.0), NOW)]


def _drifting(patient: Patient) -> None:
    patient.reader.vms = [(vm(at=NOW - 5.0), NOW)]


def _absent(patient: Patient) -> None:
    patient.reader.vms = [(vm(), NOW - 3600.0)]


def _differing(patient: Patient) -> None:
    patient.reader.vms += [(vm("vm-b", config="other"), NOW)]


def _two_outputs(patient: Patient) -> None:
    patient.reader.vms = [(vm(name, store=name), NOW) for name in ("vm-a", "vm-b")]


def _new_output(patient: Patient) -> None:
    shutil.rmtree(patient.folder / "out")
    (patient.folder / "out").mkdir()


def _no_output(patient: Patient) -> None:
    shutil.rmtree(patient.folder / "out")


@pytest.mark.parametrize(
    ("harm", "level", "check", "words"),
    [
        (_missing, "bad", "topics", "topic reportd.control is missing"),
        (_expiring, "bad", "topics", "retention.ms is 604800000, not -1"),
        (_few_partitions, "warning", "topics", "1 partitions, not 2"),
        (_forbidden, "bad", "rights", "Write on reportd.dead is not allowed"),
        (_forgetful, "bad", "offsets", "for 0.5 h"),
        (_short, "warning", "offsets", "for 24 h"),
        (_lost, "bad", "retention", "reportd.requests.acme[1]: 7 messages"),
        (_no_secret, "bad", "credentials", "secret 'acme-main'"),
        (_unhandable, "bad", "secrets", "acme:emea"),
        (_hidden, "warning", "credentials", "acme-main: this user may not look into"),
        (_no_account, "warning", "credentials", "no account is known yet"),
        (_twin, "bad", "VMs", "two daemons have the id vm-a"),
        (_fast, "bad", "clock", "vm-a is 3600.0 s ahead of the broker"),
        (_drifting, "warning", "clock", "vm-a is 5.0 s behind the broker"),
        (_absent, "warning", "clock", "no daemon of vm-a"),
        (_differing, "warning", "VMs", "2 VMs have 2 different configurations"),
        (_two_outputs, "bad", "VMs", "VMs write to different outputs"),
        (_no_output, "bad", "output", "out"),
        (_new_output, "warning", "output", "has no id"),
    ],
)
def test_what_is_wrong_is_found(
    patient: Patient, harm: Any, level: str, check: str, words: str
) -> None:
    """With what to do about it."""
    harm(patient)
    found = [one for one in patient.ill() if one.check == check]

    assert {one.level for one in found} == {level}
    assert words in " ".join(one.what for one in found)
    assert all(one.mend for one in found)


def test_a_restart_makes_no_twin(patient: Patient) -> None:
    """One daemon after the other under one id is as it should be."""
    patient.reader.vms = [(vm(incarnation=name), NOW) for name in ("i", "i", "j", "j")]

    assert patient.ill() == []


OAUTH2 = """
[auth.oauth2]
grant = "refresh_token"
token_url = "https://api.acme.com/token"
client_id = "reportd"
client_secret = { secret = "acme-main" }
refresh_token = { secret = "acme-main" }
rotates = ROTATES
"""


@dataclass
class TokenServer:
    """Gives tokens, or says why not."""

    trouble: Exception | None = None
    asked: int = 0

    def token(self, _plan: TokenPlan, _refused: str = "") -> str:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        return "token"

    def known(self, _plan: TokenPlan) -> tuple[str, ...]:
        return ()


@pytest.mark.parametrize(
    ("rotates", "trouble", "level", "words"),
    [
        ("false", None, "ok", "acme, credential 'main': an access token was given"),
        ("false", CredentialRefusedError("invalid_grant"), "bad", "'main': invalid_grant"),
        ("false", NotYetError("HTTP 503", 60.0), "bad", "HTTP 503"),
        ("true", None, "warning", "refresh tokens rotate"),
    ],
    ids=["given", "refused", "away", "rotating"],
)
def test_credentials_are_tried_where_that_is_asked_for(
    patient: Patient, rotates: str, trouble: Exception | None, level: str, words: str
) -> None:
    """By a request to the token server; a refresh token that is good for one use is left alone."""
    file = patient.folder / "partners" / "acme.toml"
    plain = [line for line in PARTNER.splitlines() if not line.startswith("auth")]
    auth = OAUTH2.replace("ROTATES", rotates)
    file.write_text("\n".join(plain[:4]) + auth + "\n".join(plain[4:]))
    assert {one.level for one in patient.found()} == {"ok"}

    patient.tokens = server = TokenServer(trouble)
    (found,) = [one for one in patient.found() if words in one.what]
    assert (found.level, found.check) == (level, "credentials")
    assert server.asked == (rotates == "false")
