"""A VM that was stopped for good leaves the group: others read its partitions at once.

Composed here for ``reportctl leave``. Whether the VM may be taken out is decided by what it said
of itself in the topic ``vms``: one that lives would be fenced, and one that only sleeps might
still publish for as long as its lease lasts.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from reportd.broker.admin import Admin
from reportd.broker.departure import remove_members
from reportd.broker.settings import client_settings
from reportd.broker.topics import Topics
from reportd.config.load import Config
from reportd.errors import ConfigError, InvalidMessageError
from reportd.model.vm import Vm
from reportd.observer.clients import connect
from reportd.observer.machine import is_running
from reportd.observer.neighbours import IsRunning

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Departure:
    """Who left, and how long it took until others had their partitions."""

    members: tuple[str, ...]
    seconds: float = 0.0


def depart(config: Config, partners: Collection[str], me: Vm, *, force: bool) -> Departure:
    """Take the VM ``me.machine`` out of the group.

    Raises `ConfigError` if it may be alive (``force``: somebody knows that it is not) and
    `BrokerError`.
    """
    settings = config.settings
    topics = Topics(settings.kafka.prefix)
    client = client_settings(settings.kafka)
    group = topics.prefix
    members = members_of(me.machine, Admin(client).static_members(group))
    if not members:
        return Departure(())
    clients = connect(client, topics)
    try:
        records = [message.value for message in clients.vms.new()]
    finally:
        clients.close()
    reason = objection(me, _vms(records, me.machine), is_running)
    if reason and not force:
        raise ConfigError(reason)
    seconds = remove_members(
        client,
        group=group,
        instance_ids=members,
        topics=[topics.requests(partner) for partner in partners],
        session_timeout_seconds=settings.workers.session_timeout_seconds,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    return Departure(members, seconds)


def members_of(machine: str, instance_ids: Iterable[str]) -> tuple[str, ...]:
    """Return which members of the group are a VM's workers."""
    own = re.compile(rf"{re.escape(machine)}-\d+")
    return tuple(sorted(name for name in instance_ids if own.fullmatch(name)))


def objection(me: Vm, records: Iterable[Vm], is_running: IsRunning) -> str:
    """Return why a VM must not be taken out of the group; empty: its daemon has certainly ended.

    ``me`` is this process on this machine, with the other's machine id; ``records`` are what that
    machine said of itself, oldest first.
    """
    lives = {vm.incarnation: vm for vm in records}  # the newest record of each
    if not lives:
        return f"VM {me.machine} never told of itself; if it is certainly off, add --force"
    here = [vm for vm in lives.values() if me.boot and _place(vm) == _place(me)]
    for vm in here:
        if not vm.gone and is_running(vm.pid, vm.pid_started):
            return f"reportd still runs here (pid {vm.pid}): stop it first"
    newest = max(lives.values(), key=lambda vm: vm.at)
    if newest.gone or newest in here:
        return ""
    return (
        f"VM {me.machine} has not said that it stopped: it may only sleep, and publish when it "
        "wakes. Its session ends by itself; if it is certainly off, add --force"
    )


def _place(vm: Vm) -> tuple[str, str]:
    return vm.boot, vm.namespace


def _vms(values: Iterable[bytes], machine: str) -> list[Vm]:
    found = []
    for value in values:
        try:
            vm = Vm.from_json(value)
        except InvalidMessageError:
            continue
        if vm.machine == machine:
            found.append(vm)
    return found
