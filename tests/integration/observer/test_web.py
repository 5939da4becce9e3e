"""The observer's HTTP on the loopback: pages, codes, token, TLS, port taken."""

import base64
import http.client
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reportd.config.secrets import Secret
from reportd.config.settings import MetricsSettings, TlsSettings
from reportd.errors import ConfigError
from reportd.metrics import Metrics
from reportd.model.question import Question
from reportd.observer.page import POLICY, page
from reportd.observer.screen import Screen
from reportd.observer.web import MAX_ASKERS, Pages, Web, probe_port

LOCAL = MetricsSettings(listen="127.0.0.1:0")


class Health:
    """What the pages say; tests change it."""

    def __init__(self) -> None:
        self.ill = ""
        self.not_ready = ""
        self.registry = CollectorRegistry()
        self.screen = Screen(headline="vm-1: running", is_ready=True, needed=(), tables=())

    def pages(self) -> Pages:
        """Return the pages over this."""
        return Pages(
            registry=self.registry,
            status=lambda: b'{"v":1}',
            page=lambda: page(self.screen).encode(),
            ill=lambda: self.ill,
            not_ready=lambda: self.not_ready,
            requests=lambda question: question.to_json(),
        )


@contextmanager
def serving(settings: MetricsSettings, health: Health) -> Iterator[Web]:
    """Serve while the block runs."""
    web = Web(settings, health.pages())
    web.start()
    try:
        yield web
    finally:
        web.stop()


def ask(web: Web, path: str, *, method: str = "GET", token: str = "") -> tuple[int, str]:
    """Ask for a page; return status and body."""
    connection = http.client.HTTPConnection(web.address, timeout=10)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_pages() -> None:
    """Each page answers; unknown ones name those there are."""
    health = Health()
    book = Metrics.in_memory()
    book.rows.inc("acme", by=3)
    health.registry.register(book.registry)
    with serving(LOCAL, health) as web:
        assert 'reportd_rows_total{partner="acme"} 3.0' in ask(web, "/metrics?x=1")[1]
        assert ask(web, "/status") == (200, '{"v":1}')
        assert ask(web, "/healthz") == (200, "ok\n")
        assert ask(web, "/readyz") == (200, "ok\n")
        assert ask(web, "/status", method="HEAD") == (200, "")
        status, body = ask(web, "/etc/passwd")
        assert status == 404
        assert "/metrics" in body


def test_a_question_for_requests_is_read_from_the_query() -> None:
    """And one that is none is refused, with what is wrong."""
    with serving(LOCAL, Health()) as web:
        status, body = ask(web, "/requests?account=1%2F2&day=2026-11-21")
        assert (status, Question.from_json(body.encode())) == (
            200,
            Question(account="1/2", day=date(2026, 11, 21)),
        )
        status, body = ask(web, "/requests?day=yesterday")
        assert (status, "account" in body, "day" in body) == (400, True, True)


def test_page_says_what_it_may_load() -> None:
    """A strict policy, in the header: the page's own style and script, its own server, no more."""
    with serving(LOCAL, Health()) as web:
        connection = http.client.HTTPConnection(web.address, timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY
    assert "<h1>vm-1: running</h1>" in body


def test_trouble_is_a_503_with_its_reason() -> None:
    """Health and readiness are apart, and say why."""
    health = Health()
    with serving(LOCAL, health) as web:
        health.not_ready = "worker-0 cannot write: disk full"
        assert ask(web, "/readyz") == (503, "worker-0 cannot write: disk full\n")
        assert ask(web, "/healthz")[0] == 200
        health.ill = "the supervisor has been silent for 30 s"
        assert ask(web, "/healthz") == (503, "the supervisor has been silent for 30 s\n")


def test_token() -> None:
    """With a token every page asks for it."""
    settings = LOCAL.model_copy(update={"token": Secret("open sesame")})
    with serving(settings, Health()) as web:
        assert ask(web, "/metrics")[0] == 401
        assert ask(web, "/status", token="wrong")[0] == 401
        assert ask(web, "/status", token="open sesame")[0] == 200
        assert ask(web, "/", token="wrong")[0] == 401


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("Basic " + base64.b64encode(b"ana:open sesame").decode(), 200),
        ("Basic " + base64.b64encode(b"open sesame:ana").decode(), 401),
        ("Basic nonsense", 401),
        ("Basic", 401),
        ("open sesame", 401),
        ("bearer open sesame", 401),
        ("", 401),
    ],
)
def test_token_is_a_browsers_password(sent: str, status: int) -> None:
    """A browser asks a person for name and password: any name will do."""
    settings = LOCAL.model_copy(update={"token": Secret("open sesame")})
    with serving(settings, Health()) as web:
        connection = http.client.HTTPConnection(web.address, timeout=10)
        connection.request("GET", "/", headers={"Authorization": sent})
        answer = connection.getresponse()
        answer.read()
        connection.close()

    assert answer.status == status
    asked = answer.headers.get_all("WWW-Authenticate") or []
    assert (status == 401) == any(one.startswith("Basic ") for one in asked)


def self_signed(folder: Path) -> TlsSettings:
    """Make a certificate for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = folder / "m.crt", folder / "m.key"
    asked = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    names = "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*asked.split(), *names.split(), *files], check=True, capture_output=True)
    return TlsSettings(certificate=certificate, key=key)


def test_tls(tmp_path: Path) -> None:
    """With a certificate it speaks HTTPS, and one that speaks plain HTTP blocks nobody."""
    tls = self_signed(tmp_path)
    with serving(LOCAL.model_copy(update={"tls": tls}), Health()) as web:
        host, _, port = web.address.partition(":")
        idle = socket.create_connection((host, int(port)))
        trusting = ssl.create_default_context(cafile=str(tls.certificate))
        connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=trusting)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        idle.close()


@pytest.mark.parametrize("text", ["nonsense", None])
def test_bad_certificate_is_said(tmp_path: Path, text: str | None) -> None:
    """A certificate that is none, or not there, is a configuration error that names the file."""
    file = tmp_path / "x.crt"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigError, match=rf"metrics\.tls: {file}"):
        Web(
            LOCAL.model_copy(update={"tls": TlsSettings(certificate=file, key=file)}),
            Health().pages(),
        )


def test_too_many_askers_are_hung_up_on() -> None:
    """Askers who never ask do not take threads without bound; the daemon's work is elsewhere."""
    with serving(LOCAL, Health()) as web:
        host, _, port = web.address.partition(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(MAX_ASKERS)]
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(web, "/healthz")
        for one in idle:
            one.close()


def test_port_taken_is_said() -> None:
    """Both the check and the observer name the address that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = MetricsSettings(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConfigError, match=rf"cannot listen on {settings.listen}"):
            probe_port(settings)
        with pytest.raises(ConfigError, match=rf"cannot listen on {settings.listen}"):
            Web(settings, Health().pages())


def test_free_port_passes() -> None:
    """The check leaves the address free."""
    probe_port(LOCAL)
    with serving(LOCAL, Health()) as web:
        port = int(web.address.rpartition(":")[2])
    probe_port(MetricsSettings(listen=f"127.0.0.1:{port}"))
