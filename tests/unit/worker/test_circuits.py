"""Circuits: whether it is one request that fails, or everyone."""

import pytest

from reportd.worker.circuits import LONE_FAILURES, OUTAGE_FAILURES, Circuit, Circuits, Evidence
from tests.unit.worker.making import request


def failing(accounts: int, failures: int) -> Circuit:
    """Return a circuit after failures of so many accounts in turn, all at second 0."""
    circuit = Circuit()
    for number in range(failures):
        circuit.failed(str(number % accounts), "HTTP 503", 0.0)
    return circuit


def test_failures_of_several_accounts_are_an_outage() -> None:
    """Eight failures in a row open the circuit, seven do not."""
    assert not failing(2, OUTAGE_FAILURES - 1).is_open
    assert failing(2, OUTAGE_FAILURES).is_open


def test_a_bad_account_alone_is_no_outage_so_soon() -> None:
    """One account must fail twice as often before it counts as the partner's."""
    assert not failing(1, LONE_FAILURES - 1).is_open
    assert failing(1, LONE_FAILURES).is_open


def test_a_success_between_failures_is_no_outage() -> None:
    """Only failures in a row count."""
    circuit = failing(2, OUTAGE_FAILURES - 1)
    assert not circuit.succeeded()
    circuit.failed("a", "HTTP 503", 0.0)

    assert not circuit.is_open


def test_an_open_circuit_lets_one_probe_at_a_time_through() -> None:
    """After a second one call may try; nobody else until it is over."""
    circuit = failing(2, OUTAGE_FAILURES)
    assert not circuit.lets_through(0.9)
    assert circuit.lets_through(1.0)

    circuit.started()
    assert not circuit.lets_through(1.0)


def test_failing_probes_become_rarer_up_to_a_minute() -> None:
    """Each failed probe doubles the time to the next."""
    circuit = failing(2, OUTAGE_FAILURES)
    spans = []
    for _ in range(8):
        now = circuit.probe_at
        circuit.started()
        circuit.failed("a", "HTTP 503", now)
        spans.append(circuit.probe_at - now)

    assert spans == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_probe_that_succeeds_closes_the_circuit() -> None:
    """From then on everybody may call, and the count begins anew."""
    circuit = failing(2, OUTAGE_FAILURES)
    circuit.started()

    assert circuit.succeeded()
    assert circuit.lets_through(0.0)
    assert circuit.failures == 0


def test_a_probe_without_an_answer_makes_room_for_another() -> None:
    """A probe that was throttled or not sent says nothing about the partner."""
    circuit = failing(2, OUTAGE_FAILURES)
    circuit.started()
    circuit.abandoned()

    assert circuit.lets_through(1.0)


def test_a_refused_credential_stops_its_own_calls_only() -> None:
    """With one credential's circuit open the other's accounts go on."""
    circuits = Circuits()
    for number in range(OUTAGE_FAILURES):
        circuits.credential("main").failed(str(number), "HTTP 401", 0.0)

    assert not circuits.lets_through(request(), 0.0)
    assert circuits.lets_through(request(credential="other"), 0.0)
    assert circuits.opens_at(request()) == 1.0


@pytest.mark.parametrize("kind", ["outage", "credential"])
def test_a_success_says_that_an_outage_is_over(kind: str) -> None:
    """Whichever circuit was open: those who failed in it may begin to count anew."""
    circuits = Circuits()
    circuit = circuits.outage if kind == "outage" else circuits.credential("main")
    for number in range(OUTAGE_FAILURES):
        circuit.failed(str(number), "HTTP 503", 0.0)

    assert circuits.succeeded(request(), 5.0)
    assert not circuits.succeeded(request(), 6.0)


def test_only_another_account_is_evidence() -> None:
    """An account's own success says nothing about whether its failure is its own."""
    evidence = Evidence()
    evidence.succeeded("a", 5.0)
    assert (evidence.since(1.0, "a"), evidence.since(1.0, "b")) == (False, True)

    evidence.succeeded("b", 6.0)
    evidence.succeeded("b", 7.0)
    assert (evidence.since(1.0, "b"), evidence.since(5.0, "b")) == (True, False)


def test_evidence_is_of_the_same_credential_and_report() -> None:
    """What works for another report or with another credential proves nothing here."""
    circuits = Circuits()
    circuits.succeeded(request("b", report="other"), 5.0)
    circuits.succeeded(request("c", credential="other"), 5.0)
    assert not circuits.evidence(request("a")).before("a")

    circuits.succeeded(request("d"), 5.0)
    assert circuits.evidence(request("a")).before("a")
