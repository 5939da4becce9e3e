"""Dead letters are read whatever lies in their topic."""

from reportd.broker.letters import dead_letters, replay_headers, replayed_headers
from reportd.broker.message import Headers, Message


def letter(offset: int, *headers: tuple[str, bytes], value: bytes = b"{}") -> Message:
    return Message("dead", 0, offset, b"acme/1", value, headers, 1000.0 + offset)


def died(offset: int, name: str, replay: int = 0) -> Message:
    return letter(
        offset,
        ("id", name.encode()),
        ("replay", b"%d" % replay),
        ("error", b"permanent"),
        ("reason", b"404 for this account"),
        ("attempts", b"3"),
        ("topic", b"r.requests.acme"),
        ("partition", b"2"),
        ("offset", b"77"),
        ("run", b"daily/2026-11-22T04:00Z#1"),
        ("account", b"1"),
        ("report", b"campaigns"),
        ("sample", b"not found"),
    )


def noted(offset: int, headers: Headers) -> Message:
    return letter(offset, *headers, value=b"")


def test_all_of_it_is_read() -> None:
    """What the worker wrote comes back."""
    (found,) = dead_letters([died(5, "a")])

    assert (found.id, found.replay, found.attempts) == ("a", 0, 3)
    assert (found.topic, found.partition, found.offset) == ("r.requests.acme", 2, 77)
    assert (found.error, found.reason) == ("permanent", "404 for this account")
    assert (found.account, found.report, found.run) == (
        "1",
        "campaigns",
        "daily/2026-11-22T04:00Z#1",
    )
    assert (found.key, found.value, found.sample) == (b"acme/1", b"{}", b"not found")
    assert (found.lies_at, found.died_at, found.replayed) == ((0, 5), 1005.0, False)


def test_copies_are_one() -> None:
    """A restored end is copied again: the first copy stands for all."""
    found = dead_letters([died(1, "a"), died(2, "b"), died(3, "a")])

    assert [(one.id, one.lies_at) for one in found] == [("a", (0, 1)), ("b", (0, 2))]


def test_a_note_says_that_it_was_replayed() -> None:
    """So that nobody does it twice."""
    (first,) = dead_letters([died(1, "a")])

    assert replay_headers(first) == (("replay", b"1"),)
    (found,) = dead_letters([died(1, "a"), noted(2, replayed_headers(first))])
    assert found.replayed


def test_a_replay_that_died_is_a_letter_of_its_own() -> None:
    """Its first life is over; the next replay is the second."""
    first, second = dead_letters([died(1, "a"), died(2, "a", replay=1)])

    assert (first.replayed, second.replayed) == (True, False)
    assert replay_headers(second) == (("replay", b"2"),)


def test_nothing_hostile_fails() -> None:
    """Foreign records, broken headers and absurd numbers are empty."""
    found = dead_letters(
        [
            letter(1),
            letter(2, ("id", b"\xff"), ("replay", b"9" * 5000), ("attempts", "²".encode())),
        ]
    )

    assert [(one.id, one.replay, one.attempts) for one in found] == [("", 0, 0), ("\ufffd", 0, 0)]
