"""What a worker shows of itself, and what it counts."""

from typing import Any

import orjson
import pytest

from reportd.broker.message import Message
from reportd.limits.limiter import LimitRule
from reportd.metrics import Metrics
from reportd.model.control import Control
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.exchange import Answer
from reportd.worker import snapshot as module
from reportd.worker.actions import Finish, StartCall
from reportd.worker.circuits import OUTAGE_FAILURES
from reportd.worker.snapshot import snapshot
from reportd.worker.tally import Tally
from tests.unit.worker.hands import FILE, Hands
from tests.unit.worker.making import REQUESTS, WALL, end, entry, message, request


def shown(hands: Hands) -> dict[str, Any]:
    """Return the snapshot as the observer reads it."""
    found: dict[str, Any] = orjson.loads(snapshot(hands.engine, hands.fence, hands.now))
    return found


def test_open_requests_are_counted_by_state() -> None:
    """Called, backing off, scheduled: each in its state; finished ones not at all."""
    hands = Hands()
    hands.own()
    hands.put(*(message(request(account), n) for n, account in enumerate("abc")))
    hands.put(message(request("d", not_before=WALL + 1e6), 7))
    hands.answer(hands.calls[0], Verdict(outcome=Outcome.TRANSIENT, wait_seconds=99.0))
    hands.answer(hands.calls[0])
    found = shown(hands)

    assert found["partitions"][0] == {
        "topic": REQUESTS, "partition": 0, "partner": "acme", "position": 8,
        "committed": 0, "open": 3, "most_open": 0, "oldest_open": WALL,
        "states": {"backoff": 1, "in_flight": 1, "scheduled": 1},
    }  # fmt: skip
    assert (found["in_flight"], found["fence_open"], found["output_away"]) == (1, True, "")


def test_what_is_paused_grows_old() -> None:
    """Its message is forgotten, not when it was written."""
    hands = Hands()
    hands.own()
    pause = Control(scope="acme", action="pause", at=1.0)
    hands.engine.controls.hear(
        [Message("p.control", 0, 0, pause.scope.encode(), pause.to_json())], hands.now
    )
    hands.put(message(request("a"), 3))
    (part, _) = shown(hands)["partitions"]

    assert (part["states"], part["oldest_open"]) == ({"paused": 1}, WALL)


def test_the_account_with_the_most_to_do_is_shown() -> None:
    """In memory or parked: when everything is done is when that account is."""
    hands = Hands(limits=[LimitRule(per="account", calls=1, seconds=1e6)], window_requests=20)
    hands.own(high=40)
    names = ["b", *"a" * 30]
    hands.put(*(message(request(n, params={"n": str(o)}), o) for o, n in enumerate(names)))
    (part, _) = shown(hands)["partitions"]

    assert part["states"]["parked"] > 0
    assert part["most_open"] == 30


def test_the_last_commits_age_is_shown() -> None:
    """The observer makes a metric of it: nothing is published once the lease is out."""
    hands = Hands()
    before = shown(hands)["commit_age_seconds"]
    hands.own()
    hands.seconds += 7.0

    assert (before, shown(hands)["commit_age_seconds"]) == (None, 7.0)


def test_what_a_limit_keeps_is_shown_as_limit() -> None:
    """A request that is ready but for its account's limit is not called ready."""
    hands = Hands(limits=[LimitRule(per="account", calls=1, seconds=1e6)])
    hands.own()
    hands.put(request())
    found = shown(hands)

    assert found["partitions"][0]["states"] == {"limit": 1}
    limit = {"partner": "acme", "per": "account", "scopes": 1, "share": 1.0}
    assert found["limits"] == [{**limit, "busiest": "a", "waiting": 1}]


def test_open_circuits_are_shown_with_their_reason() -> None:
    """Whoever looks sees which partner fails for everyone, and how."""
    hands = Hands()
    hands.own()
    hands.put(*(request(str(number)) for number in range(OUTAGE_FAILURES)))
    for called in list(hands.calls):
        hands.answer(called, Verdict(outcome=Outcome.TRANSIENT, reason="HTTP 503"))

    assert shown(hands)["circuits"] == [
        {"partner": "acme", "kind": "outage", "credential": "", "reason": "HTTP 503"}
    ]


def test_an_output_that_hangs_is_away() -> None:
    """It raises nothing: two minutes with no answer stored say it, until one is."""
    hands = Hands()
    hands.own()
    hands.kept = (StartCall, Finish)
    hands.put(request("a"), request("b"))
    for called in list(hands.calls):
        hands.answer(called)
    hands.go(120.0)
    assert shown(hands)["output_away"] == ""

    hands.go(1.0)
    assert shown(hands)["output_away"] == "an answer has waited for the output for 121 s"

    hands.engine.published(hands.done(Finish)[0].entry, (FILE,), "", hands.now)
    assert shown(hands)["output_away"] == ""


def test_a_snapshot_too_large_for_the_board_says_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Details first, then partitions: nothing is left out in silence."""
    hands = Hands(limits=[LimitRule(per="account", calls=1, seconds=1e6)])
    hands.own()
    hands.put(request())
    assert [one["per"] for one in shown(hands)["limits"]] == ["account"]
    monkeypatch.setattr(module, "MOST_BYTES", 100)

    found = shown(hands)
    assert (found["partitions"], found["left_out"]) == ([], {"partitions": 2})
    assert [one["per"] for one in found["limits"]] == ["account"]


def test_of_what_is_without_end_the_most_important_is_shown() -> None:
    """The newest controls, each partner's outage before its credentials; the rest is counted."""
    hands = Hands()
    hands.own()
    asked = [
        Control(scope=f"acme/{number}", action="pause", at=float(number)) for number in range(300)
    ]
    hands.engine.controls.hear(
        [
            Message("p.control", 0, number, one.scope.encode(), one.to_json())
            for number, one in enumerate(asked)
        ],
        hands.now,
    )
    found = shown(hands)

    assert [one["scope"] for one in found["controls"]][:2] == ["acme/299", "acme/298"]
    assert (len(found["controls"]), found["left_out"]) == (200, {"controls": 100})


def test_a_partners_outage_is_shown_once() -> None:
    """Each partition finds it out for itself; and it comes before the credentials."""
    hands = Hands()
    hands.own(index=0)
    hands.own(index=1)
    for partition in hands.engine.partitions():
        for number in range(30):
            partition.circuits.credential(f"c{number}").open(0.0)
        partition.circuits.outage.open(0.0)
    found = shown(hands)

    assert [one["kind"] for one in found["circuits"]] == ["outage", *["credential"] * 19]
    assert found["left_out"] == {"circuits": 11}


def test_results_are_counted_with_files_and_rows() -> None:
    """What was published shows in the metrics, by partner and format."""
    metrics = Metrics.in_memory()
    Tally(metrics).ended(entry(), end(files=(FILE,), rows=3, calls=2, ended_at=5.0))

    assert metrics.value("reportd_requests_ended_total", partner="acme", state="result") == 1
    assert metrics.value("reportd_files_total", partner="acme", format="parquet") == 1
    assert metrics.value("reportd_rows_total", partner="acme") == 3
    assert metrics.value("reportd_receipts_found_total", partner="acme") == 0


def test_a_result_without_a_call_was_found_by_its_receipt() -> None:
    """After a crash it is seen how many calls the receipts have saved."""
    metrics = Metrics.in_memory()
    Tally(metrics).ended(entry(), end(files=(FILE,), calls=0))

    assert metrics.value("reportd_receipts_found_total", partner="acme") == 1


def test_what_alerts_look_at_begins_at_zero() -> None:
    """The first dead letter is an increase, for which Prometheus has to have seen a 0."""
    metrics = Metrics.in_memory()
    Tally(metrics, ["acme"])

    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert shown["reportd_requests_ended_total", "acme", "dead"] == 0
    assert shown["reportd_calls_total", "acme", "ok"] == 0


def test_calls_commits_and_rebalances_are_counted() -> None:
    """Each by what it was."""
    metrics = Metrics.in_memory()
    tally = Tally(metrics)
    tally.called("acme", Outcome.OK, Answer(status=200, headers={}, body=b"12345", seconds=0.1))
    tally.committed(accepted=False)
    tally.rebalanced("lost")
    tally.forwarded("acme")

    assert metrics.value("reportd_calls_total", partner="acme", outcome="ok") == 1
    assert metrics.value("reportd_answer_bytes_total", partner="acme") == 5
    assert metrics.value("reportd_commits_total", outcome="failed") == 1
    assert metrics.value("reportd_rebalances_total", event="lost") == 1
    assert metrics.value("reportd_forwarded_total", partner="acme") == 1
