"""The simulator's book, its usage of limits, and its HTTP."""

import asyncio
from pathlib import Path

import pytest

from reportd.demo.simulator.book import Book, SeenCall, read_log
from reportd.demo.simulator.config import (
    Faults,
    Limit,
    Partner,
    SimulatorConfig,
    from_json,
    to_json,
)
from reportd.demo.simulator.http import Connection, Question
from reportd.demo.simulator.usage import limit_usage


def test_a_configuration_survives_its_way_to_the_process() -> None:
    """What is written is what is read."""
    partner = Partner(
        name="acme",
        limits=(Limit(per="account", calls=5, meter="fixed"),),
        faults=Faults(error=0.25),
        headers={"authorization": "Bearer x"},
    )
    config = SimulatorConfig(partners=(partner,), log="/somewhere")
    assert from_json(to_json(config)) == config


def test_the_log_gives_back_every_call(tmp_path: Path) -> None:
    """A call without an end is in the log too; a torn last line is left out."""
    path = tmp_path / "calls"
    book = Book(str(path))
    calls = [SeenCall(number=number, at=float(number), wall=0.0) for number in range(3)]
    for call in calls:
        book.arrived(call)
    calls[1].status = 200
    book.ended(calls[1], 9.0)
    book.close()
    with path.open("ab") as file:
        file.write(b'[3, 1.0, "to')
    assert read_log(path) == calls


def seen(at: float, account: str, first: str = "", fault: str = "") -> SeenCall:
    return SeenCall(
        number=0, at=at, wall=at, account=account, first_day=first or str(at), page=1, fault=fault
    )


def test_usage_counts_only_while_there_was_demand() -> None:
    """After the last new question there may be nothing to ask: that time does not count."""
    limit = Limit(per="account", calls=10)
    full = [seen(number / 10, "1") for number in range(21)]
    tail = [seen(10.0, "1", first="0.0"), seen(20.0, "1", first="0.1")]
    assert limit_usage(limit, full + tail).share == pytest.approx(1.0)
    refused = [seen(1.05, "1", fault="limit")]
    assert limit_usage(limit, full + refused).share == pytest.approx(1.0)


def test_usage_leaves_out_the_time_when_nobody_ran() -> None:
    """A stretch in which the client was dead does not count as unused."""
    limit = Limit(per="partner", calls=10)
    calls = [seen(number / 10, "1") for number in range(11)]
    calls += [seen(5.0 + number / 10, "1") for number in range(1, 11)]
    assert limit_usage(limit, calls).share == pytest.approx(20 / 60)
    assert limit_usage(limit, calls, [(1.0, 5.0)]).share == pytest.approx(1.0)


class FakeTransport(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = "close"

    def abort(self) -> None:
        self.ended = "reset"


def test_questions_are_answered_one_at_a_time_however_they_arrive() -> None:
    """Two questions sent at once, in pieces, get their answers in order."""
    asked: list[Question] = []
    connection = Connection(lambda _, question: asked.append(question))
    transport = FakeTransport()
    connection.connection_made(transport)
    data = b"GET /a%20b?x=1&y=%26 HTTP/1.1\r\nX-Key: k\r\n\r\n"
    data += b"POST /c HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"
    for start in range(0, len(data), 7):
        connection.data_received(data[start : start + 7])
    assert len(asked) == 1
    assert asked[0] == Question("GET", "/a b", {"x": "1", "y": "&"}, {"x-key": "k"}, b"")
    connection.send(b"one")
    assert [asked[1].method, asked[1].body] == ["POST", b"{}"]
    connection.send(b"two", end="close")
    assert (transport.written, transport.ended) == ([b"one", b"two"], "close")


@pytest.mark.parametrize(
    "data", [b"\x16\x03\r\n\r\n", b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"]
)
def test_what_is_not_http_ends_the_connection(data: bytes) -> None:
    """Nonsense is not answered."""
    connection = Connection(lambda *_: pytest.fail("no question"))
    transport = FakeTransport()
    connection.connection_made(transport)
    connection.data_received(data)
    assert transport.ended == "reset"
