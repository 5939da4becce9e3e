"""An old commit's result never counts as a newer one's."""

from confluent_kafka import KafkaError, TopicPartition

from reportd.broker.commits import SentCommits, results_of
from reportd.broker.errors import NotOwnerError
from reportd.errors import BrokerError


def parts(offset: int) -> list[TopicPartition]:
    return [TopicPartition("requests", 0, offset), TopicPartition("requests", 1, offset)]


def test_one_commit_has_one_result() -> None:
    """And nothing waits any more."""
    commits = SentCommits()
    commits.sent(parts(1))

    assert commits.last_is_open
    assert commits.answered(parts(1))
    assert not commits.last_is_open


def test_an_older_commits_result_is_passed_over() -> None:
    """The broker was away, and answers all when it is back."""
    commits = SentCommits()
    commits.sent(parts(1))
    commits.sent(parts(2))

    assert not commits.answered(parts(1))
    assert commits.last_is_open
    assert commits.answered(parts(2))


def test_equal_commits_are_answered_in_order() -> None:
    """Every ten seconds the same is committed: the first result is the first one's."""
    commits = SentCommits()
    commits.sent(parts(1))
    commits.sent(parts(1))

    assert not commits.answered(parts(1))
    assert commits.answered(parts(1))


def test_a_late_result_is_nobodys() -> None:
    """What is answered after the last one was, and what was never sent, changes nothing."""
    commits = SentCommits()
    commits.sent(parts(1))
    commits.sent(parts(2))

    assert commits.answered(parts(2))
    assert not commits.answered(parts(1))
    assert not commits.answered(parts(3))
    assert not commits.last_is_open


def test_the_order_of_partitions_does_not_matter() -> None:
    """The library sorts them as it likes."""
    commits = SentCommits()
    commits.sent(parts(1))

    assert commits.answered(reversed(parts(1)))


def test_an_error_of_the_whole_is_each_partitions() -> None:
    """Refused as a whole: no partition counts as committed."""
    error = KafkaError(KafkaError.ILLEGAL_GENERATION)

    results = results_of(parts(4), error)

    assert [(one.partition, one.offset, type(one.error)) for one in results] == [
        (0, 4, NotOwnerError),
        (1, 4, NotOwnerError),
    ]


def test_a_refusal_that_may_mend_is_no_loss() -> None:
    """A coordinator that is away has not given the partition to anybody."""
    results = results_of(parts(4), KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE))

    assert {type(one.error) for one in results} == {BrokerError}
