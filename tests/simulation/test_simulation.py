"""New stories each time; a failing seed replays exactly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import play
from tests.simulation.scenario import tell

FIRST = int(os.environ.get("REPORTD_SEED") or int.from_bytes(os.urandom(4)))
STORIES = int(os.environ.get("REPORTD_SEEDS", "240"))
CHUNKS = 8

pytestmark = pytest.mark.timeout(600)
"""Seconds of CPU, where the machine has it to give."""


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_story_breaks_a_promise(chunk: int) -> None:
    """Whatever crashes, stops, lies or moves: every promise is kept."""
    for seed in range(FIRST + chunk, FIRST + STORIES, CHUNKS):
        _, found = play(seed)
        assert found == [], (
            f"seed {seed}; repeat: python -m tests.simulation --first {seed} --seeds 1 --log"
        )


@pytest.mark.parametrize("seed", [12, 14, 25, pytest.param(FIRST, id="a-new-one")])
def test_equal_seeds_tell_equal_stories(seed: int) -> None:
    """A failing seed can be looked at: it fails again, in the same way."""
    stories = [tell(seed), tell(seed)]
    for story in stories:
        story.run()

    assert stories[0].log == stories[1].log
    assert stories[0].world.time == stories[1].world.time


def told(seed: int, hash_seed: int) -> list[str]:
    """Return what a process of its own tells of a story, but for how long it took."""
    one = ("--log", "--jobs", "1", "--seeds", "1", "--first", str(seed))
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *one],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    *story, last = done.stdout.splitlines()
    return [*story, last.rpartition(", ")[0]]


def test_another_process_tells_the_same_story() -> None:
    """Whoever repeats a seed elsewhere sees what failed: no order of a set or dict is in it."""
    stories = told(FIRST, 1), told(FIRST, 2)

    assert stories[0] == stories[1], f"seed {FIRST}"
    assert stories[0][-1].startswith(f"1 seeds from {FIRST}: ")
