"""The stories notice bugs: each mutant of the real source is caught by the seed that is noted."""

import json

import pytest

from tests.simulation.__main__ import play
from tests.simulation.mutants import CAUGHT, MUTANTS, SEEDS, Mutant, caught_after

pytestmark = pytest.mark.timeout(600)
"""Seconds of CPU, where the machine has it to give."""


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
