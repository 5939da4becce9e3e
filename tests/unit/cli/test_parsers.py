"""The command line as a whole: every command has an example, a page, and a completion."""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import reportd
from reportd.cli import reportctl
from reportd.cli.parsers import EXAMPLE, children, completion, walk
from reportd.cli.render import rendered
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE

ROOT = Path(reportd.__file__).parents[1]
COMMANDS = {
    " ".join(path): one for path, one in walk(reportctl.parser()) if path and not children(one)
}
WITHOUT_TABLE = {
    "backfill", "cancel", "check", "completion", "leave", "partner check", "partner schema",
    "partner show", "partner try", "pause", "reload", "resume", "schedule apply", "slow", "top",
    "topics grow",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_an_example_that_parses(name: str) -> None:
    """In its ``--help``; whoever copies it is not told that the command line is wrong."""
    one = COMMANDS[name]
    assert one.description
    assert (one.epilog or "").startswith(EXAMPLE)
    words = shlex.split((one.epilog or "").removeprefix(EXAMPLE).partition(" >")[0])
    words = [word.strip("()<") for word in words]
    words = words[words.index("reportctl") + 1 :]

    args = reportctl.parser().parse_args(words)
    assert f"reportctl {name}" in one.prog
    assert callable(args.run)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND (one of check, doctor, "),
        (["dead"], "ACTION (one of list, show, replay, drop); see 'reportctl dead --help'"),
        (["wait"], "required: RUN; see 'reportctl wait --help'"),
    ],
)
def test_what_is_missing_is_said_with_what_there_is(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever is woken at night does not look for the manual."""
    with pytest.raises(SystemExit) as ended:
        reportctl.main(words)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--version"], 0, f"reportd {reportd.__version__}"),
        (["requests", "--account", "a\udcff"], 2, "'a\\udcff' is no UTF-8"),
    ],
)
def test_what_needs_no_configuration(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which version it is; and bytes that a shell may hand over and that no record may hold."""
    with pytest.raises(SystemExit) as ended:
        reportctl.main(words)

    assert ended.value.code == status
    assert said in "".join(capsys.readouterr())


PAGES = [
    *sorted(page for page in ROOT.glob("docs/**/*.rst") if page.name != "reportctl.rst"),
    ROOT / "README.rst",
    ROOT / "etc" / "prometheus" / "reportd.rules.yml",
]
NAMED = re.compile(r"`(?:sudo )?reportctl ([^`<]+)`|^ +(?:sudo )?reportctl (.+)$", re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_pages_tell_people_to_type_is_there(page: Path) -> None:
    """Every command and every option of it that is named anywhere."""
    for quoted, line in NAMED.findall(page.read_text()):
        words = (quoted or line).replace("|", " ").split()
        one = reportctl.parser()
        while words and words[0] in children(one):
            one = children(one)[words.pop(0)]
        known = {option for action in one._actions for option in action.option_strings}
        asked = {word.strip("[](),;.").partition("=")[0] for word in words}

        assert not children(one) or set(words) <= children(one).keys(), quoted or line
        assert {word for word in asked if word.startswith("--")} <= known, quoted or line


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_argument_says_what_it_is(name: str) -> None:
    """But for names that say it themselves; and the help can be printed."""
    assert COMMANDS[name].format_help()
    for action in COMMANDS[name]._actions:
        assert action.help or not action.option_strings


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_TABLE))
def test_what_prints_a_table_has_json(name: str) -> None:
    """For programs."""
    options = [option for action in COMMANDS[name]._actions for option in action.option_strings]
    assert "--json" in options


@pytest.mark.parametrize("path", sorted(rendered()))
def test_rendered_files_are_current(path: Path) -> None:
    """``python -m reportd.cli.render`` was run after the last change."""
    assert (ROOT / path).read_text() == rendered()[path]


def test_exit_statuses_are_in_one_place() -> None:
    """Each once, those that the programs end with among them; ``--help`` has them."""
    statuses = [status for status, _ in reportctl.STATUSES]
    assert len(set(statuses)) == len(statuses)
    assert {0, 1, EXIT_CONFIG, EXIT_UNAVAILABLE, reportctl.INTERRUPTED} <= set(statuses)
    assert all(str(status) in reportctl.parser().format_help() for status in statuses)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ba"], {"backfill"}),
        (["dead", ""], {"list", "show", "replay", "drop", "--help"}),
        (["dead", "drop", "--dr"], {"--dry-run"}),
        (["--config", "x", "pau"], {"pause"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str]) -> None:
    """Commands, the actions of a command, and their options."""
    script = completion(reportctl.parser())
    line = " ".join(shlex.quote(word) for word in ["reportctl", *words])
    script += f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _reportctl; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script], capture_output=True, text=True, check=True
    )

    assert (set(done.stdout.split()), done.stderr) == (expected, "")


def test_completion_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    """``source <(reportctl completion bash)``."""
    assert reportctl.main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == completion(reportctl.parser())


def test_a_parser_without_commands_is_one_that_is_run() -> None:
    """What is walked is what argparse knows."""
    assert children(argparse.ArgumentParser()) == {}


def test_a_command_brings_no_other() -> None:
    """``lag`` needs no formats: an answer is there before all of them are imported."""
    script = (
        "import sys; from reportd.cli import reportctl; reportctl.parser(('lag',));"
        "print(*(name for name in ('pyarrow', 'google.auth', 'pyspark') if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""
