"""The catalogue's files: complete, and each rule and number with its documentation's address."""

import re
import textwrap
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from reportd.partners.load import load_partner
from reportd.partners.partner import Partner

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "reportd" / "partners" / "catalogue").glob("*.toml"))
NAMES = [path.stem for path in FILES]
RULES = "limits|slow_down|quota|transient|permanent|unauthorized|empty|too_big|expired|usage"
NUMBERS = "api_version|ready_hours|restatement_days"
TOKEN_SERVERS = {
    "amazon_ads": "https://api.amazon.com/auth/o2/token",
    "ga4": "https://oauth2.googleapis.com/token",
    "google_ads": "https://oauth2.googleapis.com/token",
    "linkedin": "https://www.linkedin.com/oauth/v2/accessToken",
    "microsoft_ads": "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    "pinterest": "https://api.pinterest.com/v5/oauth/token",
}


@lru_cache
def partner(name: str) -> Partner:
    """Return a partner of the catalogue."""
    return load_partner(FILES[NAMES.index(name)])


def text(name: str) -> str:
    """Return its file."""
    return FILES[NAMES.index(name)].read_text(encoding="utf-8")


def undocumented(lines: list[str]) -> Iterator[str]:
    """Yield every rule, number, report and step that no comment above gives an address for."""
    comment, inside, first = "", False, True
    for line in lines:
        if line.startswith("#") or (inside and line.startswith("    #")):
            comment += line.strip(" #")
            continue
        if re.match(rf"(?:{RULES}) = \[$", line):
            inside = True
        elif line == "]":
            inside = False
        rule = inside and line.startswith("    {")
        report = re.fullmatch(r"\[reports\.[a-z_]+\]", line) is not None
        step = line.startswith("[[reports.") and line.endswith("steps]]")
        wanted = rule or report or (step and not first) or re.match(rf"(?:{NUMBERS}) = ", line)
        if wanted and "https://" not in comment:
            yield line
        if report or step:
            first = report
        if rule or not line:
            comment = ""


def at(document: Any, path: str) -> Any:
    """Return what stands at a dotted path; raises LookupError where nothing does."""
    for part in path.split("."):
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def test_the_catalogue_is_whole() -> None:
    """Eight partners, and no other file."""
    assert NAMES == [
        "amazon_ads",
        "ga4",
        "google_ads",
        "linkedin",
        "meta",
        "microsoft_ads",
        "pinterest",
        "tiktok",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_partner_is_complete(name: str) -> None:
    """Version, limits, when data is there and final, and two reports: campaigns and ads."""
    spec = partner(name).spec

    assert spec.api_version
    assert spec.limits
    assert spec.ready_hours
    assert spec.restatement_days
    assert {re.sub("^sp_", "", report) for report in spec.reports} >= {"campaigns", "ads"}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("ga4", r"analytics\w+\.googleapis\.com/(\w+)/"),
        ("google_ads", r"googleads\.googleapis\.com/(\w+)/"),
        ("linkedin", r'LinkedIn-Version = "(\w+)"'),
        ("meta", r"graph\.facebook\.com/([\w.]+)/"),
        ("microsoft_ads", r"\.bingads\.microsoft\.com/\w+/(\w+)/"),
        ("pinterest", r"api\.pinterest\.com/(\w+)/ad"),
        ("tiktok", r"/open_api/([\w.]+)/"),
    ],
)
def test_one_version_is_spoken(name: str, place: str) -> None:
    """An upgrade that forgets an address shows."""
    lines = [line for line in text(name).splitlines() if not line.startswith("#")]
    spoken = re.findall(place, "\n".join(lines))

    assert set(spoken) == {partner(name).spec.api_version}
    assert len(spoken) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_every_report_has_typed_columns(name: str) -> None:
    """Each has its day, the account, the currency, and money as decimals."""
    for report in partner(name).spec.reports.values():
        kinds = {column.kind for column in report.columns.values()}

        assert report.day_column == "date"
        assert {"account", "currency"} <= set(report.columns)
        assert {"date", "int64", "decimal"} <= kinds


@pytest.mark.parametrize("name", NAMES)
def test_every_credential_is_one_of_the_accounts(name: str) -> None:
    """Tokens are fetched where they end; what is secret is a file a credential."""
    auth = partner(name).spec.auth
    secrets = re.findall(r'secret = "([^"]+)"', text(name))

    assert (auth.oauth2.token_url if auth.oauth2 else None) == TOKEN_SERVERS.get(name)
    own = [secret for secret in secrets if "{{" in secret]
    assert own == [f"{name.replace('_', '-')}-{{{{ account.credential }}}}"]
    page = (ROOT / "docs" / "partners" / f"{name}.rst").read_text(encoding="utf-8")
    for secret in secrets:
        assert f"``{secret.replace('{{ account.credential }}', 'CREDENTIAL')}``" in page


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_and_number_names_its_documentation(name: str) -> None:
    """A comment just above has the address."""
    assert list(undocumented(text(name).splitlines())) == []


def test_an_address_that_is_missing_is_found() -> None:
    """The check itself sees a rule without one."""
    lines = text("tiktok").splitlines()
    bare = [line for line in lines if "id=1737172488964097" not in line]

    assert len(list(undocumented(bare))) == 5


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_verified_exists(name: str) -> None:
    """Each path names something of the file, and its page tells the same."""
    document = tomllib.loads(text(name))
    page = (ROOT / "docs" / "partners" / f"{name}.rst").read_text(encoding="utf-8")

    for path, why in document["unverified"].items():
        assert at(document, path)
        assert f"``{path}``" in page
        assert " ".join(why.split()) in " ".join(page.split())


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_its_page_load(name: str, tmp_path: Path) -> None:
    """As it is, and with a field more, which is asked for and becomes a column."""
    page = (ROOT / "docs" / "partners" / f"{name}.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"\.\. code-block:: toml\n\n((?:    .*\n|\n)+)", page)
    plain, more = (textwrap.dedent(block) for block in blocks)
    file = tmp_path / "mine.toml"

    file.write_text(plain)
    assert load_partner(file).spec.reports == partner(name).spec.reports
    file.write_text(more)
    found = load_partner(file).spec
    kinds = {report: set(spec.columns) for report, spec in partner(name).spec.reports.items()}
    added = {report: set(spec.columns) - kinds[report] for report, spec in found.reports.items()}
    assert sum(map(len, added.values())) == 1
    steps = [len(report.steps) for report in found.reports.values()]
    assert steps == [len(report.steps) for report in partner(name).spec.reports.values()]
