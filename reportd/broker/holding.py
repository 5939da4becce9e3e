"""Which partitions a consumer holds, and where it reads them. Used by `GroupConsumer` alone.

The library starts and stops partitions in its own time: what it is not ready for yet is kept here
and asked again at every `serve`.
"""

from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from reportd.broker.errors import translate_exception
from reportd.broker.message import Part

_NOT_READY = frozenset({KafkaError._STATE, KafkaError._PREV_IN_PROGRESS})


class Holding:
    """The assignment of one consumer. Every method may raise `BrokerError`."""

    def __init__(self, consumer: Consumer) -> None:
        """Hold nothing yet."""
        self._consumer = consumer
        self._parts: set[Part] = set()
        self._paused: set[Part] = set()
        self._starts: dict[Part, int] = {}
        self._to_resume: set[Part] = set()
        self._stopped: set[Part] = set()
        self._unstarted: set[Part] = set()

    @property
    def parts(self) -> frozenset[Part]:
        """All that is held."""
        return frozenset(self._parts)

    @property
    def paused(self) -> frozenset[Part]:
        """What of it delivers nothing."""
        return frozenset(self._paused)

    @property
    def is_starting(self) -> bool:
        """Whether a start still waits for the library."""
        return bool(self._starts)

    def take(self, parts: Iterable[Part]) -> None:
        """Add partitions, paused; nothing is delivered before `start_at` and `resume`.

        At offset 0, kept or not: a partition without a commit would be an error otherwise, and the
        library asks the broker for a logical offset, repeats the question when the answer comes
        after a seek, and then moves there (librdkafka 2.16, rd_kafka_toppar_handle_Offset).
        """
        new = [part for part in parts if part not in self._parts]
        if not new:
            return
        at_zero = [TopicPartition(*part, 0) for part in new]
        _call("assign", lambda: self._consumer.incremental_assign(at_zero))
        _call("pause", lambda: self._consumer.pause(_plain(new)))
        self._parts.update(new)
        self._paused.update(new)
        self._unstarted.update(new)

    def drop(self, parts: Iterable[Part]) -> None:
        """Let go of partitions; those that are not held are passed over."""
        held = [part for part in parts if part in self._parts]
        if not held:
            return
        kinds = self._parts, self._paused, self._to_resume, self._stopped, self._unstarted
        for kind in kinds:
            kind.difference_update(held)
        for part in held:
            self._starts.pop(part, None)
        _call("unassign", lambda: self._consumer.incremental_unassign(_plain(held)))

    def start_at(self, part: Part, offset: int) -> None:
        """Say where reading begins, or goes on; what was fetched already is dropped."""
        if part in self._parts:
            self._starts[part] = offset
            self._unstarted.discard(part)
            self.serve()

    def pause(self, parts: Iterable[Part]) -> None:
        """Deliver nothing of these."""
        changed = [part for part in parts if part in self._parts and part not in self._paused]
        if changed:
            _call("pause", lambda: self._consumer.pause(_plain(changed)))
            self._paused.update(changed)
            self._to_resume.difference_update(changed)

    def resume(self, parts: Iterable[Part]) -> None:
        """Deliver these again, each from where it is to start."""
        changed = {part for part in parts if part in self._paused}
        self._paused -= changed
        waiting = changed & self._starts.keys()
        self._to_resume |= waiting
        ready = changed - waiting
        if ready:
            _call("resume", lambda: self._consumer.resume(_plain(ready)))

    def has_stopped(self, part: Part) -> bool:
        """Note that the library met an error in a partition: it reads no more of it.

        Return whether that concerns anybody: not while a start is still to come, for the error may
        be of a fetch from offset 0.
        """
        if part in self._parts:
            self._stopped.add(part)
        return part not in self._unstarted and part not in self._starts

    def serve(self) -> None:
        """Start what waits for it, as far as the library is ready."""
        for part, offset in list(self._starts.items()):
            try:
                self._start(part, offset)
            except KafkaException as error:
                if error.args[0].code() in _NOT_READY:
                    continue
                raise translate_exception(error, f"seek {part[0]}[{part[1]}]") from error
            del self._starts[part]
            if part in self._to_resume:
                self._to_resume.remove(part)
                self._consumer.resume(_plain([part]))

    def _start(self, part: Part, offset: int) -> None:
        at = TopicPartition(*part, offset)
        if part not in self._stopped:
            self._consumer.seek(at)
            return
        # It does not seek any more what it met an error in: the partition has to be new to it
        self._consumer.incremental_unassign([at])
        self._consumer.incremental_assign([at])
        if part in self._paused or part in self._to_resume:
            self._consumer.pause([at])
        self._stopped.remove(part)


def _plain(parts: Iterable[Part]) -> list[TopicPartition]:
    return [TopicPartition(*part) for part in parts]


def _call(what: str, action: Callable[[], None]) -> None:
    try:
        action()
    except KafkaException as error:
        raise translate_exception(error, what) from error
