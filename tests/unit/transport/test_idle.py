"""Which connections are kept for the next call, and which are closed."""

import ssl
from typing import Any, cast

from reportd.transport.connection import resolve
from reportd.transport.idle import MAX_HOSTS, MAX_IDLE_SECONDS, Connection, IdleConnections, Server

SERVER = Server("https", "api.example.com", None, allow_private=False)


class FakeConnection:
    """A connection that was used."""

    def __init__(self) -> None:
        self.is_connected = True
        self.is_closed = False

    def close(self) -> None:
        """Close it."""
        self.is_closed = True


def used(idle: IdleConnections, server: Server = SERVER) -> Any:
    """Give back a connection of a call that is over, and return it."""
    connection = FakeConnection()
    idle.give_back(server, cast("Connection", connection))
    return connection


def a_pool(most: int = 2) -> IdleConnections:
    """Return one that keeps as many connections a server."""
    return IdleConnections(most, resolve, ssl.create_default_context())


def test_the_last_one_used_is_taken_first() -> None:
    """It is the one that the server has not closed yet, if any."""
    idle = a_pool()
    first, second = used(idle), used(idle)

    assert [second, first] == [idle.take(SERVER), idle.take(SERVER)]


def test_no_more_are_kept_than_wanted() -> None:
    """What is beyond is closed."""
    idle = a_pool(most=2)

    assert [False, False, True] == [used(idle).is_closed for _ in range(3)]


def test_one_that_is_gone_is_closed_and_not_taken() -> None:
    """A new one takes its place, unopened."""
    idle = a_pool()
    gone = used(idle)
    gone.is_connected = False

    taken = idle.take(SERVER)

    assert gone.is_closed
    assert taken is not gone
    assert taken.sock is None


def test_the_server_that_was_longest_not_used_is_forgotten() -> None:
    """A partner file with wildcards may name any number of hosts."""
    idle = a_pool()
    oldest, kept = used(idle), used(idle, SERVER._replace(host="other"))

    for number in range(MAX_HOSTS - 1):
        used(idle, SERVER._replace(host=f"host-{number}"))

    assert (True, False) == (oldest.is_closed, kept.is_closed)


def test_connections_that_were_checked_otherwise_are_others() -> None:
    """One that may lead to a private address is for calls that may go there."""
    idle = a_pool()
    private = used(idle, SERVER._replace(allow_private=True))

    assert idle.take(SERVER) is not private


def test_all_are_closed_with_the_client() -> None:
    """And when nobody holds it any more."""
    idle = a_pool()
    one = used(idle)
    idle.clear()
    other = used(idle)
    del idle

    assert (True, True) == (one.is_closed, other.is_closed)


def test_one_that_was_idle_for_long_is_not_taken() -> None:
    """A firewall may have forgotten it without a word: the call would wait for its whole time."""
    clock = [100.0]
    idle = IdleConnections(2, resolve, ssl.create_default_context(), now=lambda: clock[0])
    old = used(idle)
    clock[0] += MAX_IDLE_SECONDS - 1.0
    young = used(idle)
    clock[0] += 1.0

    assert idle.take(SERVER) is young
    assert idle.take(SERVER) is not old
    assert old.is_closed
