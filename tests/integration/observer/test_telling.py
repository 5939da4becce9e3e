"""Whoever is to know that a run is over is told: a real webhook, a real command."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd.config.secrets import Secret
from reportd.config.settings import RunsSettings
from reportd.model.run import Finished
from reportd.observer.telling import Telling
from reportd.transport.client import Client
from reportd.transport.exchange import Answer, Call, Failure
from tests.hook import Hook
from tests.system.stage import state_of, until

RUN = "daily/2026-11-22T04:00Z#1"
OVER = Finished(run=RUN, mend=1, state="partial", ids_hash="0", requests=3, file="f", finished_at=1)


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Give one that listens."""
    with Hook() as made:
        yield made


def telling(**settings: object) -> Telling:
    """Return who is told, with the real client."""
    return Telling(RunsSettings.model_validate(settings), lambda: Client(1).send)


def test_webhook(hook: Hook) -> None:
    """It gets the record and its key; it is not told twice by one process."""
    tell = telling(webhook=hook.url)

    assert tell.tell(OVER) == []
    assert tell.tell(OVER) == []
    ((headers, body),) = hook.heard
    assert headers["idempotency-key"] == f"{RUN}+1"
    said = json.loads(body)
    assert (said["event"], said["run"], said["state"]) == (f"{RUN}+1", RUN, "partial")


def test_how_long_it_may_take_to_tell_everybody() -> None:
    """The other VMs wait for that before they tell."""
    command, webhook = ("true",), "https://airflow.example.com/hook"

    assert telling(timeout_seconds=20).longest_seconds == 0
    assert telling(timeout_seconds=20, command=command).longest_seconds == 30
    assert telling(timeout_seconds=20, command=command, webhook=webhook).longest_seconds == 60


def test_a_webhook_that_refuses_is_told_again(hook: Hook) -> None:
    """Anything but 2xx is a problem; the command that went well is not run again."""
    hook.status = 503
    tell = telling(webhook=hook.url, command=("true",))

    assert tell.tell(OVER) == ["webhook: HTTP 503"]
    hook.status = 200
    assert tell.tell(OVER) == []
    assert len(hook.heard) == 2


@pytest.mark.parametrize("size", [None, 100_000])
def test_whoever_says_that_it_has_heard_is_not_told_again(hook: Hook, size: int | None) -> None:
    """Plain servers say no more than the status, without a length; others send a whole page."""
    hook.status, hook.body_bytes = 200, size
    tell = telling(webhook=hook.url)

    assert (tell.tell(OVER), tell.tell(OVER)) == ([], [])
    assert len(hook.heard) == 1

    hook.status = 302
    assert telling(webhook=hook.url).tell(OVER) == ["webhook: HTTP 302"]
    assert len(hook.heard) == 2


def test_the_token_is_sent_and_never_shown() -> None:
    """It is one of the headers that a redirect drops, and in no repr."""
    calls: list[Call] = []

    def send(call: Call) -> Answer | Failure:
        calls.append(call)
        return Answer(status=200, headers={}, body=b"", seconds=0.0)

    settings = RunsSettings(
        webhook="https://airflow.example.com:8443/hook", webhook_token=Secret("hunter2", "webhook")
    )

    assert Telling(settings, lambda: send).tell(OVER) == []
    assert calls[0].secret_headers == (("Authorization", "Bearer hunter2"),)
    assert calls[0].hosts == ("airflow.example.com:8443",)
    assert "hunter2" not in repr(calls[0])


def test_command(tmp_path: Path) -> None:
    """It gets the record on its standard input, and what it is about in its environment."""
    said = tmp_path / "said"
    line = f'cat > {said}; echo "$REPORTD_EVENT $REPORTD_RUN $REPORTD_STATE" > {said}.env'

    assert telling(command=("/bin/sh", "-c", line)).tell(OVER) == []
    assert json.loads(said.read_text())["requests"] == 3
    assert (tmp_path / "said.env").read_text() == f"{RUN}+1 {RUN} partial\n"


@pytest.mark.parametrize(
    ("command", "seconds", "problem"),
    [
        (("/bin/sh", "-c", "exit 3"), 60.0, "command: ended with 3"),
        (("/nowhere/at-all",), 60.0, "command: No such file or directory"),
        (("sleep", "600"), 1.0, "command: was still running after 1 s, and was killed"),
    ],
    ids=["fails", "missing", "hangs"],
)
def test_a_command_that_does_not_work(
    command: tuple[str, ...], seconds: float, problem: str
) -> None:
    """Why, in words; a hanging one is ended at its deadline."""
    assert telling(command=command, timeout_seconds=seconds).tell(OVER) == [problem]


def test_what_a_hanging_command_has_started_ends_with_it(tmp_path: Path) -> None:
    """It is tried again for a day: what it left behind would pile up."""
    left = tmp_path / "left"
    line = f"sleep 600 & echo $! > {left}; wait"

    # Long enough for a shell to start on a busy machine
    telling(command=("/bin/sh", "-c", line), timeout_seconds=5.0).tell(OVER)
    until(lambda: state_of(int(left.read_text())) in {"Z", ""}, "its end")


def test_a_command_cannot_speak_for_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not get systemd's socket, nor where the credentials are."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "/run/x")
    said = tmp_path / "said"
    telling(command=("/bin/sh", "-c", f"env > {said}")).tell(OVER)

    assert "REPORTD_RUN=" in said.read_text()
    assert "/run/x" not in said.read_text()
