"""A set of offsets that keeps stretches, against a plain set."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reportd.worker.spans import Spans


@given(st.lists(st.integers(0, 12), max_size=60))
def test_it_is_a_set_whose_neighbours_cost_nothing(offsets: list[int]) -> None:
    """Whatever is added and removed: what is in it, the first, and how many stretches it is."""
    spans, plain, stretches = Spans(), set[int](), 0
    for offset in offsets:
        if offset in plain:
            plain.remove(offset)
            stretches += spans.remove(offset)
        else:
            plain.add(offset)
            stretches += spans.add(offset)

        known = sorted(plain)
        gaps = sum(b - a > 1 for a, b in pairwise(known))
        assert (spans.count, len(spans)) == (len(plain), gaps + bool(plain))
        assert stretches == len(spans)
        assert not plain or spans.first == known[0]
