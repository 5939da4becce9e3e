"""The observer's clients of the broker, as `BrokerWatch` and the check before the start use them.

Make them after the fork, in the thread that uses them.
"""

from reportd.broker.admin import Admin
from reportd.broker.message import Message, Part
from reportd.broker.producer import Producer
from reportd.broker.reader import PartitionReader
from reportd.broker.settings import ClientSettings
from reportd.broker.topics import Topics
from reportd.model.vm import Vm
from reportd.observer.brokerwatch import Clients

ANSWER_SECONDS = 10.0
"""How long one question to the broker may take."""


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
