"""Read partner files: all problems at once, each with its path.

Called at start and reload and by the tools; reads files, changes nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reportd.config.load import CATALOGUE, read_toml
from reportd.config.problems import Location, did_you_mean, every_problem
from reportd.errors import ConfigError
from reportd.partners.extending import Source, read_source, step_names
from reportd.partners.partner import Partner, division_problems
from reportd.partners.spec import RULE_KINDS, PartnerSpec

_RULE_TABLE = re.compile(r"^[ \t]*\[\[[ \t]*([a-z_]+)[ \t]*\]\]", re.MULTILINE)
_CALLED = ("get", "post", "query", "headers", "json", "form")
_UNUSED = "no template uses"
_LEANING = {
    "columns": ("columns", "day_column"),
    "steps": ("steps", "get", "accounts", _UNUSED),
    "pick": ("pick", "no earlier step picks it"),
    "format": ("not a JMESPath", "rows", "unfold", "lists"),
    "lists": ("not a JMESPath", "rows", "unfold"),
    "allow_private": ("https", "host"),
    **dict.fromkeys(_CALLED, (_UNUSED,)),
}
"""What may be said only because a key is not right, without its name in it: `every_problem`."""
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,63}$")


def load_partner(path: Path, catalogue: Path = CATALOGUE) -> Partner:
    """Load ``<name>.toml``, and what it extends; raises `ConfigError` with every problem found."""
    name = path.stem
    if not _NAME.match(name):
        raise ConfigError(
            f"{path}: the file's name is the partner's: a-z, 0-9 and _, a letter first"
        )
    source = read_source(path, catalogue)
    apart = [f"{path}: {problem}" for problem in rules_apart(path.read_text("utf-8"))]
    try:
        spec = _checked(source.data, source.where)
    except ConfigError as error:
        raise ConfigError(*error.problems, *apart, *_misnamed(source)) from None
    if apart:
        raise ConfigError(*apart)
    partner = Partner(name, spec)
    undivided = [f"{path}: {problem}" for problem in division_problems(partner)]
    if undivided:
        raise ConfigError(*undivided)
    return partner


def _misnamed(source: Source) -> Iterator[str]:
    """Yield what was perhaps meant to be laid over something of the catalogue."""
    if source.base is None:
        return
    own, base = (read_toml(path).get("reports", {}) for path in (source.path, source.base))
    for report in own if isinstance(own, Mapping) else ():
        at = f"{source.path}: reports.{report}"
        if report not in base:
            hint = did_you_mean(report, base)
            if hint.startswith("did you"):
                yield f"{at}: {source.base.stem} of the catalogue has no such report; {hint}"
            continue
        there = step_names(base[report].get("steps"))
        steps = own[report].get("steps") if isinstance(own[report], Mapping) else None
        for step in sorted(step_names(steps) - there) if there else ():
            hint = did_you_mean(step, there)
            yield f"{at}.steps: no step {step!r} in the catalogue, so they replace its; {hint}"


def rules_apart(text: str) -> Iterator[str]:
    """Yield the kinds of rules that stand in several places of a file, others between them.

    Rules are tried from the top of the file to its bottom, but TOML tells the order within a kind
    and the order of the kinds alone: ``[[quota]]`` between two ``[[transient]]`` would come last.
    """
    kinds = [found[1] for found in _RULE_TABLE.finditer(text) if found[1] in RULE_KINDS]
    for at, kind in enumerate(kinds):
        if kind in kinds[:at] and kinds[at - 1] != kind and kind not in kinds[at + 1 :]:
            yield (
                f"{kind}: stands behind [[{kinds[at - 1]}]], too; put the rules of a kind together,"
                " TOML does not tell their order otherwise"
            )


def parse_spec(data: Mapping[str, Any], where: str) -> PartnerSpec:
    """Check what a partner file says; raises `ConfigError`, each problem begins with ``where``."""
    return _checked(data, lambda _at: where)


def _checked(data: Mapping[str, Any], where: Callable[[Location], str]) -> PartnerSpec:
    try:
        return PartnerSpec.model_validate(data)
    except ValidationError:
        problems = every_problem(data, PartnerSpec, where, _LEANING)
        raise ConfigError(*problems) from None


def partner_problems(folder: Path) -> tuple[str, ...]:
    """Return what is wrong with the files of a folder, if there is one."""
    try:
        if folder.is_dir():
            load_partners(folder)
    except ConfigError as error:
        return error.problems
    return ()


def has_file(folder: Path, partner: str) -> bool:
    """Say whether a partner has a file: without one nobody reads what is sent to it."""
    return (folder / f"{partner}.toml").exists()


def load_partners(folder: Path) -> dict[str, Partner]:
    """Load every ``*.toml`` of a folder by name; raises `ConfigError` with all problems of all."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder; create it, one file a partner")
    partners = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            partner = load_partner(path)
            partners[partner.name] = partner
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return partners
