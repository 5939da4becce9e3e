"""`reportctl partner`: the catalogue and one's own files."""

import json
import tomllib
from pathlib import Path

import pytest

from reportd.cli import reportctl
from reportd.cli.choosing import Place
from reportd.cli.commands.partner import rows_of
from reportd.errors import EXIT_CONFIG
from reportd.partners.extending import catalogue_files
from reportd.partners.load import load_partner
from reportd.partners.render import schema

CONFIG = """
kafka = { servers = "127.0.0.1:9" }
output = { root = "out" }
"""
PARTNER = """
hosts = ["api.acme.com"]
limits = [{ per = "account", calls = 5, seconds = 1 }]
[reports.stats]
get = "https://api.acme.com/v2/{{ account.id }}/stats?day={{ from }}"
rows = "data[]"
columns = { clicks = "int64", campaign = { from = "campaign.name", type = "string" } }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("partners", "catalogue"):
        (tmp_path / name).mkdir()
    (tmp_path / "reportd.toml").write_text(CONFIG)
    (tmp_path / "partners/shop.toml").write_text(PARTNER)
    return tmp_path


def run(folder: Path, *args: str) -> int:
    return reportctl.main(["partner", *args, "--config", str(folder / "reportd.toml")])


def test_own_and_catalogue_are_listed(folder: Path) -> None:
    """Whose they are, what they are based on, and what nobody has confirmed."""
    meta = 'api_version = "v25"\nunverified = { "limits.0" = "only heard of" }\n' + PARTNER
    (folder / "catalogue/meta.toml").write_text(meta)
    (folder / "partners/meta_eu.toml").write_text('extends = "meta"\n')
    (folder / "partners/wrong.toml").write_text("hots = []\n")

    rows = list(rows_of(Place(folder / "partners", None, folder / "catalogue")))

    assert [
        ("meta_eu", "own, extends meta", ("stats",), 0),
        ("shop", "own", ("stats",), 0),
        ("wrong", "own", (), 3),
        ("meta", "catalogue", ("stats",), 0),
    ] == [(row.partner, row.origin, row.reports, row.problems) for row in rows]
    assert "wrong: see partner check wrong" in rows[2].cells()
    assert ("v25", 1) == (rows[3].api_version, rows[3].unverified)


def test_the_list_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` says the same."""
    assert 0 == run(folder, "list", "--json")

    found = {row["partner"]: row for row in json.loads(capsys.readouterr().out)}
    assert "own" == found["shop"]["origin"]
    assert "account" == found["shop"]["key"]


@pytest.mark.parametrize("name", ["shop", "partners/shop.toml"])
def test_show_prints_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What is printed is a partner file that says the same."""
    monkeypatch.chdir(folder)

    assert 0 == run(folder, "show", name)

    assert tomllib.loads(PARTNER) == tomllib.loads(capsys.readouterr().out)


def test_show_keeps_the_comments_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    """They name where each number comes from: whoever keeps a copy keeps them."""
    assert 0 == reportctl.main(["partner", "show", "meta"])

    path = catalogue_files()["meta"]
    assert f"# {path}\n{path.read_text()}" == capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(catalogue_files()))
def test_show_of_what_extends_loses_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Whoever keeps what is printed as a file of their own has the same partner."""
    (folder / "partners/mine.toml").write_text(f'extends = "{name}"\nready_hours = 7\n')

    assert 0 == run(folder, "show", "mine")

    path = folder / f"{name}.toml"
    path.write_text(capsys.readouterr().out)
    kept, wanted = load_partner(path).spec, load_partner(folder / "partners/mine.toml").spec
    assert wanted.model_copy(update={"extends": None}) == kept
    assert 7 == kept.ready_hours
    assert list(wanted.rules()) == list(kept.rules())
    for report in wanted.reports:
        assert list(wanted.reports[report].columns) == list(kept.reports[report].columns)


def test_check_says_every_mistake_of_every_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths and hints, unknown keys included; what is right is said, too."""
    wrong = folder / "wrong.toml"
    wrong.write_text(PARTNER.replace("rows", "rosw").replace("calls = 5", "calls = 0"))

    assert EXIT_CONFIG == run(folder, "check", str(wrong), "shop", "shup")

    said = capsys.readouterr()
    assert f"{folder}/partners/shop.toml: right; key = account; limits: 5 in 1 s per" in said.out
    assert "report stats: 2 columns; one day a request" in said.out
    assert [
        f"{wrong}: limits[1].calls: must be at least 1",
        f"{wrong}: reports.stats.rosw: unknown setting; did you mean 'rows'?",
        f"there is no partner 'shup' in {folder}/partners and the catalogue; did you mean 'shop'?"
        " (a file is named with its .toml)",
    ] == said.err.splitlines()


def test_a_file_needs_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A partner is made right on any machine."""
    (tmp_path / "shop.toml").write_text(PARTNER)

    assert 0 == run(tmp_path, "check", str(tmp_path / "shop.toml"))
    assert EXIT_CONFIG == run(tmp_path, "show", "shop")

    assert "there is no partner 'shop' in the catalogue" in capsys.readouterr().err


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Editors get it without a checkout."""
    assert 0 == reportctl.main(["partner", "schema"])

    assert schema() == capsys.readouterr().out


def test_check_names_rules_that_one_partition_alone_hears(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file may be right and still less than what was meant."""
    rule = 'slow_down = [{ status = 429, scope = "partner" }]\n'
    (folder / "partners/shop.toml").write_text(rule + PARTNER)

    assert 0 == run(folder, "check", "shop")
    assert 'slow_down[1]: scope = "partner" is wider than the key' in capsys.readouterr().out
