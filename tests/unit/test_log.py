"""One line, one write, a record; nothing from outside can forge one, nothing secret is shown."""

import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd import log
from reportd.config.secrets import Secret

LOGGER = logging.getLogger("reportd.test_log")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put the loggers back as they were."""
    root, ours = logging.getLogger(), logging.getLogger("reportd")
    urllib3 = logging.getLogger("urllib3")
    before = root.handlers[:], root.level, ours.level, urllib3.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    urllib3.setLevel(before[3])


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    log.setup("info", stream, process="worker-0", environ={})
    return stream


def test_line_reads_time_level_process_action_message_fields(lines: io.StringIO) -> None:
    """A record is one plain line in the stated order."""
    LOGGER.info("stored %d rows", 7, extra={"action": "report_stored", "partner": "acme"})

    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    expected = rf"{when} INFO worker-0 report_stored stored 7 rows partner=acme\n"
    assert re.fullmatch(expected, lines.getvalue())


def test_control_characters_cannot_forge_a_line(lines: io.StringIO) -> None:
    """Newlines, escapes and direction marks from outside arrive as text."""
    LOGGER.warning("got %s", "a\n<2>b\x1b[2Jc\u202ed\x85e", extra={"path": "x\ny", "action": "z\n"})

    text = lines.getvalue()
    assert text.count("\n") == 1
    assert "z\\n got a\\n<2>b\\x1b[2Jc\\u202ed\\x85e" in text
    assert 'path="x\\ny"' in text


def test_secrets_are_not_shown(lines: io.StringIO) -> None:
    """Neither a `Secret` anywhere, nor a plain value under a secret's name."""
    hidden = Secret("hunter2", "kafka")
    LOGGER.info("using %s", hidden, extra={"found": hidden, "api_key": "hunter2"})
    LOGGER.info("page %s", 1, extra={"access_token": "hunter2", "page_tokens_seen": 3})

    assert "hunter2" not in lines.getvalue()
    assert "api_key=***" in lines.getvalue()
    assert "page_tokens_seen=3" in lines.getvalue()


def test_values_that_are_not_one_word_are_quoted(lines: io.StringIO) -> None:
    """A reader can tell where a value ends."""
    LOGGER.info("x", extra={"reason": 'said "no"', "empty": "", "none": None, "seconds": 0.1 + 0.2})

    assert lines.getvalue().endswith(
        'INFO worker-0 - x reason="said \\"no\\"" empty="" seconds=0.3\n'
    )


def test_a_traceback_follows_as_indented_lines(lines: io.StringIO) -> None:
    """A trace cannot be taken for records, whatever the exception says."""
    try:
        raise ValueError("one\ntwo\x07")
    except ValueError:
        LOGGER.exception("failed", extra={"action": "bug"})

    first, *rest = lines.getvalue().splitlines()
    assert first.endswith("ERROR worker-0 bug failed")
    assert all(line.startswith("  | ") for line in rest)
    assert "  | two\\x07" in rest


def test_a_record_is_one_write() -> None:
    """Several processes share the file: a record arrives whole, its trace too."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w") as stream:
        log.setup("info", stream, environ={})
        LOGGER.info("first")
        assert os.read(reader, 65536).endswith(b"first\n")
        LOGGER.error("second", stack_info=True)
        assert os.read(reader, 65536).endswith(b"\n")
    os.close(reader)


def test_the_journal_gets_priorities_and_no_time(tmp_path: Path) -> None:
    """Every line for the journal starts with its priority, the trace's too; its socket is away."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader) as lines:
        found = os.fstat(writer)
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        log.setup("debug", stream, environ=environ, journal=tmp_path / "away")
        LOGGER.debug("d")
        LOGGER.error("e", stack_info=True)
        log.setup("debug", stream, environ={"INVOCATION_ID": "1"})
        LOGGER.warning("w")
        stream.close()
        got = lines.read().splitlines()

    assert got[0] == "<7>DEBUG reportd - d"
    assert got[1] == "<3>ERROR reportd - e"
    assert all(line.startswith("<3>  | ") for line in got[2:-1])
    assert got[-1] == "<4>WARNING reportd - w"


def test_another_journal_is_not_ours() -> None:
    """A journal that reads some other file does not change the form."""
    with open(os.devnull, "w") as stream:  # noqa: PTH123  a stream like stderr is wanted
        assert not log.is_journal(stream, {"JOURNAL_STREAM": "1:1"})
    assert not log.is_journal(io.StringIO(), {"INVOCATION_ID": "1"})


def test_levels_libraries_are_quiet(lines: io.StringIO) -> None:
    """Ours speak from the level on, libraries when they warn, urllib3 (it shows URLs) never."""
    LOGGER.debug("too low")
    logging.getLogger("somelib").info("chatter")
    logging.getLogger("somelib").warning("heard")
    logging.getLogger("urllib3.connectionpool").warning("https://h/?key=hunter2")

    assert [line.split(" ", 4)[4] for line in lines.getvalue().splitlines()] == ["heard"]


def test_setup_again_replaces(lines: io.StringIO) -> None:
    """A child names itself after the fork; nothing is said twice."""
    again = io.StringIO()
    log.setup("info", again, process="worker-1", environ={})
    LOGGER.info("hello")

    assert lines.getvalue() == ""
    assert again.getvalue().count("worker-1 - hello") == 1


def test_a_gone_reader_ends_nobody() -> None:
    """Nobody reads any more: the record is lost, the process goes on."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        log.setup("info", stream, environ={})
        LOGGER.info("into the void")


def test_long_messages_and_values_are_cut(lines: io.StringIO) -> None:
    """A hostile value cannot fill the disk."""
    LOGGER.info("%s", "m" * 100_000, extra={"value": "v" * 100_000})

    assert len(lines.getvalue()) < log.MAX_MESSAGE + log.MAX_VALUE + 200
