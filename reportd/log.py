"""What the processes say on standard error: one line, one write, a record.

Every process calls `setup` once, children again after the fork with their own name; no other
module installs handlers. A line reads ``time level process action message key=value ...``. When
standard error is the journal, the journal gets the record itself instead: the same line without
the time as its message, and each key as a field (``journalctl PARTNER=acme REQUEST=...``); where
its socket cannot be reached, lines with ``<priority>`` in the time's place. What comes from
outside cannot forge a line or a field: control characters are escaped; values under a secret's
name are not shown.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from reportd.journal import SOCKET, Journal, field_name

IDENTIFIER = "reportd"
"""What ``journalctl -t`` finds us by."""
MAX_MESSAGE = 8000
MAX_VALUE = 500

_PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "action", "taskName"}
_SECRET = re.compile(
    r"(?:^|_)(?:password|passphrase|secret|token|authorization|api_?key|private_key|cookie)s?$",
    re.IGNORECASE,
)
_HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_PLAIN_VALUE = re.compile(r"[^\s\"'=\\]+")


def setup(
    level: str = "info",
    stream: TextIO | None = None,
    process: str = "reportd",
    environ: Mapping[str, str] = os.environ,
    journal: Path = SOCKET,
) -> None:
    """Send our records from ``level`` on, and the libraries' warnings, to ``stream`` (stderr).

    Calling it again replaces what it has set up.
    """
    handler = _handler(stream or sys.stderr, process, environ, journal)
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, LineHandler | JournalHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("reportd").setLevel(level.upper())
    # its warnings and debug lines show whole URLs, and a query may hold a partner's key
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)


def _handler(
    stream: TextIO, process: str, environ: Mapping[str, str], journal: Path
) -> logging.Handler:
    if is_journal(stream, environ):
        try:
            return JournalHandler(Journal(journal), process)
        except OSError:
            pass  # kept from its socket: the lines still get there
    return LineHandler(stream, LineFormatter(process, for_journal=is_read(stream, environ)))


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the stream leads to the journal."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file behind it, or closed
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def is_read(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd reads the stream line by line, wherever it writes the lines to."""
    try:
        if stream.isatty():
            return False
        stream.fileno()
    except (OSError, ValueError):
        return False
    return is_journal(stream, environ) or "INVOCATION_ID" in environ


class LineHandler(logging.Handler):
    """Writes a record with one ``write``: the children share the file."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        """Write to the file behind ``stream``, or to ``stream`` when there is none."""
        super().__init__()
        self.setFormatter(formatter)
        self._stream = stream
        try:
            self._fd: int | None = stream.fileno()
        except (OSError, ValueError):
            self._fd = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write it; a file that is gone or full is no reason to fail."""
        try:
            text = self.format(record) + "\n"
            if self._fd is None:
                self._stream.write(text)
            else:
                _write_all(self._fd, text.encode(errors="backslashreplace"))
        except OSError:
            pass  # nowhere to say it
        except Exception:  # noqa: BLE001  a record that cannot be rendered is a bug, but not an end
            self.handleError(record)


class JournalHandler(logging.Handler):
    """Sends a record to the journal, with its fields."""

    def __init__(self, journal: Journal, process: str) -> None:
        """Send through ``journal``; ``process`` says who speaks."""
        super().__init__()
        self.setFormatter(LineFormatter(process, for_journal=False, with_time=False))
        self._journal = journal
        self._process = process

    def emit(self, record: logging.LogRecord) -> None:
        """Send it; a journal that is gone or stuck is no reason to fail."""
        try:
            self._journal.send(self._fields(record))
        except OSError:
            pass  # nowhere to say it
        except Exception:  # noqa: BLE001  a record that cannot be rendered is a bug, but not an end
            self.handleError(record)

    def close(self) -> None:
        """Close this process's line to the journal."""
        self._journal.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        found = {}
        for key, value in vars(record).items():
            name = field_name(key)
            if key not in _OWN and value is not None and name is not None:
                found[name] = _text(key, value)
        return (
            found
            | {  # after what was handed in: nobody else says who we are
                "MESSAGE": self.format(record),
                "PRIORITY": str(_PRIORITIES.get(record.levelname, 6)),
                "SYSLOG_IDENTIFIER": IDENTIFIER,
                "PROCESS": self._process,
                "ACTION": escaped(str(getattr(record, "action", "-"))[:64]),
                "LOGGER": record.name,
            }
        )


class LineFormatter(logging.Formatter):
    """Renders a record; a traceback follows as indented lines."""

    def __init__(self, process: str, *, for_journal: bool, with_time: bool = True) -> None:
        """Say who speaks; ``for_journal``: its reader wants priorities, and has the time."""
        super().__init__()
        self._process = process
        self._for_journal = for_journal
        self._with_time = with_time and not for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line or lines, without the last newline."""
        level = record.levelname
        prefix = f"<{_PRIORITIES.get(level, 6)}>" if self._for_journal else ""
        when = f"{_time(record.created)} " if self._with_time else ""
        action = escaped(str(getattr(record, "action", "-"))[:64])
        message = escaped(record.getMessage()[:MAX_MESSAGE])
        fields = "".join(
            f" {key}={_value(key, value)}"
            for key, value in vars(record).items()
            if key not in _OWN and value is not None
        )
        line = f"{prefix}{when}{level} {self._process} {action} {message}{fields}"
        return "\n".join([line, *(f"{prefix}  | {more}" for more in _trace(record))])


def escaped(text: str) -> str:
    """Return text in which nothing can end the line, move the cursor or turn the direction."""
    return _HOSTILE.sub(lambda found: ascii(found[0])[1:-1], text)


def _trace(record: logging.LogRecord) -> list[str]:
    lines: list[str] = []
    if record.exc_info and record.exc_info[1] is not None:
        lines += traceback.format_exception(record.exc_info[1])
    if record.stack_info:
        lines.append(record.stack_info)
    return [escaped(line) for part in lines for line in part.rstrip("\n").split("\n")]


def _time(created: float) -> str:
    text = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _text(key: str, value: object) -> str:
    """Return a value as it may be shown."""
    if _SECRET.search(key):
        return "***"
    text = str(round(value, 6)) if isinstance(value, float) else str(value)
    if len(text) > MAX_VALUE:
        text = f"{text[:MAX_VALUE]}..."
    return escaped(text)


def _value(key: str, value: object) -> str:
    text = _text(key, value)
    if _PLAIN_VALUE.fullmatch(text):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
