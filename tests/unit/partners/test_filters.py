"""What templates can do with values."""

import base64
import hashlib
import hmac

import pytest

from reportd.errors import InvalidMessageError
from reportd.partners.templates import compile_json, compile_template

VALUES = {
    "account": {"id": "a/b é", "timezone": "Europe/Zurich"},
    "params": {"n": "7"},
    "from": "2026-03-29",
    "to": "2026-11-09",
    "secrets": {"app": "s3cret", "token": "tok"},
}
RFC_4231_CASE_2 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
PROOF = hmac.new(b"s3cret", b"tok", hashlib.sha256)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{{ to | date('%-d.%-m.%y') }}", "9.11.26"),
        ("{{ to | year }}/{{ to | month }}/{{ to | day }}", "2026/11/9"),
        ("{{ to | plus_days(1) }}", "2026-11-10"),
        ("{{ to | plus_days(-9) | date('%Y%m%d') }}", "20261031"),
        ("{{ from | midnight }}", "2026-03-29T00:00:00+00:00"),
        ("{{ from | midnight(account.timezone) }}", "2026-03-29T00:00:00+01:00"),
        ("{{ from | epoch }}", "1774742400"),
        ("{{ (from | epoch(account.timezone)) * 1000 }}", "1774738800000"),
        ("{{ secrets.token | hmac_sha256(secrets.app) }}", PROOF.hexdigest()),
        ("{{ 'what do ya want for nothing?' | hmac_sha256('Jefe') }}", RFC_4231_CASE_2),
        (
            "{{ secrets.token | hmac_sha256(secrets.app, 'base64') }}",
            base64.b64encode(PROOF.digest()).decode(),
        ),
        ("{{ '' | sha256 }}", hashlib.sha256().hexdigest()),
        ("{{ 'a?~' | base64 }} {{ 'a?~>' | base64url }}", "YT9+ YT9-Pg"),
        ("{{ account.id | url }}", "a%2Fb%20%C3%A9"),
        ("{{ {'a': 'x y', 'b': 2} | form }}", "a=x+y&b=2"),
        ("{{ [{'field': 'id', 'in': [account.id]}] | json }}", '[{"field":"id","in":["a/b é"]}]'),
    ],
)
def test_filters(source: str, wanted: str) -> None:
    """Each shape that partners ask for."""
    assert compile_template(source)(VALUES) == wanted


def test_days_apart_are_numbers_in_json() -> None:
    """``{ year = 2026, month = 11, day = 9 }``, as some partners want a day."""
    build = compile_json({"year": "{{ to | year }}", "day": "{{ to | day }}"})

    assert build(VALUES) == {"year": 2026, "day": 9}


@pytest.mark.parametrize(
    "source",
    [
        "{{ account.id | date('%Y') }}",
        "{{ secrets.token | hmac_sha256(secrets.app, 'octal') }}",
        "{{ from | midnight(account.id) }}",
        "{{ secrets | base64 }}",
        "{{ secrets.token | form }}",
    ],
)
def test_what_does_not_fit_shows_nothing(source: str) -> None:
    """A filter that fails names itself, never the value: it may be a secret."""
    with pytest.raises(InvalidMessageError) as caught:
        compile_template(source)(VALUES)

    assert "s3cret" not in str(caught.value)
    assert "tok" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{{ to | date }}", "date: missing a required argument: 'pattern'"),
        ("{{ to | plus_days }}", "plus_days: missing a required argument"),
        ("{{ to | plus_days(1, 2) }}", "plus_days: too many"),
        ("{{ to | midnight('Mars/X') }}", "midnight: No time zone found"),
        ("{{ account.id | hmac_sha256(7) }}", "hmac_sha256: a text is wanted"),
        ("{{ to | plus_days(99999999999) }}", "plus_days: "),
        ("{{ account.id | sha256('octal') }}", "sha256: form: hex, base64"),
        ("{{ account.id | hmac_sha256 }}", "hmac_sha256: missing a required argument: 'key'"),
        (
            "{{ account.id | hmac_sha256(account.key, shape='hex') }}",
            "hmac_sha256: got an unexpected",
        ),
        ("{{ ('a' ~ (to | date)) | base64 }}", "date: missing"),
    ],
)
def test_a_filter_that_cannot_be_called_so_is_no_template(source: str, wanted: str) -> None:
    """Found when the file is read: each request would be a dead letter."""
    with pytest.raises(ValueError, match=wanted):
        compile_template(source)
