"""Write what people and editors read: ``python -m reportd.partners.render [ROOT]``.

``docs/partner-reference.rst`` and ``docs/partner.schema.json`` follow from the declarations in
`reportd.partners.spec`; a test says when they are not current.
"""

import inspect
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from reportd.config.docstrings import field_texts
from reportd.partners.answer_spec import CsvSpec, ListsSpec
from reportd.partners.auth_spec import AuthSpec, BasicSpec, OAuth2Spec, SecretName
from reportd.partners.call_spec import NextSpec
from reportd.partners.report_spec import ParamSpec, ReportSpec
from reportd.partners.rule_spec import GrowingSpec, RuleSpec, UsageSpec, WaitRuleSpec, WaitsSpec
from reportd.partners.spec import LimitSpec, PartnerSpec, RetrySpec
from reportd.partners.step_spec import AdoptSpec, PollSpec, SplitSpec, StepSpec
from reportd.sinks.columns import ColumnSpec

TABLES: Mapping[str, type[BaseModel]] = {
    "The file": PartnerSpec,
    "auth": AuthSpec,
    "auth.basic": BasicSpec,
    "auth.oauth2": OAuth2Spec,
    "limits": LimitSpec,
    "waits": WaitsSpec,
    "waits.slow_down, waits.quota": GrowingSpec,
    "retry": RetrySpec,
    "slow_down, quota, transient": WaitRuleSpec,
    "usage": UsageSpec,
    "reports.NAME": ReportSpec,
    "reports.NAME.params": ParamSpec,
    "reports.NAME.next": NextSpec,
    "reports.NAME.csv": CsvSpec,
    "reports.NAME.lists": ListsSpec,
    "reports.NAME.steps": StepSpec,
    "reports.NAME.steps.poll": PollSpec,
    "reports.NAME.steps.adopt": AdoptSpec,
    "reports.NAME.split": SplitSpec,
    "reports.NAME.columns": ColumnSpec,
}
_HEAD = """\
.. Rendered by ``python -m reportd.partners.render`` from reportd/partners/*spec.py.

Partner files: every key
========================

How such a file comes about: `partners.rst <partners.rst>`_. Editors that know JSON Schema check
and complete it: put ``#:schema`` and the path of ``docs/partner.schema.json`` into its first line.
``permanent``, ``unauthorized``, ``empty``, ``too_big`` and ``expired`` take the same rules as
``slow_down``, without the keys that begin with ``wait`` and without ``scope``.
"""

_TAKEN_AWAY: Mapping[str, Any] = {"const": False}
_WORDS = ("title", "description", "default")


def page() -> str:
    """Return the reference."""
    return _HEAD + "\n".join(
        line for title, model in TABLES.items() for line in _table(title, model)
    )


def schema() -> str:
    """Return the JSON Schema of a partner file."""
    found = PartnerSpec.model_json_schema(by_alias=True)
    models: list[type[BaseModel]] = [*TABLES.values(), RuleSpec, SecretName]
    for model in models:
        shown = found if model is PartnerSpec else found["$defs"][model.__name__]
        for name, text in field_texts(model).items():
            key = model.model_fields[name].alias or name
            described = {**shown["properties"][key], "description": text}
            shown["properties"][key] = dict(sorted(described.items()))
    for short in (ColumnSpec, ParamSpec):
        whole = found["$defs"][short.__name__]
        found["$defs"][short.__name__] = {"anyOf": [{"type": "string"}, whole]}
    _let_extend(found)
    return json.dumps(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}, indent=1
    ) + "\n"  # fmt: skip


def _let_extend(found: dict[str, Any]) -> None:
    """Let a file that extends another one leave out what that has, and take away with false."""
    needed = found.pop("required")
    found["anyOf"] = [{"required": ["extends"]}, {"required": needed}]
    report = found["$defs"][ReportSpec.__name__]
    report.pop("required", None)
    for table in (found, report, found["$defs"][StepSpec.__name__]):
        for key, shown in table["properties"].items():
            if isinstance(inner := shown.get("additionalProperties"), dict):
                shown["additionalProperties"] = {"anyOf": [inner, _TAKEN_AWAY]}
            for pattern, inner in shown.get("patternProperties", {}).items():
                shown["patternProperties"][pattern] = {"anyOf": [inner, _TAKEN_AWAY]}
            if shown.get("type") != "boolean":
                described = {name: shown.pop(name) for name in _WORDS if name in shown}
                table["properties"][key] = {"anyOf": [shown, _TAKEN_AWAY], **described}


def rendered() -> dict[Path, str]:
    """Return the files, by their path in the repository."""
    return {
        Path("docs/partner-reference.rst"): page(),
        Path("docs/partner.schema.json"): schema(),
    }


def _table(title: str, model: type[BaseModel]) -> Iterator[str]:
    shown = title if " " in title and "," not in title else f"``{title}``"
    yield f"\n{shown}\n{'-' * len(shown)}\n"
    yield f"{inspect.cleandoc(model.__doc__ or '')}\n"
    texts = field_texts(model)
    for name, field in model.model_fields.items():
        needed = "needed" if field.is_required() else _default(field.default)
        yield f"``{field.alias or name}``" + (f" ({needed})" if needed else "")
        text = " ".join(texts.get(name, "").split())
        yield textwrap.fill(
            text,
            96,
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield ""


def _default(value: Any) -> str:
    if value is None or value in ((), {}, "", False) or isinstance(value, BaseModel):
        return ""
    return f"default ``{json.dumps(value)}``"


def main(root: Path) -> None:
    """Write the files below the repository's root."""
    for path, text in rendered().items():
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
