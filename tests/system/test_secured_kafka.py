"""A Kafka that speaks TLS and wants a password: Spark and the daemon get in by one setting."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # public, but not in __all__
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from reportd.demo.kafka import EmbeddedKafka
from reportd.demo.programs import Enqueuer
from reportd.errors import EXIT_UNAVAILABLE
from tests.system.conftest import MakeStage
from tests.system.stage import Stage, Vm, quick_scene, stopped, unlimited, until
from tests.system.test_start import refused

PASSWORD = 'pass"w\\ord of the house, ünïcode'
OPENSSL = shutil.which("openssl") or ""
KAFKA = """\
servers = "{servers}", "security.protocol" = "SASL_SSL", "ssl.ca.location" = "{authority}", \
"sasl.mechanism" = "SCRAM-SHA-512", "sasl.username" = "reportd", \
"sasl.password" = {{ secret = "kafka" }}"""
SPARK_SECONDS = 300.0
"""On a machine that has much else to do."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(800)]


def openssl(folder: Path, *arguments: str) -> None:
    """Run it; what it makes lies in a folder."""
    subprocess.run([OPENSSL, *arguments], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """Make an authority, and a broker's certificate of it for 127.0.0.1."""
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    made = ("-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=the house")
    openssl(folder, "req", "-x509", *new, *made)
    asked = ("-keyout", "broker.key", "-out", "broker.csr", "-subj", "/CN=broker")
    openssl(folder, "req", *new, *asked, "-addext", "subjectAltName=IP:127.0.0.1")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy")
    out = ("-in", "broker.csr", "-out", "broker.pem", "-days", "2")
    openssl(folder, "x509", "-req", *out, *signed)
    store = [(folder / name).read_text() for name in ("broker.key", "broker.pem", "ca.pem")]
    (folder / "store.pem").write_text("".join(store))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the authority's certificate; the broker's lies beside it."""
    if not OPENSSL:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("authority")
    certificates(folder)
    return folder / "ca.pem"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[EmbeddedKafka]:
    """Give a broker that lets in whoever knows the password, at its secured port."""
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    settings = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(authority.with_name("store.pem")),
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{module} required;",
    }
    folder = tmp_path_factory.mktemp("kafka")
    with EmbeddedKafka(folder, settings=settings, secured_by="SASL_SSL") as broker:
        method = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        user = UserScramCredentialUpsertion("reportd", method, PASSWORD.encode())
        admin = AdminClient({"bootstrap.servers": broker.servers})
        for done in admin.alter_user_scram_credentials([user]).values():
            done.result(60)
        yield broker


@pytest.fixture
def stage(make_a_stage: MakeStage) -> Stage:
    """Give a stage with one quick partner; what the test itself asks it asks the open port."""
    return make_a_stage(quick_scene(), unlimited)


def secured(stage: Stage, authority: Path, password: str = PASSWORD) -> Vm:
    """Return a daemon that is to get in with a password from a file."""
    vm = stage.vm("vm-a")
    (vm.config.parent / "secrets" / "kafka").write_text(f"{password}\n")
    settings = KAFKA.format(servers=stage.kafka.secured, authority=authority)
    text = vm.config.read_text()
    vm.config.write_text(text.replace(f'servers = "{stage.kafka.servers}"', settings))
    return vm


def enqueued(stage: Stage, vm: Vm) -> tuple[int, str]:
    """Enqueue with Spark by a daemon's configuration; return the exit status and what was said."""
    log = stage.place.log("enqueue")
    status = Enqueuer(vm.config, stage.place.schedule, log).start().wait(SPARK_SECONDS)
    return status, log.read_text()


def test_the_whole_way(stage: Stage, authority: Path) -> None:
    """From the accounts table to files, over TLS, and nobody says the password."""
    vm = secured(stage, authority)

    status, said = enqueued(stage, vm)
    assert status == 0, said
    stage.start(vm)
    accounts, (role,) = list(stage.scene.accounts()), stage.scene.roles
    wanted = len(accounts) * role.asks

    def ended() -> bool:
        return len(stage.follow().ends) == wanted

    until(ended, f"{wanted} results", SPARK_SECONDS)
    stopped(vm)

    files = list(stage.place.output.glob("acme/**/*.parquet"))
    assert len(files) == wanted * role.days
    for word in ("house", PASSWORD[:6]):
        assert word not in said + vm.said()


def test_a_wrong_password(stage: Stage, authority: Path) -> None:
    """Both say that the broker refuses it, and end so that they are started again: 75."""
    vm = secured(stage, authority, "swordfish")

    status, message, *more = refused(vm)
    enqueuer, said = enqueued(stage, vm)

    assert status == str(EXIT_UNAVAILABLE)
    assert f"broker {stage.kafka.secured}: lets nobody in" in message
    assert "invalid credentials" in message
    assert not more
    assert enqueuer == EXIT_UNAVAILABLE
    assert "invalid credentials" in said
    assert "swordfish" not in vm.said() + said


def test_an_unknown_authority(stage: Stage, authority: Path) -> None:
    """A broker whose certificate nobody vouches for gets no password."""
    vm = secured(stage, authority)
    others = authority.with_name("others")
    others.mkdir()
    certificates(others)
    text = vm.config.read_text()
    vm.config.write_text(text.replace(str(authority), str(others / authority.name)))

    status, message, *_ = refused(vm)

    assert status == str(EXIT_UNAVAILABLE)
    assert "certificate verify failed" in message
