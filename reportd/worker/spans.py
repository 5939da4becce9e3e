"""A set of offsets as stretches of neighbours: long ones cost no more than single ones. Pure.

Used by `reportd.worker.book`. Taking the first, and adding behind the last, is quick.
"""

import bisect
from collections import deque

_START, _END = 0, 1


class Spans:
    """Offsets in order; each stretch is ``[start, end]``, its end not in it."""

    __slots__ = ("_spans", "count")

    def __init__(self) -> None:
        """Begin empty."""
        self._spans: deque[list[int]] = deque()
        self.count = 0
        """How many offsets there are."""

    def __len__(self) -> int:
        """Return how many stretches there are."""
        return len(self._spans)

    @property
    def first(self) -> int:
        """The lowest offset; there is one."""
        return self._spans[0][_START]

    def add(self, offset: int) -> int:
        """Add an offset that is not in it; return how many more stretches there are."""
        self.count += 1
        spans = self._spans
        before = len(spans)
        if not spans or offset > spans[-1][_END]:
            spans.append([offset, offset + 1])
        elif offset == spans[-1][_END]:
            spans[-1][_END] += 1
        else:
            self._insert(offset)
        return len(spans) - before

    def _insert(self, offset: int) -> None:
        spans = self._spans
        index = bisect.bisect(spans, [offset])
        joins_next = spans[index][_START] == offset + 1
        joins_last = index > 0 and spans[index - 1][_END] == offset
        if joins_next and joins_last:
            spans[index - 1][_END] = spans[index][_END]
            del spans[index]
        elif joins_next:
            spans[index][_START] = offset
        elif joins_last:
            spans[index - 1][_END] = offset + 1
        else:
            spans.insert(index, [offset, offset + 1])

    def remove(self, offset: int) -> int:
        """Remove an offset that is in it; return how many more stretches there are."""
        self.count -= 1
        spans = self._spans
        before = len(spans)
        index = 0 if spans[0][_END] > offset else bisect.bisect(spans, [offset + 1]) - 1
        start, end = spans[index]
        if end - start == 1:
            del spans[index]
        elif start == offset:
            spans[index][_START] += 1
        elif end == offset + 1:
            spans[index][_END] -= 1
        else:
            spans[index][_END] = offset
            spans.insert(index + 1, [offset + 1, end])
        return len(spans) - before
