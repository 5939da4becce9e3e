"""Bugs that the simulation must catch: each a small change to the real source.

``python -m tests.simulation.mutants [NAME]`` applies them to a copy, one at a time, and says after
how many seeds each was caught. ``--write`` notes that in caught.json, where the tests find which
story to play: without it they would play all those before it each time.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CAUGHT = Path(__file__).with_name("caught.json")
SEEDS = 100
"""A mutant that lives longer than this is a hole in the simulation."""


@dataclass(frozen=True)
class Mutant:
    """One bug: in ``file``, ``old`` (which stands there once) becomes ``new``."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "commit-before-the-end-record",
        "worker/endings.py",
        "        self._out.append(WriteEnd(entry, end))",
        "        partition.books[end.topic].close(end.offset)\n"
        "        self._out.append(WriteEnd(entry, end))",
    ),
    Mutant(
        "no-receipt-look",
        "worker/intake.py",
        "            self._out.append(LookAt(entry))\n\n    def _entry(",
        "            partition.scheduler.add(entry)\n\n    def _entry(",
    ),
    Mutant("no-fence", "worker/fence.py", "return boot < self.closes_at", "return True"),
    Mutant(
        "limiter-off-by-one",
        "limits/meters.py",
        "        self._calls = calls\n        self._seconds = seconds + margin_seconds",
        "        self._calls = calls = calls + 1\n        self._seconds = seconds + margin_seconds",
    ),
    Mutant(
        "window-empty-after-restart",
        "limits/meters.py",
        "deque([[now, self._used]])",
        "deque([[now - self._seconds, self._used]])",
    ),
    Mutant(
        "bucket-full-after-restart",
        "limits/meters.py",
        "self._arrival = now + self._interval_seconds + self._tolerance_seconds",
        "self._arrival = now",
    ),
    Mutant(
        "fixed-window-empty-after-restart",
        "limits/meters.py",
        "        self._window = int(now // seconds)\n        self._used = float(calls)",
        "        self._window = int(now // seconds)\n        self._used = 0.0",
    ),
    Mutant(
        "ledger-not-restored",
        "worker/ledger.py",
        "        self.next_position = max(self.next_position, position + 1)\n"
        "        if isinstance(record, End):",
        "        return\n        if isinstance(record, End):",
    ),
    Mutant(
        "restore-starts-too-late",
        "worker/ledger.py",
        "            if offset >= self._books[book].commit_position():\n",
        "            if offset > self._books[book].commit_position() + 10_000:\n",
    ),
    Mutant(
        "dead-letter-not-copied",
        "worker/engine.py",
        '        if end.state == "dead":\n            self._endings.write_dead(',
        '        if end.state == "never":\n            self._endings.write_dead(',
    ),
    Mutant(
        "older-run-replaces-newer",
        "sinks/standing.py",
        "if there is not None and there.order > receipt.order:",
        "if there is not None and there.order > receipt.order and False:",
    ),
    Mutant(
        "steps-forgotten",
        "worker/intake.py",
        "        entry.steps = [step for _, step in partition.image.steps_of(identity)]\n",
        "        entry.steps = []\n",
    ),
    Mutant(
        "parked-messages-forgotten",
        "worker/intake.py",
        "            book.park(message.offset, request.account)\n",
        "            book.close(message.offset)\n",
    ),
    Mutant(
        "given-up-during-an-outage",
        "worker/judge.py",
        "        if entry.is_proof:\n            entry.proofs += 1",
        "        if True:\n            entry.proofs = 9",
    ),
    Mutant(
        "copy-of-an-id-runs-beside-it",
        "worker/intake.py",
        "        if twin is not None:\n            if twin",
        "        if twin is not None and False:\n            if twin",
    ),
    Mutant(
        "create-not-recorded",
        "worker/engine.py",
        "        if verdict.outcome is Outcome.OK and not verdict.is_recorded:\n",
        "        if verdict.outcome is Outcome.OK:\n"
        "            entry.picked.update(verdict.picked)\n",
    ),
    Mutant(
        "pending-is-an-attempt",
        "partners/flow.py",
        "            outcome=Outcome.PENDING,\n",
        "            outcome=Outcome.TRANSIENT,\n",
    ),
    Mutant(
        "url-in-the-ledger",
        "partners/flow.py",
        "volatile = {name: picked.pop(name) for name in step.volatile}",
        "volatile = {name: picked[name] for name in step.volatile}",
    ),
    Mutant(
        "adopted-report-ignored",
        "partners/flow.py",
        "        for adopt in step.adopt:\n",
        "        for adopt in ():\n",
    ),
    Mutant(
        "picks-not-restored",
        "worker/engine.py",
        "                    entry.picked.update(step.picked)\n            self._ready(",
        "                    entry.picked.update({})\n            self._ready(",
    ),
    Mutant(
        "rows-of-too-big-parts-kept",
        "model/ledger.py",
        "            del kept[-step.dropped :]\n",
        "            del kept[:0]\n",
    ),
    Mutant(
        "failed-report-polled-on",
        "worker/engine.py",
        "        if verdict.outcome is Outcome.FAILED:\n",
        "        if verdict.outcome is Outcome.OK:\n",
    ),
    Mutant(
        "every-create-starts-over",
        "worker/engine.py",
        "            if entry.steps and not looked.spool_fits:\n",
        "            if entry.steps and not entry.steps[-1].file:\n",
    ),
    Mutant(
        "next-part-forgotten",
        "partners/way.py",
        '        return {"parts": str(following), **mark}\n',
        "        return None\n",
    ),
    Mutant(
        "pause-forgotten-after-a-restart",
        "worker/engine.py",
        "        self._out.append(Read(part, end))\n        self._hear(messages, now)\n",
        "        self._out.append(Read(part, end))\n",
    ),
    Mutant(
        "paused-request-is-called",
        "worker/restraint.py",
        "        return paused is not None\n",
        "        return False\n",
    ),
    Mutant(
        "cancelled-request-is-called",
        "worker/restraint.py",
        "        cancelled = self._cancels(entry)\n        if cancelled is not None:\n",
        "        cancelled = self._cancels(entry)\n        if cancelled is not None and False:\n",
    ),
    Mutant(
        "pause-without-end",
        "worker/reading.py",
        "                if not self._controls.keeps(key):\n",
        "                if False:\n",
    ),
    Mutant(
        "early-request-is-called",
        "worker/intake.py",
        "        if early and not is_cancelled:\n",
        "        if early and is_cancelled:\n",
    ),
    Mutant(
        "early-requests-stay-in-kafka",
        "worker/reading.py",
        "            elif key.at <= now.wall:\n",
        "            elif key.at <= 0.0:\n",
    ),
    Mutant(
        "refused-credential-stays-in-kafka",
        "worker/reading.py",
        "                if not partition.circuits.keeps_away(key.credential, now.mono):\n",
        "                if False:\n",
    ),
    Mutant(
        "probe-that-says-nothing-is-the-last",
        "worker/judge.py",
        "        partition.circuits.abandoned(entry.request)  # a credential's probe",
        "        #",
    ),
    Mutant(
        "old-limits-kept-at-reload",
        "limits/limiter.py",
        "    known = {replace(rule, number=-1) for rule in rules}\n",
        "    return tuple(before)\n    known = {replace(rule, number=-1) for rule in rules}\n",
    ),
    Mutant(
        "new-limits-alone-while-old-workers-run",
        "limits/limiter.py",
        "    known = {replace(rule, number=-1) for rule in rules}\n",
        "    return tuple(rules)\n    known = {replace(rule, number=-1) for rule in rules}\n",
    ),
    Mutant(
        "quota-used-before-its-grant-stands",
        "worker/engine.py",
        "                self._out.extend(\n"
        "                    WriteGrant(partition, grant) "
        "for grant in partition.limiter.to_record(now)\n"
        "                )\n",
        "                for grant in partition.limiter.to_record(now):\n"
        "                    self._out.append(WriteGrant(partition, grant))\n"
        "                    type(grant.quota).granted(grant.quota, grant.asked)\n"
        "                    grant.quota.granted = lambda _asked: None\n",
    ),
    Mutant(
        "grants-of-the-last-owner-forgotten",
        "worker/partition.py",
        "        for position, grant in image.grants:\n",
        "        for position, grant in ():\n",
    ),
    Mutant(
        "grants-fall-out-of-the-ledger",
        "worker/ledger.py",
        "return min(first, self._counting[0][0]) if self._counting else first",
        "return first",
    ),
    Mutant(
        "places-free-after-restart",
        "limits/meters.py",
        "        self._from = now + seconds\n",
        "        self._from = now\n",
    ),
    Mutant(
        "costs-of-answers-ignored",
        "limits/meters.py",
        "            charge[1] += actual - cost\n            self._used += actual - cost\n",
        "            charge[1] += 1.0 - cost\n            self._used += 1.0 - cost\n",
    ),
    Mutant(
        "grant-given-back-though-sent",
        "worker/engine.py",
        "        if verdict.unsent and partition is not None:\n",
        "        if partition is not None:\n",
    ),
)


def caught_after(mutant: Mutant, first: int, seeds: int, jobs: int) -> int | None:
    """Return how many seeds it took to catch a mutant, or None."""
    with tempfile.TemporaryDirectory(prefix="reportd-mutant-") as folder:
        copy = Path(folder) / "reportd"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "reportd", copy, ignore=ignored)
        shutil.copytree(
            ROOT / "tests/simulation", Path(folder) / "tests/simulation", ignore=ignored
        )
        source = copy / mutant.file
        text = source.read_text()
        if text.count(mutant.old) != 1:
            raise ValueError(f"{mutant.name}: its old text does not stand once in {mutant.file}")
        source.write_text(text.replace(mutant.old, mutant.new))
        command = [
            sys.executable, "-m", "tests.simulation", "--first", str(first),
            "--seeds", str(seeds), "--jobs", str(jobs),
        ]  # fmt: skip
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return None
    found = re.search(r"seed (\d+): \d+ broken", done.stdout)
    if found is None:
        raise RuntimeError(f"{mutant.name}: the simulation itself failed:\n{done.stderr[-2000:]}")
    return int(found[1]) - first + 1


def main() -> int:
    """Run all mutants, or those named; 1: one lives."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help="note it for the tests")
    given = parser.parse_args()
    alive = 0
    caught = json.loads(CAUGHT.read_text()) if CAUGHT.exists() else {}
    for mutant in MUTANTS:
        if given.names and mutant.name not in given.names:
            continue
        seeds = caught_after(mutant, given.first, given.seeds, given.jobs)
        alive += seeds is None
        print(f"{mutant.name}: " + ("lives" if seeds is None else f"caught at seed {seeds}"))
        sys.stdout.flush()
        if seeds is not None and given.first == 1:
            caught[mutant.name] = seeds
    if given.write:
        names = [mutant.name for mutant in MUTANTS if mutant.name in caught]
        CAUGHT.write_text(json.dumps({name: caught[name] for name in names}, indent=2) + "\n")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
