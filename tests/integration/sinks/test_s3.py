"""What only a bucket can do to us: hang, be too busy, keep half uploads; and processes that die."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from reportd.config.secrets import Secret
from reportd.config.settings import S3_TRIES
from reportd.errors import OutputError
from reportd.sinks.objects import Objects
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Look, Prepared, Publisher
from reportd.sinks.s3 import S3Store
from reportd.sinks.spool import Spool
from reportd.transport.client import Client
from reportd.transport.s3 import BucketCalls
from tests.integration.sinks import dying
from tests.integration.sinks.contract import (
    DAY,
    NEWER_RUN,
    a_request,
    nothing_forbids,
    tables_of,
)
from tests.integration.sinks.publishing import SECRET
from tests.loopback import Proxy
from tests.s3server import BUCKET, ROOT, S3Server, open_store

DAYS = 86_400.0
BOUNDED_SECONDS = 60.0
"""Far below for ever: a few requests one after the other, tried twice, on a busy machine."""


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    """Give what stands between a store and its server."""
    with Proxy(s3.port) as made:
        yield made


@pytest.fixture
def store(s3: S3Server, proxy: Proxy) -> S3Store:
    """Give a store behind the proxy."""
    return open_store(s3.settings(proxy.port))


def final_files(root: Path) -> dict[str, bytes]:
    """Return the final files with their content."""
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name[:8] != "_reportd"}


# --- away


@pytest.mark.parametrize("trouble", ["503", "hang"])
def test_a_server_in_trouble_is_an_output_that_is_away(
    s3: S3Server, proxy: Proxy, store: S3Store, trouble: str
) -> None:
    """Everything that is asked of it fails in bounded time, and works when it is back."""
    publisher, spool = Publisher(store, PathTemplate()), Spool(store)
    request, newer = a_request(formats=("parquet", "csv")), a_request(run=NEWER_RUN)
    published = publisher.publish(
        request, publisher.targets(request), tables_of(request), nothing_forbids
    )
    spooled = spool.write("ab" * 16, 0, 0, 1, b"page")
    before = final_files(s3.root)
    proxy.become(trouble)
    tries: dict[str, Callable[[], Any]] = {
        "publish": lambda: publisher.publish(
            newer, publisher.targets(newer), tables_of(newer, "new"), nothing_forbids
        ),
        "look": lambda: publisher.look(request, publisher.targets(request), nothing_forbids),
        "spool": lambda: spool.write("ab" * 16, 0, 0, 2, b"page"),
        "fits": lambda: spool.fits(spooled.file, spooled.size_bytes, spooled.checksum),
        "probe": store.probe,
        "sweep": lambda: store.sweep(DAYS, time.time(), lambda _key: False),
        "open": lambda: open_store(s3.settings(proxy.port)),
    }
    with ThreadPoolExecutor(len(tries)) as pool:
        began = time.monotonic()
        futures = {name: pool.submit(one) for name, one in tries.items()}
        for name, future in futures.items():
            assert isinstance(future.exception(), OutputError), name
        took = time.monotonic() - began

    assert took < BOUNDED_SECONDS
    assert final_files(s3.root) == before
    proxy.become("pass")
    assert publisher.look(request, publisher.targets(request), nothing_forbids) == Look(
        "mine", published
    )
    assert spool.fits(spooled.file, spooled.size_bytes, spooled.checksum)
    assert tries["publish"]().files


def test_a_killed_server_comes_back_with_all_it_had_taken(s3: S3Server) -> None:
    """The same store goes on: its connections are made anew."""
    store = open_store(s3.settings())
    publisher = Publisher(store, PathTemplate())
    request = a_request()
    targets = publisher.targets(request)
    published = publisher.publish(request, targets, tables_of(request), nothing_forbids)
    s3.kill()
    with pytest.raises(OutputError):
        publisher.look(request, targets, nothing_forbids)

    s3.start()

    assert publisher.look(request, targets, nothing_forbids) == Look("mine", published)


def prepared(store: S3Store, size: int) -> Prepared:
    """Prepare a request with one file of about a size."""
    publisher = Publisher(store, PathTemplate())
    request = a_request(formats=("csv",))
    table = {DAY: pa.table({"text": ["x" * size]})}
    return publisher.prepare(request, publisher.targets(request), table, nothing_forbids)


@pytest.mark.parametrize("size", [1, 12_000_000])
@pytest.mark.parametrize("step", ["seal", "publish"])
def test_a_server_that_is_too_busy_once_leaves_a_final_name_alone(
    s3: S3Server, proxy: Proxy, store: S3Store, step: str, size: int
) -> None:
    """A stream of pyarrow that failed is completed when it is let go of: see `Objects`."""
    one = prepared(store, size)
    if step == "publish":
        one.stage.seal()
    do: dict[str, Callable[[], None]] = {
        "seal": one.stage.seal,
        "publish": lambda: one.stage.publish(one.receipts[0], nothing_forbids),
    }
    proxy.become("503", times=S3_TRIES)
    with pytest.raises(OutputError):
        do[step]()
    one.stage.close()
    proxy.become("pass")  # what was still under way ends
    store.probe()

    assert final_files(s3.root) == {}
    publisher, request = Publisher(store, PathTemplate()), one.request
    found = publisher.look(request, publisher.targets(request), nothing_forbids)
    assert found.kind == ("none" if step == "seal" else "mine")


def test_an_answer_that_was_written_twice_is_not_harmed_by_the_first_try(
    s3: S3Server, proxy: Proxy, store: S3Store
) -> None:
    """What the first try still sends when it is over does not meet what the second has written."""
    spool, body = Spool(store), random.Random(7).randbytes(12_000_000)
    proxy.become("503", times=S3_TRIES)
    with pytest.raises(OutputError):
        spool.write("ab" * 16, 0, 0, 1, body)
    spooled = spool.write("ab" * 16, 0, 0, 1, body)
    proxy.become("pass")
    store.probe()

    assert spool.fits(spooled.file, spooled.size_bytes, spooled.checksum)
    # Whatever the first try has still sent, or not, has a name of its own
    assert 1 <= len([*(s3.root / "_reportd/spool").rglob("*.zst")]) <= 2
    spool.remove("ab" * 16, 0)
    assert not [*(s3.root / "_reportd/spool").rglob("*.zst")]


def test_a_bucket_that_is_not_there_is_said(s3: S3Server) -> None:
    """It may be a typing error; nobody makes one."""
    settings = s3.settings()
    with pytest.raises(OutputError, match="NoSuchBucket"):
        S3Store("s3://elsewhere/raw", settings, BucketCalls(Client(), settings, "elsewhere"))


def test_a_wrong_key_is_said_and_not_shown(s3: S3Server) -> None:
    """Neither it nor the right one stands in an error or a repr."""
    wrong = Secret("hunter2-hunter2", "s3-secret-key")
    settings = s3.settings().model_copy(update={"secret_key": wrong})
    with pytest.raises(OutputError, match=r"ACCESS_DENIED|SignatureDoesNotMatch") as caught:
        open_store(settings)

    said = f"{caught.value!r} {caught.value.__cause__!r} {settings!r}"
    assert "hunter2" not in said
    assert s3.secret_key not in said


def test_many_requests_at_once(s3: S3Server) -> None:
    """As many as a worker publishes side by side, and none of them in another's way."""
    store = open_store(s3.settings())
    publisher = Publisher(store, PathTemplate())

    def publish(number: int) -> int:
        request = a_request(account=str(number), formats=("parquet", "csv"))
        tables = tables_of(request)
        return len(
            publisher.publish(request, publisher.targets(request), tables, nothing_forbids).files
        )

    with ThreadPoolExecutor(store.threads) as pool:
        assert list(pool.map(publish, range(150))) == [2] * 150
    assert not [*(s3.root / "_reportd/staging").rglob("*.*")]


# --- the root


def test_the_identity_is_made_once_by_whoever_is_first(s3: S3Server) -> None:
    """Several VMs meet a new bucket at the same moment."""
    together = Barrier(8)

    def open_one(_number: int) -> str:
        together.wait(30)
        return open_store(s3.settings()).identity

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(open_one, range(8)))) == 1


def test_a_bucket_without_a_prefix(s3: S3Server) -> None:
    """Its top is the root."""
    settings = s3.settings()
    store = S3Store(f"s3://{BUCKET}", settings, BucketCalls(Client(), settings, BUCKET))
    publisher = Publisher(store, PathTemplate())
    request = a_request(formats=("csv",))
    targets = publisher.targets(request)
    published = publisher.publish(request, targets, tables_of(request), nothing_forbids)

    assert (s3.root.parent / published.files[0].path).is_file()
    assert publisher.look(request, targets, nothing_forbids) == Look("mine", published)


# --- multipart uploads


def abandoned_upload(s3: S3Server) -> tuple[BucketCalls, Any]:
    """Begin a large object and do not end it, as a process that is killed does."""
    settings = s3.settings()
    calls = BucketCalls(Client(), settings, BUCKET)
    objects = Objects(ROOT, settings, calls)
    stream = objects._files.open_output_stream(f"{BUCKET}/raw/_reportd/staging/ab12/t.x.tmp")
    stream.write(bytes(11_000_000))
    return calls, stream


def test_uploads_that_were_left_go_after_a_day(s3: S3Server) -> None:
    """Nobody sees them in a listing, and they are paid for; a young one may be under way."""
    store = open_store(s3.settings())
    calls, stream = abandoned_upload(s3)
    assert len(calls.uploads("raw/_reportd/")) == 1

    assert store.sweep(14 * DAYS, time.time() + 0.5 * DAYS, lambda _key: False) == 0
    assert len(calls.uploads("raw/_reportd/")) == 1
    assert store.sweep(14 * DAYS, time.time() + 1.1 * DAYS, lambda _key: False) == 1
    assert calls.uploads("raw/_reportd/") == []
    with pytest.raises(OSError, match="NO_SUCH_UPLOAD"):
        stream.close()


def test_keys_that_may_not_list_uploads_sweep_the_rest(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A lifecycle rule of the bucket does the same; what else is left over goes."""
    store = open_store(s3.settings())
    spoken = "output: list multipart uploads: HTTP 403 AccessDenied"

    def denied(_calls: BucketCalls, _prefix: str) -> None:
        raise OutputError(spoken)

    monkeypatch.setattr(BucketCalls, "uploads", denied)
    publisher = Publisher(store, PathTemplate())
    request = a_request()
    stage = publisher.prepare(
        request, publisher.targets(request), tables_of(request), nothing_forbids
    ).stage
    stage.seal()
    with caplog.at_level(logging.WARNING):
        assert store.sweep(DAYS, time.time() + 2 * DAYS, lambda _key: False) == 1
    assert spoken in caplog.text


# --- processes


def test_the_supervisor_starts_nothing_of_s3() -> None:
    """It imports what its children need; their SDK and its threads start after the fork."""
    script = "import os, reportd.daemon.wiring; print(len(os.listdir('/proc/self/task')))"
    environment = {**os.environ, "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    said = subprocess.check_output([sys.executable, "-c", script], text=True, env=environment)

    assert said == "1\n"


# --- deaths


def test_killed_before_each_step_of_publishing(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9: what was staged is published without a call, what was not is asked once more."""
    monkeypatch.setenv(SECRET, s3.secret_key)
    where = f"s3:{s3.port}"
    said = subprocess.run(
        [sys.executable, "-m", "tests.integration.sinks.dying", where],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert said == [str(-signal.SIGKILL)] * dying.STEPS + ["0"]

    publisher = Publisher(open_store(s3.settings()), PathTemplate())
    for number in range(1, dying.STEPS + 2):
        request = dying.request_of(number)
        targets = publisher.targets(request)
        assert runs_of(s3.root, number) <= {dying.RUN, dying.OLDER_RUN}
        found = publisher.look(request, targets, nothing_forbids)

        assert found.kind == ("none" if number <= dying.WRITES else "mine"), number
        if found.kind == "none":
            assert runs_of(s3.root, number) == {dying.OLDER_RUN}
            dying.publish(publisher, number)
            found = publisher.look(request, targets, nothing_forbids)
        assert len(found.published.files) == len(targets)
        assert runs_of(s3.root, number) == {dying.RUN}
    staging = s3.root / "_reportd" / "staging"
    left = {path.parent.name for path in staging.rglob("*.*")}
    assert left <= {dying.request_of(number).id for number in range(1, dying.WRITES + 1)}


def runs_of(root: Path, number: int) -> set[str]:
    """Read all files of an account, as an analyst does; return the runs that their rows tell."""
    found: set[str] = set()
    for path in root.glob(f"acme/stats/*/{number}.*"):
        read = pa_csv.read_csv(path) if path.suffix == ".csv" else pq.ParquetFile(path).read()
        (run,) = read.column("run").to_pylist()
        found.add(run)
    return found
