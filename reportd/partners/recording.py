"""Exchanges with a partner as files: what ``partner try`` records, replays, and tests build on.

A recording is a folder. ``request.json`` is the request that was worked on, as a message is. Each
exchange is ``0001.json`` ..., in the order of sending, its answer's body a file beside it:

.. code-block:: json

    {
      "v": 1,
      "at": "2026-11-22T04:00:00Z",
      "request": {"method": "GET", "url": "https://api.acme.com/v2/1001/stats?from=2026-11-21",
                  "headers": {"Authorization": "[secret]"}, "secret_query": ["key"], "body": null},
      "answer": {"status": 200, "headers": {"content-type": "application/json"}, "seconds": 0.31,
                 "body": "0001.body"}
    }

Where no answer came there is ``"failure": {"kind": "timeout", "detail": "...", "seconds": 60}`` in
its place. ``headers``, ``secret_query``, ``seconds`` and the request's ``body`` (its text) may be
left out. Secrets are in none of it: `reportd.partners.scrubbing`.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import orjson
from pydantic import Field, StringConstraints, ValidationError, model_validator

from reportd.config.base import Section
from reportd.config.problems import problems_of
from reportd.errors import ConfigError, InvalidMessageError
from reportd.model.content import whole
from reportd.model.request import Request
from reportd.partners.redaction import HIDDEN
from reportd.partners.scrubbing import scrubbed, scrubbed_headers, scrubbed_text
from reportd.transport.exchange import Answer, Call, Failure, FailureKind

Send = Callable[[Call], Answer | Failure]
"""`reportd.transport.client.Client.send`, or what takes its place."""

REQUEST_FILE = "request.json"
_OF_THE_WIRE = frozenset({"connection", "content-encoding", "content-length", "transfer-encoding"})
"""Headers about how a body came: it is kept as it was after that."""


class AskedRecord(Section):
    """What was sent."""

    method: str
    url: str
    headers: dict[str, str] = {}
    secret_query: list[str] = []
    body: str | None = None


class AnswerRecord(Section):
    """What came back."""

    status: Annotated[int, Field(ge=100, le=599)]
    headers: dict[str, str] = {}
    seconds: float = 0.0
    body: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")]
    """A file of the same folder."""


class FailureRecord(Section):
    """Why nothing came back."""

    kind: str
    detail: str = ""
    seconds: float = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind not in list(FailureKind):
            raise ValueError(f"kind: one of {', '.join(FailureKind)}")
        return self


class ExchangeRecord(Section):
    """One numbered file."""

    v: Literal[1]
    at: str
    request: AskedRecord
    answer: AnswerRecord | None = None
    failure: FailureRecord | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.answer is None) == (self.failure is None):
            raise ValueError("give either answer or failure")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One exchange, read from a recording."""

    at: float
    """Epoch seconds."""
    asked: AskedRecord
    outcome: Answer | Failure


class Recorder:
    """Sends calls, and keeps every exchange in a folder, without secrets.

    An exchange is written when the next one begins, the last one by `close`: what of it is secret
    (a URL that it brought) may be known only then.
    """

    def __init__(
        self,
        send: Send,
        folder: Path,
        wall: Callable[[], float],
        secrets: Callable[[], Collection[str]],
    ) -> None:
        """Take a folder made by `new_recording`; ``secrets`` tells those that are in use now."""
        self._send = send
        self._folder = folder
        self._wall = wall
        self._secrets = secrets
        self._number = 0
        self._last: tuple[float, Call, Answer | Failure] | None = None

    def send(self, call: Call) -> Answer | Failure:
        """Send one call; write down the one before it."""
        self.close()
        at = self._wall()
        outcome = self._send(call)
        self._last = (at, call, outcome)
        return outcome

    def close(self) -> None:
        """Write down the last exchange."""
        if self._last is None:
            return
        (at, call, outcome), self._last = self._last, None
        self._number += 1
        carried = [value.rpartition(" ")[2] for _, value in call.secret_headers]
        carried += [value for _, value in call.secret_query]
        secrets = [*self._secrets(), *carried]
        write_exchange(self._folder, self._number, at, call, outcome, secrets)


class Player:
    """Answers calls from a recording, each exchange once; sends nothing."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        """Take them in their order."""
        self._exchanges = exchanges
        self._left = list(exchanges)
        self.differences: list[str] = []
        """Where a call was not quite the recorded one: other parameters, another body."""

    @property
    def left(self) -> int:
        """Return how many exchanges nobody asked for yet."""
        return len(self._left)

    def send(self, call: Call) -> Answer | Failure:
        """Return what was recorded for a call: the same one, else the next of the same path."""
        same = [one for one in self._exchanges if _is_same(one.asked, call)]
        near = [one for one in self._left if _place(one.asked.url) == _place(call.url)]
        fits = [one for one in self._left if one in same]
        if not same:
            fits = [one for one in near if one.asked.method == call.method]
        if not fits:
            shown = f"{call.method} {scrubbed_text(call.url, ())}"
            what = "has no further answer to" if same else "holds no answer to"
            return Failure(
                kind=FailureKind.REFUSED, detail=f"the recording {what} {shown}", seconds=0.0
            )
        found = fits[0]
        self._left.remove(found)
        if not same:
            self.differences.append(_difference(found.asked, call))
        return found.outcome


def new_recording(folder: Path, request: Request) -> None:
    """Make the folder of a recording; raises `ConfigError` if there is something in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder}: is not empty; name a new folder")
        (folder / REQUEST_FILE).write_bytes(_indented(orjson.loads(request.to_json())))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from None


def write_exchange(
    folder: Path,
    number: int,
    at: float,
    call: Call,
    outcome: Answer | Failure,
    secrets: Collection[str],
) -> None:
    """Write one exchange, body first; raises `ConfigError` where that cannot be done."""
    name = f"{number:04}"
    hidden = dict.fromkeys((header for header, _ in call.secret_headers), HIDDEN)
    sent = None
    if call.body is not None:
        sent = scrubbed(call.body, secrets).decode("utf-8", "backslashreplace")
    document = {
        "v": 1,
        "at": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
        "request": {
            "method": call.method,
            "url": scrubbed_text(call.url, secrets),
            "headers": scrubbed_headers(call.headers, secrets) | hidden,
            "secret_query": [parameter for parameter, _ in call.secret_query],
            "body": sent,
        },
    }
    try:
        if isinstance(outcome, Answer):
            document["answer"] = {
                "status": outcome.status,
                "headers": _kept_headers(outcome, secrets),
                "seconds": round(outcome.seconds, 3),
                "body": f"{name}.body",
            }
            (folder / f"{name}.body").write_bytes(scrubbed(whole(outcome.body), secrets))
        else:
            document["failure"] = {
                "kind": outcome.kind.value,
                "detail": scrubbed_text(outcome.detail, secrets),
                "seconds": round(outcome.seconds, 3),
            }
        (folder / f"{name}.json").write_bytes(_indented(document))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from None


def read_exchanges(folder: Path) -> list[Exchange]:
    """Return a recording's exchanges in their order; raises `ConfigError` with all problems."""
    found = []
    problems: list[str] = []
    for path in sorted(folder.glob("[0-9]*.json")):
        try:
            found.append(_exchange(path))
        except ConfigError as error:
            problems += error.problems
    if not found and not problems:
        raise ConfigError(f"{folder}: holds no recording: no 0001.json")
    if problems:
        raise ConfigError(*problems)
    return found


def read_request(folder: Path) -> Request:
    """Return the request that a recording was made for; raises `ConfigError`."""
    path = folder / REQUEST_FILE
    try:
        return Request.from_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except InvalidMessageError as error:
        raise ConfigError(f"{path}: {error}") from None


def _exchange(path: Path) -> Exchange:
    try:
        record = ExchangeRecord.model_validate(orjson.loads(path.read_bytes()))
        at = datetime.fromisoformat(record.at).timestamp()
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    except ValidationError as error:
        raise ConfigError(*problems_of(error, ExchangeRecord, lambda _at: path)) from None
    except ValueError:
        raise ConfigError(f"{path}: at: must be like 2026-11-22T04:00:00Z") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return Exchange(at=at, asked=record.request, outcome=_outcome(path, record))


def _outcome(path: Path, record: ExchangeRecord) -> Answer | Failure:
    if record.failure is not None:
        return Failure(
            kind=FailureKind(record.failure.kind),
            detail=record.failure.detail,
            seconds=record.failure.seconds,
        )
    answer = record.answer
    if answer is None:
        raise ConfigError(f"{path}: answer: is missing; add it")
    try:
        body = (path.parent / answer.body).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: answer.body: {answer.body}: {error.strerror}") from None
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(status=answer.status, headers=headers, body=body, seconds=answer.seconds)


def _kept_headers(answer: Answer, secrets: Collection[str]) -> dict[str, str]:
    kept = {name: text for name, text in answer.headers.items() if name not in _OF_THE_WIRE}
    return scrubbed_headers(kept, secrets)


def _indented(document: object) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _is_same(asked: AskedRecord, call: Call) -> bool:
    return (
        asked.method == call.method
        and _place(asked.url) == _place(call.url)
        and _parameters(asked.url) == _parameters(call.url)
        and _body(asked.body) == _body(call.body)
    )


def _place(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower(), parts.path or "/"


def _parameters(url: str) -> list[tuple[str, str]]:
    """Return a URL's parameters without those that hold a secret: they are nowhere kept."""
    query = urlsplit(scrubbed_text(url, ())).query
    found = parse_qsl(query, keep_blank_values=True)
    return sorted((name, value) for name, value in found if HIDDEN not in value)


def _body(body: str | bytes | None) -> str:
    data = body.encode() if isinstance(body, str) else body or b""
    return scrubbed(data, ()).decode("utf-8", "backslashreplace")


def _difference(asked: AskedRecord, call: Call) -> str:
    old, new = _parameters(asked.url), _parameters(call.url)
    parts = [f"{name}={value} is new" for name, value in new if (name, value) not in old]
    parts += [f"{name}={value} is gone" for name, value in old if (name, value) not in new]
    if _body(asked.body) != _body(call.body):
        parts.append("the body differs")
    what = ", ".join(parts) or "it differs"
    return f"{call.method} {urlsplit(call.url).path}: not quite what was recorded: {what}"
