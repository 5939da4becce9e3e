"""After a story: was every promise kept? Each broken one is a line."""

from collections import Counter, defaultdict

from reportd.model.control import Control, targets_of
from reportd.model.ledger import End, Step, parse_ledger_record
from reportd.model.request import Request
from reportd.model.run import RunId
from reportd.sinks.formats import encode
from tests.simulation.making import FILES, MakingPartner
from tests.simulation.partner import days_table
from tests.simulation.scenario import Story
from tests.simulation.worker import TEMPLATE

Identity = tuple[str, int]

HEARD_SECONDS = 2.0
"""After so long everybody has heard what people ask for, but for who has just been stopped."""

MOST_TURNS = 1500
"""A loop that turns more often in a second waits for nothing: it burns a core."""


def broken(story: Story) -> list[str]:
    """Return what was not kept; empty: all is well."""
    found = []
    if not story.finished:
        found.append(f"not finished after {story.world.time:.0f} s: {_open(story)}")
    ends = _ends(story)
    found += _lost(story, ends)
    found += _repeated(story, ends)
    for partner in story.partners.values():
        found += [f"limit exceeded: {one}" for one in partner.exceeded()]
    found += _wrong_data(story, ends)
    found += _wrong_flows(story)
    found += _disobeyed(story, ends)
    found += _too_early(story)
    for worker in story.workers:
        second, turns = max(worker.turns.items(), key=lambda item: item[1], default=(0, 0))
        if turns > MOST_TURNS:
            found.append(f"{worker.name} spins: {turns} turns in second {second}")
    return found


def _open(story: Story) -> str:
    return ", ".join(
        f"{topic}[{index}] {story.broker.commits.get((topic, index), (0, ''))[0]}/{len(log)}"
        for (topic, index), log in sorted(story.broker.logs.items())
        if topic.startswith(("requests.", "backfill."))
        and story.broker.commits.get((topic, index), (0, ""))[0] < len(log)
    )


def _ledger(story: Story):  # type: ignore[no-untyped-def]
    for (topic, _), log in story.broker.logs.items():
        if topic.startswith("ledger."):
            for message in log:
                if message is not None:
                    late = (message.part, message.offset) in story.broker.late
                    yield message.timestamp, late, parse_ledger_record(message.value)


def _ends(story: Story) -> dict[Identity, End]:
    ends: dict[Identity, tuple[float, End]] = {}
    for at, _, record in _ledger(story):
        if isinstance(record, End):
            identity = (record.id, record.replay)
            if identity not in ends or at < ends[identity][0]:
                ends[identity] = (at, record)
    return {identity: end for identity, (_, end) in ends.items()}


def _lost(story: Story, ends: dict[Identity, End]) -> list[str]:
    found = []
    deaths = Counter[str]()
    for worker in story.workers:
        deaths.update(worker.strikes)
    dead_copies = {
        dict(message.headers).get("id", b"").decode()
        for message in story.broker.log(("dead", 0))
        if message is not None
    }
    for name, request in story.asked.items():
        plan = story.partners[request.partner].plan
        end = ends.get((name, 0))
        if end is None:
            if story.finished and plan.day is None and not plan.is_unmended(request.account):
                found.append(f"lost: {name} of {request.account} has no end")
            continue
        doomed = request.account in plan.bad_accounts or request.account in plan.killers
        unlucky = end.reason.startswith("crash") and deaths[name] >= 3
        last = (
            request.account in plan.refused_accounts
            and end.reason.startswith("auth")
            and "or more)" in end.reason
        )
        lied_to = plan.lie_share and end.reason.startswith("unexpected")
        if end.state == "dead" and not (doomed or unlucky or lied_to or last):
            found.append(f"dead without need: {name} of {request.account}: {end.reason}")
        if end.state == "result" and doomed:
            found.append(f"a result that cannot be: {name} of {request.account}")
    for (name, _), end in ends.items():
        if end.state == "dead" and name not in dead_copies and story.finished:
            found.append(f"no dead letter for {name}: {end.reason}")
    return found


def _durable(story: Story, ends: dict[Identity, End]) -> dict[tuple[str, int, int], float]:
    """Return when the answer of (id, generation, page) was durable; page 0: everything was."""
    durable: dict[tuple[str, int, int], float] = {}
    wall = story.world.now().wall - story.world.time
    for at, late, record in _ledger(story):
        if late:  # it was not there yet when the new owner read the ledger
            continue
        if isinstance(record, Step):
            durable.setdefault((record.id, record.attempt, record.step), at - wall)
        elif isinstance(record, End):
            durable.setdefault((record.id, 0, 0), at - wall)
    published: dict[str, set[str]] = defaultdict(set)
    for at, path, receipt in story.store.written:
        published[receipt.id].add(path)
        request = story.asked.get(receipt.id)
        if request is not None and len(published[receipt.id]) == len(request.days()):
            before = durable.get((receipt.id, 0, 0), at)
            durable[(receipt.id, 0, 0)] = min(before, at)
    return durable


def _forwarded_dead(story: Story, ends: dict[Identity, End]) -> set[str]:
    """Return the dead requests of which a crash may have forwarded one more copy.

    A copy that comes to the right partition when R has passed the dead end is tried again: it has
    no receipt that could tell. Known, and stated in docs/design/simulation.rst.
    """
    return {
        end.id
        for end in ends.values()
        if end.state == "dead"
        for (topic, _), log in story.broker.logs.items()
        if topic.startswith(("requests.", "backfill."))
        for message in log
        if message is not None and message.headers and end.id.encode() in message.value
    }


def _repeated(story: Story, ends: dict[Identity, End]) -> list[str]:
    durable = _durable(story, ends)
    excused = _forwarded_dead(story, ends)
    found = []
    for partner in story.partners.values():
        for call in partner.calls:
            if call.request.id in excused:
                continue
            times = [
                durable.get((call.request.id, 0, 0)),
                durable.get((call.request.id, call.generation, call.page)),
            ]
            if any(at is not None and at < call.at for at in times):
                found.append(
                    f"finished call repeated: {call.request.id} page {call.page} "
                    f"by {call.worker} at {call.at:.3f}"
                )
    return found


def _disobeyed(story: Story, ends: dict[Identity, End]) -> list[str]:
    """Look for calls that somebody had forbidden, and for ends that nobody had asked for."""
    workers = {worker.name: worker for worker in story.workers}
    found = []
    for partner in story.partners.values():
        for call in partner.calls:
            worker = workers[call.worker]
            for control, since, until in story.controls:
                if control.action == "slow" or not _covers(control, call.request):
                    continue
                woke = any(0.0 <= call.at - at < HEARD_SECONDS for at in worker.thawed)
                if control.until is not None:  # a time by the clock: a fast one is there earlier
                    until -= worker.ahead_seconds(call.at)  # noqa: PLW2901
                if since + HEARD_SECONDS < call.at < until and not woke:
                    found.append(
                        f"called in spite of {control.action} {control.scope}: {call.request.id}"
                        f" by {call.worker} at {call.at:.3f}"
                    )
    cancelled = {asked.control.target.value for asked in story.controls}
    for (name, _), end in ends.items():
        if end.state == "cancelled" and end.run not in cancelled:
            found.append(f"cancelled by nobody: {name} of {end.run}")
    return found


def _too_early(story: Story) -> list[str]:
    """Look for calls for days that were not over by any clock that the worker may have read."""
    workers = {worker.name: worker for worker in story.workers}
    wall = story.world.now().wall - story.world.time
    return [
        f"called before its time: {call.request.id} by {call.worker} at {call.at:.3f}"
        for partner in story.partners.values()
        for call in partner.calls
        if wall + call.at < (call.request.not_before or 0.0)
        and not workers[call.worker].ahead_seconds(call.at)
    ]


def _covers(control: Control, request: Request) -> bool:
    target = control.target
    return target in targets_of(request) or (target.kind, target.value) == ("run", request.run)


def _wrong_flows(story: Story) -> list[str]:
    """Look at partners that make reports: each step was recorded before the next, and no URL."""
    known: dict[tuple[str, str], float] = {}
    first: dict[tuple[str, int, int], object] = {}
    torn: Counter[str] = Counter()
    wall = story.world.now().wall - story.world.time
    found = []
    for at, _, record in _ledger(story):
        if isinstance(record, Step):
            if FILES in record.to_json().decode():
                found.append(f"a URL in the ledger: {record.id} step {record.step}")
            step = (record.id, record.attempt, record.step)
            torn[record.id] += first.setdefault(step, record.picked) != record.picked
            if "report" in record.picked:
                of = (record.id, str(record.picked["report"]))
                known[of] = min(known.get(of, at - wall), at - wall)
    for partner in story.partners.values():
        if not isinstance(partner, MakingPartner):
            continue
        restarts: dict[str, int] = defaultdict(int)
        for call in partner.calls:
            name = call.request.id
            restarts[name] = max(restarts[name], call.generation)
            if call.report and known.get((name, call.report), call.at + 1.0) > call.at:
                found.append(f"called before it was recorded: {call.report} of {name}")
        for name, times in restarts.items():
            if times > partner.reasons[name] + torn[name]:
                found.append(f"started over without need: {name}, {times} times")
    return found


def _wrong_data(story: Story, ends: dict[Identity, End]) -> list[str]:
    found = []
    newest: dict[str, str] = {}
    for _, path, receipt in story.store.written:
        before = newest.get(path)
        if before and RunId.parse(before).order > RunId.parse(receipt.run).order:
            found.append(f"older run replaced a newer one: {path} {before} by {receipt.run}")
        newest[path] = receipt.run
    for (name, _), end in ends.items():
        request = story.asked.get(name)
        if request is None or end.state not in ("result", "superseded"):
            continue
        pages = story.partners[request.partner].plan.pages
        for day in request.days():
            path = TEMPLATE.render(request.partner, "daily", request.account, day, {}, "csv")
            there = story.store.files.get(path)
            if there is None:
                found.append(f"{end.state} without its file: {path}")
                continue
            if RunId.parse(there[0].run).order < RunId.parse(request.run).order:
                found.append(f"{end.state}, but an older file stands: {path}")
            table = days_table(request.account, day, range(pages))
            expected = b"".join(bytes(chunk) for chunk in encode(table, "csv", b""))
            if there[1] != expected:
                found.append(f"wrong rows: {path}")
    return found
