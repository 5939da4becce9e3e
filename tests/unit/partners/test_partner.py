"""What a partner can be asked, under which key and limits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import InvalidMessageError
from reportd.model.request import Request
from reportd.partners.extending import catalogue_files
from reportd.partners.load import load_partner
from reportd.partners.partner import (
    allowed_rates,
    blind_rules,
    division_problems,
    heard_apart,
    sunsets,
)
from tests.unit.partners.making import AUTH, REPORT, flow, partner, request


@pytest.mark.parametrize(
    ("limits", "scope", "key"),
    [
        ([], "account", "acc-1"),
        (["account"], "account", "acc-1"),
        (["account", "credential"], "credential", "main"),
        (["credential", "partner", "account"], "partner", "acme"),
        (["report"], "partner", "acme"),  # counted over all accounts
    ],
)
def test_the_widest_limit_is_the_key(limits: list[str], scope: str, key: str) -> None:
    """Every limit lives in the one worker that has the key."""
    lines = ", ".join(f"{{ per = '{per}', calls = 1 }}" for per in limits)
    found = partner(f"limits = [{lines}]\n")

    assert found.key_scope == scope
    assert found.key_of(request()) == key


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ("{ per = 'partner', calls = 5_000, divide = true }", []),
        ("{ per = 'partner', calls = 100, divide = true }",
         ["limits[1].divide: calls = 100 cannot be divided into 12 partitions: at least 120, or "
          "fewer partitions"]),
        ("{ per = 'partner', calls = 5_000, meter = 'bucket', burst = 23, divide = true }",
         ["limits[1].divide: burst = 23 cannot be divided into 12 partitions: at least 24, or "
          "fewer partitions"]),
        ("{ per = 'account', calls = 5_000, divide = true }",
         ["limits[1].divide: not needed: the key is account, so one worker has all of it"]),
    ],
)  # fmt: skip
def test_what_is_divided_is_no_key_and_not_too_small(limits: str, wanted: list[str]) -> None:
    """Shares need a limit that is worth dividing."""
    found = partner(f"limits = [{limits}, {{ per = 'account', calls = 9 }}]\n")

    assert found.key_scope == "account"
    assert list(division_problems(found)) == wanted


def test_scopes_of_a_request() -> None:
    """Each call needs every limit that counts its report."""
    found = partner(
        "limits = [{ per = 'partner', calls = 9 }, { per = 'account', calls = 5 },"
        " { per = 'credential', calls = 5, reports = ['other'] },"
        " { per = 'report', calls = 2, reports = ['stats'] }]\n",
        "[reports.other]\nget = 'https://api.acme.com/'\ncolumns = { a = 'string' }\n",
    )

    assert found.scopes(request()) == {
        ("partner", ()): "acme",
        ("account", ()): "acc-1",
        ("report", ("stats",)): "stats",
    }


@pytest.mark.parametrize(
    ("per", "key", "value"),
    [
        ("{{ account.business }}", "partner", "b-7"),
        ("{{ account.id }}/{{ request.report }}", "account", "acc-1 acc-1/stats"),
        ("{{ account.credential }}-{{ request.class }}", "credential", "main main-daily"),
    ],
)
def test_a_template_says_what_is_counted_together(per: str, key: str, value: str) -> None:
    """Whatever may come to the same for any accounts makes the partner the key."""
    found = partner(f"limits = [{{ per = '{per}', calls = 9 }}]\n")
    asked = request(attributes={"business": "b-7"}, credential="main")

    assert found.key_scope == key
    assert found.scopes(asked) == {(per, ()): value}


def test_a_request_without_what_a_limit_counts_by_is_refused() -> None:
    """It could be counted nowhere: a message like that ends as poison."""
    found = partner("limits = [{ per = '{{ account.business }}', calls = 9 }]\n")

    with pytest.raises(InvalidMessageError):
        found.check_request(request())


def test_partitions() -> None:
    """One partition where one worker must have everything; a number in the file wins."""
    assert partner().partitions == 12
    assert partner("limits = [{ per = 'partner', calls = 9 }]\n").partitions == 1
    assert partner("partitions = 40\n").partitions == 40


def test_a_sunset_is_the_beginning_of_a_day_in_utc() -> None:
    """Only partners that name a day have one."""
    ends = partner('api_version = "v9"\nsunset = 2027-02-23\n')

    assert sunsets({"acme": ends, "bolt": partner()}) == {"acme": 1_803_340_800.0}


def test_params_have_defaults() -> None:
    """Paths and templates see defaults and what the request gives."""
    found = partner(
        "", "params = { level = 'ad', zone = { default = 'x', one_of = ['x', 'y'] } }\n"
    )

    assert found.params_of(request(params={"zone": "y"})) == {"level": "ad", "zone": "y"}


PARAMS = "params = { level = {}, zone = { default = 'x', one_of = ['x', 'y'] } }\n"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"report": "nope"}, "report"),
        ({"partner": "other"}, "report"),
        ({"formats": ["xlsx"]}, "formats"),
        ({"formats": ["csv", "csv"]}, "formats"),
        ({"params": {}}, "params: level is missing"),
        ({"params": {"level": "a", "nope": "b"}}, "does not declare"),
        ({"params": {"level": "a", "zone": "z"}}, "zone is none of those"),
        ({"params": {"level": "a\u0085"}}, "control characters"),
        ({"params": {"level": "../a"}}, "segment"),
        ({"account": ".."}, "segment"),
        ({"account": "a/../../b"}, "segment"),
        ({"account": "a\\..\\b"}, "segment"),
        ({"account": "a\u2028b"}, "account: control characters"),
        ({"attributes": {"a": "\u009f"}}, "attributes: control characters"),
        ({"credential": "a\u0080"}, "credential: control characters"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"last_day": "2025-12-31"}, "days: 47, but"),
    ],
)
def test_requests_that_cannot_be_worked_on(fields: dict[str, Any], wanted: str) -> None:
    """A message that this partner cannot serve is refused before any call."""
    found = partner("", "max_days = 31\n" + PARAMS)

    with pytest.raises(InvalidMessageError, match=wanted):
        found.check_request(request(**{"params": {"level": "a"}, **fields}))


def test_a_range_needs_a_day_column() -> None:
    """Without a day column nothing could be split into day files."""
    found = partner(base=REPORT.replace('day_column = "date"\n', ""))

    found.check_request(request(first_day="2025-11-21"))
    with pytest.raises(InvalidMessageError, match="at most 1"):
        found.check_request(request())


@pytest.mark.parametrize(
    "account", ["act_123", "urn:li:acc:1", "a/b", "a b", "ümlaut", "{{ from }}", "%2e%2e", "日本"]
)
def test_accounts_of_all_kinds(account: str) -> None:
    """Strange is not wrong."""
    partner().check_request(request(account=account))


@pytest.mark.parametrize("credential", ["../x", "a/b", "..", "", "a b", "é"])
def test_a_credential_becomes_a_plain_file_name(credential: str) -> None:
    """No message chooses a file outside the secrets folder, or none at all."""
    found = partner("auth = { bearer = { secret = '{{ account.credential }}' } }\n")

    with pytest.raises(InvalidMessageError, match="no plain name"):
        found.check_request(request(credential=credential))


def test_auth_plan() -> None:
    """The plan names secrets for the account's credential."""
    found = partner(
        "auth = { basic = { user = 'me', password = { secret = 'pw-{{ account.credential }}' } },"
        " headers = { X-Key = { secret = 'k' } }, query = { token = { secret = 't' } } }\n"
    )

    plan = found.auth_plan(request())

    assert (plan.basic_user, plan.basic_password) == ("me", "pw-main")
    assert plan.headers == (("X-Key", "k"),)
    assert plan.query == (("token", "t"),)


def test_a_missing_attribute_is_found_before_the_first_call() -> None:
    """What templates need and the request lacks makes it poison, not a crash later."""
    found = partner("", "headers = { X-Region = '{{ account.region }}' }\n")

    found.check_request(request(attributes={"region": "eu"}))
    with pytest.raises(InvalidMessageError, match=r"account\.region"):
        found.check_request(request())
    with pytest.raises(InvalidMessageError, match="plain ASCII"):
        found.check_request(request(attributes={"region": "\u00fc"}))


TEXTS = st.text(max_size=20)


@given(TEXTS.filter(bool), TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2))
def test_no_message_breaks_out(
    account: str, level: str, credential: str, attributes: dict[str, str]
) -> None:
    """Whatever a message holds: it is refused, or its call goes to the host and path meant."""
    found = partner(
        "auth = { bearer = { secret = 'a-{{ account.credential }}' } }\n",
        "params = { level = 'x' }\nquery = { level = '{{ params.level }}' }\n"
        "headers = { X-Level = '{{ params.level }}' }\n",
    )
    fields = {"account": account, "credential": credential, "params": {"level": level}}
    try:
        made = request(**fields, attributes=attributes)
        found.check_request(made)
    except (InvalidMessageError, ValueError):
        return

    call = flow(found, AUTH, **fields).call({})

    start, end = "https://api.acme.com/v2/", "/stats?from=2025-11-15&to=2025-11-21&level="
    assert call.url.startswith(start)
    middle = call.url.removeprefix(start).split("/stats?")
    assert len(middle) == 2
    assert end.removeprefix("/stats?") in middle[1]
    assert middle[1].count("&") == 2
    assert "/" not in middle[0]
    assert "\n" not in call.headers["X-Level"]


def test_the_model_does_not_let_control_characters_pass() -> None:
    """The record's own check comes first; this one is for what it does not look at."""
    with pytest.raises(InvalidMessageError):
        Request.from_json(request().to_json().replace(b"acc-1", b"acc\\u0000"))


def test_allowed_rates_are_those_of_all_calls() -> None:
    """The tightest of a kind of scope; quotas, places and limits of errors are no rates."""
    limited = partner(
        """
limits = [
  { per = "account", calls = 5, seconds = 1 },
  { per = "account", calls = 60, seconds = 60 },
  { per = "partner", calls = 10, seconds = 1, margin_seconds = 1 },
  { per = "partner", calls = 1, seconds = 1, counts = "errors" },
  { per = "partner", calls = 10, seconds = 86400, meter = "fixed" },
  { per = "partner", calls = 20, meter = "day" },
  { per = "partner", calls = 2, meter = "concurrent" },
  { per = "credential", calls = 30, cost = 10 },
]
"""
    )

    assert allowed_rates({"acme": limited}) == {
        "acme": {"account": 1.0, "partner": 5.0, "credential": 3.0}
    }


def test_a_divided_limit_allows_its_share_to_each_partition() -> None:
    """Each partition counts as a scope that is in use: together they may do no more than all."""
    divided = partner("limits = [{ per = 'partner', calls = 2_400, divide = true }]\n")

    (rate,) = allowed_rates({"acme": divided})["acme"].values()

    assert rate * divided.partitions == 2_400


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ('{ per = "account", calls = 1 }', ["slow_down[2]", "quota[1]", "usage[1]"]),
        ('{ per = "credential", calls = 1 }', ["slow_down[2]", "usage[1]"]),
        ('{ per = "partner", calls = 9, divide = true }', ["slow_down[2]", "quota[1]", "usage[1]"]),
        ('{ per = "partner", calls = 1 }', []),
    ],
)
def test_words_that_reach_one_partition_alone(limits: str, expected: list[str]) -> None:
    """A refusal that is meant for more accounts than the key keeps together is named."""
    of = partner(
        f"""
limits = [{limits}]
partitions = {1 if not expected else 2}
slow_down = [
  {{ status = 429, scope = "account" }},
  {{ status = 403, scope = "partner" }},
  {{ status = 402 }},
]
quota = [{{ status = 401, scope = "credential" }}]
usage = [{{ left = "header:X-Left", wait_seconds = 1, scope = "report" }}]
""".replace("calls = 9", "calls = 90")
    )

    found = list(heard_apart(of))

    assert [text.partition(":")[0] for text in found] == expected
    assert all("partitions = 1, or a limit per = " in text for text in found)


def test_rules_that_look_at_too_many_rows() -> None:
    """LinkedIn's, say: it has to see them all, so no answer may be larger than memory holds."""
    rule = 'too_big = [{ status = 200, body = "length(data) >= `15000`" }]\n'

    assert [text[:50] for text in blind_rules(partner(rule))] == [
        "too_big[1] looks at the rows of report stats, data"
    ]
    assert list(blind_rules(partner(rule, "max_answer_mib = 8\n"))) == []
    assert list(blind_rules(partner(rule.replace("200", "400")))) == []
    for name, path in catalogue_files().items():
        assert (name, list(blind_rules(load_partner(path)))) == (name, [])
