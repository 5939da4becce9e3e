"""What the observer makes of the broker's answers, and of their absence."""

from collections.abc import Iterable

import pytest

from reportd.broker.group import Group
from reportd.broker.message import Message, Part
from reportd.broker.reader import Committed
from reportd.broker.topics import Topics
from reportd.errors import BrokerError, Halt
from reportd.model.run import Manifest, TopicSpan
from reportd.model.vm import LimitUse, Vm
from reportd.observer.brokerwatch import BrokerWatch, Clients
from reportd.observer.neighbours import Neighbours

TOPICS = Topics("p")
WALL = 1_700_000_000.0


class Hands:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall(self) -> float:
        return WALL + self.now

    def monotonic(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now


class FakeBroker:
    """Cluster, mailboxes and outbox in one."""

    def __init__(self) -> None:
        self.away = False
        self.end = 10
        self.written: list[Vm] = []
        self.vms_waiting: list[Vm] = []
        self.closed = False
        self.runs: list[Message] = []
        self.members = {"me-0": frozenset({("p.requests.acme", 0)})}

    def clients(self) -> Clients:
        """Return the clients; all of them are this object."""
        return Clients(
            cluster=self,
            membership=self,
            vms=self,
            runs=Waiting(self.runs),
            outbox=self,
            close=self._close,
        )

    def group(self, group: str) -> Group:
        return Group(settled=True, members=self.members)

    def topics(self) -> dict[str, int]:
        if self.away:
            raise BrokerError("no broker")
        return {"p.requests.acme": 1}

    def group_offsets(self, group: str) -> dict[Part, Committed]:
        return {}

    def begin_offsets(self, parts: Iterable[Part]) -> dict[Part, int]:
        return dict.fromkeys(parts, 0)

    def end_offsets(self, parts: Iterable[Part]) -> dict[Part, int]:
        return dict.fromkeys(parts, self.end)

    def new(self) -> list[Message]:
        found, self.vms_waiting = self.vms_waiting, []
        return [Message("p.vms", 0, 0, None, vm.to_json()) for vm in found]

    def write(self, vm: Vm) -> None:
        self.written.append(vm)

    def flush(self, timeout_seconds: float) -> None:
        pass

    def _close(self) -> None:
        self.closed = True


class Waiting:
    """A mailbox with what came first."""

    def __init__(self, found: list[Message]) -> None:
        self._found = found

    def new(self) -> list[Message]:
        return self._found


def watch(broker: FakeBroker, clock: Hands) -> BrokerWatch:
    """Return a watch whose thread is never started."""
    me = Vm(machine="me", incarnation="i", started_at=WALL, shared=False)
    neighbours = Neighbours(me, lambda _pid, _started: False)
    return BrokerWatch(
        broker.clients, TOPICS, me, neighbours, clock, partners={"acme"}, drain_seconds=20.0
    )


def test_last_answer_stays_while_the_broker_is_away() -> None:
    """Offsets and their time stay as they were, the error is said, and goes when it is over."""
    broker, clock = FakeBroker(), Hands()
    watched = watch(broker, clock)
    watched.turn(broker.clients())
    broker.away, clock.now = True, 150.0
    watched.turn(broker.clients())

    sight = watched.sight()
    assert (sight.at, sight.error) == (100.0, "no broker")
    assert sight.offsets.lags["p.requests.acme", 0].lag == 10

    broker.away, broker.end = False, 30
    watched.turn(broker.clients())
    assert (watched.sight().at, watched.sight().error) == (150.0, "")
    assert watched.sight().offsets.lags["p.requests.acme", 0].lag == 30


def test_record_every_ten_seconds_and_goodbye() -> None:
    """This VM's record is renewed at its interval, and says "gone" at the end."""
    broker, clock = FakeBroker(), Hands()
    watched = watch(broker, clock)
    for second in range(0, 31, 3):
        clock.now = 100.0 + second
        watched.turn(broker.clients())
    watched.leave(broker.clients())

    assert [vm.at - WALL for vm in broker.written] == [100.0, 112.0, 124.0, 130.0]
    assert [vm.gone for vm in broker.written] == [False, False, False, True]
    assert broker.closed


@pytest.mark.parametrize("started_before", [True, False])
def test_later_of_two_goes(*, started_before: bool) -> None:
    """A living VM that was here before ends this daemon; one that came later does not."""
    broker, clock = FakeBroker(), Hands()
    watched = watch(broker, clock)
    started_at = WALL - 5 if started_before else WALL + 5
    other = Vm(machine="other", incarnation="o", started_at=started_at, at=clock.wall())
    broker.vms_waiting = [other]
    watched.turn(broker.clients())
    clock.now += 10.0
    broker.vms_waiting = [other.model_copy(update={"at": clock.wall()})]
    if not started_before:
        watched.turn(broker.clients())
        assert [vm.machine for vm in watched.sight().vms] == ["other"]
        return

    with pytest.raises(Halt) as halted:
        watched.turn(broker.clients())

    assert halted.value.status == 78
    assert "VM other is alive" in halted.value.reason


def test_worker_of_this_vm_joins_anew_when_nobody_has_a_partition() -> None:
    """Told with the time of the wish, and kept: the supervisor may look later."""
    broker, clock = FakeBroker(), Hands()
    watched = watch(broker, clock)
    broker.members = {"me-0": frozenset()}
    for second in range(0, 40, 3):
        clock.now = 100.0 + second
        watched.turn(broker.clients())

    assert watched.sight().unowned == {("p.requests.acme", 0)}
    assert watched.sight().joins_anew == ("worker-0", 130.0)

    broker.members = {"other-0": frozenset()}
    for second in range(40, 200, 3):
        clock.now = 100.0 + second
        watched.turn(broker.clients())
    assert watched.sight().joins_anew == ("worker-0", 130.0)


def run_of(partner: str, end: int) -> Message:
    """Return the manifest of a run of so many requests."""
    span = TopicSpan(topic=f"p.requests.{partner}", requests=end, spans={0: (0, end)})
    found = Manifest(
        run="daily/2023-11-14T04:00Z#1",
        requests=end,
        ids_hash="a",
        topics=[span],
        enqueued_at=WALL,
    )
    return Message("p.runs", 0, 0, None, found.to_json())


@pytest.mark.parametrize(
    ("partner", "members", "forsaken"),
    [
        ("gone", {}, {("p.requests.gone", 0): 7}),
        ("gone", {"other-0": frozenset({("p.requests.gone", 0)})}, {}),
        ("acme", {}, {}),
    ],
)
def test_requests_of_a_partner_that_was_removed_are_seen(
    partner: str, members: dict[str, frozenset[Part]], forsaken: dict[Part, int]
) -> None:
    """Nobody reads them, so their run is never over; but those that another VM's file has."""
    broker, clock = FakeBroker(), Hands()
    watched = watch(broker, clock)
    broker.members = members
    broker.runs = [run_of(partner, 7)]
    watched.turn(broker.clients())

    assert watched.sight().forsaken == forsaken


def test_what_a_vm_says_of_itself_is_in_its_next_record() -> None:
    """What its workers hold changes all the time; the record that it is gone says no more of it."""
    broker, clock = FakeBroker(), Hands()
    watched = watch(broker, clock)
    used = LimitUse(partner="acme", per="account")
    watched.say(Vm(machine="me", incarnation="i", limits=(used,)))
    watched.turn(broker.clients())
    watched.leave(broker.clients())

    assert [vm.limits for vm in broker.written] == [(used,), None]
    assert broker.written[0].at == clock.wall()
