"""A fake behind real HTTP on loopback, its token server too; and its file, pointed there.

Hosts become the first segment of the path: ``https://api.acme.com/v1`` is
``http://127.0.0.1:PORT/api.acme.com/v1``. Hosts of picked URLs, which are not the partner's own,
are ``localhost`` instead: they must get no credential.
"""

import re
import threading
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from reportd.model.content import whole
from reportd.transport.exchange import Failure
from tests.fakes.driving import Answering
from tests.fakes.fake import TOKEN, Asked, Fake

APP_SECRET = "app-secret-0123456789"
APP_ID = "app-id"
_URL = re.compile(r"https://([^/\"'\\ ]+)")
_TOKEN_PATHS = ("/token", "/accessToken")


def service_account_key() -> str:
    """Return a new key of a service account, as Google writes it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = {
        "type": "service_account",
        "client_email": "reportd@project.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "private_key_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return orjson.dumps(info).decode()


def secrets_of(fake: Fake, key_file: str) -> dict[str, str]:
    """Return what stands in a fake's secrets folder."""
    prefix = fake.name.replace("_", "-")
    own = {"ga4": key_file, "meta": TOKEN, "tiktok": TOKEN}.get(fake.name, "refresh-0123456789")
    return {
        f"{prefix}-client-id": APP_ID,
        f"{prefix}-client-secret": APP_SECRET,
        f"{prefix}-main": own,
        **fake.secrets,
    }


class Served:
    """One fake on a port of this machine."""

    def __init__(
        self, fake: Fake, wall: Callable[[], float], through: Answering | None = None
    ) -> None:
        """Serve a fake, or what spoils its answers, at the time that ``wall`` tells."""
        self.fake = fake
        self._wall = wall
        self.token_forms: list[dict[str, str]] = []
        self._through = through or fake
        self._own: tuple[str, ...] = ()
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                served.answer(self)

            def do_POST(self) -> None:
                served.answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._lock = threading.Lock()
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self) -> None:
        """Serve on, until it ends."""
        self._thread.join()

    def here(self, file: dict[str, Any]) -> dict[str, Any]:
        """Return a partner's file that asks this server."""
        self._own = tuple(file["hosts"])
        found: dict[str, Any] = self._moved(file)
        found |= {"hosts": [f"127.0.0.1:{self.port}"], "allow_private": True}
        for report in found["reports"].values():
            for step in report.get("steps", ()):
                if "hosts" in step:
                    step["hosts"] = [f"localhost:{self.port}"]
        return found

    def _moved(self, value: Any) -> Any:
        if isinstance(value, dict):
            # scopes look like URLs, and are names
            return {k: one if k == "scopes" else self._moved(one) for k, one in value.items()}
        if isinstance(value, list):
            return [self._moved(one) for one in value]
        return self._there(value) if isinstance(value, str) else value

    def _there(self, text: str) -> str:
        def moved(found: re.Match[str]) -> str:
            host = found[1].partition(":")[0]
            own = host in self._own or "{{" in host or not self._own
            return f"http://{'127.0.0.1' if own else 'localhost'}:{self.port}/{host}"

        return _URL.sub(moved, text)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        length = int(handler.headers.get("Content-Length", "0"))
        body = handler.rfile.read(length)
        path = handler.path.partition("?")[0]
        if path.endswith(_TOKEN_PATHS):
            self._send(
                handler, 200, {"Content-Type": "application/json"}, self._token(handler, body)
            )
            return
        host, _, rest = handler.path[1:].partition("/")
        url = f"https://{host}/{rest}"
        parts = urlsplit(url)
        asked = Asked(
            method=handler.command,
            url=url,
            host=host,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in handler.headers.items()},
            body=body,
        )
        with self._lock:
            found = self._through.answer(asked, self._wall())
        if isinstance(found, Failure):
            handler.close_connection = True
            return
        told = whole(found.body)
        if b"https://" in told:
            told = self._there(told.decode()).encode()
        self._send(handler, found.status, dict(found.headers), told)

    def _token(self, handler: BaseHTTPRequestHandler, body: bytes) -> bytes:
        form = dict(parse_qsl(body.decode()))
        given = handler.headers.get("Authorization", "")
        if self.fake.name == "pinterest":
            # developers.pinterest.com: Basic, not in the form
            assert given == "Basic " + b64encode(f"{APP_ID}:{APP_SECRET}".encode()).decode()
            assert "client_secret" not in form
        elif form["grant_type"] == "refresh_token":
            assert form["client_secret"] == APP_SECRET
        self.token_forms.append(form)
        said = {"access_token": TOKEN, "expires_in": 3600, "token_type": "bearer"}
        return orjson.dumps(said)

    @staticmethod
    def _send(
        handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
