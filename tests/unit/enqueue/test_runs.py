from datetime import UTC, datetime, timedelta

from reportd.enqueue.runs import (
    Done,
    Go,
    Holder,
    RunState,
    Wait,
    due_slots,
    earliest,
    fold,
    next_move,
)
from reportd.model.run import Claim, Manifest, RunId

SLOTS = [datetime(2026, 11, day, 4, tzinfo=UTC) for day in range(10, 23)]
RUN = RunId("daily", SLOTS[-1], 1)
ME = Holder("vm-1", "boot:1:1")


def claim(
    machine: str = "vm-2", holder: str = "boot:9:9", at: float = 0.0, **more: object
) -> Claim:
    fields: dict[str, object] = {
        "run": str(RUN),
        "machine": machine,
        "holder": holder,
        "claimed_at": at,
        "expires_at": at + 600,
        **more,
    }
    return Claim(**fields)  # type: ignore[arg-type]


def manifest(run: RunId = RUN) -> Manifest:
    return Manifest(run=str(run), requests=1, ids_hash="0" * 16, topics=[], enqueued_at=1.0)


def state(*records: Claim | Manifest) -> RunState:
    return fold(records)[RUN]


def test_unknown_run_is_begun() -> None:
    """Nothing in the topic: claim it, from wherever the slot can have begun."""
    assert Go(None) == next_move(None, ME, 0.0)


def test_complete_run_is_left_alone() -> None:
    """A slot whose manifest stands never enqueues again."""
    assert isinstance(next_move(state(claim(), manifest()), ME, 0.0), Done)


def test_add_goes_on_after_the_manifest() -> None:
    """Only ``--add`` looks at a complete run again, and from the same offsets."""
    starts = {"t": {0: 5}}

    found = next_move(state(claim(starts=starts), manifest()), ME, 0.0, add=True)

    assert Go(starts) == found


def test_live_claim_of_another_is_waited_for() -> None:
    """Two machines that start at once do not both write."""
    assert isinstance(next_move(state(claim(at=100.0)), ME, 699.0), Wait)


def test_claim_that_ran_out_is_taken_over() -> None:
    """A machine that died gives its run back when its lease ends, with what it knew."""
    starts = {"t": {0: 5}}

    assert Go(starts) == next_move(state(claim(at=100.0, starts=starts)), ME, 700.0)


def test_claim_of_a_dead_process_is_taken_over_at_once() -> None:
    """After kill -9 the same machine does not wait for its own dead."""
    dead = claim("vm-1", "boot:7:7")

    found = next_move(state(dead), ME, 1.0, lambda holder: holder == "boot:7:7")

    assert Go(None, replaces="boot:7:7") == found


def test_other_machines_processes_are_not_judged() -> None:
    """Whether another machine's process lives cannot be seen from here: its lease counts."""
    assert isinstance(next_move(state(claim()), ME, 1.0, lambda _holder: True), Wait)


def test_first_of_two_overlapping_claims_counts() -> None:
    """Both machines read the same topic, so both agree on who goes on."""
    both = state(claim(at=100.0), claim("vm-1", ME.process, at=101.0))

    assert isinstance(next_move(both, ME, 102.0), Wait)
    assert next_move(both, Holder("vm-2", "boot:9:9"), 102.0) == Go(None, mine=True)


def test_renewed_claim_counts_for_longer() -> None:
    """A holder that renews is waited for beyond its first lease."""
    assert isinstance(next_move(state(claim(at=0.0), claim(at=400.0)), ME, 900.0), Wait)


def test_takeover_counts_for_others_too() -> None:
    """Who replaces a dead holder of its machine holds the run, though the old lease runs."""
    taken = state(claim(at=0.0), claim("vm-2", "boot:10:10", at=10.0, replaces="boot:9:9"))

    assert next_move(taken, Holder("vm-2", "boot:10:10"), 11.0) == Go(None, mine=True)


def test_no_one_takes_over_another_machines_claim() -> None:
    """``replaces`` counts within a machine alone."""
    stolen = state(claim(at=0.0), claim("vm-1", ME.process, at=10.0, replaces="boot:9:9"))

    assert isinstance(next_move(stolen, ME, 11.0), Wait)


def test_starts_are_the_earliest_of_all_claims() -> None:
    """A later claim never hides what an earlier one has written."""
    found = earliest({"a": {0: 5, 1: 9}}, {"a": {0: 7, 2: 1}, "b": {0: 3}})

    assert found == {"a": {0: 5, 1: 9, 2: 1}, "b": {0: 3}}


def test_first_start_takes_the_newest_slot() -> None:
    """A new schedule does not begin with a backlog."""
    assert SLOTS[-1:] == due_slots(SLOTS, {}, "daily", 7)


def test_missed_slots_are_caught_up() -> None:
    """Every slot since the last manifest, oldest first."""
    run = RunId("daily", SLOTS[-4], 1)

    assert SLOTS[-3:] == due_slots(SLOTS, fold([manifest(run)]), "daily", 7)


def test_catching_up_is_bounded() -> None:
    """After a long outage the newest slots are enqueued, not all."""
    run = RunId("daily", SLOTS[0] - timedelta(days=90), 1)

    assert SLOTS[-7:] == due_slots(SLOTS, fold([manifest(run)]), "daily", 7)


def test_slot_killed_in_the_middle_is_due() -> None:
    """A claim without a manifest is finished, though a newer slot is complete."""
    middle = claim().model_copy(update={"run": str(RunId("daily", SLOTS[-3], 1))})

    assert [SLOTS[-3]] == due_slots(SLOTS, fold([middle, manifest()]), "daily", 7)


def test_other_schedules_do_not_count() -> None:
    """Their manifests say nothing about this one's slots."""
    other = RunId("hourly", SLOTS[-1], 1)

    assert SLOTS[-1:] == due_slots(SLOTS, fold([manifest(other)]), "daily", 7)
