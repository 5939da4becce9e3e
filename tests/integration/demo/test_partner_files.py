"""The demo's partner files against the partners that they are about."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from reportd.config.load import load
from reportd.demo.scene import Scene, demo_scene
from reportd.demo.simulator.config import Faults
from reportd.demo.simulator.process import Simulator
from reportd.demo.workplace import Workplace
from reportd.model.request import Request
from reportd.partners.flow import Flow
from reportd.partners.load import load_partners
from reportd.partners.partner import Partner
from reportd.partners.verdict import Cursor, Outcome, Verdict
from reportd.transport.client import Client
from reportd.transport.credentials import Credentials

SLOT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Running:
    simulator: Simulator
    scene: Scene
    partners: dict[str, Partner]
    credentials: Credentials
    client: Client

    def request(self, partner: str, number: int = 0) -> Request:
        asked = sorted(one for one in self.scene.questions(SLOT) if one[0] == partner)[number]
        account = next(one for one in self.scene.accounts() if one.account == asked[2])
        said = {
            "v": 1,
            "run": "daily/2026-11-22T03:00Z#1",
            "partner": partner,
            "report": asked[1],
            "account": asked[2],
            "first_day": asked[3],
            "last_day": asked[4],
            "formats": ["parquet"],
            "credential": account.credential,
            "currency": account.currency,
        }
        return Request.from_json(orjson.dumps(said))

    def flow(self, request: Request) -> Flow:
        partner = self.partners[request.partner]
        partner.check_request(request)
        return Flow(partner, request, self.credentials.auth(partner.auth_plan(request)))

    def ask(self, flow: Flow, cursor: Cursor) -> tuple[Verdict, bytes]:
        answer = self.client.send(flow.call(cursor))
        return flow.judge(cursor, answer, 0.0), getattr(answer, "body", b"")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    scene = demo_scene()
    calm = [replace(one, partner=replace(one.partner, faults=Faults())) for one in scene.roles]
    scene = Scene(tuple(calm))
    place = Workplace(tmp_path)
    with Simulator(scene.simulated(place.calls)) as simulator:
        place.write(scene, "127.0.0.1:9092", simulator.port, 9477)
        config = load(place.config)
        client = Client(allow_private=True)
        yield Running(
            simulator,
            scene,
            load_partners(config.settings.partners_folder),
            Credentials(config.secrets.read),
            client,
        )
        client.close()


@pytest.mark.parametrize("partner", ["acme", "bolt", "crux"])
def test_every_page_is_asked_once_and_says_whose_it_is(running: Running, partner: str) -> None:
    """Following the verdicts asks page after page, each once, with the request's id."""
    request = running.request(partner)
    flow = running.flow(request)
    cursor: Cursor | None = {}
    while cursor is not None:
        verdict, _ = running.ask(flow, cursor)
        assert verdict.outcome is Outcome.OK
        cursor = verdict.next_cursor
    calls = running.simulator.calls()
    assert [call.page for call in calls] == list(range(1, len(calls) + 1))
    assert all(call.complete and call.request_id == request.id for call in calls)
    assert len(calls) == 1 if partner == "acme" else len(calls) > 1


@pytest.mark.parametrize("partner", ["acme", "bolt", "crux"])
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("error", Outcome.TRANSIENT),
        ("reset", Outcome.TRANSIENT),
        ("truncated", Outcome.TRANSIENT),
        ("html", Outcome.TRANSIENT),
        ("throttle", Outcome.THROTTLED),
    ],
)
def test_every_fault_is_known_for_what_it_is(
    running: Running, partner: str, fault: str, outcome: Outcome
) -> None:
    """Whatever a partner plays, and however it says "slow down", its file understands."""
    running.simulator.faults(Faults(**{fault: 1.0}))
    verdict, _ = running.ask(running.flow(running.request(partner)), {})
    assert verdict.outcome is outcome
    if outcome is Outcome.THROTTLED:
        assert verdict.wait_seconds == 1.0


def test_a_gone_account_is_permanent_and_a_wrong_credential_is_not_taken(running: Running) -> None:
    """404 for one account is that account's end; the simulator knows who may ask."""
    gone = running.request("bolt", -1)
    verdict, _ = running.ask(running.flow(gone), {})
    assert (gone.account, verdict.outcome) == ("bolt-09", Outcome.PERMANENT)
    call = replace(running.flow(running.request("bolt")).call({}), secret_headers=())
    answer = running.client.send(call)
    assert running.simulator.calls()[-1].fault == "auth", answer


def test_a_redirect_to_another_host_is_not_followed(running: Running) -> None:
    """The simulator's trap stays empty: no call, no credential reaches another host."""
    running.simulator.faults(Faults(redirect=1.0))
    verdict, _ = running.ask(running.flow(running.request("acme")), {})
    assert verdict.outcome is not Outcome.OK
    assert running.simulator.stats()["traps"] == []
