"""The look before the start, and before each reload: whether it can run here, now.

Runs in a short-lived child of the supervisor, which opens no connection itself. Whatever is wrong
leaves as one error: `ConfigError` (78) or `UnavailableError` (75), worded for the operator.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from reportd.broker.errors import NoAccessError
from reportd.broker.settings import client_settings, library_problems
from reportd.broker.topics import Topics, problems_of_topics
from reportd.clock import Clock
from reportd.config.load import Config
from reportd.config.settings import PER_PARTITION, WorkerSettings
from reportd.errors import BrokerError, ConfigError, InvalidMessageError, UnavailableError
from reportd.model.vm import Vm
from reportd.observer.brokerwatch import Clients, Mailbox, Outbox
from reportd.observer.clients import connect
from reportd.observer.machine import is_running
from reportd.observer.neighbours import LIVE_SECONDS, Neighbours
from reportd.observer.web import probe_port, tls_context
from reportd.worker.opening import open_output

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0
SAY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What the look found; travels to the supervisor as JSON."""

    workers: int
    """How many to fork here."""
    partitions: int
    """Of all partners' requests topics."""
    store: str
    """The output's id."""
    config: str
    """The hash of the configuration that was looked at."""


def preflight(
    config: Config, partners: Collection[str], me: Vm, clock: Clock, *, listens: str = ""
) -> Preflight:
    """Look at everything the daemon needs; raises for the first thing that is not right.

    ``listens`` is the address this daemon's own observer has already: it is not asked again;
    empty: the daemon only starts, and others are told so before it looks.
    Blocks for seconds, and up to `LIVE_SECONDS` when another VM may stand in the way.
    """
    settings = config.settings
    if not partners:
        raise ConfigError(
            f"{settings.partners_folder}: no partner; put one file a partner there (see "
            "docs/partners.rst)"
        )
    tls_context(settings.metrics)
    if settings.metrics.listen != listens:
        probe_port(settings.metrics)
    store = open_output(settings.output)
    store.probe()
    client = client_settings(settings.kafka)
    if problems := library_problems(client):
        raise ConfigError(*(f"{config.path}: kafka: {problem}" for problem in problems))
    topics = Topics(settings.kafka.prefix)
    clients = connect(client, topics)
    try:
        present = _topics(clients, settings.kafka.servers)
        if problems := problems_of_topics(present, topics.prefix, sorted(partners)):
            raise UnavailableError(
                "\n".join([*problems, "make what is missing with 'reportctl topics create'"])
            )
        me = me.model_copy(update={"store": store.identity, "shared": settings.output.shared})
        if not listens:
            say_starting(clients.outbox, me, clock)
        pause = threading.Event().wait  # nothing ever sets it: a bounded wait
        meet_neighbours(clients.vms, Neighbours(me, is_running), clock, pause)
    finally:
        clients.close()
    partitions = sum(present[topics.requests(partner)] for partner in partners)
    return Preflight(
        workers=worker_count(settings.workers, partitions),
        partitions=partitions,
        store=store.identity,
        config=config.config_hash,
    )


def worker_count(workers: WorkerSettings, partitions: int) -> int:
    """Return how many workers this VM forks: its part of the partitions, at least one."""
    if workers.processes == PER_PARTITION:
        wanted = math.ceil(partitions / workers.vms)
        return max(1, min(wanted, workers.max_processes))
    return int(workers.processes)


def say_starting(outbox: Outbox, me: Vm, clock: Clock) -> None:
    """Tell the others that this VM is about to start; see `reportd.observer.neighbours`."""
    try:
        outbox.write(me.model_copy(update={"at": clock.wall(), "starting": True}))
        outbox.flush(SAY_SECONDS)
    except BrokerError as error:
        raise UnavailableError(f"cannot write to the topic vms: {error}") from error


def meet_neighbours(
    vms: Mailbox, neighbours: Neighbours, clock: Clock, pause: Callable[[float], object]
) -> None:
    """See whether a living VM forbids this one to run; raises `ConfigError`.

    A record alone proves nothing: whoever would forbid it is watched until the record moves on
    or has not for `LIVE_SECONDS`.
    """
    deadline = clock.monotonic() + LIVE_SECONDS
    said = False
    while True:
        now, wall = clock.monotonic(), clock.wall()
        for message in vms.new():
            try:
                neighbours.see(Vm.from_json(message.value), now)
            except InvalidMessageError as error:
                logger.debug("a record of vms: %s", error, extra={"action": "vm_unreadable"})
        if refusals := neighbours.refusals(now, wall):
            raise ConfigError(refusals[0].reason)
        doubts = neighbours.doubts(now, wall)
        if not doubts or now >= deadline:
            return
        if not said:
            said = True
            logger.info(
                "waiting up to %.0f s to see whether VM %s is alive",
                LIVE_SECONDS,
                doubts[0].machine,
                extra={"action": "vm_in_doubt"},
            )
        pause(LOOK_AGAIN_SECONDS)


def _topics(clients: Clients, servers: str) -> Mapping[str, int]:
    try:
        return clients.cluster.topics()
    except NoAccessError as error:
        raise UnavailableError(
            f"broker {servers}: lets nobody in like this (see kafka = {{ sasl.*, ssl.* }}): {error}"
        ) from error
    except BrokerError as error:
        raise UnavailableError(f"broker {servers}: not reachable: {error}") from error
