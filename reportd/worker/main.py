"""A worker's life: composed in the child, after the fork; the daemon hands it what it needs."""

import functools
import logging
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random
from typing import NoReturn

from reportd.board import Slot
from reportd.broker.admin import Admin
from reportd.broker.consumer import HEARTBEATS_PER_SESSION, GroupConsumer
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.clock import Clock, SystemClock
from reportd.config.load import Config
from reportd.metrics import Metrics
from reportd.partners.partner import Partner
from reportd.partners.redaction import redacted_reason
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from reportd.sinks.spool import Spool
from reportd.transport.assertion import signed
from reportd.transport.client import Client
from reportd.transport.credentials import Credentials
from reportd.transport.token_files import TokenFolder, TokenMemory
from reportd.transport.tokens import Tokens
from reportd.worker.calling import PartnerCaller, Rules, slack_seconds
from reportd.worker.engine import Engine
from reportd.worker.events import Events
from reportd.worker.executor import Executor
from reportd.worker.fence import Fence
from reportd.worker.finishing import Finishing, Looking
from reportd.worker.inquiry import Inquiry
from reportd.worker.loop import Loop
from reportd.worker.opening import open_output
from reportd.worker.records import Records
from reportd.worker.restoring import Restorer
from reportd.worker.settings import EngineSettings
from reportd.worker.storing import Output
from reportd.worker.tally import Tally
from reportd.worker.tidying import Tidier

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 0.005
"""How long a thread may keep the interpreter while others wait, and all of them in turn."""
PUNCTUAL_SWITCH_SECONDS = 0.001
"""The same where calls have to leave on time; switching so often costs a seventh of the CPU."""
SLACK_SECONDS = 0.1
"""A limit that leaves calls less time than this to be late asks for that."""

CONFIRM_SECONDS = 0.5


def run(
    *,
    config: Config,
    partners: Mapping[str, Partner],
    slot: Slot,
    observer_slot: Slot,
    instance_id: str,
    strikes: Mapping[str, int],
    stop_requested: Callable[[], bool],
    leaves: Callable[[], bool],
    metrics: Metrics,
    tokens_folder: Path | None = None,
    tls: ssl.SSLContext | None = None,
    clock: Clock | None = None,
    partners_before: Mapping[str, Partner] | None = None,
    is_rolled_out: Callable[[], bool] = lambda: True,
) -> int:
    """Work as one member of the group until asked to stop; return the exit status.

    ``observer_slot`` is where the observer asks what is open.
    ``leaves`` says then whether this member is to leave the group: no other takes its place.

    ``tokens_folder`` is where the workers of this VM share access tokens; None: this one alone has
    them. ``tls`` is the context of the calls to partners, shared by all workers that are forked
    with it. ``partners_before`` are those of workers that a reload has yet to replace: their limits
    are kept, too, until ``is_rolled_out``.
    Raises `OutputError` when the output is not there, `BrokerFatalError`, and `Halt` (78) for
    another store or a second process of the same name.
    """
    clock = clock or SystemClock()
    sys.setswitchinterval(switch_seconds(partners.values()))
    slot.beat(clock.boottime())
    settings = config.settings
    topics = Topics(settings.kafka.prefix)
    client = client_settings(settings.kafka)
    workers = settings.workers
    store = open_output(settings.output)
    engine_settings = EngineSettings(
        threads=workers.threads,
        window_requests=workers.window_requests,
        finishing_most=2 * workers.threads,
        store_id=store.identity,
    )
    session_seconds = workers.session_timeout_seconds
    fence = Fence(session_seconds, session_seconds / HEARTBEATS_PER_SESSION)
    events = Events()
    tally = Tally(metrics, partners)
    engine = Engine(
        rules={
            name: Rules(partner, (partners_before or {}).get(name))
            for name, partner in partners.items()
        },
        settings=engine_settings,
        fence=fence,
        random=Random(),  # noqa: S311 - jitter, no secret
        strikes=strikes,
    )
    loop = Loop(
        engine=engine,
        events=events,
        fence=fence,
        topics=topics,
        clock=clock,
        board=slot,
        tally=tally,
        drain_seconds=workers.drain_seconds,
        stop_requested=stop_requested,
        leaves=leaves,
        is_rolled_out=is_rolled_out,
        inquiry=Inquiry(observer_slot, slot),
    )
    producer = Producer(client)
    spool = Spool(store)
    http = Client(workers.threads, context=tls)
    tokens = Tokens(
        read=config.secrets.read,
        send=http.send,
        sign=signed,
        files=TokenMemory() if tokens_folder is None else TokenFolder(tokens_folder),
        clock=clock,
        hide=redacted_reason,
        notes=store.notes,
        log=tally,
    )
    credentials = Credentials(config.secrets.read, tokens, clock)
    caller = PartnerCaller(partners, http, credentials, clock.wall)
    output = Output(
        partners=partners,
        publisher=Publisher(store, PathTemplate(settings.output.path)),
        spool=spool,
        fence=fence,
        clock=clock,
        secrets_of=caller.secrets_of,
        publish_seconds=store.publish_seconds,
    )
    loop.attach(
        consumer=GroupConsumer(
            client,
            group=settings.kafka.prefix,
            instance_id=instance_id,
            session_timeout_seconds=session_seconds,
            on_assign=loop.on_assign,
            on_revoke=loop.on_revoke,
            on_lost=loop.on_lost,
            on_committed=loop.on_committed,
            max_poll_interval_seconds=max(300.0, 2 * workers.drain_seconds),
        ),
        records=Records(
            producer=producer, topics=topics, engine=engine, events=events, tally=tally
        ),
        executor=Executor(
            threads=workers.threads,
            caller=caller,
            engine=engine,
            events=events,
            fence=fence,
            clock=clock,
            hand=slot,
            log=tally,
            grant_seconds=engine_settings.grant_seconds,
        ),
        finishing=Finishing(output, engine, events, threads=store.threads),
        looking=Looking(output, engine, events, threads=store.threads),
        restorer=Restorer(
            make_reader=lambda: PartitionReader(client, group=settings.kafka.prefix),
            topics=topics,
            store_id=store.identity,
            engine=engine,
            events=events,
            is_wanted=loop.owns,
        ),
        tidier=Tidier(lambda: Admin(client), store, spool, clock.wall, events),
    )
    confirm = events.guarded(functools.partial(_confirm, producer))
    threading.Thread(target=confirm, name="confirm", daemon=True).start()
    return loop.run(sorted(partners))


def switch_seconds(partners: Iterable[Partner]) -> float:
    """Return how long a thread of a worker for these partners may keep the interpreter."""
    slacks = [slack_seconds(limit) for partner in partners for limit in partner.spec.limits]
    is_punctual = min(slacks, default=SLACK_SECONDS) < SLACK_SECONDS
    return PUNCTUAL_SWITCH_SECONDS if is_punctual else SWITCH_SECONDS


def _confirm(producer: Producer) -> NoReturn:
    """Serve the producer's callbacks; a failure of the client ends the worker in its loop."""
    while True:
        producer.poll(CONFIRM_SECONDS)
