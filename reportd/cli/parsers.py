"""What follows from the parsers of ``reportctl``: bash completion, and its reference. Pure."""

import argparse
import textwrap
from collections.abc import Iterator, Sequence

EXAMPLE = "example: "
_WIDTH = 96
_HEAD = """\
.. Rendered by ``python -m reportd.cli.render`` from the parsers of reportd/cli.

reportctl
=========

Looks at and steers what is there. ``reportctl COMMAND --help`` says the same as this page. Tables
are for people, ``--json`` for programs; colour is for terminals alone. What can take longer shows
a progress bar on a terminal. Nothing reads a whole topic of requests: offsets, the newest ledger
records and what the VM's own observer knows are enough for an answer.

``source <(reportctl completion bash)`` completes commands and options; the Debian package installs
it. ``reportctl --version`` says which one this is.

Exit status
-----------
"""
_BASH = """\
# Completion of reportctl for bash; rendered by `reportctl completion bash`.
_reportctl() {
    local current=${COMP_WORDS[COMP_CWORD]} path= word words=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $word" in
            %s) path="$path $word" ;;
        esac
    done
    case "$path" in
%s
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _reportctl reportctl
"""


def children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return a parser's own commands by their names; none: it is one that is run."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def walk(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Yield every parser with the words that lead to it, this one first."""
    yield path, parser
    for name, child in children(parser).items():
        yield from walk(child, (*path, name))


def completion(parser: argparse.ArgumentParser) -> str:
    """Return the script for bash."""
    branches, cases = [], []
    for path, one in walk(parser):
        words = [*children(one), *(option for option in _options(one) if option.startswith("--"))]
        key = "".join(f" {word}" for word in path)
        if path:
            branches.append(f'"{key}"')
        cases.append(f'        "{key}") words="{" ".join(words)}" ;;')
    return _BASH % (" | ".join(branches), "\n".join(cases))


def page(parser: argparse.ArgumentParser, statuses: Sequence[tuple[int, str]]) -> str:
    """Return the reference; ``statuses`` are the exit statuses and their meanings."""
    rule = f"{'=' * 6}  {'=' * (_WIDTH - 8)}"
    lines = [_HEAD, rule, "status  meaning", rule]
    for status, meaning in statuses:
        first, *more = textwrap.wrap(meaning, _WIDTH - 8)
        lines.append(f"{status:<6}  {first}")
        lines += [f"{'':<6}  {line}" for line in more]
    lines += [rule, ""]
    for path, one in walk(parser):
        if path and not children(one):
            lines += _command(path, one)
    return "\n".join(lines)


def _command(path: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[str]:
    title = " ".join(path)
    yield f"{title}\n{'-' * len(title)}\n"
    yield _filled(_literal(parser.description or ""), "") + "\n"
    if parser.epilog:
        yield "::\n"
        yield f"    {_example(parser)}\n"
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            yield f"``{_name(action)}``"
            yield _filled(_literal(_help(parser, action)), "    ")
    yield ""


def _example(parser: argparse.ArgumentParser) -> str:
    return (parser.epilog or "").removeprefix(EXAMPLE)


def _name(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if not action.option_strings:
        return metavar or action.dest
    value = "" if action.nargs == 0 else f" {metavar or action.dest.upper()}"
    return ", ".join(f"{option}{value}" for option in action.option_strings)


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return what ``--help`` says of an action, without its layout."""
    if not action.help:
        return "what it is about"
    return action.help % {**vars(action), "prog": parser.prog}


def _literal(text: str) -> str:
    """Return help texts as reStructuredText: what it might act upon is escaped."""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("`", "\\`").replace("|", "\\|")


def _filled(text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _options(parser: argparse.ArgumentParser) -> list[str]:
    actions = parser._actions
    return [option for action in actions for option in action.option_strings]
