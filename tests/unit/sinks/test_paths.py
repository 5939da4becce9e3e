"""Final names: different values never meet, and nothing leads out of the root."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.sinks.formats import FORMATS
from reportd.sinks.paths import DEFAULT_PATH, MAX_COMPONENT_BYTES, PathTemplate, encode

DAY = date(2026, 11, 21)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
VALUES = st.text(max_size=12) | st.text("._-%~=ab/ \u00e4", max_size=6)
DAYS = st.integers(0, 3000).map(lambda days: DAY + timedelta(days=days))
TEMPLATES = (
    DEFAULT_PATH,
    "{partner}/{report}/{year}/{month}/{day}/level={params.level}/{account}.{ext}",
    "{partner}.{report}/{account}_{params.level}_{date}.{ext}",
    "all-{partner}-{report}/{date}-{account}+{params.level}.{ext}",
)
Given = tuple[str, str, str, date, dict[str, str], str]
GIVEN = st.tuples(
    NAMES,
    NAMES,
    VALUES.filter(bool),
    DAYS,
    VALUES.map(lambda value: {"level": value}),
    st.sampled_from(FORMATS),
)


def what_it_names(template: PathTemplate, given_values: Given) -> tuple[object, ...]:
    """Return the values without the parameter if the template does not name it."""
    partner, report, account, day, params, ext = given_values
    level = params["level"] if "params.level" in template.fields else ""
    return partner, report, account, day, level, ext


@given(VALUES, VALUES)
def test_encoding_is_injective(one: str, other: str) -> None:
    """Two values are the same component only if they are the same value."""
    assert (encode(one) == encode(other)) == (one == other)


@given(VALUES)
def test_an_encoded_value_is_a_harmless_component(value: str) -> None:
    """No slash, no hidden name, no ``..``, no character that a shell or URL minds."""
    text = encode(value)

    assert text
    assert text[0] not in "._"
    assert text.isascii()
    assert text.isprintable()
    assert not set("/\\~ '\"*?[") & set(text)


@pytest.mark.parametrize("text", TEMPLATES)
def test_different_values_never_meet(text: str) -> None:
    """Whatever partner, report, account, day, parameter and format are: one file each."""
    template = PathTemplate(text)
    assert template.problems(["level"] if "params" in text else []) == []

    @given(GIVEN, GIVEN)
    def check(one: Given, other: Given) -> None:
        meet = template.render(*one) == template.render(*other)
        assert meet == (what_it_names(template, one) == what_it_names(template, other))

    check()


SPLIT = st.text("a.-_+", min_size=1, max_size=4)


@given(SPLIT, SPLIT, SPLIT, st.sampled_from(".-_+="))
def test_values_never_meet_across_a_separator(a: str, b: str, c: str, sep: str) -> None:
    """``a_b`` and ``c`` is another file than ``a`` and ``b_c``."""
    template = PathTemplate(f"{{partner}}/{{report}}/{{date}}/{{account}}{sep}{{params.x}}.{{ext}}")
    assert template.problems(["x"]) == []

    one, other = (
        template.render("acme", "r", account, DAY, {"x": x}, "csv")
        for account, x in ((a + sep + b, c), (a, b + sep + c))
    )

    assert one != other


@given(st.text(min_size=1, max_size=400), st.text(min_size=1, max_size=400))
def test_long_values_are_hashed(one: str, other: str) -> None:
    """No component is longer than file systems take, and the hash keeps values apart."""
    template = PathTemplate()
    paths = [template.render("acme", "r", text, DAY, {}, "csv.gz") for text in (one, other)]

    assert all(len(part) <= MAX_COMPONENT_BYTES for path in paths for part in path.split("/"))
    assert all(path.endswith(".csv.gz") for path in paths)
    assert (paths[0] == paths[1]) == (one == other)


@pytest.mark.parametrize(
    ("account", "component"),
    [
        ("123-456-7890", "123-456-7890.parquet"),
        ("..", "%2E..parquet"),
        ("_reportd", "%5Freportd.parquet"),
        ("sc-domain:a.com", "sc-domain%3Aa.com.parquet"),
        ("a/../../etc", "a%2F..%2F..%2Fetc.parquet"),
        ("100%", "100%25.parquet"),
        ("ä", "%C3%A4.parquet"),
    ],
)
def test_accounts_on_disk(account: str, component: str) -> None:
    """What analysts see; these names are a promise: changing them doubles every file."""
    path = PathTemplate().render("acme", "stats", account, DAY, {}, "parquet")

    assert path == f"acme/stats/date=2026-11-21/{component}"


def test_a_parameter_that_is_empty_or_not_given_is_a_percent_sign() -> None:
    """An empty component would vanish, and an empty partition value stops Spark."""
    template = PathTemplate("{partner}/{report}/x={params.x}/{date}/{account}.{ext}")

    for params in ({}, {"x": ""}):
        assert "/x=%/" in template.render("acme", "stats", "1", DAY, params, "csv")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{partner}/{report}/{date}/x.{ext}", "{account} is missing"),
        ("{partner}/{account}/{date}.{ext}", "{report} is missing"),
        ("{report}/{account}/{date}.{ext}", "{partner} is missing"),
        ("{partner}/{report}/{account}.{ext}", "{date} (or"),
        ("{partner}/{report}/{year}/{month}/{account}.{ext}", "{date} (or"),
        ("{partner}/{report}/{date}/{account}.csv", "must end with .{ext}"),
        ("{ext}/{partner}/{report}/{date}/{account}.{ext}", "must end with .{ext}, and have"),
        ("/{partner}/{report}/{date}/{account}.{ext}", "part 1: empty"),
        ("{partner}/../{report}/{date}/{account}.{ext}", "part 2: starts with . or _"),
        ("_reportd/{partner}/{report}/{date}/{account}.{ext}", "part 1: starts with . or _"),
        ("{partner}/{report}/{date}/{account}/.{ext}", "part 5: starts with . or _"),
        ("{partner}/{report}/{date}/a b{account}.{ext}", "literal text"),
        ("{partner}/{report}/{date}/{account.{ext}", "literal text"),
        ("{partner}/{report}/{date}/{account}{params.x}.{ext}", "{account} and {params.x} need"),
        ("{partner}/{report}/{date}/{account}to{params.x}.{ext}", "{account} and {params.x} need"),
        ("{partner}/{report}/{date}/{account}/{run}.{ext}", "{run}: unknown field"),
        ("{partner}/{report}/{date}/{account}.{ext}", "{params.x} is missing"),
        ("{partner}/{report}/{date}/" + "a" * 61 + "{account}.{ext}", "literal text"),
    ],
)
def test_a_template_that_lets_files_meet_is_refused(text: str, problem: str) -> None:
    """Each mistake is named."""
    found = PathTemplate(text).problems(["x"])

    assert any(problem in one for one in found), found


def test_year_month_and_day_are_as_good_as_the_date() -> None:
    """They need nothing between them: their width is fixed."""
    template = PathTemplate("{partner}/{report}/{year}{month}{day}/{account}.{ext}")

    assert template.problems() == []
    path = template.render("acme", "stats", "1", DAY, {}, "jsonl.zst")
    assert path == "acme/stats/20261121/1.jsonl.zst"
