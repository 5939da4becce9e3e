"""The observer's clients and its broker thread against a real broker."""

from collections.abc import Callable, Iterator

import pytest

from reportd.broker.admin import Admin
from reportd.broker.producer import Producer
from reportd.broker.settings import ClientSettings, client_settings
from reportd.broker.topics import Topics, topic_plans
from reportd.clock import Clock, SystemClock
from reportd.config.settings import KafkaSettings
from reportd.demo.kafka import EmbeddedKafka
from reportd.model.vm import Vm
from reportd.observer.brokerwatch import BrokerWatch, Clients
from reportd.observer.clients import connect
from reportd.observer.neighbours import Neighbours

Connect = Callable[[], Clients]


@pytest.fixture
def settings(kafka: EmbeddedKafka) -> ClientSettings:
    """Return the settings of clients."""
    return client_settings(KafkaSettings(servers=kafka.servers))


@pytest.fixture
def topics(settings: ClientSettings, topic_prefix: str) -> Topics:
    """Make the topics of one partner with two partitions."""
    Admin(settings).create(topic_plans(topic_prefix, {"acme": 2}, 1))
    return Topics(topic_prefix)


@pytest.fixture
def make(settings: ClientSettings, topics: Topics) -> Iterator[Connect]:
    """Give a maker of clients, all closed at the end."""
    made: list[Clients] = []

    def connected() -> Clients:
        made.append(connect(settings, topics))
        return made[-1]

    yield connected
    for clients in made:
        clients.close()


def test_records_travel_once(make: Connect) -> None:
    """A VM's record reaches another's mailbox, and each reading goes on from the last."""
    here, there = make(), make()
    assert there.vms.new() == []
    here.outbox.write(Vm(machine="a", incarnation="i", at=1.0))
    here.outbox.flush(10)

    assert [Vm.from_json(found.value).machine for found in there.vms.new()] == ["a"]
    assert there.vms.new() == []
    here.outbox.write(Vm(machine="a", incarnation="i", at=2.0))
    here.outbox.flush(10)
    assert [Vm.from_json(found.value).at for found in there.vms.new()] == [2.0]


def watch_of(
    make: Connect, topics: Topics, me: Vm, neighbours: Neighbours, clock: Clock
) -> BrokerWatch:
    """Return a watch of acme's topics."""
    return BrokerWatch(make, topics, me, neighbours, clock, partners={"acme"}, drain_seconds=20.0)


def test_watch_sees_lag_and_neighbours(
    make: Connect, settings: ClientSettings, topics: Topics
) -> None:
    """One turn finds the ends of the partner's topics, and the VMs that wrote."""
    producer = Producer(settings)
    for number in range(5):
        producer.send(topics.requests("acme"), b"{}", partition=1, key=b"%d" % number)
    assert producer.flush(10) == 0
    clock = SystemClock()
    other = make()
    other.outbox.write(Vm(machine="b", incarnation="j", at=clock.wall(), shared=True))
    other.outbox.flush(10)
    me = Vm(machine="a", incarnation="i", shared=True)
    clients = make()
    neighbours = Neighbours(me, lambda _pid, _at: False)
    watch = watch_of(make, topics, me, neighbours, clock)
    watch.turn(clients)

    sight = watch.sight()
    assert sight.error == ""
    lags = {part: lag.lag for part, lag in sight.offsets.lags.items()}
    assert lags == {
        (topics.requests("acme"), 0): 0,
        (topics.requests("acme"), 1): 5,
        (topics.backfill("acme"), 0): 0,
        (topics.backfill("acme"), 1): 0,
    }
    assert [vm.machine for vm in sight.vms] == ["b"]


def test_thread_says_goodbye(make: Connect, topics: Topics) -> None:
    """The thread writes this VM's record, and at its stop that it is gone."""
    me = Vm(machine="a", incarnation="i", shared=True)
    neighbours = Neighbours(me, lambda _pid, _at: False)
    watch = watch_of(make, topics, me, neighbours, SystemClock())
    watch.start()
    watch.stop()
    watch.sight()

    written = [Vm.from_json(found.value) for found in make().vms.new()]
    assert [vm.gone for vm in written] in ([False, True], [True])
    assert written[-1].machine == "a"
