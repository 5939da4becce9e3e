"""One process of the peer: read, download, write, commit what is finished in order."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiokafka import (  # type: ignore[import-untyped]
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from yarl import URL

from bench.peer.files import table_of, write
from bench.peer.pacing import Limits
from bench.peer.settings import PeerSettings

_COMMIT_SECONDS = 1.0
_TRIES = 8
_POLL_MILLISECONDS = 500


class Offsets:
    """What of each partition is finished, and where the commit stands."""

    def __init__(self) -> None:
        self._open: dict[TopicPartition, deque[int]] = {}
        self._done: dict[TopicPartition, set[int]] = {}
        self._position: dict[TopicPartition, int] = {}
        self._changed = False

    def took(self, part: TopicPartition, offset: int) -> None:
        self._open.setdefault(part, deque()).append(offset)
        self._done.setdefault(part, set())

    def finished(self, part: TopicPartition, offset: int) -> None:
        if part not in self._open:
            return
        done, waiting = self._done[part], self._open[part]
        done.add(offset)
        while waiting and waiting[0] in done:
            done.discard(waiting[0])
            self._position[part] = waiting.popleft() + 1
            self._changed = True

    def forget(self, parts: set[TopicPartition]) -> None:
        for part in parts:
            for table in (self._open, self._done, self._position):
                table.pop(part, None)

    def due(self) -> dict[TopicPartition, int]:
        """Return what is to be committed; nothing if it has been."""
        if not self._changed:
            return {}
        self._changed = False
        return dict(self._position)


class Worker(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """All of one process, on its event loop."""

    def __init__(self, settings: PeerSettings) -> None:
        self._settings = settings
        self._offsets = Offsets()
        self._limits = Limits(settings.partner_limit, settings.account_limit)
        self._limited = settings.partner_limit is not None
        self._queue: asyncio.Queue[ConsumerRecord] = asyncio.Queue(2 * settings.concurrency)
        self._pool = ThreadPoolExecutor(1) if settings.parsing == "thread" else None
        self._consumer: AIOKafkaConsumer | None = None
        self._session: aiohttp.ClientSession | None = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Commit what is finished, forget the rest; tell the bench."""
        _tell("revoked", revoked)
        await self._commit()
        self._offsets.forget(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Tell the bench."""
        _tell("assigned", assigned)

    async def run(self) -> None:
        """Work until SIGTERM."""
        settings = self._settings
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        consumer = self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.servers,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=500,
            check_crcs=False,
        )
        consumer.subscribe([settings.topic], listener=self)
        await consumer.start()
        connector = aiohttp.TCPConnector(limit=settings.concurrency, ttl_dns_cache=None)
        headers = {"Authorization": f"Bearer {settings.token}"}
        async with aiohttp.ClientSession(
            settings.base_url,
            connector=connector,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=60),
        ) as session:
            self._session = session
            tasks = [asyncio.create_task(self._work()) for _ in range(settings.concurrency)]
            tasks += [asyncio.create_task(self._read()), asyncio.create_task(self._keep())]
            waiting: asyncio.Task[Any] = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await self._commit()
            await consumer.stop()
            for task in done:
                task.result()

    async def _read(self) -> None:
        assert self._consumer is not None
        while True:
            found = await self._consumer.getmany(timeout_ms=_POLL_MILLISECONDS, max_records=500)
            for part, records in found.items():
                for record in records:
                    self._offsets.took(part, record.offset)
                    await self._queue.put(record)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_SECONDS)
            await self._commit()

    async def _commit(self) -> None:
        assert self._consumer is not None
        offsets = self._offsets.due()
        if offsets:
            await self._consumer.commit(offsets)

    async def _work(self) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        while True:
            record = await self._queue.get()
            request = orjson.loads(record.value)
            body = await self._download(request)
            make = partial(_make, settings, request, body)
            if self._pool is None:
                make()
            else:
                await loop.run_in_executor(self._pool, make)
            part = TopicPartition(record.topic, record.partition)
            self._offsets.finished(part, record.offset)

    async def _download(self, request: dict[str, str]) -> bytes:
        assert self._session is not None
        account = request["account"]
        url = URL(
            f"/{request['partner']}/{request['report']}?account={account}"
            f"&from={request['first_day']}&to={request['last_day']}",
            encoded=True,
        )
        headers = {"X-Request-Id": request["id"]}
        attempt = 0
        while attempt < _TRIES:
            if self._limited:
                await self._limits.wait(account)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.get(url, headers=headers) as answer:
                    body = await answer.read()
                    if answer.status == 200:
                        return body
                    if answer.status == 429:
                        self._limits.block(float(answer.headers.get("Retry-After", "1")))
                        continue
            attempt += 1
            await asyncio.sleep(0.1 * 2**attempt)
        raise RuntimeError(f"request {request['id']}: given up after {_TRIES} tries")


def _tell(change: str, parts: set[TopicPartition]) -> None:
    names = ", ".join(f"{part.topic}[{part.partition}]" for part in parts)
    sys.stdout.write(f"peer-{os.getpid()} {change} {change} {names}\n")
    sys.stdout.flush()


def _make(settings: PeerSettings, request: dict[str, str], body: bytes) -> None:
    account, day = request["account"], request["first_day"]
    table = table_of(body, settings.format, account)
    folder = Path(settings.root, request["partner"], request["report"], f"date={day}")
    write(table, folder / f"{account}.parquet", lean=settings.lean)
