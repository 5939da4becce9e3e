"""A partner that makes reports and serves their files from another host, by URLs of seconds.

It notes every call; at a chosen point of an account's flow it has somebody killed.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import orjson

FILES_HOST = "127.0.0.2"
SIGNATURE = "5ec4e7-signature"
URL_SECONDS = 5.0
PAGES = 3
ITEMS = ("x", "y")
ITEM_PAGES = 2
PENDING_POLLS = 1


@dataclass(frozen=True, slots=True)
class Point:
    """When somebody is killed: at a call of that name (``page-2``), before or after its answer."""

    report: str
    call: str
    when: str
    """``asked``, ``answered``, or a file stands: ``spooled``, ``published``."""

    @property
    def account(self) -> str:
        """Whose flow it is."""
        return f"{self.report}-{self.call}-{self.when}"


class MakingPartner:
    """Answers on 127.0.0.1, its files on another host."""

    def __init__(self, output: Callable[[], Path]) -> None:
        self.calls: list[tuple[str, str]] = []
        """Account and name of every call, in order."""
        self.authorized: list[tuple[str, str]] = []
        """Name and ``Authorization`` of every call."""
        self.points: dict[str, Point] = {}
        self.kill: Callable[[], None] = lambda: None
        self.killed = threading.Event()
        self.output = output
        self.polls: dict[str, int] = {}
        self._servers = [
            ThreadingHTTPServer((host, 0), type("Asked", (_Handler,), {"partner": self}))
            for host in ("127.0.0.1", FILES_HOST)
        ]
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            for server in self._servers
        ]
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.daemon_threads = True
            thread.start()

    @property
    def port(self) -> int:
        """Where reports are made."""
        return int(self._servers[0].server_address[1])

    @property
    def files(self) -> str:
        """Host and port of the files."""
        return f"{FILES_HOST}:{self._servers[1].server_address[1]}"

    def close(self) -> None:
        """End it."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def times(self, account: str, call: str) -> int:
        """Return how often a call was made."""
        return self.calls.count((account, call))

    def reached(self, account: str, call: str, when: str) -> bool:
        """Kill, if this is the point; each is reached once."""
        point = self.points.get(account)
        if point is None or (point.call, point.when) != (call, when):
            return False
        del self.points[account]
        self.kill()
        self.killed.set()
        return True

    def await_file(self, account: str, call: str, before: set[Path]) -> None:
        """Kill as soon as an answer's file stands."""
        point = self.points.get(account)
        if point is None or point.call != call:
            return
        if point.when == "spooled":
            _until(lambda: bool(self.spooled() - before))
        elif point.when == "published":
            _until(lambda: any(self.output().glob(f"acme/*/*/{account}.parquet")))
        self.reached(account, call, point.when)

    def spooled(self) -> set[Path]:
        """Return the answers in the spool."""
        return set(self.output().glob("_reportd/spool/*/*.zst"))

    def answer(self, path: str, query: dict[str, str]) -> tuple[str, str, int, Any]:
        """Return account, name of the call, status and document."""
        kind, _, account = path.strip("/").partition("/")
        match kind:
            case "create":
                status = 425 if self.times(account, "create") else 200
                return account, "create", status, {"id": account, "of": f"duplicate of <{account}>"}
            case "poll":
                count = self.polls[account] = self.polls.get(account, 0) + 1
                if count <= PENDING_POLLS:
                    return account, "poll", 200, {"state": "working"}
                until = time.time() + URL_SECONDS
                url = f"http://{self.files}/file/{account}?Signature={SIGNATURE}&until={until}"
                return account, "done", 200, {"state": "done", "url": url}
            case "file":
                fresh = float(query["until"]) > time.time()
                good = fresh and query["Signature"] == SIGNATURE
                return account, "file", 200 if good else 403, _rows(1, more=False)
            case "list":
                return account, "list", 200, {"ids": ITEMS}
        page = int(query["page"])
        if kind == "items":
            number = ITEMS.index(query["item"]) * ITEM_PAGES + page
            return account, f"page-{number}", 200, _rows(number, more=page < ITEM_PAGES)
        return account, f"page-{page}", 200, _rows(page, more=page < PAGES)


def _rows(number: int, *, more: bool) -> dict[str, Any]:
    return {"rows": [{"number": number}], "more": more}


def _until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not found() and time.monotonic() < deadline:
        pass  # what comes next takes less than any pause


class _Handler(BaseHTTPRequestHandler):
    partner: ClassVar[MakingPartner]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
        """Say nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def do_GET(self) -> None:
        partner, parts = self.partner, urlsplit(self.path)
        query = {name: found[0] for name, found in parse_qs(parts.query).items()}
        account, call, status, document = partner.answer(parts.path, query)
        partner.calls.append((account, call))
        partner.authorized.append((call, self.headers.get("Authorization", "")))
        before = partner.spooled()
        if partner.reached(account, call, "asked"):
            self.close_connection = True
            return
        body = orjson.dumps(document)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if not partner.reached(account, call, "answered"):
            partner.await_file(account, call, before)
