"""The simulator as a real process, over real connections."""

import http.client
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from reportd.demo.simulator.book import read_log
from reportd.demo.simulator.config import Faults, Latency, Limit, Partner, SimulatorConfig
from reportd.demo.simulator.process import Simulator

WEEK = "from=2026-01-01&to=2026-01-07"


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    recorded = tmp_path / "recorded" / "bing"
    recorded.mkdir(parents=True)
    (recorded / "report.csv").write_bytes(b"a,b\r\n1,2\r\n")
    config = SimulatorConfig(
        partners=(
            Partner(name="acme", limits=(Limit(per="account", calls=3, seconds=60.0),)),
            Partner(name="bolt"),
        ),
        log=str(tmp_path / "calls"),
        recorded=str(tmp_path / "recorded"),
    )
    with Simulator(config) as running:
        yield running


def get(simulator: Simulator, target: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    try:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_calls_are_answered_counted_and_written_down(simulator: Simulator, tmp_path: Path) -> None:
    """Good answers, refused ones and the request's id are in the stats, the calls and the log."""
    headers = {"X-Request-Id": "abc"}
    statuses = [get(simulator, f"/acme/ads?account=7&{WEEK}", **headers)[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    calls = simulator.calls()
    assert [call.complete for call in calls] == [True, True, True, False]
    assert {call.request_id for call in calls} == {"abc"}
    assert calls[3].question == ("acme", "ads", "7", "2026-01-01", "2026-01-07")
    stats = simulator.stats()["partners"]["acme"]
    assert (stats["calls"], stats["good"], stats["throttled"]) == (4, 3, 1)
    assert stats["limits"][0]["peak"] == pytest.approx(4.0, abs=0.1)
    assert read_log(tmp_path / "calls") == calls
    assert simulator.calls(since=3) == calls[3:]


def test_a_question_may_be_posted_and_a_bad_one_is_told(simulator: Simulator) -> None:
    """A JSON body asks the same; what no partner understands is a 400."""
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    ask = {"account": "7", "from": "2026-01-01", "to": "2026-01-07"}
    connection.request("POST", "/bolt/ads", orjson.dumps(ask))
    posted = connection.getresponse().read()
    connection.close()
    assert (200, posted) == get(simulator, f"/bolt/ads?account=7&{WEEK}")
    assert get(simulator, "/bolt/ads?account=7&from=yesterday&to=today")[0] == 400
    assert get(simulator, f"/bolt/ads?account=7&{WEEK}&cursor=xyz")[0] == 400
    assert get(simulator, "/nobody/ads")[0] == 404


def test_faults_reach_the_client(simulator: Simulator) -> None:
    """A reset, a short body and an HTML page are what they say."""
    target = f"/bolt/ads?account=7&{WEEK}"
    simulator.faults(Faults(reset=1.0), "bolt")
    with pytest.raises(ConnectionError):
        get(simulator, target)
    simulator.faults(Faults(truncated=1.0), "bolt")
    with pytest.raises(http.client.IncompleteRead):
        get(simulator, target)
    simulator.faults(Faults(html=1.0), "bolt")
    assert b"<html>" in get(simulator, target)[1]
    simulator.faults(Faults(redirect=1.0), "bolt")
    assert get(simulator, target)[0] == 302
    assert simulator.stats()["traps"] == []
    assert [call.fault for call in simulator.calls()] == ["reset", "truncated", "html", "redirect"]


def test_a_partner_goes_down_and_comes_back(simulator: Simulator) -> None:
    """Only the partner named is down, until it is up again."""
    simulator.outage("bolt")
    assert get(simulator, f"/bolt/ads?account=7&{WEEK}")[0] == 503
    assert get(simulator, f"/acme/ads?account=7&{WEEK}")[0] == 200
    simulator.outage("bolt", on=False)
    simulator.latency(Latency(median_seconds=0.001, sigma=0.5), "bolt")
    assert get(simulator, f"/bolt/ads?account=7&{WEEK}")[0] == 200


def test_answers_are_held_until_release(simulator: Simulator) -> None:
    """Calls in flight stay in flight: seen, but not answered."""
    simulator.hold("bolt")
    with ThreadPoolExecutor(8) as pool:
        waiting = [
            pool.submit(get, simulator, f"/bolt/ads?account={number}&{WEEK}") for number in range(8)
        ]
        while simulator.stats()["held"] < 8:
            pass
        assert [call.complete for call in simulator.calls()] == [False] * 8
        simulator.release()
        assert {found.result()[0] for found in waiting} == {200}
    assert all(call.complete for call in simulator.calls())
    assert simulator.stats()["partners"]["bolt"]["most_in_flight"] == 8


def test_a_client_that_goes_away_is_no_complete_answer(simulator: Simulator) -> None:
    """A held call whose client died is ended, without an answer."""
    simulator.hold("bolt")
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    connection.request("GET", f"/bolt/ads?account=7&{WEEK}")
    while simulator.stats()["held"] < 1:
        pass
    connection.close()
    while not (calls := simulator.calls())[0].ended:
        pass
    simulator.release()
    assert (calls[0].status, calls[0].complete) == (0, False)
    assert simulator.stats()["partners"]["bolt"]["in_flight"] == 0


def test_recorded_answers_are_served_by_path(simulator: Simulator) -> None:
    """A file of the folder, with any status; nothing outside of it."""
    assert get(simulator, "/_recorded/bing/report.csv") == (200, b"a,b\r\n1,2\r\n")
    assert get(simulator, "/_recorded/bing/report.csv?status=429")[0] == 429
    assert get(simulator, "/_recorded/../calls")[0] == 404
    assert get(simulator, "/_recorded/%2e%2e/calls")[0] == 404


def test_it_ends_with_its_parent() -> None:
    """A simulator whose parent was killed does not stay behind."""
    program = (
        "import sys, signal\n"
        "from reportd.demo.simulator.config import SimulatorConfig\n"
        "from reportd.demo.simulator.process import Simulator\n"
        "print(Simulator(SimulatorConfig(partners=())).start().pid, flush=True)\n"
        "signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    handle = os.pidfd_open(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    assert poll.poll(20_000)
    os.close(handle)
