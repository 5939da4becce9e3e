"""A recording in the place of a partner: the time it was made, no secret, no waiting."""

from pathlib import Path

from reportd.config.secrets import Secret
from reportd.partners.recording import Player, read_exchanges
from reportd.partners.redaction import HIDDEN
from reportd.transport.token_request import TokenPlan


class RecordedClock:
    """A clock that stands at a recording's beginning, and goes on when somebody waits."""

    def __init__(self, wall: float) -> None:
        """Begin at an instant, in epoch seconds."""
        self._wall = wall
        self._passed = 0.0

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._wall + self._passed

    def monotonic(self) -> float:
        """Return seconds since the beginning."""
        return self._passed

    def boottime(self) -> float:
        """Return seconds since the beginning."""
        return self._passed

    def pause(self, seconds: float) -> None:
        """Be later at once."""
        self._passed += seconds


class NoTokens:
    """Gives what stands for a token: a replay asks no token server."""

    def token(self, _plan: TokenPlan, _refused: str = "") -> str:
        """Return the sign for a secret."""
        return HIDDEN

    def known(self, _plan: TokenPlan) -> tuple[str, ...]:
        """Return nothing: there is nothing to hide."""
        return ()


def open_recording(folder: Path) -> tuple[Player, RecordedClock]:
    """Return what answers from a recording, and its time; raises `ConfigError`."""
    exchanges = read_exchanges(folder)
    return Player(exchanges), RecordedClock(exchanges[0].at)


def no_secret(name: str) -> Secret:
    """Return what stands for a secret that a replay never needs."""
    return Secret(HIDDEN, name)
