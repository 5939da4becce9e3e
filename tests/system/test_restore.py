"""Nothing is backed up but configuration: what is lost is found again where the rest of it lies."""

from dataclasses import replace

from reportd.broker.admin import Admin
from reportd.broker.reader import PartitionReader
from reportd.broker.topics import topic_plans
from reportd.demo.books import KafkaBooks, Ledgers
from tests.system.stage import Feeder, Stage, stopped, until

REQUESTS = 40


def test_kafka_is_lost(stage: Stage) -> None:
    """In an empty Kafka the same slots are enqueued again: what has its files is not asked again.

    Another prefix is another Kafka: its topics are empty, and nobody has committed anything.
    """
    vm = stage.start(stage.vm("vm-a"))
    Feeder(stage, REQUESTS).feed()
    until(stage.all_ended, "every request to end")
    stopped(vm)
    calls = len(stage.simulator.calls())
    assert calls == REQUESTS

    prefix = f"{stage.prefix}-new"
    counts = {name: partner.partitions for name, partner in stage.partners.items()}
    Admin(stage.client).create(topic_plans(prefix, counts, replication=1))
    again = replace(
        stage,
        prefix=prefix,
        books=KafkaBooks(stage.kafka.servers, prefix, sorted(stage.partners)),
        reader=PartitionReader(stage.client, group=prefix),
        vms={},
        requests={},
        parts_of={},
        ledgers=Ledgers(),
    )
    try:
        for request in stage.requests.values():
            again.write(request)
        again.confirm()
        vm = again.start(again.vm("vm-b"))
        until(again.all_ended, "every request to end once more")
        stopped(vm)

        assert len(again.simulator.calls()) == calls
        broken = again.broken()
        assert not broken, "\n".join(map(str, broken))
    finally:
        again.close()
