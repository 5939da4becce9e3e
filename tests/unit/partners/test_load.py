"""Partner files: what loads, and what is said about what does not."""

import copy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reportd.config.problems import Location, problems_of
from reportd.errors import ConfigError
from reportd.partners.load import load_partner, load_partners, parse_spec
from reportd.partners.spec import PartnerSpec
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
        ("", "headers = { Host = 'x' }\n", "Host: is no name: reportd sets this header itself"),
        ("", "headers = { 'a b' = 'x' }\n", ": is no name: not the name of a header"),
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


WHOLE = """
allow_private = true
limits = [{ per = "account", calls = 5, seconds = 1, reports = ["ads"] }]
slow_down = [{ status = 429, wait = "header:Retry-After", steps = ["poll"] }]
too_big = [{ status = 413, text = "too (much|many)" }]
usage = [{ used = "header:X-Used", above = 80, pace_seconds = 60 }]

[auth]
secrets = { key = { secret = "acme-{{ account.credential }}" } }
headers = { X-Key = "{{ secrets.key }}" }

[accounts]
get = "http://127.0.0.1:8000/accounts"
rows = "data"
next = { cursor = "next", query = "after" }
columns = { account = { type = "string", from = "id" }, timezone = "string" }

[reports.ads]
format = "csv"
csv = { delimiter = ";" }
day_column = "date"
params = { hour = { default = "all", one_of = ["all", "a", "b"] } }
split = { param = "hour", values = ["a", "b"] }
columns = { date = { type = "date", from = "Day (UTC)" }, cost = { type = "decimal(9,2)" } }

[[reports.ads.steps]]
name = "create"
post = "http://127.0.0.1:8000/reports"
json = { start = "{{ from }}", hour = "{{ params.hour }}" }
pick = { report = "id" }
adopt = [{ status = 425, pick = { report = "text:of ([0-9]+)" } }]

[[reports.ads.steps]]
name = "poll"
get = "http://127.0.0.1:8000/reports/{{ picked.report }}"
pick = { urls = "urls" }
poll = { done = "state == 'DONE'", first_seconds = 1 }

[[reports.ads.steps]]
name = "download"
get = "{{ item }}"
each = "picked.urls"
hosts = ["files.acme.com"]
"""
OWN_HOST = 'hosts = ["127.0.0.1"]\n'


def places(value: Any, above: Location = ()) -> Iterator[Location]:
    """Yield the location of everything that stands in a table."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, found in inner:
        yield (*above, key)
        yield from places(found, (*above, key))


WRONG = tomllib.loads(OWN_HOST + WHOLE)


@pytest.mark.parametrize("at", list(places(WRONG)), ids=lambda at: ".".join(map(str, at)))
def test_one_mistake_is_one(at: Location) -> None:
    """What is only said because something else is wrong is not said."""
    data = copy.deepcopy(WRONG)
    table: Any = data
    for key in at[:-1]:
        table = table[key]
    table[at[-1]] = "{{ x(" if isinstance(table[at[-1]], str) else 7
    try:
        PartnerSpec.model_validate(data)
    except ValidationError as error:
        alone = problems_of(error, PartnerSpec, lambda _at: "acme.toml")
        with pytest.raises(ConfigError) as caught:
            parse_spec(data, "acme.toml")
        assert caught.value.problems == alone


def test_mistakes_behind_mistakes() -> None:
    """Whoever mends a wrong key learns nothing new by that: all was said at once."""
    text = (OWN_HOST + WHOLE).replace("calls = 5", "calls = 5, metre = 'day'")
    text = text.replace('reports = ["ads"]', 'reports = ["ad"]').replace("127.0.0.1:8000/acc", "x/")
    text = text.replace('steps = ["poll"]', 'steps = ["pol"]').replace("first_seconds", "first")
    text = text.replace('param = "hour"', 'param = "our"')
    with pytest.raises(ConfigError) as caught:
        parse_spec(tomllib.loads(text), "acme.toml")

    assert {problem.split(": ")[1] for problem in caught.value.problems} == {
        "limits[1].metre",
        "reports.ads.steps[2].poll.first",
        "reports.ads.split.param",
        "limits[1].reports",
        "slow_down[1].steps",
        "accounts.get",
    }


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
