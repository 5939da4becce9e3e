"""Who is asked whether Kafka can be there, and what is said if it cannot."""

import socket

import pytest

from reportd.cli.reaching import reach
from reportd.config.settings import KafkaSettings
from reportd.errors import BrokerError

REFUSED = ConnectionRefusedError(111, "Connection refused")
UNKNOWN = socket.gaierror(-2, "Name or service not known")


class Net:
    """Servers that refuse, each in its way; None: it takes a connection."""

    def __init__(self, **answers: Exception | None) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> None:
        self.asked.append((host, port))
        answer = self.answers[host]
        if answer is not None:
            raise answer


def test_where_nobody_listens_it_is_said_at_once() -> None:
    """Each server with its reason, and which setting names them."""
    net = Net(k1=REFUSED, k2=UNKNOWN)

    with pytest.raises(BrokerError) as raised:
        reach(KafkaSettings(servers="k1:9093,k2:9092"), net)

    assert str(raised.value) == (
        "no Kafka can be reached (k1:9093: Connection refused; k2:9092: Name or service not "
        "known): does it run, and is kafka.servers right?"
    )
    assert net.asked == [("k1", 9093), ("k2", 9092)]


@pytest.mark.parametrize("second", [None, TimeoutError("timed out")])
def test_one_that_may_answer_is_enough(second: Exception | None) -> None:
    """Kafka's own client tries it, with all its patience."""
    net = Net(k1=REFUSED, k2=second, k3=REFUSED)

    settings = reach(KafkaSettings(servers="k1:1,k2:2,k3:3"), net)

    assert settings["bootstrap.servers"] == "k1:1,k2:2,k3:3"
    assert net.asked == [("k1", 1), ("k2", 2)]


def test_addresses_of_ipv6_are_read() -> None:
    """Their brackets are the setting's, not theirs."""
    net = Net(**{"::1": REFUSED, "fe80::2": None})
    reach(KafkaSettings(servers="[::1]:9093,[fe80::2]:9094"), net)

    assert net.asked == [("::1", 9093), ("fe80::2", 9094)]
