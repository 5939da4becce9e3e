"""What the broker can refuse, by what the caller does about it.

Every process. A `KafkaError` leaves this package only as one of these.
"""

from confluent_kafka import KafkaError, KafkaException

from reportd.broker.message import Part
from reportd.errors import BrokerError

_NOT_OWNER = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
    }
)
_FENCED_TEXT = "same group.instance.id"
"""A fatal error met in `poll` has lost its code: the broker's text is all that is left."""
_NO_ACCESS = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
_NOBODY_ANSWERS = frozenset(
    {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN}
)
_OUT_OF_RANGE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})


class NotOwnerError(BrokerError):
    """The partition is not this member's (any more): drop its work."""


class BrokerFatalError(BrokerError):
    """The client is finished: it counts as losing every partition; make a new process."""


class FencedInstanceError(BrokerFatalError):
    """Another process runs with this one's group instance id (a cloned machine id?)."""


class RecordTooLargeError(BrokerError):
    """The topic takes no record of this size: trying again would not mend it."""


class NoAccessError(BrokerError):
    """Broker and client do not let each other in: a credential, or a certificate."""


class OffsetOutOfRangeError(BrokerError):
    """A position to read from is no longer, or not yet, in the topic."""

    def __init__(self, topic: str, partition: int, reason: str) -> None:
        """Name the partition; the reason is the client's own text."""
        Exception.__init__(self, topic, partition, reason)
        self.part: Part = (topic, partition)

    def __str__(self) -> str:
        """One line."""
        return "{}[{}]: {}".format(*self.args)


def translate(error: KafkaError, what: str = "") -> BrokerError:
    """Return the error to raise for ``error``; ``what`` says what was being done."""
    code = error.code()
    text = f"{what}: {error.name()}: {error.str()}" if what else f"{error.name()}: {error.str()}"
    fatal = error.fatal() or code == KafkaError._FATAL
    if code == KafkaError.FENCED_INSTANCE_ID or (fatal and _FENCED_TEXT in text):
        return FencedInstanceError(text)
    if fatal:
        return BrokerFatalError(text)
    if code in _NOT_OWNER:
        return NotOwnerError(text)
    if code == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLargeError(text)
    if code in _NO_ACCESS:
        return NoAccessError(text)
    return BrokerError(text)


def translate_exception(error: KafkaException, what: str = "") -> BrokerError:
    """Return the error to raise for what the library raised."""
    first = error.args[0] if error.args else None
    if isinstance(first, KafkaError):
        return translate(first, what)
    return BrokerError(f"{what}: {error}" if what else str(error))


def is_unanswered(error: object) -> bool:
    """Tell whether an error says no more than that there was no answer; not why."""
    return isinstance(error, KafkaError) and error.code() in _NOBODY_ANSWERS


def is_out_of_range(error: KafkaError) -> bool:
    """Tell whether an offset to read from is not in the topic."""
    return error.code() in _OUT_OF_RANGE
