"""What became of a run, added up from its ends."""

from functools import reduce
from operator import xor
from typing import Any

import pytest

from reportd.model.ledger import End, EndState, PublishedFile
from reportd.model.run import Manifest, TopicSpan
from reportd.observer.run_sum import Missing, RunSum

RUN = "daily/2026-11-22T04:00Z#1"
REQUESTS = "p.requests.acme"
DAYS = ("2026-11-19", "2026-11-21")


def an_id(number: int) -> str:
    """Return the id of the n-th request."""
    return f"{number * 0x1F3D5B79_12345671 % 2**64:016x}{number:016x}"


def manifest(count: int, account_days: int = 0) -> Manifest:
    """Return a run of so many requests, at offsets from 10 on."""
    hashed = reduce(xor, (int(an_id(number)[:16], 16) for number in range(count)), 0)
    return Manifest(
        run=RUN,
        requests=count,
        ids_hash=f"{hashed:016x}",
        topics=[TopicSpan(topic=REQUESTS, requests=count, spans={0: (10, 10 + count)})],
        account_days={"acme.stats": account_days or 3 * count},
        enqueued_at=1.0,
    )


def files(**more: Any) -> tuple[PublishedFile, ...]:
    """Return one file a day."""
    given: dict[str, Any] = {"format": "parquet", "rows": 5, "bytes": 100, "checksum": "c"} | more
    days = ("2026-11-19", "2026-11-20", "2026-11-21")
    return tuple(PublishedFile(path=day, day=day, **given) for day in days)


def end(number: int, state: EndState = "result", **more: Any) -> End:
    """Return the end of the n-th request, three days of one account."""
    given: dict[str, Any] = {
        "id": an_id(number),
        "topic": REQUESTS,
        "offset": 10 + number,
        "state": state,
        "run": RUN,
        "account": f"a{number}",
        "report": "stats",
        "first_day": DAYS[0],
        "last_day": DAYS[1],
        "files": files() if state == "result" else (),
        "calls": 1,
        "started_at": 100.0 + number,
        "ended_at": 200.0 + number,
        "reason": "permanent: HTTP 404" if state == "dead" else "",
    }
    return End(**(given | more))


def summed(count: int, *ends: End, account_days: int = 0) -> RunSum:
    """Return the sum of some ends of a run of so many requests."""
    total = RunSum(manifest(count, account_days))
    for one in ends:
        total.add("acme", 0, one)
    return total


def test_all_results() -> None:
    """Every request has brought its days: nothing is missing."""
    total = summed(2, end(0), end(1, files=files(provisional=True, unchanged=True)))
    covered = total.reports()["acme.stats"]

    assert total.is_whole()
    assert (covered.expected, covered.missing, covered.provisional) == (6, 0, 3)
    assert (covered.files, covered.unchanged, covered.rows, covered.bytes) == (6, 3, 30, 600)
    assert (total.first_call_at, total.last_end_at) == (100.0, 201.0)
    assert total.asked_by_day() == {
        ("acme", "stats"): {"2026-11-19": 2, "2026-11-20": 2, "2026-11-21": 2}
    }


def test_an_open_request_and_it_is_not_whole() -> None:
    """However many ends there are: by their ids."""
    assert not summed(2, end(0)).is_whole()
    assert not summed(2, end(0), end(0)).is_whole()
    assert not summed(2, end(0), end(2)).is_whole()


@pytest.mark.parametrize("state", ["dead", "cancelled"])
def test_what_brought_nothing_is_missing(state: EndState) -> None:
    """With its account, its days, and why; a superseded one is there: a newer run's."""
    total = summed(3, end(0), end(1, state), end(2, "superseded"))
    why = "permanent" if state == "dead" else "cancelled"

    assert total.is_whole()
    assert total.missing() == [Missing("acme", "stats", "a1", *DAYS, why, an_id(1))]
    covered = total.reports()["acme.stats"]
    assert (covered.expected, covered.missing) == (9, 3)


def test_first_end_of_a_life_counts() -> None:
    """A second one, as a crash leaves it, is passed over."""
    total = summed(1, end(0), end(0, "dead"), end(0))

    assert dict(total.states) == {"result": 1}
    assert total.reports()["acme.stats"].files == 3


def test_a_replay_mends() -> None:
    """The later life counts in place of the dead one, once, wherever it lies."""
    replayed = end(0, replay=1, offset=99)
    total = summed(1, end(0, "dead"), end(0, "dead"), replayed, replayed)

    assert total.is_whole()
    assert total.missing() == []
    assert {state: n for state, n in total.states.items() if n} == {"result": 1}
    assert total.reports()["acme.stats"].files == 3


def test_a_replay_may_die_again() -> None:
    """It is missing still, once, until one of its lives brings something."""
    total = summed(
        1, end(0, "dead"), end(0, "dead", replay=1, offset=50), end(0, replay=2, offset=60)
    )

    assert total.missing() == []
    assert total.states["dead"] == 0


REFUSED: dict[str, Any] = {
    "id": f"poison-{REQUESTS}-0-11",
    "stands_for": an_id(1),
    "reason": "poison: report: this partner has no such report",
}


def test_a_request_that_was_refused_is_missing() -> None:
    """The partner's file has changed since it was asked for: the run is over all the same."""
    total = summed(2, end(0), end(1, "dead", **REFUSED))

    assert total.is_whole()
    assert [(one.account, one.why) for one in total.missing()] == [("a1", "poison")]


@pytest.mark.parametrize("replay", [0, 1])
def test_what_is_right_counts_in_place_of_what_was_refused(replay: int) -> None:
    """A replay when the file is right again, or another message of the same request."""
    total = summed(2, end(0), end(1, "dead", **REFUSED), end(1, replay=replay, offset=70))

    assert (total.is_whole(), total.missing(), total.states["dead"]) == (True, [], 0)


def test_moved_requests_count_wherever_they_lie() -> None:
    """A message that was forwarded ends in another partition, at another offset."""
    total = RunSum(manifest(2))
    total.add("acme", 0, end(0))
    total.add("acme", 3, end(1, offset=7000))

    assert total.is_whole()


def test_strangers_do_not_keep_it_open() -> None:
    """Requests that somebody adds behind the manifest's offsets do not matter for its end."""
    assert summed(2, end(0), end(1), end(7, offset=500)).is_whole()


def test_overlaps_count_once() -> None:
    """Account-days are counted, not requests: two that overlap cover five days."""
    other: dict[str, Any] = {"first_day": "2026-11-17", "last_day": "2026-11-19", "account": "a0"}
    total = summed(2, end(0), end(1, **other), account_days=5)

    covered = total.reports()["acme.stats"]
    assert (covered.expected, covered.missing) == (5, 0)


def test_what_was_not_asked_for_is_missing() -> None:
    """The manifest expects more account-days than there are requests for."""
    total = summed(1, end(0), account_days=9)

    assert total.unasked() == {("acme", "stats"): 6}
    covered = total.reports()["acme.stats"]
    assert (covered.expected, covered.missing) == (9, 6)
    assert total.asks_for("acme", "stats", "a0")
    assert not total.asks_for("acme", "stats", "a1")
    assert total.range_of("acme", "stats") == DAYS


def test_ends_of_an_older_version() -> None:
    """They have no days: a result's files tell them, a dead one's may be any of the report's."""
    old: dict[str, Any] = {"first_day": "", "last_day": ""}
    total = summed(2, end(0, **old), end(1, "dead", **old), account_days=3)

    assert total.asked_by_day()["acme", "stats"]["2026-11-20"] == 1
    assert [(one.first_day, one.last_day) for one in total.missing()] == [DAYS]
