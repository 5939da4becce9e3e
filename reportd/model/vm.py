"""A VM of the group, as it says of itself: one record of the topic ``vms``, key = machine id."""

from typing import Literal

from reportd.model.base import Record


class LimitUse(Record):
    """How much of one limit a worker uses, or all of a VM."""

    partner: str
    per: str
    scopes: int = 0
    """How many are in use."""
    share: float = 0.0
    """Of the busiest scope."""
    busiest: str = ""
    waiting: int = 0
    """Requests that wait for scopes of this kind."""
    workers: tuple[str, ...] = ()
    """Who holds it, of a VM."""


class QuotaLeft(Record):
    """The scope of a partner's quotas with the least left, of a worker or a VM."""

    partner: str
    per: str = ""
    value: str = ""
    calls: float = 0.0
    resets_at: float = 0.0
    """Epoch seconds."""


class Vm(Record):
    """What one daemon tells the others every ten seconds, and once more when it stops."""

    v: Literal[1] = 1
    machine: str
    incarnation: str
    """A UUID of this daemon's life: a restart is another one."""
    boot: str = ""
    """The kernel's boot id: equal in the containers of one host."""
    namespace: str = ""
    """The process ids' namespace: within it and one boot, ``pid`` means one process."""
    pid: int = 0
    """The supervisor's."""
    pid_started: int = 0
    """When that process started, in the kernel's ticks since boot: pids are used again."""
    slots: int = 0
    """Worker processes."""
    store: str = ""
    """The output's id."""
    shared: bool = False
    """Whether the output is configured as one that every VM sees."""
    config: str = ""
    """The configuration's hash."""
    started_at: float = 0.0
    at: float = 0.0
    """Epoch seconds of this record."""
    starting: bool = False
    """It is looking whether it may run: of several that do, the first in the topic goes first."""
    gone: bool = False
    """The daemon has stopped."""
    limits: tuple[LimitUse, ...] | None = None
    """What of its limits is used, the busiest first; None: it does not say."""
    quotas: tuple[QuotaLeft, ...] = ()
