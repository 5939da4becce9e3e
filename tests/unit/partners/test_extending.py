"""Files that extend the catalogue's: what is merged, replaced, taken away."""

from pathlib import Path

import pytest

from reportd.errors import ConfigError
from reportd.partners.extending import read_source, without_removed
from reportd.partners.load import load_partner

BASE = """
hosts = ["api.acme.com"]
auth = { bearer = { secret = "acme-{{ account.credential }}" } }
limits = [{ per = "partner", calls = 100 }, { per = "account", calls = 5 }]
quota = [{ status = 403 }]
slow_down = [{ status = 429 }]

[reports.stats]
get = "https://api.acme.com/v2/{{ account.id }}/stats"
query = { level = "ad", fields = "date,clicks" }
rows = "data[]"
day_column = "date"
columns = { date = "date", clicks = "int64", spend = { type = "float64", optional = true } }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue/acme.toml").write_text(BASE)
    return tmp_path


def merged(folder: Path, text: str) -> Path:
    (folder / "acme_eu.toml").write_text('extends = "acme"\n' + text)
    return folder / "acme_eu.toml"


def test_tables_are_merged_and_lists_replaced(folder: Path) -> None:
    """As acme, with these fields: columns gain, a list is another one, the rest stays."""
    path = merged(
        folder,
        """
        limits = [{ per = "account", calls = 1 }]
        [reports.stats]
        query = { fields = "date,clicks,views" }
        columns = { views = "int64", spend = { type = "decimal(18,6)" } }
        """,
    )

    found = load_partner(path, folder / "catalogue")

    report = found.reports["stats"].spec
    assert "acme_eu" == found.name
    assert "account" == found.key_scope
    assert {"level": "ad", "fields": "date,clicks,views"} == report.query
    assert ["date", "clicks", "spend", "views"] == list(report.columns)
    assert report.columns["spend"].optional
    assert "decimal" == report.columns["spend"].kind


def test_false_takes_away(folder: Path) -> None:
    """What the catalogue says can be dropped; what is true or false there is only changed."""
    path = merged(
        folder,
        """
        slow_down = false
        [reports.stats]
        query = { level = false }
        columns = { clicks = false, spend = { optional = false } }
        """,
    )

    spec = load_partner(path, folder / "catalogue").spec

    assert () == spec.slow_down
    assert {"fields": "date,clicks"} == spec.reports["stats"].query
    assert ["date", "spend"] == list(spec.reports["stats"].columns)
    assert not spec.reports["stats"].columns["spend"].optional


STEPS = """
[reports.made]
rows = "data"
columns = { clicks = "int64" }
[[reports.made.steps]]
name = "create"
post = "https://api.acme.com/reports"
form = { level = "ad", fields = "clicks" }
pick = { report = "id" }
[[reports.made.steps]]
name = "read"
get = "https://api.acme.com/reports/{{ picked.report }}"
"""


def test_a_field_is_added_to_what_a_step_asks_for(folder: Path) -> None:
    """A step of a known name is laid over the catalogue's; the others stay, in their order."""
    with (folder / "catalogue/acme.toml").open("a") as file:
        file.write(STEPS)
    path = merged(
        folder,
        """
        [[reports.made.steps]]
        name = "create"
        form = { fields = "clicks,views", level = false }
        [reports.made.columns]
        views = "int64"
        """,
    )

    report = load_partner(path, folder / "catalogue").reports["made"].spec

    assert ["create", "read"] == [step.name for step in report.steps]
    assert {"fields": "clicks,views"} == report.steps[0].form
    assert {"report": "id"} == report.steps[0].pick
    assert ["clicks", "views"] == list(report.columns)


def test_other_steps_replace_all(folder: Path) -> None:
    """A flow of one's own has steps of its own."""
    with (folder / "catalogue/acme.toml").open("a") as file:
        file.write(STEPS)
    path = merged(
        folder,
        """
        [[reports.made.steps]]
        name = "all"
        get = "https://api.acme.com/all"
        """,
    )

    report = load_partner(path, folder / "catalogue").reports["made"].spec

    assert ["all"] == [step.name for step in report.steps]


def test_false_where_nothing_is_stays() -> None:
    """A ``false`` that takes nothing away is a value, right or wrong."""
    assert ({"a": 1}, {"b": False}) == without_removed({"a": 1}, {"b": False})


def test_a_secret_is_replaced_as_a_whole(folder: Path) -> None:
    """A place that holds a secret's name is one value."""
    source = read_source(
        merged(folder, "auth = { bearer = { secret = 'other' } }"), folder / "catalogue"
    )

    assert {"bearer": {"secret": "other"}} == source.data["auth"]


def test_own_kinds_of_rules_come_first(folder: Path) -> None:
    """What the catalogue would refuse can be taken for empty; its own order stays."""
    path = merged(folder, "slow_down = [{ status = 430 }]\nempty = [{ status = 403 }]\n")

    rules = load_partner(path, folder / "catalogue").spec.rules()

    assert ["empty", "quota", "slow_down"] == [kind for kind, _, _ in rules]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "[reports.stats]\npost = 'https://api.acme.com/'\n",
            ", from acme of the catalogue: reports.stats.get: give",
        ),
        ("[reports.stats]\nqery = {}\n", ": reports.stats.qery: unknown setting"),
        ("hosts = false\n", ": hosts: is missing"),
    ],
)
def test_problems_name_the_file(folder: Path, text: str, wanted: str) -> None:
    """A problem is laid to one's own file, and it says what came from the catalogue."""
    path = merged(folder, text)

    with pytest.raises(ConfigError) as caught:
        load_partner(path, folder / "catalogue")

    assert f"{path}{wanted}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ('"acmee"', "extends: the catalogue has no 'acmee'; did you mean 'acme'?"),
        ("5", "extends: must be text in quotes"),
    ],
)
def test_what_is_not_in_the_catalogue(folder: Path, name: str, wanted: str) -> None:
    """A wrong name is said with the nearest one."""
    (folder / "x.toml").write_text(f"extends = {name}\n")

    with pytest.raises(ConfigError) as caught:
        load_partner(folder / "x.toml", folder / "catalogue")

    assert [f"{folder / 'x.toml'}: {wanted}"] == [
        line[: len(f"{folder / 'x.toml'}: {wanted}")] for line in caught.value.problems
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[reports.campaign.columns]\nx = 'int64'\n", "no such report; did you mean 'campaigns'?"),
        (
            "[[reports.campaigns.steps]]\nname = 'creat'\n",
            "'creat' in the catalogue, so they replace",
        ),
        ("[reports.mine.columns]\nx = 'int64'\n", ""),
        ("reports = 7\n", ""),
        ("reports.campaigns = 7\n", ""),
    ],
)
def test_what_was_meant_to_be_laid_over_the_catalogue(
    tmp_path: Path, text: str, wanted: str
) -> None:
    """A name that is nearly one of the catalogue's: what its keys lack is not the mistake."""
    (tmp_path / "own.toml").write_text(f'extends = "meta"\n{text}')

    with pytest.raises(ConfigError) as caught:
        load_partner(tmp_path / "own.toml")

    hints = [problem for problem in caught.value.problems if "catalogue" in problem]
    assert [wanted in hint for hint in hints] == ([True] if wanted else [])
