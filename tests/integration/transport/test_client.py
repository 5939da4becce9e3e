"""The client against real servers on loopback: good ones, broken ones, hostile ones."""

import errno
import gzip
import logging
import random
import socket
import struct
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reportd.model.content import Scratch, whole
from reportd.transport.client import Client
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from tests.integration.transport.serving import Behaviour, Exchange, HangUp, Server

SECRET = "hunter2-token"


def call(server: Server, path: str = "/x", **fields: Any) -> Call:
    """Make a call that a partner inside the house would get."""
    given: dict[str, Any] = {
        "method": "GET",
        "url": f"http://{server.host}{path}",
        "hosts": (server.host,),
        "allow_private": True,
        "timeout_seconds": 5.0,
        **fields,
    }
    return Call(**given)


def kind_of(behave: Behaviour, **fields: Any) -> FailureKind:
    """Return how a call to such a server fails; its detail never holds the URL's path."""
    with Server(behave) as server:
        found = Client().send(call(server, "/x/secret-path?q=1", **fields))
    assert isinstance(found, Failure), found
    assert "secret-path" not in found.detail
    assert "\n" not in found.detail
    return found.kind


def test_an_answer() -> None:
    """Status, headers in lower case, body; what was asked arrives."""
    with Server(lambda e: e.reply(b"hello", 203, Retry_After="3", Set_Cookie="a")) as server:
        found = Client().send(
            call(
                server,
                "/v2/a%2Fb/stats?from=1",
                headers={"X-A": "b"},
                secret_headers=(("Authorization", f"Bearer {SECRET}"),),
                secret_query=(("key", "a b&c"),),
            )
        )

    assert isinstance(found, Answer)
    assert (found.status, found.body) == (203, b"hello")
    assert found.headers["retry-after"] == "3"
    assert found.seconds > 0
    seen = server.seen[0]
    assert seen.line == "GET /v2/a%2Fb/stats?from=1&key=a%20b%26c HTTP/1.1"
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    assert seen.headers["x-a"] == "b"
    assert seen.headers["user-agent"].startswith("reportd/")
    assert seen.headers["accept-encoding"] == "gzip"


def test_a_post() -> None:
    """A body is sent with its length."""
    with Server(Exchange.reply) as server:
        Client().send(call(server, method="POST", body=b'{"a":1}'))

    assert server.seen[0].method == "POST"
    assert server.seen[0].body == b'{"a":1}'
    assert server.seen[0].headers["content-length"] == "7"


def test_connections_are_reused() -> None:
    """Calls to one host share connections, redirects and errors included."""
    client = Client()
    with Server(lambda e: e.reply(b"x" * 50_000, 500)) as server:
        for _ in range(5):
            client.send(call(server))
        client.close()

    assert len(server.seen) == 5
    assert server.connections == 1


def test_threads_share_a_client() -> None:
    """Many calls at once, each with its own answer."""
    client = Client(pool_size=8)
    with (
        Server(lambda e: e.reply(e.target.encode() * 1000)) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        found = list(pool.map(lambda n: client.send(call(server, f"/{n}")), range(100)))

    bodies = [answer.body for answer in found if isinstance(answer, Answer)]
    assert bodies == [f"/{n}".encode() * 1000 for n in range(100)]
    assert server.connections <= 8


def test_chunks_and_compression() -> None:
    """A chunked and packed answer arrives whole."""
    packed = gzip.compress(b"a,b\n" * 10_000)

    def behave(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for start in range(0, len(packed), 50):
            part = packed[start : start + 50]
            exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
        exchange.send(b"0\r\n\r\n")

    with Server(behave) as server:
        found = Client().send(call(server))

    assert isinstance(found, Answer)
    assert found.body == b"a,b\n" * 10_000


def test_an_answer_that_ends_with_the_connection() -> None:
    """HTTP/1.0 without a length is legal."""

    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.0 200 OK\r\n\r\nold")
        raise HangUp

    with Server(behave) as server:
        found = Client().send(call(server))

    assert isinstance(found, Answer)
    assert found.body == b"old"


def _hang_up(exchange: Exchange) -> None:
    raise HangUp


def _reset(exchange: Exchange) -> None:
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise HangUp


def _short(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    raise HangUp


def _short_chunks(exchange: Exchange) -> None:
    exchange.chunked(b"some", end=False)
    raise HangUp


def _bad_chunk(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n")


def _half_a_head(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    raise HangUp


def _no_http(exchange: Exchange) -> None:
    exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    raise HangUp


def _endless_head(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while not exchange.stop.is_set():
        exchange.send(b"X-A: b\r\n" * 1000)


def _long_line(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n")
    raise HangUp


def _negative_length(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc")
    raise HangUp


def _two_lengths(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc")
    raise HangUp


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (_hang_up, FailureKind.RESET),
        (_reset, FailureKind.RESET),
        (_short, FailureKind.SHORT_BODY),
        (_short_chunks, FailureKind.SHORT_BODY),
        (_bad_chunk, FailureKind.SHORT_BODY),
        (_half_a_head, FailureKind.SHORT_BODY),
        (_no_http, FailureKind.RESET),
        (_endless_head, FailureKind.RESET),
        (_long_line, FailureKind.RESET),
        (_two_lengths, FailureKind.RESET),
    ],
)
def test_broken_servers(behave: Behaviour, kind: FailureKind) -> None:
    """Each way to break is told; none of them raises."""
    assert kind_of(behave) is kind


def test_strange_servers_do_not_raise() -> None:
    """Whatever http.client makes of it, it is an answer or a failure."""
    with Server(_negative_length) as server:
        assert isinstance(Client().send(call(server)), Answer | Failure)


def test_no_bytes_make_the_client_raise() -> None:
    """Heads and bodies cut, doubled and stirred: always an answer or a failure."""
    stir = random.Random(7)
    parts = [b"HTTP/1.1 200 OK", b"\r\n", b"\n", b"Content-Length: 3", b"Content-Encoding: gzip"]
    parts += [b"Transfer-Encoding: chunked", b"3", b"abc", b"\r\n\r\n", b"\x00\xff", b": ", b"0"]
    parts += [
        b"Location: /x",
        b"HTTP/1.1 302 X",
        b"HTTP/1.1 100 Continue",
        gzip.compress(b"a", mtime=0),
    ]

    def behave(exchange: Exchange) -> None:
        some = stir.choices(parts, k=stir.randint(0, 12))
        exchange.send(stir.choice([b"", b"HTTP/1.1 200 OK\r\n"]) + b"".join(some))
        raise HangUp

    client = Client()
    with Server(behave) as server:
        found = [client.send(call(server)) for _ in range(300)]

    assert all(isinstance(one, Answer | Failure) for one in found)


def test_nobody_listens() -> None:
    """A refused connection is a failure to connect."""
    with Server(Exchange.reply) as server:
        pass

    found = Client().send(call(server))

    assert isinstance(found, Failure)
    assert found.kind is FailureKind.CONNECT
    assert "refused" in found.detail


def test_a_name_that_does_not_resolve() -> None:
    """No address is a failure to connect, too."""

    def resolver(host: str, port: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "nope")

    made = Call(method="GET", url="https://api.acme.com/", hosts=("api.acme.com",))
    found = Client(resolver=resolver).send(made)

    assert isinstance(found, Failure)
    assert (found.kind, found.detail) == (FailureKind.CONNECT, "api.acme.com does not resolve")


def _drip_head(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while not exchange.stop.wait(0.02):
        exchange.send(b"X-A: b\r\n"[:1])


def _drip_body(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not exchange.stop.wait(0.02):
        exchange.send(b"a")


def _drip_chunks(exchange: Exchange) -> None:
    exchange.chunked(end=False)
    while not exchange.stop.wait(0.02):
        exchange.send(b"1\r\na\r\n")


@pytest.mark.parametrize("behave", [Exchange.hang, _drip_head, _drip_body, _drip_chunks])
@pytest.mark.timeout(20)
def test_the_deadline_is_for_the_whole_call(behave: Behaviour) -> None:
    """A byte now and then keeps no thread busy for ever."""
    assert kind_of(behave, timeout_seconds=0.3) is FailureKind.TIMEOUT


def _announce(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    exchange.hang()


def _endless_chunks(exchange: Exchange) -> None:
    exchange.chunked(end=False)
    while not exchange.stop.is_set():
        exchange.send(b"10000\r\n" + bytes(65536) + b"\r\n")


def _bomb(exchange: Exchange) -> None:
    exchange.reply(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")


@pytest.mark.parametrize("behave", [_announce, _endless_chunks, _bomb])
def test_an_answer_too_large(behave: Behaviour) -> None:
    """Announced, endless or packed: memory is bounded."""
    assert kind_of(behave, max_answer_bytes=1_000_000) is FailureKind.TOO_LARGE


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("length", [False, True])
def test_a_large_answer_goes_to_a_file(packed: bool, length: bool) -> None:
    """However it comes: with a length, in chunks, compressed."""
    text = random.Random(7).randbytes(1 << 20) * 9
    body = gzip.compress(text, 0) if packed else text
    encoding = "gzip" if packed else "identity"

    def behave(exchange: Exchange) -> None:
        if length:
            exchange.reply(body, content_encoding=encoding)
        else:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\n" % encoding.encode())
            exchange.send(b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body))
            exchange.send(body + b"\r\n0\r\n\r\n")

    with Server(behave) as server:
        found = Client().send(call(server))

    assert isinstance(found, Answer)
    assert isinstance(found.body, Scratch)
    assert whole(found.body) == text


def test_no_room_for_a_large_answer_is_this_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The partner has answered: it is no broken connection."""

    def full(_scratch: Scratch, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Scratch, "append", full)
    assert kind_of(lambda exchange: exchange.reply(bytes(9_000_000))) is FailureKind.NO_ROOM


def test_no_folder_for_a_large_answer_is_this_machines_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a disk that is full when it is first used, tempfile finds no folder at all."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "away"))
    assert kind_of(lambda exchange: exchange.reply(bytes(9_000_000))) is FailureKind.NO_ROOM


def test_a_bomb_of_a_large_answer_is_stopped() -> None:
    """What it becomes counts, not what comes."""
    body = gzip.compress(bytes(60_000_000))

    assert (
        kind_of(lambda e: e.reply(body, content_encoding="gzip"), max_answer_bytes=50_000_000)
        is FailureKind.TOO_LARGE
    )


def test_the_limit_itself_is_fine() -> None:
    """A body as large as allowed is read."""
    with Server(lambda e: e.reply(b"x" * 1000)) as server:
        found = Client().send(call(server, max_answer_bytes=1000))

    assert isinstance(found, Answer)


@pytest.mark.parametrize(
    ("body", "encoding", "kind"),
    [
        (b"not gzip", "gzip", FailureKind.BAD_ENCODING),
        (gzip.compress(b"hello", mtime=0)[:-3], "gzip", FailureKind.SHORT_BODY),
        (b"x", "br", FailureKind.BAD_ENCODING),
    ],
)
def test_broken_compression(body: bytes, encoding: str, kind: FailureKind) -> None:
    """Half a gzip is asked for again."""
    assert kind_of(lambda e: e.reply(body, Content_Encoding=encoding)) is kind


def redirecting(target: str, status: int = 302) -> Behaviour:
    """Redirect ``/x`` elsewhere, answer the rest."""

    def behave(exchange: Exchange) -> None:
        if exchange.target.startswith("/x"):
            exchange.reply(b"", status, Location=target)
        else:
            exchange.reply(b"there")

    return behave


SECRETS: dict[str, Any] = {
    "secret_headers": (("Authorization", f"Bearer {SECRET}"),),
    "secret_query": (("key", SECRET),),
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer(status: int) -> None:
    """One call is one exchange: the flow goes on with another call, which limits count."""
    with Server(redirecting("/y?z=1", status)) as server:
        found = Client().send(call(server))

    assert isinstance(found, Answer)
    assert (found.status, found.headers["location"]) == (status, "/y?z=1")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "10.0.0.1", "0.0.0.0", "::1", "::ffff:127.0.0.1", "fe80::1"],
)
def test_private_addresses_are_refused(address: str) -> None:
    """A partner's name that points into the house is not called."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    where = (address, 443, 0, 0) if ":" in address else (address, 443)

    made = Call(method="GET", url="https://api.acme.com/", hosts=("api.acme.com",))
    found = Client(resolver=lambda _host, _port: [(family, where)]).send(made)

    assert isinstance(found, Failure)
    assert (found.kind, found.detail) == (
        FailureKind.REFUSED,
        "api.acme.com has a private address",
    )


def test_a_name_is_resolved_once_and_what_was_checked_is_called() -> None:
    """A name that changes between check and connect (DNS rebinding) leads nowhere."""
    asked = []
    with Server(Exchange.reply) as server:

        def resolver(_host: str, _port: int) -> list[Any]:
            asked.append(_host)
            address = "192.0.2.1" if len(asked) == 1 else "127.0.0.1"
            return [(socket.AF_INET, (address, server.port))]

        url = f"https://api.acme.com:{server.port}/"
        made = Call(method="GET", url=url, hosts=(f"api.acme.com:{server.port}",))
        client = Client(resolver=resolver)
        for _ in range(3):
            found = client.send(made)
            assert isinstance(found, Failure)
            assert found.kind is FailureKind.REFUSED

    assert server.connections == 0
    assert len(asked) == 3


def test_only_the_public_ones_of_several_addresses_are_tried() -> None:
    """A private address among public ones is left out."""
    with Server(Exchange.reply) as server:
        made = Call(
            method="GET",
            url=f"https://api.acme.com:{server.port}/",
            hosts=(f"api.acme.com:{server.port}",),
            timeout_seconds=0.2,
        )
        addresses = [
            (socket.AF_INET, ("127.0.0.1", server.port)),
            (99, ("1.1.1.1", server.port)),  # no such family: nothing leaves this machine
        ]
        found = Client(resolver=lambda _host, _port: addresses).send(made)

    assert isinstance(found, Failure)
    assert found.kind is FailureKind.CONNECT
    assert server.connections == 0


def test_the_next_address_is_tried() -> None:
    """A host with several addresses is called as long as one answers."""
    with Server(Exchange.reply) as dead:
        pass
    with Server(Exchange.reply) as server:
        addresses = [(socket.AF_INET, ("127.0.0.1", port)) for port in (dead.port, server.port)]
        client = Client(resolver=lambda _host, _port: addresses)
        found = client.send(call(server))

    assert isinstance(found, Answer)


def test_an_address_that_says_nothing_leaves_time_for_the_next() -> None:
    """Its listener's queue is full: connecting to it would take the whole time."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as mute:
        filling = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(mute.getsockname())
            filling.append(one)
        with Server(Exchange.reply) as server:
            ports = (mute.getsockname()[1], server.port)
            addresses = [(socket.AF_INET, ("127.0.0.1", port)) for port in ports]
            client = Client(resolver=lambda _host, _port: addresses)
            found = client.send(call(server, timeout_seconds=4.0))
        for one in filling:
            one.close()

    assert isinstance(found, Answer)


def test_what_is_said_before_an_answer_is_none() -> None:
    """Early hints come first, the answer after a while: it is of this call, not of the next."""

    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        exchange.reply(exchange.target.encode())

    with Server(behave) as server:
        client = Client()
        found = [client.send(call(server, url=f"http://{server.host}/{n}")) for n in range(3)]

    assert [one.body for one in found if isinstance(one, Answer)] == [b"/0", b"/1", b"/2"]
    assert server.connections == 1


@pytest.mark.parametrize("status", [101, 199])
def test_what_never_becomes_an_answer_is_a_failure(status: int) -> None:
    """Another protocol was not asked for; and no connection of such a server is used again."""

    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 %d X\r\n\r\n" % status)
        raise HangUp

    with Server(behave) as server:
        client = Client()
        found = [client.send(call(server)) for _ in range(2)]

    assert [type(one) for one in found] == [Failure, Failure]
    assert server.connections == 2


def test_foreign_hosts_are_refused_before_anything_is_sent() -> None:
    """The call's own URL is compared with the hosts as well, and http needs a permit."""
    with Server(Exchange.reply) as server:
        foreign = Client().send(call(server, hosts=("api.acme.com",)))
        plain = Client().send(call(server, allow_private=False))

    assert isinstance(foreign, Failure)
    assert isinstance(plain, Failure)
    assert foreign.kind is plain.kind is FailureKind.REFUSED
    assert server.connections == 0


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """urllib3 would log whole URLs at DEBUG, and headers that do not parse with theirs."""

    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nbroken header\r\nContent-Length: 0\r\n\r\n")
        raise HangUp

    caplog.set_level(logging.DEBUG)
    with Server(behave) as server:
        made = call(server, **SECRETS)
        found = Client().send(made)

    assert SECRET not in caplog.text
    assert SECRET not in repr(found)
    assert SECRET not in repr(made)


def test_an_idle_connection_that_the_server_closed() -> None:
    """A kept connection that is gone is replaced before anything is sent on it."""
    closed = threading.Event()

    def behave(exchange: Exchange) -> None:
        exchange.reply()
        exchange.sock.shutdown(socket.SHUT_RDWR)
        closed.set()
        raise HangUp

    client = Client()
    with Server(behave) as server:
        client.send(call(server))
        assert closed.wait(5)
        found = client.send(call(server))

    assert isinstance(found, Answer)
    assert server.connections == 2
