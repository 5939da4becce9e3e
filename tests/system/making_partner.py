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
    """``asked``, ``answered``, or a file stands: ``spooled``, ``staged``, ``published``."""

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
        self.dying: set[str] = set()
        """Accounts whose point has come: what they still ask never arrives."""
        self.connections = 0
        self.output = output
        self.polls: dict[str, int] = {}
        self._lock = threading.Lock()
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

    def connected(self, number: int) -> None:
        """Note that a connection has begun, or ended."""
        with self._lock:
            self.connections += number

    def point_of(self, account: str, call: str) -> Point | None:
        """Return the point at which this call is the last thing that somebody does."""
        point = self.points.get(account)
        return point if point is not None and point.call == call else None

    def reached(self, point: Point, before: set[Path]) -> None:
        """Kill, as soon as what the point waits for is there; each is reached once."""
        match point.when:
            case "spooled":
                _until(lambda: bool(self.files_of("spool", "zst") - before))
            case "staged":
                _until(lambda: bool(self.files_of("staging", "tmp") - before))
            case "published":
                _until(lambda: any(self.output().glob(f"acme/*/*/{point.account}.parquet")))
        del self.points[point.account]
        self.kill()
        self.killed.set()

    def files_of(self, place: str, ending: str) -> set[Path]:
        """Return the files of a place beside the output, ``spool`` or ``staging``."""
        return set(self.output().glob(f"_reportd/{place}/*/*.{ending}"))

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

    def setup(self) -> None:
        super().setup()
        self.partner.connected(1)

    def finish(self) -> None:
        super().finish()
        self.partner.connected(-1)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
        """Say nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def do_GET(self) -> None:
        partner, parts = self.partner, urlsplit(self.path)
        query = {name: found[0] for name, found in parse_qs(parts.query).items()}
        if parts.path.rpartition("/")[2] in partner.dying:
            partner.killed.wait()
            self.close_connection = True
            return
        account, call, status, document = partner.answer(parts.path, query)
        partner.calls.append((account, call))
        partner.authorized.append((call, self.headers.get("Authorization", "")))
        point = partner.point_of(account, call)
        if point is None:
            self.say(status, document)
            return
        before = partner.files_of("spool", "zst") | partner.files_of("staging", "tmp")
        partner.dying.add(account)
        if point.when != "asked":
            self.say(status, document)
        partner.reached(point, before)
        self.close_connection = True

    def say(self, status: int, document: Any) -> None:
        """Send an answer."""
        body = orjson.dumps(document)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
