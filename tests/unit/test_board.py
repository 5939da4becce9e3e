"""The board: what a slot keeps, and what a writer that dies half way leaves."""

import threading

import pytest

from reportd import board
from reportd.board import MAX_IN_HAND, MAX_SNAPSHOT_BYTES, Board, Slot


@pytest.fixture
def slot() -> Slot:
    """Return a slot with neighbours on both sides."""
    return Board(3).slot(1)


def test_no_beat_before_the_first(slot: Slot) -> None:
    """A child that has not beaten is not taken for one that beat at zero."""
    assert slot.last_beat() is None

    slot.beat(12.5)

    assert slot.last_beat() == 12.5


def test_ids_in_hand(slot: Slot) -> None:
    """What is taken and not released is in hand; taking twice is taking once."""
    slot.take("a" * 32)
    slot.take("b" * 32)
    slot.take("b" * 32)
    slot.take("c")
    slot.release("b" * 32)
    slot.release("never taken")

    assert slot.in_hand() == {"a" * 32, "c"}


def test_full_table_refuses(slot: Slot) -> None:
    """A full table says so instead of forgetting an id that it has."""
    taken = [slot.take(f"{n:032x}") for n in range(MAX_IN_HAND + 1)]

    assert taken == [True] * MAX_IN_HAND + [False]
    slot.release(f"{5:032x}")
    assert slot.take("x")
    assert len(slot.in_hand()) == MAX_IN_HAND


def test_threads_share_the_table(slot: Slot) -> None:
    """Threads of one child take and release without losing a cell."""

    def work(name: str) -> None:
        for n in range(500):
            slot.take(f"{name}{n}")
            slot.release(f"{name}{n}")
        slot.take(name)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert slot.in_hand() == {"t0", "t1", "t2", "t3"}


def test_slots_do_not_touch() -> None:
    """The largest contents of one slot leave its neighbours empty."""
    whole = Board(3)
    middle = whole.slot(1)
    for _ in range(2):
        middle.publish(b"\xff" * MAX_SNAPSHOT_BYTES)
    for n in range(MAX_IN_HAND):
        middle.take(f"{n:032x}")
    middle.halt(78, "x" * 10_000)

    for neighbour in (whole.slot(0), whole.slot(2)):
        assert neighbour.read() == b""
        assert neighbour.in_hand() == set()
        assert neighbour.halted() is None


def test_newest_snapshot_is_read(slot: Slot) -> None:
    """Each snapshot replaces the one before, a shorter one too."""
    assert slot.read() == b""
    for text in (b"first, a long one", b"2nd", b"", b"fourth"):
        slot.publish(text)
        assert slot.read() == text


def test_too_large_a_snapshot_is_refused(slot: Slot) -> None:
    """A snapshot that does not fit raises and leaves the one before."""
    slot.publish(b"before")

    with pytest.raises(ValueError, match="does not fit"):
        slot.publish(bytes(MAX_SNAPSHOT_BYTES + 1))

    assert slot.read() == b"before"


def test_writer_dies_half_way() -> None:
    """A writer that dies before the switch leaves the snapshot before."""
    memory = memoryview(bytearray(board._SLOT_BYTES))  # a mapping to break into
    slot = Slot(memory)
    slot.publish(b"one")
    slot.publish(b"two")
    at = board._BUFFERS_AT + (8 + board.MAX_SNAPSHOT_BYTES)  # where the third would go
    memory[at : at + 20] = b"half of a new header"

    assert slot.read() == b"two"


def test_torn_snapshot_is_not_returned() -> None:
    """Bytes that do not fit their checksum are never handed out."""
    memory = memoryview(bytearray(board._SLOT_BYTES))  # a mapping to break into
    slot = Slot(memory)
    slot.publish(b"one")
    at = board._BUFFERS_AT + (8 + board.MAX_SNAPSHOT_BYTES) + 8
    memory[at] = 0

    assert slot.read() == b""


def test_halt_reason_reaches_the_reader(slot: Slot) -> None:
    """Status and reason come through, however long and whatever the script."""
    assert slot.halted() is None

    slot.halt(78, "wer bin ich: ü" + "x" * 5000)

    status, reason = slot.halted() or (0, "")
    assert status == 78
    assert reason.startswith("wer bin ich: ü")


def test_cleared_slot_is_new(slot: Slot) -> None:
    """The next child finds nothing of the one before."""
    slot.beat(1.0)
    slot.take("a")
    slot.publish(b"old")
    slot.halt(75, "gone")

    slot.clear()

    assert (slot.last_beat(), slot.in_hand(), slot.read(), slot.halted()) == (
        None,
        set(),
        b"",
        None,
    )
    assert slot.take("a")


def test_letters_are_numbered_on(slot: Slot) -> None:
    """Also after a child's death: what was seen already is told from what is new."""
    assert (slot.letter_number(), slot.read_letter()) == (0, (0, b""))
    assert slot.write_letter(b"one") == 1
    assert slot.write_letter(b"two") == 2
    slot.publish(b"a snapshot")

    slot.clear()

    assert slot.letter_number() == 2
    assert slot.write_letter(b"three") == 3
    assert slot.read_letter() == (3, b"three")
    with pytest.raises(ValueError, match="does not fit"):
        slot.write_letter(bytes(board.MAX_LETTER_BYTES + 1))
