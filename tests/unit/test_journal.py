"""Records for the journal: a datagram each, with fields; its place is taken by a socket of ours."""

import array
import io
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd import log
from reportd.journal import STUCK_SECONDS, Journal, encoded, field_name
from tests.descriptors import descriptors
from tests.unit.test_log import as_before

LOGGER = logging.getLogger("reportd.test_journal")
__all__ = ["as_before"]  # the fixture is wanted here too


class Listener:
    """What listens in the journal's place, and a file that is its stream."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.lines = folder / "lines"
        self.stream = self.lines.open("w")
        found = os.fstat(self.stream.fileno())
        self.environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}

    def setup(self, level: str = "info") -> None:
        log.setup(level, self.stream, "worker-0", self.environ, self.path)

    def heard(self) -> list[dict[str, str]]:
        """Return the records that have come."""
        found: list[dict[str, str]] = []
        while True:
            try:
                data, rights, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
            except BlockingIOError:
                return found
            if rights:
                fds = array.array("i", rights[0][2])
                with os.fdopen(fds[0], "rb") as file:
                    file.seek(0)
                    data = file.read()
            if data:
                found.append(parsed(data))

    def close(self) -> None:
        self._socket.close()
        self.stream.close()


def fill(line: Journal) -> None:
    """Send until there is room for no more."""
    while True:
        line.send({"MESSAGE": "one more"})


def parsed(data: bytes) -> dict[str, str]:
    """Return the fields of a record, as the protocol is read."""
    found = {}
    stream = io.BytesIO(data)
    while line := stream.readline():
        name, equals, value = line.removesuffix(b"\n").partition(b"=")
        if not equals:
            value = stream.read(int.from_bytes(stream.read(8), "little"))
            assert stream.read(1) == b"\n"
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path)
    yield made
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, log.JournalHandler):
            handler.close()
    made.close()


def test_record_has_its_fields(journal: Listener) -> None:
    """Priority, identifier, process, action, and each key in capitals; the message is the line."""
    journal.setup()
    LOGGER.warning(
        "dead: %s", "403", extra={"action": "request_dead", "partner": "acme", "account": "7 a"}
    )

    assert journal.heard() == [
        {
            "MESSAGE": 'WARNING worker-0 request_dead dead: 403 partner=acme account="7 a"',
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "reportd",
            "PROCESS": "worker-0",
            "ACTION": "request_dead",
            "LOGGER": "reportd.test_journal",
            "PARTNER": "acme",
            "ACCOUNT": "7 a",
        }
    ]
    assert journal.lines.read_text() == ""


def test_traceback_is_part_of_the_record(journal: Listener) -> None:
    """One record, whatever the exception says, and nothing of it is a field."""
    journal.setup()
    try:
        raise ValueError("one\nPRIORITY=0\n")
    except ValueError:
        LOGGER.exception("failed")

    (record,) = journal.heard()
    assert record["PRIORITY"] == "3"
    assert "\n  | PRIORITY=0\n" in f"{record['MESSAGE']}\n"


def test_nothing_from_outside_becomes_a_field(journal: Listener) -> None:
    """A value with a newline stays a value, a name that is none is left out, ours are ours."""
    journal.setup()
    extra = {"path": "x\nPRIORITY=0", "_UID": "0", "a b": 1, "priority": 0, "api_key": "hunter2"}
    LOGGER.info("hello", extra=extra)

    (record,) = journal.heard()
    assert record["PATH"] == "x\\nPRIORITY=0"
    assert record["PRIORITY"] == "6"
    assert record["API_KEY"] == "***"
    assert {"_UID", "UID", "A B"}.isdisjoint(record)


def test_big_record_goes_as_a_sealed_file(journal: Listener) -> None:
    """What does not fit a datagram arrives whole all the same."""
    line = Journal(journal.path)
    big = "m" * 400_000
    line.send({"MESSAGE": big, "PRIORITY": "6"})
    line.send({"MESSAGE": "next"})
    line.close()

    assert journal.heard() == [{"MESSAGE": big, "PRIORITY": "6"}, {"MESSAGE": "next"}]


def test_without_its_socket_there_are_lines(journal: Listener, tmp_path: Path) -> None:
    """A daemon that is kept from the socket still says everything, with priorities."""
    log.setup("info", journal.stream, "worker-0", journal.environ, tmp_path / "nobody")
    LOGGER.info("hello")

    assert journal.lines.read_text() == "<6>INFO worker-0 - hello\n"


def test_another_stream_gets_lines(journal: Listener) -> None:
    """Standard error that was sent elsewhere is no journal, though one is there."""
    log.setup("info", journal.stream, "worker-0", {"JOURNAL_STREAM": "1:1"}, journal.path)
    LOGGER.info("hello")

    assert journal.heard() == []
    assert journal.lines.read_text().endswith("Z INFO worker-0 - hello\n")


def test_setup_again_replaces(journal: Listener) -> None:
    """Nothing is said twice after a reload, and no descriptor is left open."""
    journal.setup()
    before = descriptors()
    for _ in range(3):
        journal.setup()
    LOGGER.info("hello")

    assert len(journal.heard()) == 1
    assert descriptors() == before


def test_journal_that_goes_away_ends_nobody(journal: Listener) -> None:
    """Records are lost while it is away, and come again when it is back under its name."""
    journal.setup()
    journal.path.rename(journal.path.with_suffix(".away"))
    LOGGER.info("lost")
    journal.path.with_suffix(".away").rename(journal.path)
    LOGGER.info("hello")

    assert [record["MESSAGE"] for record in journal.heard()] == ["INFO worker-0 - hello"]


def test_journal_that_takes_nothing_is_waited_for_once(
    journal: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait for each record would let a worker look wedged."""
    monkeypatch.setattr("reportd.journal.TIMEOUT_SECONDS", 0.01)
    now = [100.0]
    line = Journal(journal.path, lambda: now[0])
    with pytest.raises(TimeoutError):
        fill(line)
    for _ in range(3):
        with pytest.raises(BlockingIOError):  # nobody has waited
            line.send({"MESSAGE": "lost"})
    now[0] += STUCK_SECONDS
    with pytest.raises(TimeoutError):
        line.send({"MESSAGE": "lost, too"})
    journal.heard()
    line.send({"MESSAGE": "it works again"})
    line.close()

    assert journal.heard() == [{"MESSAGE": "it works again"}]


@pytest.mark.parametrize(
    ("key", "name"),
    [("partner", "PARTNER"), ("_uid", None), ("1st", None), ("a-b", None), ("é", None)],
)
def test_names_of_fields(key: str, name: str | None) -> None:
    """The journal takes capitals, digits and underscores, and trusts names that begin with one."""
    assert field_name(key) == name


def test_encoding() -> None:
    """A value with a newline goes with its length, any other as it is."""
    assert encoded({"A": "x=y", "B": "1\n2"}) == b"A=x=y\nB\n\x03\0\0\0\0\0\0\x001\n2\n"
