"""A trial on the terminal: each call, what came back, what it meant. Shows no secret."""

import sys
import threading
from collections.abc import Collection
from typing import TextIO

import orjson
from rich.console import Console

from reportd.cli.showing import duration, harmless
from reportd.model.content import Content
from reportd.partners.recording import Send
from reportd.partners.redaction import HIDDEN
from reportd.partners.scrubbing import scrubbed, scrubbed_headers, scrubbed_text
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.exchange import Answer, Call, Failure, FailureKind

BODY_CHARS = 2000
PICK_CHARS = 200
POLL_CHARS = 300
POLLED_SINCE = "since"
"""Of a cursor: the second from which polls are counted, and no place."""


class Watch:
    """Prints what happens as it happens."""

    def __init__(self, out: TextIO) -> None:
        """Print there."""
        self._out = out
        self.secrets: Collection[str] = ()
        """Those of the last call: nobody may see them."""
        self._polled = ""
        """The last answer of a poll that was shown."""

    def calling(self, number: int, step: str, call: Call, secrets: Collection[str]) -> None:
        """Print a call: URL, headers, body."""
        self.secrets = secrets
        url = scrubbed_text(call.url, secrets)
        for name, _ in call.secret_query:
            url += f"{'&' if '?' in url else '?'}{name}={HIDDEN}"
        self._say(f"{number:>3}  {call.method} {url}" + (f"  (step {step})" if step else ""))
        headers = scrubbed_headers(call.headers, secrets)
        headers |= dict.fromkeys((name for name, _ in call.secret_headers), HIDDEN)
        for name, value in headers.items():
            self._say(f"     {name}: {value}")
        if call.body is not None:
            self._say(f"     {_text(scrubbed(call.body, secrets))}")

    def asking_for_tokens(self, send: Send) -> Send:
        """Return a ``send`` whose calls are shown without what they carry: all of it is secret."""

        def sent(call: Call) -> Answer | Failure:
            outcome = send(call)
            came = outcome.status if isinstance(outcome, Answer) else f"no answer: {outcome.kind}"
            url = call.url.partition("?")[0]
            self._say(f"     token: {call.method} {url} -> {came} in {outcome.seconds:.2f} s")
            return outcome

        return sent

    def judged(self, outcome: Answer | Failure, verdict: Verdict, fitting: Collection[str]) -> None:
        """Print an answer, the rules that fit it, and the verdict."""
        if verdict.unsent or _unsent(outcome):
            self._say("     not sent")
        elif isinstance(outcome, Failure):
            self._say(f"  -> no answer after {outcome.seconds:.2f} s")
        else:
            size = f"{len(outcome.body):,} bytes"
            self._say(f"  -> {outcome.status} in {outcome.seconds:.2f} s, {size}")
        if fitting:
            first, *others = fitting
            also = f" (these fit, too: {', '.join(others)})" if others else ""
            self._say(f"     rule {first} decides{also}")
        self._say(f"     {_meaning(verdict)}")
        if verdict.outcome is Outcome.PENDING and isinstance(outcome, Answer):
            self._show_poll(outcome.body)
        for pace in verdict.paces:
            self._say(
                f"     nearly spent, it says: the {pace.scope} waits {duration(pace.wait_seconds)}"
            )
        for name, value in verdict.picked.items():
            self._say(f"     picked {name} = {_shown(value, self.secrets)}")
        for name in verdict.volatile:
            self._say(f"     picked {name}: a URL, used at once and kept nowhere")
        if verdict.outcome is Outcome.OK and verdict.next_cursor is not None:
            place = {
                key: value for key, value in verdict.next_cursor.items() if key != POLLED_SINCE
            }
            at = ", ".join(f"{key} = {value}" for key, value in place.items())
            self._say(f"     goes on at {_shown(at, self.secrets)}")

    def waiting(self, seconds: float, why: str) -> None:
        """Print for how long nothing happens."""
        if seconds >= 1.0:
            self._say(f"     waits {duration(seconds)}: {why}")

    def _show_poll(self, body: Content) -> None:
        """Print what a poll is told, so that one sees whether ``done`` looks at the right place."""
        if not isinstance(body, bytes):
            return
        text = _text(scrubbed(body, self.secrets))[:POLL_CHARS]
        if text != self._polled:
            self._say(f"     it says {text}")
        self._polled = text

    def _say(self, text: str) -> None:
        print(harmless(text), file=self._out, flush=True)


def pause(seconds: float) -> None:
    """Wait in real time; a terminal shows how long it still takes."""
    stop = threading.Event()
    if seconds < 2.0 or not sys.stderr.isatty():
        stop.wait(seconds)
        return
    with Console(stderr=True).status("") as status:
        left = seconds
        while left > 0.0:
            status.update(f"{duration(left)} left")
            stop.wait(min(1.0, left))
            left -= 1.0


def _unsent(outcome: Answer | Failure) -> bool:
    """Return whether a call was refused here, before anything was sent."""
    return (
        isinstance(outcome, Failure)
        and outcome.kind is FailureKind.REFUSED
        and outcome.seconds == 0.0
    )


def _meaning(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.OK:
        return "ok: no rows" if verdict.empty and verdict.next_cursor is None else "ok"
    return f"{verdict.outcome}: {verdict.reason}" if verdict.reason else str(verdict.outcome)


def _shown(value: object, secrets: Collection[str]) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    clean = scrubbed_text(text, secrets)
    return clean if len(clean) <= PICK_CHARS else clean[:PICK_CHARS] + "…"


def _text(data: bytes) -> str:
    text = data[: 4 * BODY_CHARS].decode("utf-8", "replace")
    return text if len(text) <= BODY_CHARS else text[:BODY_CHARS] + "…"
