"""How the demo shows what happens, and what came of it."""

import io
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from reportd.demo.outcome import Summary, binding_usage, print_table, write_summary
from reportd.demo.progress import PartnerProgress, PlainDisplay, Rates, make_display
from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import Limit, Partner

KEYS = [
    "requests",
    "results",
    "dead_letters",
    "files",
    "rows",
    "calls",
    "finished_calls_repeated",
    "throttled",
    "limit_used",
    "seconds",
]


def summary(requests: int) -> Summary:
    return Summary(
        requests=requests,
        results=1,
        dead_letters=0,
        files=3,
        rows=10,
        calls=2,
        finished_calls_repeated=0,
        throttled=1,
        limit_used=0.991,
        seconds=61.5,
    )


def test_the_summary_has_exactly_the_keys_that_others_read(tmp_path: Path) -> None:
    """The names of summary.json are a contract."""
    write_summary(tmp_path / "summary.json", summary(7))
    assert list(orjson.loads((tmp_path / "summary.json").read_bytes())) == KEYS


def test_the_table_shows_every_partner_and_all() -> None:
    """Labels are words, shares are per cent."""
    out = io.StringIO()
    print_table(Console(file=out, width=100), {"acme": summary(7), "": summary(1234)})
    text = out.getvalue()
    for expected in ("acme", "all", "1,234", "99.1%", "429s received", "finished calls repeated"):
        assert expected in text


def test_a_rate_is_of_the_last_seconds() -> None:
    """What was long ago does not count; what is left is told in seconds."""
    rates = Rates()
    for now in range(11):
        ended = 0 if now < 5 else (now - 5) * 10
        rate = rates.of(PartnerProgress("acme", ended, 100, 3), float(now))
    assert rate.per_second == pytest.approx(10.0)
    assert rate.eta_seconds == pytest.approx(5.0)


def test_nothing_that_moves_has_no_eta() -> None:
    """A standstill is a question mark, not a number."""
    rates = Rates()
    rates.of(PartnerProgress("acme", 5, 10, 0), 0.0)
    assert rates.of(PartnerProgress("acme", 5, 10, 0), 1.0).eta_seconds is None


def test_plain_lines_where_there_is_no_terminal() -> None:
    """A pipe gets a line every two seconds, with what is open."""
    out = io.StringIO()
    display = make_display(Console(file=out, width=200), 0.0)
    assert isinstance(display, PlainDisplay)
    for tenth in range(41):
        display.show([PartnerProgress("acme", tenth, 100, 0)], tenth / 10)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert "acme 40/100 10/s" in lines[-1]
    assert "open 60  ETA 6 s" in lines[-1]


def test_bars_on_a_terminal() -> None:
    """A terminal gets a bar a partner, and what is said stays above."""
    out = io.StringIO()
    display = make_display(Console(file=out, force_terminal=True, width=120), 0.0)
    display.show([PartnerProgress("acme", 40, 100, 3)], 1.0)
    display.say("something happened")
    display.close()
    assert "40/100" in out.getvalue()
    assert "60 open, 3 in flight" in out.getvalue()
    assert "something happened" in out.getvalue()


def test_the_limit_that_binds_is_the_one_that_counts() -> None:
    """Of two limits the share told is that of the one that was used up."""
    partner = Partner(
        name="crux",
        limits=(Limit(per="partner", calls=100), Limit(per="account", calls=10)),
    )
    calls = [
        SeenCall(number=0, at=at / 10, wall=0, account="1", first_day=str(at), page=1)
        for at in range(50)
    ]
    assert binding_usage(partner, calls, []).share == pytest.approx(1.0)
    assert binding_usage(partner, [], []).share == 0.0
