"""Reports of many steps: what loads, and what is said about what does not."""

import tomllib
from typing import Any

import pytest

from reportd.errors import ConfigError
from reportd.partners.load import parse_spec
from reportd.partners.spec import PartnerSpec
from tests.unit.partners.making import TOP

ADS = """
[reports.ads]
columns = { date = "date", clicks = "int64" }
day_column = "date"
params = { hour = "all" }

[[reports.ads.steps]]
name = "create"
post = "https://api.acme.com/v3/reports"
json = { start = "{{ from }}", end = "{{ to }}", hour = "{{ params.hour }}" }
pick = { report = "reportId" }
adopt = [{ status = 425, pick = { report = "text:duplicate of : ([0-9a-f-]+)" } }]

[[reports.ads.steps]]
name = "poll"
get = "https://api.acme.com/v3/reports/{{ picked.report }}"
pick = { url = "url" }
poll = { done = "status == 'COMPLETED'", failed = "status == 'FAILED'" }

[[reports.ads.steps]]
name = "download"
get = "{{ picked.url }}"
hosts = ["*.s3.amazonaws.com"]
"""
SPLIT = "split = { param = 'hour', values = ['a', 'b'] }\nday_column"
LIST = """
[reports.ads]
columns = { id = "string" }
[[reports.ads.steps]]
name = "list"
get = "https://api.acme.com/campaigns"
pick = { ids = "data[].id" }
[[reports.ads.steps]]
name = "stats"
get = "https://api.acme.com/campaigns/{{ item }}/stats"
each = "picked.ids"
next = { cursor = "next", query = "after" }
"""


def parsed(text: str, top: str = "") -> PartnerSpec:
    """Check a file."""
    return parse_spec(tomllib.loads(TOP + top + text), "acme.toml")


def problems(text: str, top: str = "") -> list[str]:
    """Return what is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        parsed(text, top)
    return [line.removeprefix("acme.toml: ") for line in caught.value.problems]


def test_steps_load() -> None:
    """Create, poll, download; list and one call for each."""
    steps = parsed(ADS).reports["ads"].steps

    assert [step.name for step in steps] == ["create", "poll", "download"]
    assert [step.picked_url for step in steps] == [None, None, "url"]
    assert [step.each for step in parsed(LIST).reports["ads"].steps] == [None, "picked.ids"]


def test_a_list_of_urls() -> None:
    """Each element of a picked list may be a URL itself, or hold one."""
    text = LIST.replace("https://api.acme.com/campaigns/{{ item }}/stats", "{{ item.url }}")

    (_, each) = parsed(text.replace("next =", "#")).reports["ads"].steps

    assert each.picked_url == "ids"


def changed(old: str, new: str) -> dict[str, Any]:
    """Name one change of `ADS`."""
    assert ADS.count(old) == 1
    return {"text": ADS.replace(old, new)}


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        (changed("{{ picked.report }}", "{{ picked.repot }}"), "steps[2].get: picked.repot: no ea"),
        (changed('name = "poll"', 'name = "create"'), "steps[2].name: there is a step 'create'"),
        (changed('pick = { url = "url" }', 'pick = { report = "url" }'), "already"),
        (changed("done = \"status == 'COMPLETED'\", ", ""), "poll: give done, pending or both"),
        (changed("done = ", "finished = "), "poll.finished: unknown setting"),
        (changed("pick = { report = \"text:", "pick = { id = \"text:"), "adopt[1].pick: must"),
        (changed("([0-9a-f-]+)", "([0-9"), "adopt[1].pick.report: not a regular expression"),
        (changed("hosts = [", 'next = { url = "x" }\nhosts = ['), "steps[3].next: not where the U"),
        (changed("hosts = [", 'each = "picked.url"\npick = { a = "b" }\nhosts = ['), "pick: not"),
        (changed("day_column", 'get = "https://api.acme.com/"\nday_column'), "get: not with steps"),
        (changed("day_column", SPLIT.replace("hour", "day")), "split.param: day is not declared"),
        (changed("day_column", SPLIT.replace(", 'b'", "")), "values: must have at least 2"),
        (changed("{{ from }}", "{{ item }}"), "steps[1].json: {{ item }} needs each"),
        (changed("json = {", "form = { a = 'b' }\njson = {"), "form: a body is"),
        (changed('post = "', 'post = "http://'), "steps[1].post: "),
        ({"text": ADS, "top": "transient = [{ status = 401, steps = ['pol'] }]\n"}, "mean 'poll'?"),
        ({"text": LIST.replace('ids = "', 'nos = "')}, "steps[2].each: picked.ids: no earlier"),
        ({"text": LIST.replace('"picked.ids"', '"ids"')}, "steps[2].each: write picked.NAME"),
        ({"text": LIST.replace("next =", "poll =")}, "poll"),
    ],
)  # fmt: skip
def test_mistakes(case: dict[str, Any], wanted: str) -> None:
    """Each mistake is said with its path and what would help."""
    found = problems(case["text"], case.get("top", ""))

    assert any(wanted in line for line in found), found


def test_a_url_is_not_kept() -> None:
    """Only the step just after may use what another takes as its URL."""
    between = (
        '[[reports.ads.steps]]\nname = "wait"\nget = "https://api.acme.com/{{ picked.url }}"\n'
    )
    last = '[[reports.ads.steps]]\nname = "download"'

    found = problems(ADS.replace(last, between + "\n" + last))

    assert "steps[4].get: picked.url is a URL: the step just before must pick it" in found[0]
    assert "reports.ads.steps[3]: picked.url is a URL of step 'download'" in found[1]


def test_a_report_of_one_step_knows_no_picks() -> None:
    """They are the steps' alone."""
    found = problems(
        "[reports.ads]\nget = 'https://api.acme.com/{{ picked.x }}'\ncolumns = { a = 'string' }\n"
    )

    assert found == ["reports.ads.get: only a step knows picked and item"]


def test_what_no_step_keeps() -> None:
    """A call for each element whose answers nobody keeps is a mistake."""
    found = problems(LIST + '[[reports.ads.steps]]\nname = "more"\nget = "https://api.acme.com/"\n')

    assert found == ["reports.ads.steps[2].each: its answers lead nowhere; give data = true"]
