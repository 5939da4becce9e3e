"""The observer's clients of the broker, as `BrokerWatch` and the check before the start use them.

Make them after the fork, in the thread that uses them.
"""

from reportd.broker.admin import Admin
from reportd.broker.message import Message, Part
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import Topics
from reportd.model.run import Finished, finished_key
from reportd.model.vm import Vm
from reportd.observer.brokerwatch import Clients
from reportd.observer.finisher import FinisherClients
from reportd.observer.run_reader import RunReader
from reportd.sinks.store import Marks

ANSWER_SECONDS = 10.0
"""How long one question to the broker may take."""
CONFIRM_SECONDS = 30.0
LEDGER_BYTES = 4 * 1024 * 1024
"""What is read ahead of a ledger: it is read once a run."""


class TopicMailbox:
    """A compacted topic of one partition; reads on from where it was."""

    def __init__(self, reader: PartitionReader, topic: str) -> None:
        """Start at the topic's beginning."""
        self._reader = reader
        self._part: Part = (topic, 0)
        self._position = 0

    def new(self) -> list[Message]:
        """Return what has come; raises `BrokerError`."""
        low, high = self._reader.watermarks(self._part)
        start = low if self._position > high else max(self._position, low)  # made anew?
        found = list(self._reader.read(self._part, start, high))
        self._position = high
        return found


class VmOutbox:
    """Writes this VM's record to the topic ``vms``."""

    def __init__(self, producer: Producer, topic: str) -> None:
        """Write with ``producer``."""
        self._producer = producer
        self._topic = topic

    def write(self, vm: Vm) -> None:
        """Send the record, unless an earlier one still waits for the broker."""
        self._producer.poll(0.0)
        if len(self._producer) == 0:
            self._producer.send(self._topic, vm.to_json(), key=vm.machine.encode(), partition=0)

    def flush(self, timeout_seconds: float) -> None:
        """Wait until it is there, or for the timeout."""
        self._producer.flush(timeout_seconds)


def connect(settings: ClientSettings, topics: Topics) -> Clients:
    """Make the clients; nothing is asked yet."""
    reader = PartitionReader(
        settings,
        group=topics.prefix,
        timeout_seconds=ANSWER_SECONDS,
        prefetch_bytes=1024 * 1024,
    )
    admin = Admin(settings, timeout_seconds=ANSWER_SECONDS)
    return Clients(
        cluster=admin,
        membership=admin,
        vms=TopicMailbox(reader, topics.vms),
        runs=TopicMailbox(reader, topics.runs),
        outbox=VmOutbox(Producer(settings), topics.vms),
        close=reader.close,
    )


def connect_finisher(settings: ClientSettings, topics: Topics, marks: Marks) -> FinisherClients:
    """Make the clients of the thread that sees to runs; nothing is asked yet."""
    reader = PartitionReader(
        settings,
        group=topics.prefix,
        timeout_seconds=ANSWER_SECONDS,
        prefetch_bytes=LEDGER_BYTES,
    )
    producer = Producer(settings)

    def write(record: Finished) -> None:
        producer.write(
            topics.runs,
            record.to_json(),
            key=finished_key(record.run).encode(),
            timeout_seconds=CONFIRM_SECONDS,
        )

    admin = Admin(settings, timeout_seconds=ANSWER_SECONDS)
    return FinisherClients(
        ledgers=RunReader(reader, admin, topics),
        write=write,
        marks=marks,
        close=reader.close,
    )
