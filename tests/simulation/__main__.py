"""``python -m tests.simulation --seeds 10000 [--first N]``: run many stories, report failures."""

import argparse
import multiprocessing
import os
import sys
import time

from tests.simulation.promises import broken
from tests.simulation.scenario import tell


def play(seed: int) -> tuple[int, list[str]]:
    """Run one story; return what it broke."""
    story = tell(seed)
    story.run()
    return seed, broken(story)


def main() -> int:
    """Run the seeds on all cores; exit 1 at the first failure, after telling how to repeat it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=300, help="how many stories")
    parser.add_argument("--first", type=int, default=None, help="first seed; default: new ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument("--log", action="store_true", help="print the story's log")
    given = parser.parse_args()
    first = int.from_bytes(os.urandom(4)) if given.first is None else given.first
    started = time.monotonic()
    failures = 0
    if given.log:
        story = tell(first)
        story.run()
        print("\n".join(story.log))
    with multiprocessing.Pool(given.jobs) as pool:
        for seed, found in pool.imap_unordered(play, range(first, first + given.seeds)):
            if found:
                failures += 1
                print(f"seed {seed}: {len(found)} broken promises, the first: {found[0]}")
                print(f"  repeat: python -m tests.simulation --first {seed} --seeds 1 --log")
                if not given.keep_going:
                    pool.terminate()
                    return 1
    seconds = time.monotonic() - started
    print(f"{given.seeds} seeds from {first}: {failures} failed, {seconds:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
