"""What is read of a run's list of files: it may be long."""

import tracemalloc
from collections.abc import Iterator

from reportd.observer.run_file import accounts_in, lines_of
from tests.unit.observer.test_run_sum import end

FILES = 30_000
PIECE_BYTES = 100_000
"""No multiple of a line."""
DAYS = ["2026-11-19", "2026-11-20", "2026-11-21"]


def pieces() -> Iterator[bytes]:
    """Yield a list of many files as it is read from a disk."""
    waiting = b""
    for number in range(FILES // len(DAYS)):
        waiting += lines_of("acme", end(number))
        if len(waiting) > PIECE_BYTES:
            yield waiting[:PIECE_BYTES]
            waiting = waiting[PIECE_BYTES:]
    yield waiting


def test_whoever_is_asked_for_is_found_in_any_list() -> None:
    """The first and the last account are, and nothing is held of all the others."""
    wanted = {"a0", f"a{FILES // len(DAYS) - 1}", "nobody"}
    tracemalloc.start()
    found = accounts_in(pieces(), wanted)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == {("acme", "stats", day): wanted - {"nobody"} for day in DAYS}
    assert most_bytes < 10 * PIECE_BYTES
