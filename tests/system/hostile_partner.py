"""A partner that lies, sends elsewhere, and brings bombs: what it does is in the account's name."""

import gzip
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import orjson

BOMB_BYTES = 200 * 1024 * 1024
ELSEWHERE = "127.0.0.2"


def spelled(text: str) -> list[str]:
    """Return a text in the words of URLs, JSON, HTML and Base64."""
    in_json = orjson.dumps(text).decode()[1:-1]
    percented = quote(text, safe="")
    packed = (b64encode(text.encode()), urlsafe_b64encode(text.encode()))
    return [
        *(text, percented, percented.lower(), quote(text), quote_plus(text), escape(text)),
        *(in_json, in_json.replace("/", "\\/")),
        *(each.decode() for each in packed),
    ]


class HostilePartner:
    """Answers on 127.0.0.1; whoever is sent to another host ends in ``trapped``."""

    def __init__(self, bomb_bytes: int = BOMB_BYTES) -> None:
        self.asked: list[str] = []
        """The account of each call, in order."""
        self.queries: list[str] = []
        self.trapped: list[str] = []
        self.on_call: Callable[[str], None] = lambda _account: None
        """Runs before an answer, in the server's thread."""
        self.gone = {"gone"}
        self.bomb = gzip.compress(b'{"data": "%b"}' % (b"\0" * bomb_bytes), 1)
        self._server = _server("127.0.0.1", self, _Partner)
        self._trap = _server(ELSEWHERE, self, _Trap)
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            for server in (self._server, self._trap)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """Where it answers."""
        return int(self._server.server_address[1])

    @property
    def elsewhere(self) -> str:
        """The other host."""
        return f"http://{ELSEWHERE}:{self._trap.server_address[1]}/stats"

    def close(self) -> None:
        """End it."""
        for server in (self._server, self._trap):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


def _server(
    host: str, partner: HostilePartner, handler: type[BaseHTTPRequestHandler]
) -> ThreadingHTTPServer:
    made = ThreadingHTTPServer((host, 0), type(handler.__name__, (handler,), {"partner": partner}))
    made.daemon_threads = True
    return made


class _Quiet(BaseHTTPRequestHandler):
    partner: ClassVar[HostilePartner]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
        """Say nothing."""

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Send one answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Trap(_Quiet):
    def do_GET(self) -> None:
        self.partner.trapped.append(self.path)
        self.answer(200, b'{"data": []}')


class _Partner(_Quiet):
    def do_GET(self) -> None:
        partner = self.partner
        asks = {name: found[0] for name, found in parse_qs(urlsplit(self.path).query).items()}
        account = asks["account"]
        partner.asked.append(account)
        partner.queries.append(self.path)
        partner.on_call(account)
        token = self.headers.get("Authorization", "")
        rows = [{"date": asks["from"], "clicks": 7, "name": account}]
        if account in partner.gone:
            self.answer(404, b'{"error": "no such account"}')
        elif account == "echo":
            self.answer(403, " ".join(("refused", *spelled(token))).encode())
        elif account == "mirror":
            self.answer(200, orjson.dumps({"data": [{**rows[0], "clicks": f"{token} was sent"}]}))
        elif account == "redirect":
            self.answer(302, b"", Location=partner.elsewhere)
        elif account == "next":
            self.answer(200, orjson.dumps({"data": rows, "next": partner.elsewhere}))
        elif account == "bomb":
            self.answer(200, partner.bomb, Content_Encoding="gzip")
        elif account == "escape":
            self.answer(200, orjson.dumps({"data": [{**rows[0], "date": "../../../etc/passwd"}]}))
        else:
            self.answer(200, orjson.dumps({"data": rows}))
