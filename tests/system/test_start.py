"""What keeps the daemon from starting: one clear message and the design's exit code each."""

import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from reportd.broker.admin import Admin
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE
from tests.loopback import free_port
from tests.system.stage import Stage, Vm

END_SECONDS = 90.0


def refused(vm: Vm) -> list[str]:
    """Start a daemon that must end by itself; return its last words, without time and place."""
    vm.daemon.start()
    status = vm.daemon.wait(END_SECONDS)
    said = re.findall(r" CRITICAL reportd halt (.*)$", vm.said(), re.MULTILINE)
    assert not re.search("Traceback", vm.said()), vm.said()
    assert said, vm.said()
    return [f"{status}", *(re.sub(r" status=\d+$", "", line) for line in said)]


def edited(vm: Vm, change: Callable[[str], str]) -> Vm:
    """Change a daemon's configuration."""
    vm.config.write_text(change(vm.config.read_text()))
    return vm


def test_broker_away(stage: Stage) -> None:
    """A broker that nobody answers for: 75, and which one."""
    nobody = f"127.0.0.1:{free_port()}"
    vm = edited(stage.vm("vm-a"), lambda text: text.replace(stage.kafka.servers, nobody))

    status, message, *more = refused(vm)

    assert status == str(EXIT_UNAVAILABLE)
    assert f"broker {nobody}: not reachable" in message
    assert not more


def test_topics_missing(stage: Stage) -> None:
    """Topics that are not there: every one is named, and the command that makes them."""
    vm = edited(stage.vm("vm-a"), lambda text: text.replace(stage.prefix, f"{stage.prefix}-other"))

    status, *messages = refused(vm)

    assert status == str(EXIT_UNAVAILABLE)
    prefix = f"{stage.prefix}-other"
    own = {f"{prefix}.{kind}.acme" for kind in ("requests", "backfill", "ledger")}
    others = {f"{prefix}.{kind}" for kind in ("dead", "runs", "accounts", "control", "vms")}
    assert {line.split()[1] for line in messages[:-1]} == own | others
    assert "reportctl topics create" in messages[-1]


def test_topics_that_do_not_fit(stage: Stage) -> None:
    """A ledger with another number of partitions than its requests: both are named."""
    requests, ledger = stage.topics.requests("acme"), stage.topics.ledger("acme")
    Admin(stage.client).grow(ledger, 7)
    vm = stage.vm("vm-a")

    status, message, *_ = refused(vm)

    assert status == str(EXIT_UNAVAILABLE)
    assert f"{ledger} has 7" in message
    assert f"{requests} has 4" in message


def test_configuration_wrong(stage: Stage) -> None:
    """All problems of all files at once, each with its path: 78."""
    vm = edited(
        stage.vm("vm-a"),
        lambda text: text.replace("processes = 2", 'processes = "many"\nthread = 3').replace(
            "date={date}", "date"
        ),
    )
    partner = stage.place.partners / "acme.toml"
    partner.write_text(partner.read_text().replace("allow_private", "allow_privat"))

    status, *messages = refused(vm)

    assert status == str(EXIT_CONFIG)
    text = "\n".join(messages)
    assert f"{vm.config}: workers.processes" in text
    assert f"{vm.config}: workers.thread" in text
    assert f"{partner}: allow_privat" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("processes = 2", "processes = 0"), "workers.processes"),
        (("root = ", 'group = "nobody-has-this"\nroot = '), "there is no group"),
    ],
)
def test_systemd_is_told_why(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], words: str
) -> None:
    """``systemctl status`` says why the daemon ended: found on loading, or on looking around."""
    path = Path(os.environ["TMPDIR"]) / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        status, message, *more = refused(edited(stage.vm("vm-a"), lambda t: t.replace(*change)))
        heard.setblocking(False)
        told = []
        with suppress(BlockingIOError):
            while True:
                told.append(heard.recv(4096).decode())

    assert status == str(EXIT_CONFIG)
    assert words in message
    assert not more
    assert any(f"STATUS={message}" in text for text in told)


def test_partner_file_wrong(stage: Stage) -> None:
    """Every problem of the partner files, and the output's path that names too little: 78."""
    vm = edited(stage.vm("vm-a"), lambda text: text.replace("date={date}/", ""))
    partner = stage.place.partners / "acme.toml"
    partner.write_text(partner.read_text().replace("allow_private", "allow_privat"))

    status, *messages = refused(vm)

    assert status == str(EXIT_CONFIG)
    text = "\n".join(messages)
    assert f"{partner}: allow_privat" in text
    assert f"{vm.config}: output.path" in text


def test_setting_that_breaks_a_promise(stage: Stage) -> None:
    """``enable.auto.commit`` is not the user's to set: 78."""
    vm = edited(
        stage.vm("vm-a"),
        lambda text: text.replace("kafka = {", 'kafka = { "enable.auto.commit" = true,'),
    )

    status, message, *_ = refused(vm)

    assert status == str(EXIT_CONFIG)
    assert "enable.auto.commit" in message


@pytest.mark.parametrize("root", ["nothing-there", "a-file", "/proc"])
def test_output_away(stage: Stage, root: str) -> None:
    """An output that is not there, is no folder, or takes no file: 75, and where."""
    (stage.place.root / "a-file").write_text("")
    place = stage.place.root / root
    vm = edited(stage.vm("vm-a"), lambda text: text.replace(str(stage.place.output), str(place)))

    status, message, *more = refused(vm)

    assert status == str(EXIT_UNAVAILABLE)
    assert str(place) in message
    assert not more


def test_port_taken(stage: Stage) -> None:
    """A metrics port that another has: 78, and what to do."""
    vm = stage.vm("vm-a")
    with socket.create_server(("127.0.0.1", vm.metrics_port)):
        status, message, *more = refused(vm)

    assert status == str(EXIT_CONFIG)
    assert f"127.0.0.1:{vm.metrics_port}" in message
    assert not more


def test_second_vm(stage: Stage) -> None:
    """A second VM on an output that is not shared is refused; the first one works on."""
    first = stage.vm("vm-a")
    stage.configure(first, shared=False)
    stage.start(first)
    second = stage.vm("vm-b")
    stage.configure(second, shared=False)

    status, message, *more = refused(second)

    assert status == str(EXIT_CONFIG)
    assert "vm-a" in message
    assert "output.shared" in message
    assert not more
    assert first.daemon.status() is None


def test_twin(stage: Stage) -> None:
    """A second daemon with a living one's machine id (a cloned image) is refused."""
    first = stage.start(stage.vm("vm-a"))
    twin = stage.vm("vm-b", machine_id="vm-a")

    status, message, *more = refused(twin)

    assert status == str(EXIT_CONFIG)
    assert "vm-a" in message
    assert not more
    assert first.daemon.status() is None
