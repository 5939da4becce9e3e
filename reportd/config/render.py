"""Write what people read about the settings: ``python -m reportd.config.render [ROOT]``.

``etc/reportd.toml``, ``etc/schedules/daily.toml`` and ``docs/configuration.rst`` follow from the
declarations; a test says when they are not current.
"""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from reportd.config.kafka import REFUSED, SECRET
from reportd.config.reference import Setting, Table, table_of
from reportd.config.schedule import ScheduleSettings
from reportd.config.settings import Settings
from reportd.config.toml import toml_key, toml_value

_WIDTH = 92
_RENDERED = """\
# Rendered by `python -m reportd.config.render`: edit a copy, or the declarations."""
_SETTINGS_HEAD = f"""\
# /etc/reportd/reportd.toml: the same on every VM. conf.d/*.toml beside it is laid over it.
# `reportctl check` says everything that is wrong. What is commented out is the default, or an
# example where there is none.
{_RENDERED}
"""
_SCHEDULE_HEAD = f"""\
# /etc/reportd/schedules/daily.toml: the file's name is the schedule's, and stands in its runs.
{_RENDERED}
"""
_PAGE_HEAD = """\
.. Rendered by ``python -m reportd.config.render`` from the declarations in reportd/config.

Configuration
=============

``/etc/reportd/reportd.toml`` is one TOML file, the same on every VM. Files of ``conf.d`` beside it
are laid over it in the order of their names: tables are merged, anything else is replaced.
Relative paths start at the folder of ``reportd.toml``. There are no environment variables and no
command line options that change a setting.

``reportctl check`` reads everything and says every problem at once, as ``file: section.key: what
to do``; it ends with 78 if there is one. The daemon does the same at start, and at reload keeps
what it has.

Secrets
-------

A secret is a file of ``secrets_folder``; adding one is dropping a file. The configuration names
it, ``{ secret = "name" }``; one newline at its end is not part of it. Credentials that systemd
hands over (``LoadCredential=``, ``$CREDENTIALS_DIRECTORY``) come first. Secrets are read when the
configuration is loaded or reloaded.

reportd.toml
------------
"""
_LIBRDKAFKA = """\
librdkafka's own settings
~~~~~~~~~~~~~~~~~~~~~~~~~

Any setting of librdkafka stands in ``[kafka]`` under its own name, in quotes or as a dotted key.
Those that hold a secret must be written as one:

{secret}

These are refused, because a promise depends on them:
"""
_SCHEDULES_HEAD = """\
Schedules
---------

A file of ``schedules_folder`` is a schedule; its name, without ``.toml``, is the schedule's.

The calendar is a subset of systemd's ``OnCalendar=``: ``[weekdays] [date] [time] [zone]`` with
``*``, lists (``1,15``), ranges (``9..17``, ``Mon..Fri``) and steps (``0/15``), or one of minutely,
hourly, daily, weekly, monthly, quarterly, semiannually, yearly. Without a zone UTC is meant. As in
systemd, a local time that the clock jumps over in spring does not come on that day, and one that
comes twice in autumn counts once, the first time: choose a time that exists every day.
``reportctl check`` names the days that have no slot.

``reportctl schedule apply`` makes systemd's timers as the files say: it writes the calendar into
``/etc/systemd/system/reportd-enqueue@NAME.timer.d/50-schedule.conf``, enables and starts the timer,
and removes those of schedules that are gone (only files that it wrote itself). Run it after every
change, on each VM that is to enqueue: of several VMs with the same timer one enqueues, the others
see that it does. ``reportctl schedule list`` says what is not applied yet.
"""


def sample(model: type[Settings] | type[ScheduleSettings], head: str) -> str:
    """Return a commented sample file."""
    return head + "\n".join(_toml(table_of(model)))


def page() -> str:
    """Return the docs page."""
    parts = [_PAGE_HEAD, *_rst(table_of(Settings))]
    parts.append(_LIBRDKAFKA.format(secret="\n".join(f"* ``{name}``" for name in sorted(SECRET))))
    parts += [f"``{name}``\n    {why[0].upper()}{why[1:]}.\n" for name, why in REFUSED.items()]
    parts += [_SCHEDULES_HEAD, *_rst(table_of(ScheduleSettings))]
    return "\n".join(line.rstrip() for line in "\n".join(parts).split("\n")).rstrip() + "\n"


def rendered() -> dict[Path, str]:
    """Return the files, by their path in the repository."""
    return {
        Path("etc/reportd.toml"): sample(Settings, _SETTINGS_HEAD),
        Path("etc/schedules/daily.toml"): sample(ScheduleSettings, _SCHEDULE_HEAD),
        Path("docs/configuration.rst"): page(),
    }


def _toml(table: Table) -> Iterator[str]:
    if table.name:
        yield ""
        yield from _wrap(_plain(table.description), "# ")
        yield f"[[{table.name}]]" if table.is_list else f"[{table.name}]"
    for setting in table.settings:
        yield from ("", *_wrap(_plain(setting.description), "# "))
        yield from _assignments(setting)
    for inner in table.tables:
        yield from _toml(inner)
    if not table.name:
        yield ""


def _assignments(setting: Setting) -> Iterator[str]:
    mark = "" if setting.is_needed or setting.is_shown else "#"
    if setting.name == "librdkafka":
        for key, value in setting.example.items():
            yield f"#{toml_key(key)} = {toml_value(value)}"
    else:
        yield f"{mark}{toml_key(setting.name)} = {toml_value(setting.sample)}"


def _rst(table: Table) -> Iterator[str]:
    if table.name:
        title = f"``[[{table.name}]]``" if table.is_list else f"``[{table.name}]``"
        yield f"{title}\n{'~' * len(title)}\n\n{table.description}\n"
    for setting in table.settings:
        yield f"``{_shown_name(setting)}`` ({setting.kind}{_default(setting)})"
        yield from _wrap(" ".join(setting.description.split()), "    ")
        yield ""
    inline = (setting.table for setting in table.settings if setting.table)
    for inner in (*inline, *table.tables):
        yield from _rst(inner)


def _shown_name(setting: Setting) -> str:
    return "any other" if setting.name == "librdkafka" else setting.name


def _default(setting: Setting) -> str:
    if setting.is_needed:
        return "; needed"
    if setting.default is None or setting.default in ({}, ()):
        return ""
    return f"; default ``{toml_value(setting.default)}``"


def _plain(text: str) -> str:
    """Return a description without reST's double backquotes."""
    return " ".join(text.split()).replace("``", "")


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH + len(indent),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def main(root: Path) -> None:
    """Write the files below the repository's root."""
    for path, text in rendered().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
