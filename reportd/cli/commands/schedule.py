"""``reportctl schedule``: the schedules, and their timers made as they say."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reportd.cli.options import add_config_option
from reportd.cli.showing import show_json, show_table
from reportd.config.calendar import Calendar, next_slot
from reportd.config.load import load
from reportd.config.problems import did_you_mean
from reportd.config.schedule import Schedule, load_schedules
from reportd.enqueue.timers import SYSTEMD_FOLDER, Changes, Timers, changes
from reportd.errors import ConfigError

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

SLOTS_SHOWN = 3
COLUMNS = ("schedule", "calendar", "next slots", "deadline", "timer", "timer's next elapse")


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``schedule list`` and ``schedule apply``."""
    parser = subparsers.add_parser(
        "schedule",
        help="show the schedules; make their timers as they say",
        description="The schedules' files are the only truth: timers follow from them.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        description="List the schedules, their next slots, and their timers.",
        epilog="example: reportctl schedule list",
        help="the schedules, their next slots, their timers",
    )
    add_config_option(listing)
    _add_folder_option(listing)
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(act=show)
    applying = actions.add_parser(
        "apply",
        epilog="example: reportctl schedule apply --dry-run",
        help="write, enable and start the timers; remove those of schedules that are gone",
        description="Write each schedule's calendar into a drop-in of its timer, enable and start "
        "the timer, and remove those of schedules that are gone (only what this command wrote). "
        "Doing it again changes nothing.",
    )
    applying.add_argument(
        "names", nargs="*", metavar="NAME", help="only these; nothing is removed then"
    )
    add_config_option(applying)
    _add_folder_option(applying)
    applying.add_argument("--dry-run", action="store_true", help="say what would be done")
    applying.set_defaults(act=apply)
    return parser


def run(args: argparse.Namespace) -> int:
    """List or apply."""
    status: int = args.act(args)
    return status


def show(args: argparse.Namespace) -> int:
    """Show every schedule; 1 if a timer is not as its schedule says."""
    folder, schedules = _schedules(args.config)
    planned = changes(schedules, args.systemd_dir)
    rows = _rows(schedules, planned, Timers(), datetime.now(UTC))
    if args.json:
        show_json([asdict(row) for row in rows])
    else:
        show_table(COLUMNS, (row.cells() for row in rows), empty=f"no schedule in {folder} yet")
        for one in planned.remove:
            print(f"{one.timer}: its schedule is gone")
        if planned.write or planned.remove:
            print("run 'reportctl schedule apply'")
    return 1 if planned.write or planned.remove else 0


def apply(args: argparse.Namespace) -> int:
    """Make the timers as the schedules say."""
    _, schedules = _schedules(args.config)
    if strange := [name for name in args.names if name not in schedules]:
        raise ConfigError(
            *(f"there is no schedule {n!r}; {did_you_mean(n, schedules)}" for n in strange)
        )
    planned = changes(schedules, args.systemd_dir, args.names)
    timers = Timers()
    if not args.dry_run:
        timers.require()
        timers.apply(planned)
    _say(planned, dry_run=args.dry_run)
    if not args.dry_run:
        applied = {name: schedules[name] for name in args.names or schedules}
        done = changes(applied, args.systemd_dir, args.names)
        rows = _rows(applied, done, timers, datetime.now(UTC))
        show_table(COLUMNS, (row.cells() for row in rows))
    return 0


@dataclass(frozen=True, slots=True)
class _Row:
    """One schedule as it is shown."""

    schedule: str
    calendar: str
    slots: tuple[str, ...]
    """The next ones."""
    deadline: str
    timer: str
    elapses: str
    """When the timer does next, as systemd says: later than the slot by its random delay."""

    def cells(self) -> tuple[str, ...]:
        slots = ", ".join(self.slots) or "never again"
        return self.schedule, self.calendar, slots, self.deadline, self.timer, self.elapses


def _rows(
    schedules: Mapping[str, Schedule], planned: Changes, timers: Timers, now: datetime
) -> list[_Row]:
    written = {one.schedule for one in planned.keep}
    rows = []
    for name, schedule in schedules.items():
        calendar = schedule.settings.calendar
        active, elapses = timers.state(name)
        state = active or "unknown" if name in written else "to be applied"
        deadline = str(schedule.settings.deadline or "")
        rows.append(_Row(name, str(calendar), _slots(calendar, now), deadline, state, elapses))
    return rows


def _slots(calendar: Calendar, now: datetime) -> tuple[str, ...]:
    found: list[str] = []
    at = next_slot(calendar, now)
    while at is not None and len(found) < SLOTS_SHOWN:
        found.append(f"{at:%Y-%m-%d %H:%M:%S}Z")
        at = next_slot(calendar, at)
    return tuple(found)


def _say(planned: Changes, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for one in planned.write:
        print(f"{one.timer}: {would}written to {one.file}, enabled, started")
    for one in planned.keep:
        print(f"{one.timer}: is right")
    for one in planned.remove:
        print(f"{one.timer}: {would}stopped, disabled, {one.file} removed: no such schedule")


def _schedules(config: Path) -> tuple[Path, Mapping[str, Schedule]]:
    """Return where they are, and all of them."""
    loaded = load(config)
    folder = loaded.settings.schedules_folder
    try:
        os.scandir(folder).close()
    except OSError as error:  # not mounted, or a typing error: no word on what is in it
        raise ConfigError(f"{config}: schedules_folder: {folder}: {error.strerror}") from None
    return folder, load_schedules(folder, loaded.secrets)


def _add_folder_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--systemd-dir",
        type=Path,
        default=SYSTEMD_FOLDER,
        metavar="FOLDER",
        help="where the timers' drop-ins lie (default: %(default)s)",
    )
