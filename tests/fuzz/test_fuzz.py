"""Damaged answers, as many as CI has time for; `make soak` takes a million."""

import subprocess
import sys

import pytest

from reportd.sinks.gathering import Shelved
from tests.fuzz.trial import BrokenPromiseError, trial


def fuzz(*arguments: str, timeout_seconds: int) -> str:
    """Run it; return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_seconds,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    print(said)
    assert done.returncode == 0, said
    return said


@pytest.mark.timeout(600)
def test_ten_thousand_answers() -> None:
    """No crash, no hang, no memory, always a class; in pieces the same rows as in one go."""
    said = fuzz("--answers", "10000", "--first", "0", timeout_seconds=590)

    assert "10000 answers" in said
    assert "  rows: " in said


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_a_million_answers() -> None:
    """Other ones each time; the seed is printed."""
    assert "1000000 answers" in fuzz("--answers", "1000000", timeout_seconds=14_300)


def trials(seeds: int) -> None:
    """Run some."""
    for seed in range(seeds):
        trial(seed)


def test_a_finding_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that come out otherwise in pieces are no quiet success."""
    put = Shelved.put
    monkeypatch.setattr("tests.fuzz.damage.KINDS", (lambda data, *_rest: data,))
    monkeypatch.setattr(Shelved, "put", lambda self, table: put(self, table.slice(1)))

    with pytest.raises(BrokenPromiseError, match="other rows in pieces"):
        trials(50)
