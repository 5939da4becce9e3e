"""What the observer does about runs that are over, step by step, and after a crash at each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson
import pytest

from reportd.errors import BrokerError, OutputError
from reportd.model.content import Content, Scratch, whole
from reportd.model.ledger import End
from reportd.model.run import Finished, Manifest
from reportd.model.vm import Vm
from reportd.observer.brokerwatch import BrokerSight
from reportd.observer.day_marks import mark_days
from reportd.observer.finisher import (
    AGAIN_SECONDS,
    NOT_WHOLE,
    READ_A_SECOND,
    TELL_SECONDS,
    TURN_OF_ONE_SECONDS,
    Finisher,
    FinisherClients,
)
from reportd.observer.lacking import LACKING_SECONDS
from reportd.observer.run_file import file_name, lines_of, list_in, list_name, marks_of
from reportd.observer.run_reader import Found
from reportd.observer.run_sum import Missing, RunSum
from reportd.observer.runs import Due
from tests.unit.observer.test_run_sum import RUN, end, manifest

FILE = "runs/daily/2026-11-22T04%3A00Z%231.json"
DAY = "days/acme/stats/2026-11-20"
LATER = "daily/2026-11-23T04:00Z#1"
WALL = 1_700_000_000.0


class Killed(BaseException):
    """The process is gone."""


@dataclass
class World:
    """Output, topic and whoever is told, as they outlive a process; dies at the n-th change."""

    ends: list[End]
    of: Manifest
    files: dict[str, bytes] = field(default_factory=dict)
    records: list[Finished] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    die_at: int = 0
    steps: int = 0
    at_step: tuple[int, Callable[[], None]] | None = None
    """Before which change somebody else comes between, and what that one does."""
    at_read: tuple[int, Callable[[], None]] | None = None
    """The same, before which look at a mark."""
    looks: int = 0
    away: bool = False
    deaf: bool = False
    now: float = 100.0
    reads: int = 0
    strangers: list[Missing] = field(default_factory=list)

    def _step(self) -> None:
        if self.away:
            raise OutputError("disk full")
        self.steps += 1
        if self.steps == self.die_at:
            raise Killed
        if self.at_step is not None and self.steps == self.at_step[0]:
            (_, between), self.at_step = self.at_step, None
            between()

    # Marks

    def create(self, name: str, data: bytes) -> bool:
        self._step()
        if name in self.files:
            return False
        self.files[name] = data
        self.created.append(name)
        return True

    def replace(self, name: str, data: Content) -> None:
        self._step()
        self.files[name] = whole(data)

    def read(self, name: str | Manifest) -> bytes | None:
        assert isinstance(name, str)
        self.looks += 1
        if self.at_read is not None and self.looks == self.at_read[0]:
            (_, between), self.at_read = self.at_read, None
            between()
        return self.files.get(name)

    def chunks(self, name: str) -> Iterator[bytes]:
        data = self.files.get(name, b"")
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    def remove(self, name: str) -> None:
        self._step()
        self.files.pop(name, None)

    # Topic

    def write(self, record: Finished) -> None:
        self._step()
        self.records.append(record)

    # Told

    is_wanted = True
    longest_seconds = 20.0

    def tell(self, finished: Finished) -> list[str]:
        self._step()
        if self.deaf:
            return ["webhook: HTTP 503"]
        self.told.append(finished.event)
        return []

    # Clock

    def wall(self) -> float:
        return WALL + self.now

    def monotonic(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now


@dataclass
class FakeLedgers:
    """The ledgers of a world."""

    world: World

    def read(self, of: Manifest) -> Found:
        self.world.reads += 1
        total, files = RunSum(of), Scratch()
        for one in self.world.ends:
            if total.add("acme", 0, one):
                files.append(lines_of("acme", one))
        return Found(total, files)

    def unasked(self, _total: RunSum, _run: str) -> list[Missing]:
        return self.world.strangers


def due_of(world: World) -> tuple[Due, ...]:
    """Return what is due, as `Runs.due` says it."""
    last = world.records[-1] if world.records else None
    if last is None:
        return (Due(world.of),)
    if not last.notified:
        return (Due(world.of, last.mend, last.mendings, last),)
    return ()


def process(
    world: World, machine: str = "me", due: Callable[[World], tuple[Due, ...]] = due_of
) -> Finisher:
    """Return one observer's finisher in a world, whose thread is never started."""
    others = tuple(Vm(machine=name, incarnation=name) for name in ("a", "z"))
    clients = FinisherClients(
        ledgers=FakeLedgers(world), write=world.write, marks=world, close=lambda: None
    )
    return Finisher(
        lambda: BrokerSight(
            due=due(world),
            vms=others if machine != "me" else (),
            over={record.run: record for record in world.records},
        ),
        lambda: clients,
        world,
        machine,
        world,
    )


def partial_world(**more: object) -> World:
    """Return a world in which one of two requests is dead."""
    world = World([end(0), end(1, "dead")], manifest(2))
    for name, value in more.items():
        setattr(world, name, value)
    return world


def test_order_of_the_steps() -> None:
    """File, marks, record, told, record that it was told."""
    world = partial_world()
    process(world).turn()

    document = orjson.loads(world.files[FILE])
    assert (document["state"], document["states"]) == ("partial", {"dead": 1, "result": 1})
    assert [one["account"] for one in document["missing"]] == ["a1"]
    listed = world.files[list_in(document)].splitlines()
    assert [orjson.loads(line)["day"] for line in listed] == [
        "2026-11-19",
        "2026-11-20",
        "2026-11-21",
    ]
    mark = orjson.loads(world.files[f"{DAY}/_PARTIAL"])
    assert (mark["accounts"], mark["files"]) == (2, 1)
    assert [(one["account"], one["why"]) for one in mark["missing"]] == [("a1", "permanent")]
    assert f"{DAY}/_SUCCESS" not in world.files
    assert [(one.state, one.notified) for one in world.records] == [
        ("partial", False),
        ("partial", True),
    ]
    assert world.told == [RUN]


def test_killed_before_each_step() -> None:
    """Whoever comes next goes on; all is written once, and told at least once."""
    whole_life = partial_world()
    process(whole_life).turn()
    assert whole_life.steps == 8

    for nth in range(1, whole_life.steps + 1):
        world = partial_world(die_at=nth)
        with pytest.raises(Killed):
            process(world).turn()
        process(world).turn()
        process(world).turn()

        assert world.files == whole_life.files, nth
        assert world.created == [FILE], nth
        assert world.records[-1] == whole_life.records[-1], nth
        assert world.told == [RUN] * (2 if nth == whole_life.steps else 1), nth


def test_two_at_once() -> None:
    """The second one takes what the first one wrote, though it has read the ledgers, too."""
    world = partial_world()
    always = (Due(world.of),)
    process(world, due=lambda _world: always).turn()
    world.now += 500.0
    process(world, due=lambda _world: always).turn()

    assert world.created == [FILE]
    assert {record.finished_at for record in world.records} == {WALL + 100.0}
    assert world.reads == 1


def test_one_is_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one reads the ledgers another one does it all: that stays, and is told of once."""
    world = partial_world()
    always = (Due(world.of),)
    read = FakeLedgers.read

    def slowly(ledgers: FakeLedgers, of: Manifest) -> Found:
        monkeypatch.setattr(FakeLedgers, "read", read)
        process(world, due=lambda _world: always).turn()
        world.now += 60.0
        return read(ledgers, of)

    monkeypatch.setattr(FakeLedgers, "read", slowly)
    process(world, due=lambda _world: always).turn()

    assert (world.created, world.reads) == ([FILE], 2)
    assert [record.notified for record in world.records] == [False, True]
    assert {record.finished_at for record in world.records} == {WALL + 100.0}
    assert world.told == [RUN]


def test_vms_take_turns() -> None:
    """The first by name begins; one behind it waits, and does it if the first one has not."""
    world = partial_world()
    second = process(world, "m")
    second.turn()
    world.now += TURN_OF_ONE_SECONDS + World.longest_seconds - 1
    second.turn()
    assert world.files == {}

    world.now += 2
    second.turn()
    assert world.told == [RUN]


def test_not_all_have_ended() -> None:
    """The commits say it is over, the ids do not: looked at again later and later."""
    world = World([end(0)], manifest(2))
    finisher = process(world)
    for _ in range(300):
        finisher.turn()
        world.now += 1.0
    assert world.reads == 4  # after 0, 30, 90 and 210 seconds
    assert (world.files, world.records) == ({}, [])

    assert finisher.stuck() == {RUN: NOT_WHOLE}

    world.ends.append(end(1))
    world.now += 2 * AGAIN_SECONDS * 8
    finisher.turn()
    assert world.records[-1].state == "complete"
    assert finisher.stuck() == {}


def test_others_hold_its_commits_up(caplog: pytest.LogCaptureFixture) -> None:
    """It is looked at quietly, later and later, until the ledgers have all of its ends."""
    world = World([end(0)], manifest(2))
    finisher = process(world, due=lambda world: (Due(world.of, is_held_up=True),))
    for _ in range(300):
        finisher.turn()
        world.now += 1.0

    assert (world.reads, world.records, finisher.stuck(), caplog.messages) == (4, [], {}, [])

    world.ends.append(end(1))
    world.now += 2 * AGAIN_SECONDS * 8
    finisher.turn()
    assert [record.state for record in world.records] == ["complete", "complete"]
    assert world.told == [RUN]


def test_others_hold_a_replay_up() -> None:
    """What it has mended counts at once; while it has mended nothing, nothing is written."""
    world = partial_world()
    process(world).turn()
    before, files = world.records[-1], dict(world.files)
    held = Due(world.of, 1, 0, before, is_held_up=True)
    finisher = process(world, due=lambda _world: (held,))
    finisher.turn()
    assert (world.files, world.records[-1], finisher.stuck()) == (files, before, {})

    world.ends.append(end(1, replay=1, offset=99))
    world.now += AGAIN_SECONDS
    finisher.turn()
    assert f"{DAY}/_SUCCESS" in world.files
    assert (world.records[-1].mend, world.records[-1].mendings) == (1, 0)
    assert world.told == [RUN, f"{RUN}+1"]


def test_output_away() -> None:
    """It is tried again, and then done."""
    world = partial_world(away=True)
    finisher = process(world)
    finisher.turn()
    world.away = False
    finisher.turn()
    assert world.records == []

    world.now += AGAIN_SECONDS
    finisher.turn()
    assert world.told == [RUN]


def test_broker_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's file stands already: the ledgers are not read again for the record."""
    world = partial_world()
    finisher = process(world)
    with monkeypatch.context() as patched:

        def gone(_world: World, _record: Finished) -> None:
            raise BrokerError("no broker")

        patched.setattr(World, "write", gone)
        clients = finisher._connect()
        finisher._clients = FinisherClients(
            ledgers=clients.ledgers, write=world.write, marks=world, close=lambda: None
        )
        finisher.turn()
    assert world.records == []
    finisher._clients = None
    world.now += AGAIN_SECONDS
    finisher.turn()

    assert world.reads == 1
    assert world.told == [RUN]


def test_nobody_answers() -> None:
    """Telling is tried again for a day; what is written does not wait for it."""
    world = partial_world(deaf=True)
    finisher = process(world)
    finisher.turn()
    assert [record.notified for record in world.records] == [False]

    world.now += TELL_SECONDS - 1000
    finisher.turn()
    assert not world.records[-1].notified
    world.now += 2000
    finisher.turn()
    assert world.records[-1].notified


def test_a_replay_flips_the_marks_and_tells_again() -> None:
    """The next mend has a file of its own; the first one's stays as it was."""
    world = partial_world()
    process(world).turn()
    first = world.files[FILE]
    world.ends.append(end(1, replay=1, offset=99))
    before = world.records[-1]
    process(world, due=lambda _world: (Due(world.of, 1, 1, before),)).turn()

    assert world.files[FILE] == first
    assert orjson.loads(world.files[file_name(RUN, 1)])["state"] == "complete"
    assert f"{DAY}/_SUCCESS" in world.files
    assert f"{DAY}/_PARTIAL" not in world.files
    last = world.records[-1]
    assert (last.mend, last.mendings, last.state) == (1, 1, "complete")
    assert world.told == [RUN, f"{RUN}+1"]


def test_a_replay_that_changes_nothing_is_not_told() -> None:
    """It died again: it is written down, and nobody is woken."""
    world = partial_world()
    process(world).turn()
    world.ends.append(end(1, "dead", replay=1, offset=99))
    before = world.records[-1]
    process(world, due=lambda _world: (Due(world.of, 1, 1, before),)).turn()

    assert (world.records[-1].mend, world.records[-1].notified) == (1, True)
    assert world.told == [RUN]


def test_an_older_run_does_not_speak_for_a_day() -> None:
    """A newer run's mark stays, whichever of the two comes later."""
    world = partial_world()
    process(world).turn()
    newer = {
        **orjson.loads(world.files[FILE]),
        "run": LATER,
        "list": f"_reportd/{list_name(LATER, 0)}",
        "missing": [],
    }
    world.files[list_in(newer)] = lines_of("acme", end(1))
    mark_days(newer, world)
    good = dict(world.files)
    mark_days(orjson.loads(world.files[FILE]), world)

    assert world.files == good
    assert f"{DAY}/_SUCCESS" in good


def test_a_run_speaks_for_its_own_accounts() -> None:
    """A backfill of one account does not make a day whole that lacks another; a mend does."""
    world = partial_world()
    process(world).turn()
    daily = orjson.loads(world.files[FILE])
    lacks = [one["account"] for one in orjson.loads(world.files[f"{DAY}/_PARTIAL"])["missing"]]
    backfill = {**daily, "run": "backfill/2026-11-24T09:00Z#1", "missing": []}
    mark_days(backfill, world)

    mark = orjson.loads(world.files[f"{DAY}/_PARTIAL"])
    assert mark["run"] == backfill["run"]
    assert [one["account"] for one in mark["missing"]] == lacks
    assert f"{DAY}/_SUCCESS" not in world.files

    mark_days({**daily, "mend": 1, "missing": []}, world)
    assert orjson.loads(world.files[f"{DAY}/_SUCCESS"])["run"] == backfill["run"]
    assert f"{DAY}/_PARTIAL" not in world.files


def test_an_older_run_that_is_over_later_says_what_it_lacks() -> None:
    """Another schedule's newer run, of other accounts, does not make the days whole."""
    world = partial_world()
    process(world).turn()
    daily = orjson.loads(world.files[FILE])
    world.files = {name: data for name, data in world.files.items() if "days/" not in name}
    other = {**daily, "run": "vip/2026-11-23T04:00Z#1", "missing": [], "list": ""}
    mark_days(other, world)
    assert f"{DAY}/_SUCCESS" in world.files

    mark_days(daily, world)

    mark = orjson.loads(world.files[f"{DAY}/_PARTIAL"])
    assert mark["run"] == other["run"]
    assert [(one["account"], one["run"]) for one in mark["missing"]] == [("a1", RUN)]
    assert f"{DAY}/_SUCCESS" not in world.files


def whole_then_partial() -> tuple[World, dict[str, object], dict[str, object]]:
    """Return a world where a newer run has made days whole, and two files to mark them by.

    The first is an older run's, which lacks accounts; the second the same run's, mended.
    """
    world = partial_world()
    process(world).turn()
    daily = orjson.loads(world.files[FILE])
    world.files = {name: data for name, data in world.files.items() if "days/" not in name}
    mark_days({**daily, "run": LATER, "missing": [], "list": ""}, world)
    assert f"{DAY}/_SUCCESS" in world.files
    return world, daily, {**daily, "mend": 1, "missing": []}


@pytest.mark.parametrize("is_back", [False, True], ids=["to partial", "to success"])
def test_killed_before_each_step_of_a_flip(is_back: bool) -> None:
    """What the newer run's mark said is not lost, whichever way it flips."""
    whole_life, lacks, mended = whole_then_partial()
    *before, last = (lacks, mended) if is_back else (lacks,)
    for found in before:
        mark_days(found, whole_life)
    steps = whole_life.steps
    mark_days(last, whole_life)
    assert (f"{DAY}/_SUCCESS" in whole_life.files) == is_back

    for nth in range(steps + 1, whole_life.steps + 1):
        world, *_ = whole_then_partial()
        world.die_at = nth
        for found in before:
            mark_days(found, world)
        with pytest.raises(Killed):
            mark_days(last, world)
        mark_days(last, world)

        assert marks_in(world) == marks_in(whole_life), nth


def test_a_strange_file_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """What another run's file says may be anything: this run is seen to, and the next one."""
    world, older, other, newer = two_runs()
    newer.turn()
    world.files[file_name(LATER, 0)] = b'{"run": "nonsense"}'
    older.turn()
    older.turn()
    assert [record.run for record in world.records if record.notified] == [LATER, RUN]
    assert [record.message for record in caplog.records if record.exc_info] == [
        "runs that are over cannot be looked at again"
    ]
    assert other.files is world.files


@pytest.mark.parametrize("missing", [5, None, [{}], ["a"]])
def test_a_strange_mark_says_nothing(missing: object) -> None:
    """It is written anew."""
    world = partial_world()
    world.files[f"{DAY}/_PARTIAL"] = orjson.dumps({"run": LATER, "mend": 0, "missing": missing})
    process(world).turn()

    assert orjson.loads(world.files[f"{DAY}/_PARTIAL"])["run"] == RUN


def later_due(world: World) -> tuple[Due, ...]:
    """Return a newer run of one other account, as due."""
    mine = [record for record in world.records if record.run == LATER]
    of = manifest(1).model_copy(update={"run": LATER})
    return () if mine else (Due(of),)


def marks_in(world: World) -> dict[str, object]:
    """Return what the days' marks say: of which run, and which run's accounts are missing."""
    found: dict[str, object] = {}
    for name, data in world.files.items():
        if name.startswith("days/"):
            mark = orjson.loads(data)
            missing = sorted((one["account"], one["run"]) for one in mark["missing"])
            found[name] = (mark["run"], missing)
    return found


def two_runs() -> tuple[World, Finisher, World, Finisher]:
    """Return an older partial run and a newer whole one, each seen to by a VM, at one output."""
    world = partial_world()
    other = World([end(0, run=LATER, account="b")], manifest(1), world.files, world.records)
    return world, process(world, "me", older_due), other, process(other, "me", later_due)


def older_due(world: World) -> tuple[Due, ...]:
    """Return the older run, until it is over."""
    mine = [record for record in world.records if record.run == RUN]
    return () if mine else (Due(world.of),)


def settle(*finishers: Finisher) -> None:
    """Let everybody look once more at what has come of it, in turns."""
    for _ in range(2):
        for one in finishers:
            one.turn()


def test_two_vms_mark_the_same_days_at_once() -> None:
    """Whoever comes between at whichever change: the marks say in the end what both runs do."""
    world, older, _, newer = two_runs()
    older.turn()
    newer.turn()
    whole_life, steps = marks_in(world), world.steps
    assert whole_life[f"{DAY}/_PARTIAL"] == (LATER, [("a1", RUN)])

    for nth in range(1, steps + 1):
        world, older, _, newer = two_runs()
        world.at_step = nth, newer.turn
        older.turn()
        settle(older, newer)
        assert marks_in(world) == whole_life, f"the newer run before change {nth} of the older"

        _, older, other, newer = two_runs()
        other.at_step = nth, older.turn
        newer.turn()
        settle(newer, older)
        assert marks_in(other) == whole_life, f"the older run before change {nth} of the newer"


def test_no_day_is_whole_for_a_moment_that_another_vm_says_is_not() -> None:
    """A mend flips a mark while a newer run says what it lacks: that never goes unread."""
    world, lacks, mended = whole_then_partial()
    mark_days(lacks, world)
    before = dict(world.files)
    newer = {**lacks, "run": LATER, "mend": 1, "missing": lacks["missing"]}
    world.looks = 0
    mark_days(mended, world)
    looks = world.looks
    assert f"{DAY}/_SUCCESS" in world.files

    for nth in range(1, looks + 1):
        world.files, world.looks = dict(before), 0
        world.at_read = nth, lambda: mark_days(newer, world)
        mark_days(mended, world)
        assert f"{DAY}/_PARTIAL" in world.files, nth


def test_a_large_run_takes_its_time() -> None:
    """Who comes second waits for as long as the first one reads."""
    world = partial_world()
    world.of = world.of.model_copy(update={"requests": 100 * READ_A_SECOND})
    second = process(world, "m")
    second.turn()
    world.now += TURN_OF_ONE_SECONDS + World.longest_seconds + 99.0
    second.turn()
    assert world.reads == 0

    world.now += 2.0
    second.turn()
    assert world.reads == 1


def test_what_an_older_run_lacks_is_known_until_it_is_mended() -> None:
    """A newer run of other accounts changes nothing about it; a replay does."""
    world, older, other, newer = two_runs()
    older.turn()
    older.turn()
    assert older.lacks() == {}  # the newest says that itself

    newer.turn()
    settle(older, newer)
    assert older.lacks() == newer.lacks() == {RUN: {"acme.stats": 3}}
    somebody = process(other, "late", lambda _world: ())
    somebody.turn()
    assert somebody.lacks() == older.lacks()

    world.ends.append(end(1, replay=1, offset=99))
    before = next(record for record in world.records if record.run == RUN)
    process(world, due=lambda _world: (Due(world.of, 1, 1, before),)).turn()
    settle(older, somebody)
    assert older.lacks() == somebody.lacks() == {}


def test_what_a_newer_run_has_brought_is_not_lacking() -> None:
    """The same account is asked for the same days the next morning, and is there."""
    _, older, other, newer = two_runs()
    other.ends = [end(0, run=LATER, account="a1")]
    older.turn()
    newer.turn()
    settle(older, newer)

    assert older.lacks() == newer.lacks() == {}


def test_what_nobody_mends_is_told_of_for_a_while() -> None:
    """Then it is history."""
    world, older, _, newer = two_runs()
    older.turn()
    newer.turn()
    settle(older, newer)
    assert older.lacks()

    world.now += LACKING_SECONDS + 1
    older.turn()
    assert older.lacks() == {}


def test_a_list_belongs_to_its_file() -> None:
    """Two VMs see to one run, and a replay ends between: the file's own list says what it says."""
    steps = partial_world()
    process(steps).turn()
    for nth in range(1, steps.steps + 1):
        world = partial_world()
        slow, quick = (process(world, due=lambda world: (Due(world.of),)) for _ in range(2))

        def between(world: World = world, quick: Finisher = quick) -> None:
            world.ends.append(end(1, replay=1, offset=99))
            quick.turn()

        world.at_step = nth, between
        slow.turn()

        found = orjson.loads(world.files[FILE])
        assert len(world.files[list_in(found)].splitlines()) == found["files"], nth
        lists = [name for name in world.files if name.endswith(".files")]
        assert lists == [list_in(found)], nth


def test_a_file_of_another_life_is_left_alone() -> None:
    """Topics were made anew over an old output: this run is written beside that one."""
    world = partial_world()
    world.files[FILE] = orjson.dumps({"ids_hash": "ffffffffffffffff"})
    process(world).turn()

    assert world.created == [file_name(RUN, 1)]
    assert (world.records[-1].mend, world.told) == (1, [f"{RUN}+1"])


def test_accounts_without_a_request_are_named() -> None:
    """What should have been asked for is missing on every day of the report."""
    days = ("2026-11-19", "2026-11-21")
    world = World([end(0)], manifest(1, account_days=6))
    world.strangers = [Missing("acme", "stats", "new", *days, "no such request")]
    process(world).turn()

    missing = [one["missing"] for one in marks_of(orjson.loads(world.files[FILE]))]
    assert [[one["account"] for one in day] for day in missing] == [["new"]] * 3
    assert world.records[-1].reports["acme.stats"].missing == 3
