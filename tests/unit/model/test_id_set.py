"""Ids in little memory."""

from functools import reduce
from operator import xor

from hypothesis import given
from hypothesis import strategies as st

from reportd.model.id_set import IdSet, number_of


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40)))
def test_ids_are_a_set(numbers: list[int]) -> None:
    """It counts and hashes as Python's own does, whatever comes, however it grows."""
    ids = IdSet(slots=4)
    known: set[int] = set()
    for number in numbers:
        assert ids.add(number) == (number not in known)
        known.add(number)

    assert (len(ids), ids.hash) == (len(known), f"{reduce(xor, known, 0):016x}")


def test_number_of_an_id() -> None:
    """Its first half, as the manifest's hash takes it."""
    assert number_of("00000000000000ff" + "ab" * 8) == 255
