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

from tests.system.large_answer import BLOCK_ROWS, DAYS, MIB, write

pytestmark = pytest.mark.long

BOUND_BYTES = 300_000_000
FORMS = ["csv", "csv.gz", "csv.zip", "jsonl", "batches", "data"]


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


@pytest.mark.parametrize("form", ["csv.zip", "jsonl", "batches"])
def test_memory_is_bounded(form: str, url: str, tmp_path: Path) -> None:
    """As for the large one; twice as much as this in memory would be too much already."""
    found = told(url, form, 120 * MIB, tmp_path, 110)

    assert found["peak_bytes"] < BOUND_BYTES
    assert len(found["rows"]) == 2 * DAYS
    assert sum(found["rows"]) % (2 * BLOCK_ROWS) == 0
    assert sum(found["rows"]) > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", FORMS)
def test_two_gigabytes(form: str, url: str, tmp_path: Path) -> None:
    """The promise itself."""
    found = told(url, form, 2048 * MIB, tmp_path, 3500)

    assert found["peak_bytes"] < BOUND_BYTES
    assert len(found["rows"]) == 2 * DAYS
