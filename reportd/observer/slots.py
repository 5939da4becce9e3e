"""When the schedules of this VM's configuration were last due: what an alert compares runs with.

Schedules are the enqueuer's: no more than their calendars is read here, and a file that is wrong
is passed over (`reportctl check` and the enqueuer say so). Reads files, now and then.
"""

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from reportd.config.calendar import Calendar, last_slot
from reportd.config.load import read_toml
from reportd.errors import ConfigError
from reportd.observer.runs import REMEMBERED_SECONDS

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0


class Slots:
    """The schedules of a folder, as they were when it was last looked at."""

    def __init__(self, folder: Path) -> None:
        """Look at ``folder`` when first asked."""
        self._folder = folder
        self._looked_at = float("-inf")
        self._passed: dict[str, float] = {}
        self._changed_at: dict[str, float] = {}
        """When each schedule's file came to be what it is (epoch)."""

    def passed(self, now: float, wall: float, enqueued: Collection[str]) -> Mapping[str, float]:
        """Return each schedule's last slot (epoch); ``now`` monotonic, ``wall`` epoch.

        A schedule that is not among the ``enqueued`` is new: what had passed before its file was
        there was nobody's to do. Nor is told of what is as old as runs that are forgotten.
        """
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            at = datetime.fromtimestamp(wall, UTC)
            slots = {name: last_slot(one, at) for name, one in self._calendars().items()}
            self._passed = {
                name: slot.timestamp() for name, slot in slots.items() if slot is not None
            }
        return {
            name: slot
            for name, slot in self._passed.items()
            if slot > wall - REMEMBERED_SECONDS
            and (name in enqueued or slot >= self._changed_at[name])
        }

    def _calendars(self) -> dict[str, Calendar]:
        found = {}
        for path in sorted(self._folder.glob("*.toml")):
            try:
                self._changed_at[path.stem] = path.stat().st_ctime
                found[path.stem] = Calendar.parse(str(read_toml(path).get("calendar")))
            except (ConfigError, OSError, ValueError) as error:
                logger.debug("%s: %s", path, error, extra={"action": "schedule_passed_over"})
        return found
