"""The rules of the house hold where no linter looks."""

import configparser
import re
import socket
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.conftest import ForbiddenInUnitTestError

_ROOT = Path(__file__).parents[2]


def test_unit_tests_cannot_connect() -> None:
    """A unit test that opens a connection fails, whatever the code under test catches."""
    with socket.socket() as client, pytest.raises(ForbiddenInUnitTestError):
        client.connect(("127.0.0.1", 1))


def test_unit_tests_cannot_sleep() -> None:
    """A unit test that sleeps fails."""
    with pytest.raises(ForbiddenInUnitTestError):
        time.sleep(1)  # noqa: TID251 - to see that it cannot


def _locked(file: str) -> dict[str, str]:
    """Return what a requirements file pins: name to version."""
    text = (_ROOT / "packaging" / file).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+) ", text, re.MULTILINE))


def _declared(section: str) -> list[tuple[str, Requirement]]:
    """Return the requirements of one section of setup.cfg, each with its key."""
    setup = configparser.ConfigParser(comment_prefixes=("#",))
    setup.read(_ROOT / "setup.cfg", encoding="utf-8")
    return [
        (key, Requirement(line))
        for key, lines in setup[section].items()
        for line in lines.splitlines()
        if line and (section.endswith("extras_require") or key == "install_requires")
    ]


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_locks_fit_what_the_daemon_requires(file: str) -> None:
    """What setup.cfg requires is locked, in a version that it allows (`make lock`)."""
    locked = _locked(file)
    wrong = [
        str(required)
        for _key, required in _declared("options")
        if not required.specifier.contains(locked.get(canonicalize_name(required.name), "0"))
    ]

    assert [] == wrong


def test_the_development_lock_has_every_extra() -> None:
    """Set-up brings what the tests, the checks and the benchmark import."""
    locked = _locked("requirements-dev.txt")
    wrong = [
        f"{extra}: {required}"
        for extra, required in _declared("options.extras_require")
        if not required.specifier.contains(locked.get(canonicalize_name(required.name), "0"))
    ]

    assert [] == wrong


def test_both_locks_pin_the_same() -> None:
    """What is tested is what is packaged."""
    tested = _locked("requirements-dev.txt")

    assert {} == {
        name: version
        for name, version in _locked("requirements.txt").items()
        if tested.get(name) != version
    }


def test_the_enqueuers_lock_has_its_extra() -> None:
    """The package reportd-enqueue brings what the extra ``enqueue`` asks for, as it was tested."""
    locked = _locked("requirements-enqueue.txt")
    tested = _locked("requirements-dev.txt")
    wanted = [each for key, each in _declared("options.extras_require") if key == "enqueue"]

    assert all(each.specifier.contains(locked.get(each.name, "0")) for each in wanted)
    assert {} == {name: at for name, at in locked.items() if tested.get(name) != at}


_LOCKS = ["requirements.txt", "requirements-dev.txt", "requirements-enqueue.txt"]


@pytest.mark.parametrize("file", _LOCKS)
def test_locks_name_no_host(file: str) -> None:
    """Where packages come from is the machine's business."""
    text = (_ROOT / "packaging" / file).read_text(encoding="utf-8")

    assert [] == re.findall(r"^(?!#).*(?:://|--index-url|--find-links).*$", text, re.MULTILINE)


def test_every_override_has_its_reason() -> None:
    """A line of an override follows a comment, or another line of the same block."""
    for file in sorted((_ROOT / "packaging" / "debian").glob("*.lintian-overrides")):
        previous = ""
        for line in file.read_text(encoding="utf-8").splitlines():
            assert re.match("#|[a-z-]+: ", line), f"{file.name}: {line}"
            assert previous or line.startswith("#"), f"{file.name}: {line}: no reason"
            previous = line
