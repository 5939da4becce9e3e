"""The demo's scene and what is written of it."""

import csv
from datetime import UTC, date, datetime
from pathlib import Path

from reportd.config.load import load
from reportd.config.schedule import load_schedule
from reportd.demo.scene import demo_scene
from reportd.demo.workplace import Workplace
from reportd.partners.load import load_partners

SLOT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def test_the_configuration_written_is_valid_and_asks_what_the_scene_says(tmp_path: Path) -> None:
    """Settings, partners and schedule load; the schedule's requests are the scene's questions."""
    scene, place = demo_scene(), Workplace(tmp_path)
    place.write(scene, "127.0.0.1:9092", 18081, 9477)
    config = load(place.config)
    partners = load_partners(config.settings.partners_folder)
    schedule = load_schedule(place.schedule, config.secrets)
    assert set(partners) == {"acme", "bolt", "crux"}
    assert "18081" in (place.partners / "acme.toml").read_text()
    questions = scene.questions(SLOT)
    with place.accounts.open() as file:
        accounts = list(csv.DictReader(file))
    asked = {
        (ask.partner, ask.report_name, row["account"], len(ask.spans))
        for ask in schedule.settings.ask
        for row in accounts
        if row["partner"] == ask.partner
    }
    assert sum(count for *_, count in asked) == len(questions)
    assert {one[:3] for one in asked} == {one[:3] for one in questions}


def test_days_are_the_accounts_own() -> None:
    """At 03:00 UTC it is still yesterday in New York: its last complete day is one earlier."""
    accounts = {account.timezone: account for account in demo_scene().accounts()}
    assert accounts["UTC"].days_back(SLOT, 1, 3) == (date(2026, 11, 19), date(2026, 11, 21))
    assert accounts["America/New_York"].days_back(SLOT, 1, 1)[1] == date(2026, 11, 20)


def test_the_scene_is_big_enough_and_has_its_gone_account() -> None:
    """Between 1,500 and 3,000 requests, about 40 accounts, one of them gone; scalable."""
    scene = demo_scene()
    accounts = list(scene.accounts())
    assert 1500 <= len(scene.questions(SLOT)) <= 3000
    assert 30 <= len(accounts) <= 50
    assert [account.account for account in accounts if account.gone] == ["bolt-09"]
    assert len(demo_scene(0.1).questions(SLOT)) < 200
