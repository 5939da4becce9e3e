"""What a worker's life begins with."""

import pytest

from reportd.worker.main import PUNCTUAL_SWITCH_SECONDS, SWITCH_SECONDS, switch_seconds
from tests.unit.partners.making import partner


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ("", SWITCH_SECONDS),
        ("{ per = 'account', calls = 5, seconds = 1 }", PUNCTUAL_SWITCH_SECONDS),
        ("{ per = 'account', calls = 5, seconds = 60 }", SWITCH_SECONDS),
        ("{ per = 'account', calls = 5, seconds = 1, margin_seconds = 0.2 }", SWITCH_SECONDS),
        ("{ per = 'account', calls = 5, meter = 'fixed' }", PUNCTUAL_SWITCH_SECONDS),
        ("{ per = 'account', calls = 5, meter = 'concurrent' }", SWITCH_SECONDS),
        ("{ per = 'account', calls = 5, meter = 'day' }", SWITCH_SECONDS),
        ("{ per = 'account', calls = 5, meter = 'bucket' }", PUNCTUAL_SWITCH_SECONDS),
        ("{ per = 'account', calls = 5, meter = 'bucket', burst = 5 }", SWITCH_SECONDS),
        (
            "{ per = 'partner', calls = 5, seconds = 60 }, { per = 'account', calls = 1 }",
            PUNCTUAL_SWITCH_SECONDS,
        ),
    ],
)
def test_threads_take_shorter_turns_where_a_limit_is_strict(limits: str, seconds: float) -> None:
    """A call that waits for the interpreter leaves late: in a strict second it is one too many."""
    one = partner(f"limits = [{limits}]\n")

    assert switch_seconds([partner(), one]) == seconds
