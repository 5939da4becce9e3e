"""What is written at a request's end, and what a crash in the middle of it must leave."""

from reportd.worker.actions import StartCall, WriteDead
from tests.unit.worker.hands import Hands
from tests.unit.worker.making import message


def test_a_dead_end_is_needed_until_its_copy_stands() -> None:
    """A crash between end and copy: the next owner reads that end, and calls nobody."""
    hands = Hands()
    hands.kept = (StartCall, WriteDead)
    partition = hands.own()
    hands.put(message(b"{not json", 0))

    assert 1 == hands.position, "the end stands, the copy does not"
    assert (0, "1 0 ab12") == partition.offsets("ab12")["requests.acme"]
