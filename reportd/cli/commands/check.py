"""``reportctl check``: is everything that is written down right? Says every problem at once."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from reportd.broker.settings import client_settings, library_problems
from reportd.cli.looking import Tables, look_into
from reportd.cli.options import add_config_option
from reportd.config.calendar import days_without_slot, next_slot
from reportd.config.days import FixedDays, RelativeDays
from reportd.config.load import Config, folders, load
from reportd.config.schedule import Schedule, ask_problems, load_schedules
from reportd.enqueue.accounts import check_present
from reportd.errors import ConfigError
from reportd.observer.web import tls_context
from reportd.partners.extending import catalogue_files
from reportd.partners.load import load_partners
from reportd.partners.partner import Partner, blind_rules, heard_apart, narrows
from reportd.partners.spec import LimitSpec
from reportd.sinks.formats import FORMATS
from reportd.sinks.paths import PathTemplate

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers

LONG_SECONDS = 3600.0
"""A limit over that long is worth a word: whoever takes a partition over starts it spent."""

WORKER_RATE = 600.0
"""Small reports a second that one worker does (docs/benchmarks.rst)."""

T = TypeVar("T")


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``check [--config FILE]``."""
    parser = subparsers.add_parser(
        "check",
        epilog="example: reportctl check --config /etc/reportd/reportd.toml",
        help="check configuration, partners and schedules",
        description="Check configuration, partners and schedules, accounts tables that are local "
        "CSV files, and whether the secrets are there that their accounts need; 78 if anything is "
        "wrong. What it did not look at is said.",
    )
    add_config_option(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Check all; return 0, or raise `ConfigError` with every problem."""
    try:
        config = load(args.config)
    except ConfigError as error:
        raise ConfigError(*error.problems, *_other_problems(args.config)) from None
    # the library need not say that no broker answers: nobody has asked it to find one
    quiet = {**client_settings(config.settings.kafka), "log_level": 0}
    problems: list[str] = [f"{config.path}: kafka: {what}" for what in library_problems(quiet)]
    try:
        tls_context(config.settings.metrics)
    except ConfigError as error:
        problems += [f"{config.path}: {what}" for what in error.problems]
    partners, found = _tried(lambda: load_partners(config.settings.partners_folder))
    problems += found
    schedules, found = _tried(
        lambda: load_schedules(config.settings.schedules_folder, config.secrets)
    )
    problems += found
    tables = Tables()
    if partners is not None:
        problems += reference_problems(config, partners, schedules or {})
        tables = look_into(config.secrets, partners, schedules or {})
        problems += tables.problems
    if problems:
        raise ConfigError(*problems)
    for line in summary(config, partners or {}, schedules or {}, tables, datetime.now(UTC)):
        print(line)
    return 0


def _other_problems(path: Path) -> list[str]:
    """Return what is wrong with partners and schedules of a configuration that does not load."""
    found = folders(path)
    if found is None:
        return []
    partners, problems = _tried(lambda: load_partners(found.partners))
    schedules, more = _tried(lambda: load_schedules(found.schedules, found.secrets))
    problems += more
    if partners is not None and schedules is not None:
        problems += schedule_problems(partners, schedules)
    return problems


def _tried(load: Callable[[], T]) -> tuple[T | None, list[str]]:
    try:
        return load(), []
    except ConfigError as error:
        return None, list(error.problems)


def reference_problems(
    config: Config, partners: Mapping[str, Partner], schedules: Mapping[str, Schedule]
) -> list[str]:
    """Return what does not fit together: the path template, and what schedules ask for."""
    template = PathTemplate(config.settings.output.path)
    problems = [f"{config.path}: output.path: {what}" for what in template.problems()]
    for partner in partners.values():
        for name, report in partner.reports.items():
            problems += [
                f"{config.path}: output.path: {what} (for {partner.name}.{name})"
                for what in template.problems(report.spec.params)
                if what not in template.problems()
            ]
    return problems + schedule_problems(partners, schedules)


def schedule_problems(
    partners: Mapping[str, Partner], schedules: Mapping[str, Schedule]
) -> list[str]:
    """Return what schedules ask for that nobody has."""
    reports = {name: partner.reports for name, partner in partners.items()}
    problems = []
    for schedule in schedules.values():
        problems += ask_problems(schedule, reports, FORMATS, catalogue_files())
        problems += _refused(schedule, partners)
    return problems


def _refused(schedule: Schedule, partners: Mapping[str, Partner]) -> Iterator[str]:
    """Yield what workers would refuse of a schedule's requests: too many days, wrong params."""
    for number, ask in enumerate(schedule.settings.ask, 1):
        partner = partners.get(ask.partner)
        report = partner.reports.get(ask.report_name) if partner is not None else None
        if report is not None:
            days = max(span.count for span in ask.spans)
            for what in report.problems_of(days, ask.params):
                hint = "; see split_days" if what.startswith("days") else ""
                yield f"{schedule.path}: ask[{number}].{what}{hint}"


def summary(
    config: Config,
    partners: Mapping[str, Partner],
    schedules: Mapping[str, Schedule],
    tables: Tables,
    now: datetime,
) -> Iterator[str]:
    """Yield what was found, for people."""
    yield f"{config.path}: right (hash {config.config_hash})"
    if not partners:
        yield f"no partner yet: put one into {config.settings.partners_folder}"
    for partner in partners.values():
        limits = ", ".join(limit.words() for limit in partner.spec.limits)
        yield f"partner {partner.name}: key = {partner.key_scope}; limits: {limits or 'none'}"
        yield from _fitting(partner)
        for words in (*heard_apart(partner), *blind_rules(partner)):
            yield f"partner {partner.name}: {words}"
        for number, limit in enumerate(partner.spec.limits, 1):
            spent = limit.meter in ("bucket", "fixed", "sliding") and limit.counts == "calls"
            if spent and limit.seconds >= LONG_SECONDS:
                yield (
                    f"partner {partner.name}: limits[{number}] begins spent with each start: up to "
                    f'{limit.seconds / 3600:g} h without a call; meter = "rolling" or "day" is '
                    "recorded (docs/design/limits.rst)"
                )
    for schedule in schedules.values():
        yield from _schedule(schedule, now)
    yield from _stale_files(schedules.values())
    yield from tables.found
    for what in tables.not_looked_at:
        yield f"not looked at: {what}"
    yield "not looked at: output and Kafka ('reportctl doctor')"


def _fitting(partner: Partner) -> Iterator[str]:
    """Yield where the key and the limits of a partner do not fit, and what dividing costs."""
    where = f"partner {partner.name}"
    if partner.key_scope == "partner" and partner.partitions > 1:
        widest = ", ".join(
            f"limits[{number}] ({limit.words()})"
            for number, limit in enumerate(partner.spec.limits, 1)
            if not limit.divide and _counted_within(limit) == "partner"
        )
        yield (
            f"{where}: partitions = {partner.partitions}, but {widest} counts over all "
            "accounts and makes the partner the key: one partition, and one worker, has all of it; "
            "divide = true on that limit lets several share it"
        )
    for number, limit in enumerate(partner.spec.limits, 1):
        if limit.divide:
            lost = limit.calls % partner.partitions if limit.meter != "bucket" else 0
            yield (
                f"{where}: limits[{number}] is divided: {limit.calls / partner.partitions:.4g} "
                f"calls a partition; {lost} of {limit.calls} are used by none"
            )
            continue
        if limit.meter == "concurrent" or limit.counts == "errors":
            continue
        rate = limit.calls / limit.cost / limit.window_seconds
        within = _counted_within(limit)
        if within != "account" and rate > WORKER_RATE:
            what = "it" if within == "partner" else "a credential"
            yield (
                f"{where}: limits[{number}] allows {rate:.0f} calls a second, and the one worker "
                f"that has {what} makes about {WORKER_RATE:.0f}: divide = true lets several use it"
            )


def _counted_within(limit: LimitSpec) -> str:
    """Return the key that one worker needs to have all of what a limit counts."""
    within = narrows(limit.per)
    return within if within in ("account", "credential") else "partner"


def _stale_files(schedules: Iterable[Schedule]) -> Iterator[str]:
    """Yield which asks bring days again without formats that were written of them before."""
    asks = [(schedule, ask) for schedule in schedules for ask in schedule.settings.ask]
    for schedule, ask in asks:
        lacking = {
            name
            for _, earlier in asks
            if (earlier.report, earlier.params) == (ask.report, ask.params)
            and _comes_before(earlier.days, ask.days)
            for name in earlier.formats
            if name not in ask.formats
        }
        if lacking:
            yield (
                f"schedule {schedule.name}: asks {ask.report} again without "
                f"{', '.join(sorted(lacking))}: those files keep what came first"
            )


def _comes_before(first: RelativeDays | FixedDays, second: RelativeDays | FixedDays) -> bool:
    """Say whether days are asked for by the first of two, and then by the second."""
    return (
        isinstance(first, RelativeDays)
        and isinstance(second, RelativeDays)
        and first.nearest < second.farthest
    )


def _schedule(schedule: Schedule, now: datetime) -> Iterator[str]:
    calendar = schedule.settings.calendar
    following = next_slot(calendar, now)
    when = f"next {following:%Y-%m-%d %H:%M} UTC" if following else "never again"
    deadline = schedule.settings.deadline
    until = f"; deadline {deadline}" if deadline is not None else ""
    yield f"schedule {schedule.name}: {calendar}; {when}{until}; asks {len(schedule.settings.ask)}"
    if deadline is not None and deadline.zone != calendar.zone:
        yield (
            f"schedule {schedule.name}: its deadline is a time in {deadline.zone}, its calendar in"
            f' {calendar.zone}: is that meant? deadline = "{deadline.at:%H:%M} {calendar.zone}"'
        )
    skipped = days_without_slot(calendar, now.date(), now.date() + timedelta(days=366))
    if skipped:
        days = ", ".join(str(day) for day in skipped)
        yield f"schedule {schedule.name}: the clock jumps over the slot of {days}"
    try:
        check_present(schedule.settings.accounts)
    except ConfigError as error:
        yield f"schedule {schedule.name}: {error}"
