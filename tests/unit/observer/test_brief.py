"""One line for `systemctl status`, and what somebody should look at."""

from typing import Any

import pytest

from reportd.model.vm import Vm
from reportd.observer.brief import summary
from reportd.observer.offsets import Offsets
from reportd.observer.progress import Progress
from reportd.observer.status import document
from tests.unit.observer.test_status import WALL, daemon, over, sight, worker


def progress(rate: float = 2.0) -> Progress:
    """Return ten seconds of acme at a rate."""
    found = Progress()
    for second in range(10):
        found.note("acme", "here", rate * second)
        found.tick("acme", float(second), remaining=58)
    return found


def line(found: Progress | None = None, **more: Any) -> str:
    """Return the line of a sight."""
    return summary(document(sight(**more), {}, found or Progress()))


def states(**counts: int) -> dict[str, Any]:
    """Return the workers of a sight: one with these states."""
    part = {"topic": "p.requests.acme", "partition": 0, "partner": "acme", "position": 100}
    return {"worker-0": worker(partitions=[part | {"states": counts}])}


def test_open_rate_eta_and_what_it_waits_for() -> None:
    """The ETA is that of what can be done now: without the four whose day has not ended."""
    text = line(progress())

    assert text == "62 open (30 elsewhere), 2.0/s, ETA 29 s for 58; waiting: 4 for their day"


def test_every_wait_is_named() -> None:
    """Limits and back-offs are work to do; days, quotas and held ones are the world's."""
    waits = states(limit=3, quota=5, backoff=2, held=1, scheduled=7, ready=12)

    text = line(progress(), workers=waits, offsets=Offsets())

    assert text == (
        "30 open, 2.0/s, ETA 8 s for 17; "
        "waiting: 3 for a limit, 7 for their day, 5 for a quota, 2 to try again, 1 held"
    )


def test_nothing_open() -> None:
    """No rate and no ETA of nothing."""
    assert line(progress(), workers=states(), offsets=Offsets()) == "nothing open"


def test_no_eta_before_there_is_a_rate() -> None:
    """Just started: only what is certain. Nothing ends although it should: that is said."""
    alone: dict[str, Any] = {"workers": states(ready=12), "offsets": Offsets()}
    assert line(**alone) == "12 open"

    assert line(progress(0.0), **alone) == "12 open, 0.0/s, no ETA: some partner ends none"


def test_trouble_comes_first() -> None:
    """A terminal cuts the line: what keeps this VM from working stands before the rest."""
    text = line(workers={"worker-0": worker(output_away="disk full")})

    assert text.startswith("NOT READY: worker-0 cannot write: disk full; 62 open")


def test_a_partner_that_was_removed_too_early_is_said() -> None:
    """Its topics have requests of a run, and no VM reads them."""
    text = line(forsaken={("p.requests.gone", 0): 7, ("p.requests.gone", 1): 1})

    assert text.endswith(
        "WARNING: 8 requests of runs lie in p.requests.gone[0], p.requests.gone[1], and no VM has"
        " that partner's file: put it back"
    )


def test_phase_is_the_supervisors_to_say() -> None:
    """What the observer saw of it a moment ago would be wrong just when all is there."""
    found = document(sight(daemon=daemon("starting")), {}, Progress())

    assert found["troubles"] == ["the daemon is starting"]
    assert summary(found).startswith("62 open")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"workers": {"worker-0": worker(circuits=[{"partner": "acme", "kind": "outage"}])}},
            "acme: calls are held back (outage)",
        ),
        (
            {
                "workers": {
                    "worker-0": worker(
                        held=[
                            {
                                "partner": "acme",
                                "report": "ads",
                                "requests": 3,
                                "reason": "HTTP 403",
                            }
                        ]
                    )
                }
            },
            "acme.ads: 3 requests held (HTTP 403)",
        ),
        (
            {"wall": WALL + 4000},
            "run daily/2026-11-22T04:00Z#1 is late: at most 40 open",
        ),
        (
            {"finished": over(daily=3)},
            "run daily/2026-11-21T04:00Z#1 is over but partial: 3 account-days missing",
        ),
        (
            {"vms": (Vm(machine="vm-2", incarnation="j", config="c2"),), "agree": False},
            "another configuration runs on vm-2",
        ),
        (
            {"workers": {"worker-0": worker(partitions=[])}},
            "worker-0: no partition, nothing to do",
        ),
        (
            {"sunsets": {"acme": WALL + 44.6 * 86400}},
            "acme: the version of its interface is switched off in 45 days",
        ),
        (
            {"sunsets": {"acme": WALL - 1}},
            "acme: the version of its interface is switched off; update its file",
        ),
    ],
)
def test_warnings(more: dict[str, Any], words: str) -> None:
    """Each is in the document and in the line; the VM is ready all the same."""
    found = document(sight(**more), {}, Progress())

    assert found["warnings"] == [words]
    assert found["ready"]
    assert summary(found).endswith(f"WARNING: {words}")


def test_all_well_warns_of_nothing() -> None:
    """An ordinary day, a VM with the same configuration, a sunset 45 days away: no warning."""
    same = (Vm(machine="vm-2", incarnation="j", config="c1"),)

    later = {"acme": WALL + 45 * 86400}

    assert document(sight(vms=same, sunsets=later), {}, Progress())["warnings"] == []


def test_many_warnings_are_counted() -> None:
    """The line stays a line."""
    circuits = [{"partner": f"p{n}", "kind": "outage"} for n in range(5)]

    assert line(workers={"worker-0": worker(circuits=circuits)}).endswith(", 2 more")
