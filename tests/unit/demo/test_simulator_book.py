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
from reportd.demo.simulator.usage import Usage, limit_usage


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


def every_tenth(start: int, count: int) -> list[SeenCall]:
    return [seen((start + number) / 10, "1") for number in range(count)]


def test_usage_counts_only_while_there_was_demand() -> None:
    """After the last new question there may be nothing to ask: that time does not count."""
    limit = Limit(per="account", calls=10)
    tail = [seen(10.0, "1", first="0.0"), seen(20.0, "1", first="0.1")]
    assert limit_usage(limit, every_tenth(0, 21) + tail) == Usage(20, 20)
    refused = [seen(1.05, "1", fault="limit")]
    assert limit_usage(limit, every_tenth(0, 21) + refused) == Usage(20, 20)


def test_usage_leaves_out_the_time_when_nobody_ran() -> None:
    """From the kill to the next call after the start does not count as unused."""
    limit = Limit(per="partner", calls=10)
    calls = every_tenth(0, 11) + every_tenth(51, 11)
    assert limit_usage(limit, calls) == Usage(20, 60)
    assert limit_usage(limit, calls, [(1.0, 4.0)]) == Usage(20, 20)


def test_a_restart_that_takes_too_long_counts() -> None:
    """Only the first seconds of a restart are nobody's."""
    limit = Limit(per="partner", calls=10)
    calls = every_tenth(0, 11) + every_tenth(101, 11)
    assert limit_usage(limit, calls, [(1.0, 2.0)]) == Usage(10 + 9, 10 + 60)


def test_bursts_use_no_more_than_there_is() -> None:
    """A client that sends each window's calls at once uses the limit fully, not more."""
    bursts = [seen(window + 0.3 + n / 1000, "1") for window in range(5) for n in range(10)]
    sliding = Limit(per="partner", calls=10, meter="sliding")
    fixed = Limit(per="partner", calls=10, meter="fixed")
    assert limit_usage(sliding, bursts) == Usage(40, 40)
    assert limit_usage(fixed, bursts) == Usage(30, 30)


def test_what_an_account_was_told_to_wait_does_not_count() -> None:
    """The partner said "slow down" although its limit was not reached: a second is lost."""
    limit = Limit(per="account", calls=10)
    calls = [*every_tenth(0, 10), seen(1.0, "1", fault="throttle"), *every_tenth(21, 11)]
    assert limit_usage(limit, calls).allowed == 20


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
