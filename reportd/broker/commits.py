"""Which commit a result belongs to. Pure; used by `reportd.broker.consumer` alone.

The library's results carry no mark, and commits that were sent before a broker went away are
answered when it is back: such a result must never be taken for a later commit's.
"""

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError, TopicPartition

from reportd.broker.errors import translate
from reportd.errors import BrokerError


class CommitResult(NamedTuple):
    """What became of one partition's commit."""

    topic: str
    partition: int
    offset: int
    error: BrokerError | None


class SentCommits:
    """Commits without a result, oldest first; only the result of the last one matters."""

    def __init__(self) -> None:
        """Start with none."""
        self._sent: list[frozenset[tuple[str, int, int]]] = []
        self._last_is_open = False

    @property
    def last_is_open(self) -> bool:
        """Whether the last commit still waits."""
        return self._last_is_open

    def sent(self, parts: Iterable[TopicPartition]) -> None:
        """Note a commit: those before it matter no more."""
        self._sent.append(_content(parts))
        self._last_is_open = True

    def answered(self, parts: Iterable[TopicPartition]) -> bool:
        """Take a result; return whether it is the last commit's.

        Of two with the same content it is the first's: its age is never underrated.
        """
        content = _content(parts)
        if content not in self._sent:
            return False
        place = self._sent.index(content)
        is_last = self._last_is_open and place == len(self._sent) - 1
        del self._sent[place]
        self._last_is_open = self._last_is_open and not is_last
        return is_last


def results_of(parts: Iterable[TopicPartition], whole: KafkaError | None) -> list[CommitResult]:
    """Return each partition's result; ``whole`` is the error of the commit as a whole."""
    return [_result(part, part.error or whole) for part in parts]


def _result(part: TopicPartition, error: KafkaError | None) -> CommitResult:
    failed = translate(error, "commit") if error else None
    return CommitResult(part.topic, part.partition, part.offset, failed)


def _content(parts: Iterable[TopicPartition]) -> frozenset[tuple[str, int, int]]:
    return frozenset((part.topic, part.partition, part.offset) for part in parts)
