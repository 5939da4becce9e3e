"""``python -m tests.fuzz --answers 1000000 [--first N]``: damage answers, report what broke."""

import argparse
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.fuzz.trial import trial

TOGETHER = 250
HANGING_SECONDS = 120.0
"""So much of a CPU for that many answers is a hang: the stack is shown, and the process ends.
A clock would not do: a busy machine may let a process wait for minutes."""


def run(first: int) -> tuple[Counter[str], int, str]:
    """Try some seeds; return counts, the highest memory ever, and the first failure's words."""
    counts: Counter[str] = Counter()
    faulthandler.register(signal.SIGPROF, chain=True)
    signal.setitimer(signal.ITIMER_PROF, HANGING_SECONDS)
    for seed in range(first, first + TOGETHER):
        try:
            counts += trial(seed)
        except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
            return counts, peak_bytes(), f"seed {seed}:\n{traceback.format_exc()}"
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    return counts, peak_bytes(), ""


def peak_bytes() -> int:
    """Return the highest resident memory that this process ever had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> int:
    """Try the seeds; exit 1 at the first failure, after telling how to repeat it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--answers", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=None, help="first seed; default: new ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--most-mb", type=int, default=300, help="memory a process may have")
    given = parser.parse_args()
    first = int.from_bytes(os.urandom(4)) if given.first is None else given.first
    print(f"answers from seed {first} on", flush=True)
    started = time.monotonic()
    counts: Counter[str] = Counter()
    peak = 0
    with ProcessPoolExecutor(given.jobs) as pool:  # which ends with a process that hangs
        starts = range(first, first + given.answers, TOGETHER)
        for found, memory, failure in pool.map(run, starts):
            counts += found
            peak = max(peak, memory)
            if failure or peak > given.most_mb * 1_000_000:
                print(failure or f"more than {given.most_mb} MB of memory")
                print(f"  repeat: python -m tests.fuzz --answers 1 --first SEED (here: {first})")
                pool.shutdown(cancel_futures=True)
                return 1
    print(f"{counts['answers']} answers in {time.monotonic() - started:.1f} s, {peak // 10**6} MB")
    for name, count in sorted(counts.items()):
        print(f"  {name}: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
