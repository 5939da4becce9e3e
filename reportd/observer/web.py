"""The observer's HTTP: a page for people, /metrics, /healthz, /readyz, /status, /requests.

It answers from what the observer last put together, so it answers while broker, output and workers
are away. For ``/requests`` alone the workers are asked, and waited for, for seconds at most.
"""

import base64
import hmac
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from reportd.config.settings import MetricsSettings
from reportd.errors import ConfigError, InvalidMessageError
from reportd.model.question import Question
from reportd.observer.page import POLICY

logger = logging.getLogger(__name__)

CLIENT_SECONDS = 10.0
"""How long an asker may take to send its request or read the answer."""
MAX_ASKERS = 32
PAGE = "text/html; charset=utf-8"
PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Where the answers come from; called in the askers' threads."""

    registry: CollectorRegistry
    status: Callable[[], bytes]
    """The document as JSON."""
    page: Callable[[], bytes]
    """The same for people, as HTML."""
    ill: Callable[[], str]
    """Why the daemon is not alive; empty: it is."""
    not_ready: Callable[[], str]
    """Why this VM is not ready, one problem a line; empty: it is."""
    requests: Callable[[Question], bytes]
    """Where open requests are, as JSON: asks this VM's workers, and waits for them."""


class Web:
    """The listening server; `start` serves in a thread until `stop`."""

    def __init__(self, settings: MetricsSettings, pages: Pages) -> None:
        """Bind; raises `ConfigError` when the address is taken or not this machine's."""
        token = settings.token.reveal() if settings.token is not None else None
        context = tls_context(settings)

        class Handler(_Handler):
            wanted_token = token
            answers = pages

        try:
            self._server = _server(settings, Handler, context)
        except OSError as error:
            raise ConfigError(taken(settings, error)) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.5,), name="web", daemon=True
        )

    @property
    def address(self) -> str:
        """Where it listens, as ``host:port``."""
        host, port = self._server.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; waits for the accepting thread alone."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def probe_port(settings: MetricsSettings) -> None:
    """See whether the address can be listened on; raises `ConfigError` if not."""
    try:
        with socket.socket(_family(settings.host), socket.SOCK_STREAM) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((settings.host, settings.port))
            found.listen()
    except OSError as error:
        raise ConfigError(taken(settings, error)) from error


def taken(settings: MetricsSettings, error: OSError) -> str:
    """Say why the metrics address cannot be had."""
    return (
        f"metrics.listen: cannot listen on {settings.listen}: {error.strerror}; stop what uses the "
        "port, or set another"
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def tls_context(settings: MetricsSettings) -> ssl.SSLContext | None:
    """Return what to serve with, None for plain HTTP; raises `ConfigError`."""
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # an encrypted key is an error: nobody is there to be asked for its password
        context.load_cert_chain(settings.tls.certificate, settings.tls.key, password="")
    except (OSError, ssl.SSLError) as error:
        files = f"{settings.tls.certificate}, {settings.tls.key}"
        raise ConfigError(f"metrics.tls: {files}: cannot be used: {error}") from error
    return context


def _server(
    settings: MetricsSettings, handler: type["_Handler"], context: ssl.SSLContext | None
) -> ThreadingHTTPServer:
    askers = threading.BoundedSemaphore(MAX_ASKERS)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        address_family = _family(settings.host)
        request_queue_size = 16

        def get_request(self) -> tuple[socket.socket, Any]:
            """Accept; the handshake happens in the asker's own thread."""
            found, address = super().get_request()
            found.settimeout(CLIENT_SECONDS)
            if context is None:
                return found, address
            wrapped = context.wrap_socket(found, server_side=True, do_handshake_on_connect=False)
            return wrapped, address

        def process_request(self, request: Any, client_address: Any) -> None:
            """Give the asker a thread, or hang up when there are too many."""
            if not askers.acquire(blocking=False):
                self.shutdown_request(request)
                return
            super().process_request(request, client_address)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            """Answer one asker."""
            try:
                super().process_request_thread(request, client_address)
            finally:
                askers.release()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Note that an asker went away in the middle."""
            logger.debug("an asker went away", extra={"action": "asker_gone"})

    return Server((settings.host, settings.port), handler)


class _Handler(BaseHTTPRequestHandler):
    """One asker."""

    timeout = CLIENT_SECONDS
    server_version = "reportd"
    sys_version = ""
    wanted_token: str | None = None
    answers: Pages

    def do_GET(self) -> None:  # the library's name
        """Answer a GET."""
        if not self._may_ask():
            self._answer(HTTPStatus.UNAUTHORIZED, b"send the token: Authorization: Bearer ...\n")
            return
        path, _, query = self.path.partition("?")
        match path:
            case "/":
                self._answer(HTTPStatus.OK, self.answers.page(), PAGE, PAGE_HEADERS)
            case "/metrics":
                body = generate_latest(self.answers.registry)
                self._answer(HTTPStatus.OK, body, CONTENT_TYPE_LATEST)
            case "/status":
                self._answer(HTTPStatus.OK, self.answers.status(), "application/json")
            case "/requests":
                self._find(query)
            case "/healthz":
                self._say(self.answers.ill())
            case "/readyz":
                self._say(self.answers.not_ready())
            case _:
                self._answer(
                    HTTPStatus.NOT_FOUND, b"/ /metrics /healthz /readyz /status /requests\n"
                )

    do_HEAD = do_GET  # noqa: N815  # the library's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Say nothing: scrapers come every few seconds."""

    def _may_ask(self) -> bool:
        if self.wanted_token is None:
            return True
        sent = self.headers.get("Authorization", "").encode("latin-1", "replace")
        kind, _, credentials = sent.partition(b" ")
        if kind == b"Basic":  # what a browser asks a person for: the token is the password
            try:
                _, _, token = base64.b64decode(credentials).partition(b":")
            except ValueError:
                return False
        else:
            token = credentials if kind == b"Bearer" else b""
        return hmac.compare_digest(token, self.wanted_token.encode())

    def _find(self, query: str) -> None:
        asked = orjson.dumps(dict(parse_qsl(query)))
        try:
            question = Question.from_json(asked)
        except InvalidMessageError as error:
            self._answer(HTTPStatus.BAD_REQUEST, f"{error}\n".encode())
        else:
            self._answer(HTTPStatus.OK, self.answers.requests(question), "application/json")

    def _say(self, trouble: str) -> None:
        if trouble:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{trouble}\n".encode())
        else:
            self._answer(HTTPStatus.OK, b"ok\n")

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes,
        kind: str = "text/plain; charset=utf-8",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("WWW-Authenticate", 'Basic realm="reportd", charset="UTF-8"')
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
