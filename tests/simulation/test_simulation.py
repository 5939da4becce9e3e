"""New stories each time; a failing seed replays exactly."""

import json
import os

import pytest

from tests.simulation.__main__ import play
from tests.simulation.mutants import CAUGHT, MUTANTS, SEEDS, Mutant, caught_after
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


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(mutant: Mutant) -> None:
    """Each of these bugs breaks a promise within the stated number of seeds."""
    seed = json.loads(CAUGHT.read_text())[mutant.name]

    assert 1 <= seed <= SEEDS
    assert caught_after(mutant, first=seed, seeds=1, jobs=1) == 1, (
        f"seed {seed} catches it no more: python -m tests.simulation.mutants --write {mutant.name}"
    )


def test_healthy_source_passes_what_catches_mutants() -> None:
    """What breaks there is the mutant's doing."""
    for seed in set(json.loads(CAUGHT.read_text()).values()):
        assert play(seed)[1] == [], f"seed {seed}"
