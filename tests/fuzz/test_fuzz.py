"""Damaged answers, as many as CI has time for; `make soak` takes a million."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import pytest

from reportd.errors import UnexpectedAnswerError
from reportd.partners.streaming import RowArrays
from reportd.sinks.gathering import Shelved
from reportd.sinks.table import CsvOptions, csv_tables
from tests.fuzz.trial import BrokenPromiseError, trial
from tests.unit.sinks.making import a_context, a_schema

MIB = 1024 * 1024
SCHEMA = a_schema({"a": "string"})


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


JSON: Mapping[str, Callable[[], bytes]] = {
    "quotes": lambda: b'"' * (17 * MIB),
    "text": lambda: b'{"data":[{"a":"' + b"x" * (17 * MIB),
    "escapes": lambda: b'{"data":["' + b'\\"' * (9 * MIB),
    "keys": lambda: b"{" + b'"":[],' * (2 * MIB),
    "record": lambda: b'{"data":[{' + b'"a":[1],' * (3 * MIB),
    "levels": lambda: b'{"data":[' + b"[[[[[[[[]," * (2 * MIB),
}
CSV: Mapping[str, tuple[Callable[[], bytes], int]] = {
    "lone": (lambda: b'x"y,1\n' * MIB, MIB),
    "quoted": (lambda: b'"a\nb","c"\n' * MIB, MIB),
    "open": (lambda: b'"' + b"x,\n" * (6 * MIB), 0),
    "wide": (lambda: b'"",' * (6 * MIB), 0),
    "empty": (lambda: b"\n" * (9 * MIB), 0),
}


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield data as it would come."""
    return (data[at : at + MIB] for at in range(0, len(data), MIB))


@pytest.mark.parametrize("name", JSON)
def test_megabytes_that_are_made_to_be_slow(name: str) -> None:
    """Seconds each, as they are cut in time that grows with them; tests have a limit for hangs."""
    with pytest.raises(UnexpectedAnswerError, match="more than"):
        list(RowArrays(("data",)).pieces(pieces(JSON[name]())))


@pytest.mark.parametrize("name", CSV)
def test_csv_that_is_made_to_be_slow(name: str) -> None:
    """The same for rows, quotes and line ends."""
    make, rows = CSV[name]
    data = b"a,b\n" + make()
    try:
        tables = list(csv_tables(pieces(data), CsvOptions(), SCHEMA, a_context()))
    except UnexpectedAnswerError:
        tables = []

    assert sum(table.num_rows for table in tables) == rows
