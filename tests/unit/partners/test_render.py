"""What is rendered from the declarations, and the examples of the docs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from reportd.config.docstrings import field_texts
from reportd.partners.load import parse_spec
from reportd.partners.partner import Partner
from reportd.partners.render import TABLES, rendered, schema

ROOT = Path(__file__).parents[3]
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE)
    for block in re.findall(
        r"\.\. code-block:: toml\n\n((?:    .*\n|\n)+)", (ROOT / "docs/partners.rst").read_text()
    )
]


@pytest.mark.parametrize("path", sorted(rendered()))
def test_rendered_files_are_current(path: Path) -> None:
    """``python -m reportd.partners.render`` was run after the last change."""
    assert (ROOT / path).read_text() == rendered()[path]


def test_every_key_is_described() -> None:
    """Nothing stands in the reference without words."""
    missing = [
        f"{title}.{name}"
        for title, model in TABLES.items()
        for name in model.model_fields
        if not field_texts(model).get(name)
    ]

    assert missing == []


def test_the_schema_knows_the_keys() -> None:
    """The JSON Schema forbids what loading forbids, and names keys as files do."""
    found: dict[str, Any] = orjson.loads(schema())

    assert found["additionalProperties"] is False
    assert {"json", "next"} <= set(found["$defs"]["ReportSpec"]["properties"])


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_examples_of_the_docs_work(number: int) -> None:
    """Every block loads: whole files as they are, parts laid over the first file."""
    kind, _, text = BLOCKS[number].partition("\n")
    part = tomllib.loads(text)
    if kind != "# file":
        file = tomllib.loads(BLOCKS[0])
        target = file if kind == "# top" else file["reports"]["campaigns"]
        target.update(part)
        part = file

    Partner("acme", parse_spec(part, f"docs, block {number}"))


def test_there_are_examples() -> None:
    """The blocks were found."""
    assert len(BLOCKS) > 10
