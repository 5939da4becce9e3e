"""kill -9 at any moment of publishing: final files are whole, and the look tells the truth."""

import gzip
import json
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from reportd.model.request import Request
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Look, Publisher
from tests.integration.sinks.publishing import (
    FORMATS,
    SECRET,
    publish,
    request_of,
    store_at,
    tables_of,
)
from tests.s3server import S3Server

ROUNDS = 15


def numbers_in(path: Path) -> set[int]:
    """Read a final file as an analyst does; return the request that its rows name."""
    if path.name.endswith(".parquet"):
        return set(pq.read_table(path, partitioning=None).column("number").to_pylist())
    if path.name.endswith(".csv"):
        return set(pa_csv.read_csv(path).column("number").to_pylist())
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return {json.loads(line)["number"] for line in lines}


def look(publisher: Publisher, request: Request) -> Look:
    """Look at a request's targets."""
    return publisher.look(request, publisher.targets(request), lambda: None)


def check_final_files(root: Path) -> None:
    """Every final file is whole: of one request, with all of that request's rows."""
    for path in root.glob("acme/stats/*/*"):
        (number,) = numbers_in(path)
        day = path.parent.name.removeprefix("date=")
        table = next(
            table
            for at, table in tables_of(number, request_of(number)).items()
            if at.isoformat() == day
        )
        if path.name.endswith(".parquet"):
            assert pq.read_table(path, partitioning=None).equals(table)
        elif path.name.endswith(".csv"):
            assert pa_csv.read_csv(path).num_rows == table.num_rows
        else:
            assert len(gzip.decompress(path.read_bytes()).splitlines()) == table.num_rows


def until_killed(where: str, first: int, seconds: float) -> tuple[int, int]:
    """Publish in a process of its own and kill it; return the last number begun and done."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.sinks.publishing", where, str(first)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said = [child.stdout.readline()]  # it publishes from here on
    with suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    child.send_signal(signal.SIGKILL)
    said += child.stdout.readlines()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    last = {"begin": first - 1, "done": first - 1}
    for line in said:
        word, _, number = line.strip().partition(" ")
        last[word] = int(number)
    return last["begin"], last["done"]


def test_killed_at_random(tmp_path: Path) -> None:
    """After each kill: no final file is half, what was durable is found, the rest is asked for."""
    kill_at_random(str(tmp_path), tmp_path, ROUNDS, 0.15)


def test_killed_at_random_before_a_bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""
    monkeypatch.setenv(SECRET, s3.secret_key)
    kill_at_random(f"s3:{s3.port}", s3.root, ROUNDS // 2, 0.6)


def kill_at_random(where: str, root: Path, rounds: int, seconds_most: float) -> None:
    """Kill a process that publishes, again and again; ``root`` is where its files lie here."""
    seed = time.time_ns() % 1_000_000
    chance = random.Random(seed)
    publisher = Publisher(store_at(where), PathTemplate())
    first, mine, none = 0, 0, 0
    for _ in range(rounds):
        begun, done = until_killed(where, first, chance.uniform(0.0, seconds_most))
        check_final_files(root)

        if done >= first:
            assert look(publisher, request_of(done)).kind in ("mine", "newer")
        if begun > done:
            request = request_of(begun)
            found = look(publisher, request)
            check_final_files(root)
            mine += found.kind != "none"
            none += found.kind == "none"
            if found.kind == "none":
                publish(publisher, begun)
            assert look(publisher, request).kind in ("mine", "newer")
            files = look(publisher, request).published.files
            assert all(numbers_in(root / file.path) == {begun} for file in files)
        check_final_files(root)
        first = begun + 1

    print(f"seed {seed}: {first} requests, {mine} found after the kill, {none} asked again")
    assert first >= rounds  # on a busy machine each process begins just one
    assert len(list(root.glob("acme/stats/*/*"))) <= 4 * 3 * len(FORMATS)
