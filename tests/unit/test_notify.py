"""What systemd hears."""

import pytest

from reportd.notify import Notifier, watchdog_seconds


class Heard:
    """Stands where sdnotify's object stands, and keeps the bytes it would send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def notify(self, state: str) -> None:
        self.sent.append(state.encode("latin-1"))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def notifier(heard: Heard) -> Notifier:
    made = Notifier(environ={})
    made._notifier = heard
    return made


def test_without_a_socket_nothing_happens() -> None:
    """Started by hand, every call is silent."""
    silent = Notifier(environ={})
    silent.ready("up")
    silent.status("x")
    silent.watchdog()

    assert not silent.is_connected


@pytest.mark.filterwarnings("ignore:unclosed")  # sdnotify leaves it to the garbage collector
def test_a_socket_that_is_gone_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale NOTIFY_SOCKET is no error."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    Notifier().ready("up")


def test_assignments_are_systemds(notifier: Notifier, heard: Heard) -> None:
    """What systemd reads is spelled as sd_notify(3) says."""
    notifier.ready("4 workers")
    notifier.stopping()
    notifier.status("all well")
    notifier.watchdog()
    notifier.extend(30.0)

    expected = [
        b"READY=1\nSTATUS=4 workers",
        b"STOPPING=1",
        b"STATUS=all well",
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=30000000",
    ]
    assert expected == heard.sent


def test_reloading_says_when(notifier: Notifier, heard: Heard) -> None:
    """RELOADING comes with the monotonic time, as newer systemd demands."""
    notifier.reloading()

    first, second = heard.sent[0].split(b"\n")
    assert first == b"RELOADING=1"
    assert second.removeprefix(b"MONOTONIC_USEC=").isdigit()


def test_a_status_is_one_assignment(notifier: Notifier, heard: Heard) -> None:
    """A newline in it cannot smuggle in another word; other alphabets arrive as UTF-8."""
    notifier.status("half\nSTOPPING=1 →")

    assert ["STATUS=half STOPPING=1 →".encode()] == heard.sent


def test_watchdog_is_fed_at_half_its_limit() -> None:
    """WATCHDOG_USEC counts only for the process it is meant for."""
    environ = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}

    assert watchdog_seconds(environ, pid=42) == 15.0
    assert watchdog_seconds(environ, pid=43) == 0.0
    assert watchdog_seconds({}, pid=42) == 0.0
    assert watchdog_seconds({"WATCHDOG_USEC": "nonsense"}, pid=42) == 0.0
