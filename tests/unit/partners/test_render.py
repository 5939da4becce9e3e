"""What is rendered from the declarations, and the examples of the docs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from reportd.config.docstrings import field_texts
from reportd.partners.load import load_partner, parse_spec
from reportd.partners.partner import Partner
from reportd.partners.render import TABLES, rendered, schema
from tests.schema import problems

ROOT = Path(__file__).parents[3]
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE)
    for block in re.findall(
        r"\.\. code-block:: toml\n\n((?:    .*\n|\n)+)", (ROOT / "docs/partners.rst").read_text()
    )
]


FILES_OF_THE_DOCS = [block for block in BLOCKS if block.startswith("# file")]
BUILT = "\n".join(block for block in BLOCKS if block.startswith("# criteo.toml"))
"""The partner that the docs build, piece by piece."""


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
def test_the_examples_of_the_docs_work(number: int, tmp_path: Path) -> None:
    """Every block loads: whole files as they are, parts laid over the first file."""
    kind, _, text = BLOCKS[number].partition("\n")
    if kind.startswith("# /etc/"):
        path = tmp_path / Path(kind).name
        path.write_text(text)
        load_partner(path)
        return
    if BLOCKS[number] in BUILT:
        kind, text = "# file", BUILT
    part = tomllib.loads(text)
    if kind != "# file":
        file = tomllib.loads(FILES_OF_THE_DOCS[0])
        target = file if kind == "# top" else file["reports"]["campaigns"]
        target.update(part)
        part = file

    Partner("acme", parse_spec(part, f"docs, block {number}"))


def test_there_are_examples() -> None:
    """The blocks were found."""
    assert len(BLOCKS) > 10


SCHEMA = orjson.loads(schema())
FILES = [
    *(ROOT / "etc/partners").glob("*.toml"),
    *(ROOT / "reportd/demo/partners").glob("*.toml"),
    *(ROOT / "reportd/partners/catalogue").glob("*.toml"),
    *(ROOT / "tests/data/partners").glob("acme.toml"),
    *(ROOT / "tests/data/partners/recorded").glob("*.toml"),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_that_load_fit_the_schema(path: Path) -> None:
    """An editor marks nothing in a file that is right."""
    assert [] == list(problems(tomllib.loads(path.read_text()), SCHEMA, SCHEMA))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("extends = 'meta'\n", []),
        (
            "extends = 'meta'\nlimits = false\n[reports.ads]\nget = false\n"
            "query = { level = false }\ncolumns = { a = false, b = 'string' }\n"
            "[[reports.ads.steps]]\nname = 'create'\nform = { level = false }\n",
            [],
        ),
        ("hosts = ['a.com']\n", [".extends: missing"]),
        ("extends = 'meta'\nhots = []\n", [".hots: unknown"]),
        ("extends = 'meta'\n[reports.ads]\nrosw = ''\n", [".reports.ads.rosw: unknown"]),
    ],
)
def test_the_schema_and_files_that_extend(text: str, wanted: list[str]) -> None:
    """What the catalogue has may be left out or taken away; wrong words are marked all the same."""
    assert wanted == list(problems(tomllib.loads(text), SCHEMA, SCHEMA))
