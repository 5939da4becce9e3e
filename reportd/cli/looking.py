"""What ``reportctl check`` sees without Spark and Kafka: accounts of CSV files, their secrets."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reportd.config.schedule import Schedule
from reportd.config.secrets import SecretsFolder
from reportd.daemon.checkup import auth_plans, few, may_list
from reportd.enqueue.accounts import check_present, name_of
from reportd.enqueue.csv_accounts import is_plain, read_csv
from reportd.errors import ConfigError
from reportd.model.account import Account
from reportd.partners.partner import Partner


@dataclass(slots=True)
class Tables:
    """What was found, for people."""

    problems: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=list)


def look_into(
    secrets: SecretsFolder, partners: Mapping[str, Partner], schedules: Mapping[str, Schedule]
) -> Tables:
    """Look into the accounts tables of the schedules, each once, and for their secrets."""
    said = Tables()
    by_table: dict[str, list[Schedule]] = {}
    for schedule in schedules.values():
        by_table.setdefault(name_of(schedule.settings.accounts), []).append(schedule)
    accounts: list[Account] = []
    for name, using in by_table.items():
        accounts += _read(said, name, using, partners)
    active = [account for account in accounts if account.active]
    plans, problems = auth_plans(partners, active)
    said.problems += problems
    if wanted := sorted({name for plan in plans.values() for name in plan.names}):
        _look_for(said, secrets, wanted)
    return said


def _read(
    said: Tables, name: str, using: list[Schedule], partners: Mapping[str, Partner]
) -> list[Account]:
    source = using[0].settings.accounts
    try:
        check_present(source)
    except ConfigError:
        return []  # said of each schedule that names it
    if not is_plain(source):
        command = f"'reportd-enqueue {using[0].name} --dry-run'"
        said.not_looked_at.append(f"the rows of {name} ({command}), and their accounts' secrets")
        return []
    try:
        accounts = read_csv(source, partners)
    except OSError as error:
        said.not_looked_at.append(f"{name}: {error.strerror}")
        return []
    except ConfigError as error:
        said.problems += error.problems
        return []
    active = sum(account.active for account in accounts)
    said.found.append(f"accounts {name}: {len(accounts)}, of which {active} active")
    return accounts


def _look_for(said: Tables, secrets: SecretsFolder, wanted: Sequence[str]) -> None:
    """Look whether secrets are there, where this user may see that."""
    if secrets.credentials is None and (why := _closed(secrets.folder)):
        said.not_looked_at.append(f"secrets ({few(wanted)}): {secrets.folder} {why}")
        return
    hidden = [name for name in wanted if _hidden(secrets.folder / name)]
    if hidden:
        said.not_looked_at.append(f"secrets that this user may not read: {few(hidden)}")
    for name in wanted:
        if name in hidden:
            continue
        try:
            secrets.read(name)
        except ConfigError as error:
            said.problems += error.problems


def _closed(folder: Path) -> str | None:
    """Return why a folder says nothing about secrets: they are handed over in another way, say."""
    if not folder.exists():
        return "is not there"
    if not may_list(folder):
        return "is closed to this user ('sudo reportctl check')"
    return None if any(folder.iterdir()) else "is empty"


def _hidden(path: Path) -> bool:
    return path.exists() and not os.access(path, os.R_OK)
