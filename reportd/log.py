"""What the processes say on standard error: one line, one write, a record.

Every process calls `setup` once, children again after the fork with their own name; no other
module installs handlers. A line reads ``time level process action message key=value ...``; for
the journal ``<priority>`` stands in the time's place. What comes from outside cannot forge a
line: control characters are escaped; values under a secret's name are not shown.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

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
) -> None:
    """Send our records from ``level`` on, and the libraries' warnings, to ``stream`` (stderr).

    Calling it again replaces what it has set up.
    """
    stream = stream or sys.stderr
    handler = LineHandler(stream, LineFormatter(process, for_journal=is_journal(stream, environ)))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, LineHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("reportd").setLevel(level.upper())
    # its warnings and debug lines show whole URLs, and a query may hold a partner's key
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd reads the stream line by line."""
    try:
        found = os.fstat(stream.fileno())
        if stream.isatty():
            return False
    except (OSError, ValueError):  # no file behind it, or closed
        return False
    if environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}":
        return True
    return "INVOCATION_ID" in environ


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


class LineFormatter(logging.Formatter):
    """Renders a record; a traceback follows as indented lines."""

    def __init__(self, process: str, *, for_journal: bool) -> None:
        """Say who speaks, and whether the journal adds the time itself."""
        super().__init__()
        self._process = process
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line or lines, without the last newline."""
        level = record.levelname
        prefix = f"<{_PRIORITIES.get(level, 6)}>" if self._for_journal else ""
        when = "" if self._for_journal else f"{_time(record.created)} "
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


def _value(key: str, value: object) -> str:
    if _SECRET.search(key):
        return "***"
    text = str(round(value, 6)) if isinstance(value, float) else str(value)
    if len(text) > MAX_VALUE:
        text = f"{text[:MAX_VALUE]}..."
    text = escaped(text)
    if _PLAIN_VALUE.fullmatch(text):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
