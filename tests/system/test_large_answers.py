"""However large an answer is, a worker's memory is bounded: measured from the call to the files."""

import functools
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reportd.partners.answer_spec import WHOLE_MOST_MIB
from tests.system.large_answer import BLOCK_ROWS, DAYS, MIB, write

pytestmark = pytest.mark.long

BOUND_BYTES = 300_000_000
FORMS = ["csv", "csv.gz", "csv.zip", "jsonl", "batches", "data", "lists", "values", "nested"]


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing about it."""

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Serve the test's folder."""
    handler = functools.partial(Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def told(url: str, form: str, size: int, tmp_path: Path, timeout_seconds: int) -> dict[str, Any]:
    """Return what a process tells that had an answer of that size."""
    write(tmp_path / "answer", form, size)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.system.large_answer",
            f"{url}/answer",
            form,
            tmp_path / "out",
        ],
        capture_output=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    print(form, size // MIB, "MiB", found)
    return found


@pytest.mark.parametrize(
    ("form", "mib"),
    [
        ("csv.zip", 120),
        ("jsonl", 120),
        ("batches", 120),
        ("lists", 40),
        ("values", 40),
        ("nested", 40),
    ],
)
def test_memory_is_bounded(form: str, mib: int, url: str, tmp_path: Path) -> None:
    """As for the large one; what is parsed at once, or twice in memory, would be too much here."""
    found = told(url, form, mib * MIB, tmp_path, 110)

    assert found["peak_bytes"] < BOUND_BYTES
    assert len(found["rows"]) == 2 * DAYS
    assert sum(found["rows"]) % (2 * BLOCK_ROWS) == 0
    assert sum(found["rows"]) > 0


@pytest.mark.parametrize("form", ["row", "whole", "columns"])
def test_what_memory_has_to_hold_is_bounded(form: str, url: str, tmp_path: Path) -> None:
    """JSON that is parsed at once, or one row with its list, as large as it may be."""
    found = told(url, form, WHOLE_MOST_MIB * MIB - MIB // 2, tmp_path, 110)

    assert found["peak_bytes"] < BOUND_BYTES
    assert len(found["rows"]) == 2 * DAYS
    assert sum(found["rows"]) > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", FORMS)
def test_two_gigabytes(form: str, url: str, tmp_path: Path) -> None:
    """The promise itself."""
    found = told(url, form, 2048 * MIB, tmp_path, 3500)

    assert found["peak_bytes"] < BOUND_BYTES
    assert len(found["rows"]) == 2 * DAYS
