"""Partner files: what loads, and what is said about what does not."""

import tomllib
from pathlib import Path

import pytest

from reportd.errors import ConfigError
from reportd.partners.load import load_partner, load_partners, parse_spec
from tests.unit.partners.making import REPORT, TOP, partner

DATA = Path(__file__).parents[2] / "data" / "partners"
EXAMPLES = Path(__file__).parents[3] / "etc" / "partners"


def problems(top: str = "", report: str = "", *, base: str = REPORT, hosts: str = TOP) -> list[str]:
    """Return what is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        parse_spec(tomllib.loads(hosts + top + base + report), "acme.toml")
    return list(caught.value.problems)


def test_the_example_of_the_design_loads() -> None:
    """What CONFIG.md shows is what works."""
    found = load_partner(DATA / "acme.toml")

    assert found.key_scope == "partner"
    assert found.spec.ready_hours == 3
    assert list(found.reports) == ["campaigns"]


def test_the_shipped_examples_load() -> None:
    """etc/partners holds files that work."""
    assert set(load_partners(EXAMPLES)) >= {"acme"}


def test_all_problems_at_once() -> None:
    """Every mistake is named with its path, unknown words with the nearest known one."""
    with pytest.raises(ConfigError) as caught:
        load_partner(DATA / "invalid_many.toml")

    where = DATA / "invalid_many.toml"
    wanted = (DATA / "invalid_many.txt").read_text().splitlines()
    assert [line.replace(f"{where}: ", "") for line in caught.value.problems] == wanted


@pytest.mark.parametrize(
    ("top", "report", "wanted"),
    [
        ("slow_down = [{ wait_seconds = 5 }]\n", "", "give at least one of status"),
        ("slow_down = [{ status = 99 }]\n", "", "slow_down[1].status: a status like 429"),
        ("slow_down = [{ status = true }]\n", "", "slow_down[1].status: a status like 429"),
        ("permanent = [{ status = 400, wait_seconds = 1 }]\n", "", "unknown setting"),
        ("slow_down = [{ status = 429, wait = 'Retry-After' }]\n", "", "write header:NAME"),
        ("slow_down = [{ status = 429, wait = 'body:a[' }]\n", "", "not a JMESPath"),
        ("quota = [{ status = 429, wait_until = 'midnight Mars/X' }]\n", "", "unknown time zone"),
        ("slow_down = [{ body = 'nope(@)' }]\n", "", "unknown function nope()"),
        ("transient = [{ text = '(' }]\n", "", "not a regular expression"),
        ("limits = [{ per = 'galaxy', calls = 1 }]\n", "", "limits[1].per: must be one of"),
        ("limits = [{ per = 'account', calls = 0 }]\n", "", "limits[1].calls: must be at least 1"),
        ("limits = [{ per = 'account', calls = 1, burst = 2 }]\n", "", "limits[1].burst: only"),
        ("limits = [{ per = 'account', calls = 100_001 }]\n", "", "limits[1].calls: at most 1000"),
        ("limits = [{ per = 'account', calls = 1, reports = ['stat'] }]\n", "", "mean 'stats'?"),
        ("auth = { bearer = 'token' }\n", "", "auth.bearer: must be a table: { secret = ... }"),
        ("[auth]\nbearer = { secret = 'a' }\nbasic = { user = 'b', password = { secret = 'c' } }\n",
         "", "exclude each other"),
        ("auth = { bearer = { secret = 'a' } }\n", "headers = { Authorization = 'x' }\n",
         "auth sets this header, too"),
        ("", "headers = { Host = 'x' }\n", "reportd sets this header itself"),
        ("", "headers = { 'a b' = 'x' }\n", "not the name of a header"),
        ("", "query = { a = '{{ acount.id }}' }\n", "did you mean 'account'?"),
        ("", "query = { a = '{{ request.url }}' }\n", "request.url }} is unknown"),
        ("", "query = { a = '{{ params.level }}' }\n", "params.level is not declared"),
        ("", "json = { a = 1 }\n", "json: only with post"),
        ("", "post = 'https://api.acme.com/'\n", "give exactly one of get, post"),
        ("", "next = { query = 'after' }\n", "give exactly one of page, cursor, url"),
        ("", "next = { cursor = 'a' }\n", "next.query: give either query or json"),
        ("", "next = { cursor = 'a', json = 'b' }\n", "next.json: there is no json body"),
        ("", "next = { page = 1, query = 'p', total = 't' }\n", "next.size: is missing"),
        ("", "next = { url = 'a[' }\n", "next.url: not a JMESPath"),
        ("", "next = { url = 'header:X' }\n", "a JMESPath, or header:Link"),
        ("", "csv = { skip_lines = 1 }\n", "csv: only with format"),
        ("", "encoding = 'utf-9'\n", "encoding: unknown"),
        ("", "params = { level = { default = 'x', one_of = ['a'] } }\n", "not among one_of"),
        ("", "timeout_seconds = 0\n", "timeout_seconds: must be more than 0"),
    ],
)  # fmt: skip
def test_mistakes(top: str, report: str, wanted: str) -> None:
    """Each mistake is said in words that help."""
    found = problems(top, report)

    assert len(found) == 1
    assert found[0].startswith("acme.toml: ")
    assert wanted in found[0]


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://api.other.com/x", "not a host that the partner file names: api.other.com"),
        ("http://api.acme.com/x", "not an https URL"),
        ("https://api.acme.com:8443/x", "api.acme.com:8443"),
        ("api.acme.com/x", "write the whole URL"),
        ("https://{{ account.id }}/x", ""),
    ],
)
def test_urls_are_compared_with_the_hosts(url: str, wanted: str) -> None:
    """A URL to a host that is not named is found when the file is loaded, if it can be known."""
    text = REPORT.replace("https://api.acme.com/v2/{{ account.id }}/stats", url)

    if wanted:
        found = problems(base=text)
        assert len(found) == 1
        assert found[0].startswith("acme.toml: reports.stats.get: ")
        assert wanted in found[0]
    else:
        partner(base=text)


@pytest.mark.parametrize("host", ["https://api.acme.com", "api.acme.com/x", "a b", "*", "*.*.com"])
def test_hosts_are_names(host: str) -> None:
    """A host is no URL and no pattern but ``*.`` before a name."""
    assert "hosts[1]: " in problems(hosts=f'hosts = ["{host}"]\n')[0]


def test_no_values_in_problems() -> None:
    """A secret that was written into the file by mistake is not repeated."""
    found = problems("auth = { bearer = 'hunter2' }\n")

    assert "hunter2" not in "".join(found)


def test_a_folder_of_partners(tmp_path: Path) -> None:
    """Partners are named like their files; all problems of all files come together."""
    (tmp_path / "acme.toml").write_text(TOP + REPORT)
    (tmp_path / "beta_2.toml").write_text(TOP + REPORT)
    assert sorted(load_partners(tmp_path)) == ["acme", "beta_2"]

    (tmp_path / "Bad-Name.toml").write_text(TOP + REPORT)
    (tmp_path / "acme.toml").write_text("hosts = 5")
    (tmp_path / "beta_2.toml").write_text("=")
    with pytest.raises(ConfigError) as caught:
        load_partners(tmp_path)
    assert len(caught.value.problems) == 4


def test_no_folder(tmp_path: Path) -> None:
    """A missing folder is said, not taken for an empty one."""
    with pytest.raises(ConfigError, match="there is no such folder"):
        load_partners(tmp_path / "nope")


def test_rules_of_a_kind_stand_together(tmp_path: Path) -> None:
    """What TOML cannot tell is refused: the first rule that fits decides, so their order counts."""

    def found(*kinds: str) -> list[str]:
        path = tmp_path / "acme.toml"
        rules = "".join(f"[[{kind}]]\nstatus = 400\n" for kind in kinds)
        path.write_text(TOP + rules + REPORT)
        try:
            load_partner(path)
        except ConfigError as error:
            return [problem.removeprefix(f"{path}: ") for problem in error.problems]
        return []

    assert found("transient", "transient", "quota", "permanent") == []
    assert found("transient", "quota", "transient", "quota", "empty") == [
        "transient: stands behind [[quota]], too; put the rules of a kind together, TOML does not"
        " tell their order otherwise",
        "quota: stands behind [[transient]], too; put the rules of a kind together, TOML does not"
        " tell their order otherwise",
    ]
