"""Tells whoever is to know that a run is over: a webhook, a command. At least once each.

Used by `reportd.observer.finisher` in its thread; blocks for the configured time at most.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from urllib.parse import urlsplit

import orjson

from reportd.config.settings import RunsSettings
from reportd.model.run import Finished
from reportd.transport.exchange import Answer, Call, Failure

STDERR = 2
GRACE_SECONDS = 10.0
_ENDED_WITH_ALL_ITS_OWN = ("timeout", "--signal=KILL")
"""Coreutils' kills the group: what the command started would pile up, a day's tries long."""
_OURS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"})
"""What systemd has said to this service is not for others: they could speak for it."""
_KILLED = -9
_NOT_STARTED = {126: "Permission denied", 127: "No such file or directory"}
_MOST_ANSWER_BYTES = 64 * 1024

Send = Callable[[Call], Answer | Failure]


class Telling:
    """The ways that are configured, and who was told what already."""

    def __init__(self, settings: RunsSettings, connect: Callable[[], Send]) -> None:
        """Take what makes a client, for when it is needed: it costs 1.5 MB."""
        self._settings = settings
        self._connect = connect
        self._send: Send | None = None
        self._told: set[tuple[str, str]] = set()

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._settings.webhook or self._settings.command)

    @property
    def longest_seconds(self) -> float:
        """How long it may take to tell everybody."""
        ways = bool(self._settings.webhook) + bool(self._settings.command)
        return ways * (self._settings.timeout_seconds + GRACE_SECONDS)

    def tell(self, finished: Finished) -> list[str]:
        """Tell everybody that was not told of this yet; return who could not be, and why.

        What this process has done already it does not do again.
        """
        ways = {"webhook": self._settings.webhook, "command": self._settings.command}
        does = {"webhook": self._call, "command": self._run}
        problems = []
        for name in (name for name, way in ways.items() if way):
            if (name, finished.event) in self._told:
                continue
            if problem := does[name](finished):
                problems.append(f"{name}: {problem}")
            else:
                self._told.add((name, finished.event))
        return problems

    def _call(self, finished: Finished) -> str:
        url = self._settings.webhook or ""
        token = self._settings.webhook_token
        secret = () if token is None else (("Authorization", f"Bearer {token.reveal()}"),)
        self._send = self._send or self._connect()
        answer = self._send(
            Call(
                method="POST",
                url=url,
                hosts=(urlsplit(url).netloc,),
                headers={
                    "Content-Type": "application/json",
                    "Idempotency-Key": finished.event,
                },
                secret_headers=secret,
                body=said_of(finished),
                timeout_seconds=self._settings.timeout_seconds,
                allow_private=True,  # whoever configures it chooses where it is
                max_answer_bytes=_MOST_ANSWER_BYTES,
            )
        )
        if isinstance(answer, Failure) and answer.status is None:
            return answer.detail
        # What it says beside that is nothing to us: however long, or without an end, it has heard
        status = answer.status or 0
        return "" if 200 <= status < 300 else f"HTTP {status}"

    def _run(self, finished: Finished) -> str:
        seconds = self._settings.timeout_seconds
        environ = {
            **{name: value for name, value in os.environ.items() if name not in _OURS},
            "REPORTD_EVENT": finished.event,
            "REPORTD_RUN": finished.run,
            "REPORTD_STATE": finished.state,
        }
        try:
            # Files, not pipes: nothing that it leaves behind can hold this thread
            with tempfile.TemporaryFile() as said:
                said.write(said_of(finished))
                said.seek(0)
                done = subprocess.run(  # noqa: S603  # the configuration's own words, no shell
                    (*_ENDED_WITH_ALL_ITS_OWN, f"{seconds:g}", *self._settings.command),
                    stdin=said,
                    stdout=STDERR,
                    env=environ,
                    timeout=seconds + GRACE_SECONDS,
                    start_new_session=True,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            return f"was still running after {seconds:g} s, and was killed"
        except OSError as error:
            return error.strerror or type(error).__name__
        if done.returncode == _KILLED:
            return f"was still running after {seconds:g} s, and was killed"
        if done.returncode in _NOT_STARTED:
            return _NOT_STARTED[done.returncode]
        return "" if done.returncode == 0 else f"ended with {done.returncode}"


def said_of(finished: Finished) -> bytes:
    """Return what is sent: the record, and its idempotency key."""
    return orjson.dumps({"event": finished.event, **finished.model_dump(exclude={"notified"})})
