"""The simulator's process: partners, the recorded folder and the admin's paths on one port."""

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from reportd.demo.simulator.answers import (
    Asked,
    BadQuestionError,
    page_of,
    respond,
    respond_json,
)
from reportd.demo.simulator.book import Book, SeenCall, row_of
from reportd.demo.simulator.config import Faults, Latency, SimulatorConfig
from reportd.demo.simulator.http import Connection, Question
from reportd.demo.simulator.making import FILES_HOST, SIGNATURE, asked_of
from reportd.demo.simulator.players import Play, Player
from reportd.demo.simulator.usage import limit_usage

_BEFORE = {"poll": 1, "rows": 2, "file": 2}
"""How many step records there are before the first call of a kind: the book's pages are those."""
_TYPES = {".json": "application/json", ".csv": "text/csv", ".xml": "text/xml"}


class ExpiredError(BadQuestionError):
    """A URL was good until some time ago."""


class SimulatorServer:
    """All of it; lives on one event loop."""

    def __init__(self, config: SimulatorConfig, port: int) -> None:
        offset = time.time() - time.monotonic()
        base_url = f"http://127.0.0.1:{port}"
        self._config = config
        self._book = Book(config.log)
        self._offset = offset
        self._players = {one.name: Player(one, base_url, offset) for one in config.partners}
        self._held: list[Callable[[], None]] = []
        self._holds: set[str] = set()
        self._traps: list[dict[str, Any]] = []

    def connection(self) -> Connection:
        """Make the protocol of one connection."""
        return Connection(self._question)

    def close(self) -> None:
        """Close the book."""
        self._book.close()

    def _question(self, connection: Connection, question: Question) -> None:
        now = time.monotonic()
        first, _, rest = question.path[1:].partition("/")
        player = self._players.get(first)
        if player is not None:
            self._call(player, connection, question, rest, now)
        elif first == "_sim":
            connection.send(self._admin(rest, question))
        elif first == "_recorded":
            connection.send(self._recorded(rest, question))
        elif first == "_trap":
            self._traps.append({"at": now, "headers": sorted(question.headers)})
            connection.send(respond_json(200, {"data": []}))
        else:
            connection.send(respond_json(404, {"error": "no such partner"}))

    # -- calls

    def _call(
        self, player: Player, connection: Connection, question: Question, report: str, now: float
    ) -> None:
        headers = question.headers
        call = SeenCall(
            number=len(self._book.calls),
            at=now,
            wall=now + self._offset,
            partner=player.partner.name,
            report=report.partition("/")[0],
            request_id=headers.get("x-request-id", ""),
        )
        try:
            asked = self._understand(report, question)
        except ExpiredError as error:
            call.fault = "expired"
            play = Play(respond_json(403, {"error": str(error)}))
            call.status = 403
        except (ValueError, KeyError, BadQuestionError) as error:
            call.fault = "question"
            play = Play(respond_json(400, {"error": f"bad question: {error}"}))
            call.status = 400
        else:
            call.account, call.page = asked.account, asked.page + _BEFORE.get(asked.call, 0)
            call.first_day, call.last_day = asked.first.isoformat(), asked.last.isoformat()
            play = player.play(asked, headers, call)
        self._book.arrived(call)
        player.in_flight += 1
        player.most_in_flight = max(player.most_in_flight, player.in_flight)
        finish = partial(self._finish, player, connection, call, play)
        connection.on_lost = partial(self._gone, player, call)
        if player.partner.name in self._holds:
            self._held.append(finish)
        elif play.delay_seconds > 0:
            asyncio.get_running_loop().call_later(play.delay_seconds, finish)
        else:
            finish()

    def _finish(self, player: Player, connection: Connection, call: SeenCall, play: Play) -> None:
        if call.ended:
            return
        player.in_flight -= 1
        sent = connection.send(play.answer, end=play.end)
        call.complete = sent and play.good
        if not sent:
            call.status = 0
        self._book.ended(call, time.monotonic())

    def _gone(self, player: Player, call: SeenCall) -> None:
        if not call.ended:
            player.in_flight -= 1
            call.status = 0
            self._book.ended(call, time.monotonic())

    def _understand(self, report: str, question: Question) -> Asked:
        report, _, action = report.partition("/")
        action, _, name = action.partition("/")
        if name:
            return self._made(report, action, name, question)
        asks: dict[str, Any] = question.query
        if question.method == "POST":
            asks = {**asks, **orjson.loads(question.body)}
        first, last = date.fromisoformat(asks["from"]), date.fromisoformat(asks["to"])
        account = str(asks["account"])
        if not report or not account or last < first:
            raise BadQuestionError("report, account or days")
        if cursor := asks.get("cursor"):
            page = page_of(cursor, report, account, first, last)
        else:
            page = int(asks.get("page") or 1)
        if page < 1:
            raise BadQuestionError("page")
        return Asked(report, account, first, last, page, action)

    @staticmethod
    def _made(report: str, action: str, name: str, question: Question) -> Asked:
        """Understand a call for a report that was made; a URL that is too old is no question."""
        if action == "file" and (
            float(question.query["until"]) < time.monotonic()
            or question.query["signature"] != SIGNATURE
        ):
            raise ExpiredError("the URL has expired")
        return asked_of(report, action, name, int(question.query.get("page") or 1))

    # -- recorded answers

    def _recorded(self, path: str, question: Question) -> bytes:
        """Serve a file; the query may say ``status``, ``type`` and ``headers`` (a JSON file)."""
        root = Path(self._config.recorded).resolve()
        file = (root / path).resolve()
        if not self._config.recorded or not file.is_relative_to(root) or not file.is_file():
            return respond_json(404, {"error": "no such recording"})
        kind = _TYPES.get(file.suffix, "application/octet-stream")
        headers: list[tuple[str, str]] = []
        if named := question.query.get("headers"):
            said = orjson.loads((root / Path(named).name).read_bytes())
            headers = [(str(name), str(value)) for name, value in said.items()]
        status = int(question.query.get("status", "200"))
        return respond(status, file.read_bytes(), question.query.get("type", kind), *headers)

    # -- the admin's paths

    def _admin(self, path: str, question: Question) -> bytes:
        try:
            said = orjson.loads(question.body) if question.body else {}
            return respond_json(200, self._administer(path, question, said))
        except (ValueError, KeyError, TypeError) as error:
            return respond_json(400, {"error": f"{type(error).__name__}: {error}"})

    def _administer(self, path: str, question: Question, said: dict[str, Any]) -> object:
        if path == "stats":
            return self._stats()
        if path == "counts":
            return {
                name: {"in_flight": player.in_flight, **player.counts}
                for name, player in self._players.items()
            }
        if path == "calls":
            since = int(question.query.get("since", "0"))
            return [row_of(call) for call in self._book.calls[since:]]
        if path == "release":
            self._release()
            return {}
        names = [said["partner"]] if said.get("partner") else list(self._players)
        players = [self._players[name] for name in names]
        if path == "hold":
            self._holds.update(names)
        elif path == "outage":
            for player in players:
                player.outage = said.get("how", "error") if said.get("on", True) else ""
        elif path == "faults":
            faults = TypeAdapter(Faults).validate_python(said["faults"])
            for player in players:
                player.change(faults=faults)
        elif path == "latency":
            latency = TypeAdapter(Latency).validate_python(said["latency"])
            for player in players:
                player.change(latency=latency)
        else:
            raise KeyError(path)
        return {}

    def _release(self) -> None:
        self._holds.clear()
        held, self._held = self._held, []
        for finish in held:
            finish()

    def _stats(self) -> dict[str, Any]:
        return {
            "partners": {name: self._stats_of(player) for name, player in self._players.items()},
            "held": len(self._held),
            "traps": self._traps,
        }

    def _stats_of(self, player: Player) -> dict[str, Any]:
        calls = [call for call in self._book.calls if call.partner == player.partner.name]
        faults = {name: count for name, count in player.counts.items() if name != "good"}
        return {
            "calls": len(calls),
            "good": sum(1 for call in calls if call.complete),
            "throttled": player.counts["limit"],
            "faults": faults,
            "in_flight": player.in_flight,
            "most_in_flight": player.most_in_flight,
            "limits": [
                {
                    "per": limit.per,
                    "calls": limit.calls,
                    "seconds": limit.seconds,
                    "meter": limit.meter,
                    "scopes": player.gate.scopes(index),
                    "refused": player.gate.refused[index],
                    "peak": player.gate.peak(index),
                    "used": limit_usage(limit, calls).share,
                }
                for index, limit in enumerate(player.partner.limits)
            ],
        }


async def serve(config: SimulatorConfig) -> None:
    """Serve until standard input ends; say port and pid as a JSON line on standard output."""
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", config.port), backlog=1024)
    port = listening.getsockname()[1]
    simulator = SimulatorServer(config, port)
    server = await loop.create_server(simulator.connection, sock=listening)
    files = None
    if any(one.makes == "file" for one in config.partners):
        files = await loop.create_server(simulator.connection, FILES_HOST, port)
    done = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), partial(_read_stdin, done))
    sys.stdout.write(f'{{"port":{port},"pid":{os.getpid()}}}\n')
    sys.stdout.flush()
    try:
        await done.wait()
    finally:
        server.close()
        if files is not None:
            files.close()
        simulator.close()


def _read_stdin(done: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        done.set()


def hurry() -> None:
    """Ask for the CPU first: a partner's meter must not wait behind those whom it measures."""
    with contextlib.suppress(OSError):
        os.nice(-10)
