"""TLS is verified: authority and name."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reportd.transport.client import Client
from reportd.transport.connection import Address, tls_context
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from tests.integration.transport.serving import Behaviour, Exchange, Server

OPENSSL = shutil.which("openssl") or ""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate that is its own authority, for api.acme.com."""
    if not OPENSSL:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=DNS:api.acme.com"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def server(authority: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    with Server(Exchange.reply, context) as running:
        yield running


def send(
    server: Server, host: str, context: ssl.SSLContext | None, **fields: Any
) -> Answer | Failure:
    """Call the server by a name that resolves to loopback."""

    def resolver(_host: str, port: int) -> list[Address]:
        return [(socket.AF_INET, ("127.0.0.1", port))]

    client = Client(resolver=resolver, allow_private=True, context=context)
    name = f"{host}:{server.port}"
    given = {"method": "GET", "url": f"https://{name}/", "timeout_seconds": 5.0, **fields}
    return client.send(Call(hosts=(name,), **given))


def trusting(authority: Path) -> ssl.SSLContext:
    context = tls_context()
    context.load_verify_locations(authority / "cert.pem")
    return context


def test_a_certificate_that_fits(server: Server, authority: Path) -> None:
    """A known authority and the right name: an answer."""
    assert isinstance(send(server, "api.acme.com", trusting(authority)), Answer)


def test_the_wrong_name(server: Server, authority: Path) -> None:
    """A certificate of somebody else is refused."""
    found = send(server, "www.acme.com", trusting(authority))

    assert isinstance(found, Failure)
    assert found.kind is FailureKind.CONNECT
    assert "Hostname mismatch" in found.detail
    assert server.seen == []


def test_an_unknown_authority(server: Server) -> None:
    """By default the system's authorities count, and nothing switches that off."""
    found = send(server, "api.acme.com", None)

    assert isinstance(found, Failure)
    assert found.kind is FailureKind.CONNECT
    assert "TLS with api.acme.com" in found.detail
    assert server.seen == []


def _drip(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not exchange.stop.wait(0.02):
        exchange.send(b"a")


@pytest.mark.parametrize("behave", [Exchange.hang, _drip])
@pytest.mark.timeout(20)
def test_the_deadline_holds_under_tls(behave: Behaviour, authority: Path) -> None:
    """Whoever takes nothing of what is sent, or drips through TLS, ends with the call."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")

    with Server(behave, context) as server:
        found = send(
            server,
            "api.acme.com",
            trusting(authority),
            method="POST",
            headers={"Content-Length": "0"},  # so the server reads none of the body by itself
            body=bytes(32 * 1024 * 1024),
            timeout_seconds=1.0,
        )

    assert isinstance(found, Failure)
    assert found.kind is FailureKind.TIMEOUT


@pytest.mark.timeout(20)
def test_the_deadline_holds_in_the_handshake(authority: Path) -> None:
    """Whoever takes the connection and then says nothing ends with the call."""
    with Server(Exchange.hang) as server:
        found = send(server, "api.acme.com", trusting(authority), timeout_seconds=0.5)

    assert isinstance(found, Failure)
    assert found.kind is FailureKind.TIMEOUT
    assert server.connections == 1
