"""When a child that died is started again."""

from reportd.supervisor.respawn import Respawn, RespawnPolicy

POLICY = RespawnPolicy(calm_seconds=30.0, base_seconds=1.0, max_seconds=60.0)


def waits(lives: list[float]) -> list[float]:
    """Return the wait after each life, one life right after the other's wait."""
    respawn = Respawn(POLICY)
    now = 1000.0
    found = []
    for life in lives:
        respawn.started(now)
        due = respawn.died(now + life)
        found.append(due - (now + life))
        now = due
    return found


def test_first_death_is_answered_at_once() -> None:
    """A killed worker is replaced without a wait, however young it was."""
    assert waits([0.1]) == [0.0]


def test_early_deaths_wait_longer_and_longer() -> None:
    """The wait doubles up to its bound."""
    assert waits([1.0] * 10) == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_calm_life_forgives() -> None:
    """A child that lived long enough starts a new count."""
    assert waits([1.0, 1.0, 1.0, 30.0, 1.0]) == [0.0, 1.0, 2.0, 0.0, 1.0]


def test_very_many_deaths() -> None:
    """The wait stays finite after any number of deaths."""
    assert waits([0.0] * 5000)[-1] == 60.0
