"""How a simulated partner decides its answers; no sockets."""

import gzip
import zlib
from collections import Counter
from datetime import date

import orjson
import pytest

from reportd.demo.simulator.answers import Answers, Asked, BadQuestionError, page_of
from reportd.demo.simulator.book import SeenCall
from reportd.demo.simulator.config import Faults, Limit, Partner
from reportd.demo.simulator.making import asked_of
from reportd.demo.simulator.players import Play, Player
from reportd.demo.truth import FIELDS, Truth

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 7)
BASE = "http://127.0.0.1:1"


def asked(page: int = 1, account: str = "7") -> Asked:
    return Asked("campaigns", account, FIRST, LAST, page)


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


def one_play(player: Player, ask: Asked, now: float = 100.0) -> tuple[Play, SeenCall]:
    call = SeenCall(number=0, at=now, wall=now, page=ask.page)
    return player.play(ask, {}, call), call


def truth_records(partner: Partner) -> list[dict[str, object]]:
    days = [date(2026, 1, number) for number in range(1, 8)]
    rows = [row for day in days for row in partner.truth.rows("acme", "campaigns", "7", day)]
    return [{name: getattr(row, name) for name in FIELDS} for row in rows]


@pytest.mark.parametrize("paging", ["number", "cursor", "url"])
def test_pages_together_are_the_truth(paging: str) -> None:
    """Whoever follows the pages gets every row once, in order."""
    partner = Partner(name="acme", paging=paging, page_rows=4)  # type: ignore[arg-type]
    answers = Answers(partner, BASE)
    found, page = [], 1
    while True:
        _, headers, body = split(answers.good(asked(page)))
        said = orjson.loads(body)
        found += said["data"]
        following = said["paging"].get("next") or said["paging"].get("next_url")
        if paging == "number":
            following = page + 1 if said["page"] < said["pages"] else None
        assert bool(following) == ("x-next-page" in headers)
        if not following:
            break
        page += 1
    assert page > 2
    assert found == truth_records(partner)


def test_a_cursor_belongs_to_its_question() -> None:
    """A cursor of another account is refused."""
    answers = Answers(Partner(name="acme", paging="cursor", page_rows=4), BASE)
    cursor = orjson.loads(split(answers.good(asked()))[2])["paging"]["next"]
    assert page_of(cursor, "campaigns", "7", FIRST, LAST) == 2
    with pytest.raises(BadQuestionError):
        page_of(cursor, "campaigns", "8", FIRST, LAST)
    with pytest.raises(BadQuestionError):
        page_of("nonsense", "campaigns", "7", FIRST, LAST)


def test_csv_has_what_real_files_have() -> None:
    """A byte-order mark, a preamble, another delimiter, quoted names, a sign for no value."""
    partner = Partner(
        name="acme", format="csv", preamble_lines=2, delimiter=";", bom=True, gzip="file"
    )
    _, headers, body = split(Answers(partner, BASE).good(asked()))
    assert headers["content-type"] == "application/gzip"
    text = gzip.decompress(body).decode()
    assert text.startswith("\ufeffReport")
    assert text.split("\r\n")[2] == ";".join(FIELDS)


@pytest.mark.parametrize(
    ("style", "status", "told"),
    [
        ("429-retry-after", 429, b"slow down"),
        ("429", 429, b"slow down"),
        ("200-code", 200, b"40100"),
        ("403-reason", 403, b"userRateLimitExceeded"),
    ],
)
def test_each_partner_has_its_way_to_say_slow_down(style: str, status: int, told: bytes) -> None:
    """Over its limit a partner answers in its style, and the call is written down as refused."""
    partner = Partner(
        name="acme",
        limits=(Limit(per="account", calls=1),),
        slow_down=style,  # type: ignore[arg-type]
    )
    player = Player(partner, BASE, 0.0)
    one_play(player, asked())
    play, call = one_play(player, asked())
    found, headers, body = split(play.answer)
    assert (found, told in body, call.fault, play.good) == (status, True, "limit", False)
    assert ("retry-after" in headers) == (style == "429-retry-after")


def test_faults_come_as_often_as_said_and_again_for_the_same_seed() -> None:
    """The dice follow seed, question and how often it came, not the order of calls."""

    def draw(seed: int, accounts: list[str]) -> dict[str, str]:
        faults = Faults(error=0.1, reset=0.1, html=0.1)
        player = Player(Partner(name="acme", faults=faults, seed=seed), BASE, 0.0)
        return {name: one_play(player, asked(account=name))[1].fault for name in accounts}

    names = [str(number) for number in range(1000)]
    found = draw(3, names)
    assert found == draw(3, names[::-1])
    assert found != draw(4, names)
    counts = Counter(found.values())
    assert all(60 < counts[name] < 140 for name in ("error", "reset", "html"))


def test_broken_answers_cannot_be_taken_for_good_ones() -> None:
    """A truncated body is shorter than it says; a cut one fits, but does not parse."""
    partner = Partner(name="acme", gzip="file", format="csv")
    answers = Answers(partner, BASE)
    _, headers, body = split(answers.truncated(asked()))
    assert len(body) < int(headers["content-length"])
    _, headers, body = split(answers.cut(asked()))
    assert len(body) == int(headers["content-length"])
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(body)


def test_an_empty_body_is_never_broken_unnoticed() -> None:
    """Half of nothing is a good answer: such a call gets a 500 instead."""
    partner = Partner(
        name="acme", format="jsonl", faults=Faults(truncated=1.0), truth=Truth(empty_share=1.0)
    )
    _, call = one_play(Player(partner, BASE, 0.0), asked())
    assert call.fault == "error"


def test_who_is_not_known_and_what_is_gone() -> None:
    """A call without the credential gets 401, an account that is gone 404."""
    player = Player(Partner(name="acme", gone_accounts=("8",)), BASE, 0.0)
    assert one_play(player, asked(account="8"))[1].status == 404
    player = Player(Partner(name="acme", headers={"x-key": "a"}), BASE, 0.0)
    assert one_play(player, asked())[1].status == 401


def test_an_outage_answers_everyone_and_charges_nothing() -> None:
    """While a partner is down its limits do not count; then it goes on as before."""
    player = Player(Partner(name="acme", limits=(Limit(per="partner", calls=1),)), BASE, 0.0)
    player.outage = "error"
    assert [one_play(player, asked())[1].status for _ in range(3)] == [503, 503, 503]
    player.outage = ""
    assert one_play(player, asked())[1].status == 200


def called(player: Player, call: str, now: float, **headers: str) -> tuple[int, dict[str, str]]:
    """Return status and document of a call for a report that is made first."""
    seen = SeenCall(number=0, at=now, wall=now, page=1)
    ask = Asked("campaigns", "7", FIRST, LAST, 1, call)
    status, _, body = split(player.play(ask, headers, seen).answer)
    return status, orjson.loads(body)


def test_a_report_is_made_once_and_takes_its_time() -> None:
    """The second create is told of the first; a poll says "working" until it is done."""
    player = Player(Partner(name="acme", makes="file", making_seconds=5.0), BASE, 0.0)
    status, made = called(player, "create", 100.0)
    assert status == 202
    assert called(player, "create", 101.0) == (425, {"error": f"duplicate of <{made['id']}>"})
    assert called(player, "poll", 104.0) == (200, {"state": "working"})

    status, done = called(player, "poll", 105.0)
    assert done["state"] == "done"
    assert done["url"].startswith(f"http://127.0.0.2:1/acme/campaigns/file/{made['id']}?until=110")
    assert asked_of("campaigns", "file", made["id"], 1).first == FIRST


def test_a_lost_answer_to_a_create_leaves_the_report() -> None:
    """As at real partners: whoever asks again finds it running."""
    player = Player(Partner(name="acme", makes="pages", faults=Faults(reset=1.0)), BASE, 0.0)
    ask = Asked("campaigns", "7", FIRST, LAST, 1, "create")
    assert one_play(player, ask)[0].end == "reset"
    player.change(faults=Faults())

    assert called(player, "create", 101.0)[0] == 425


def test_the_files_host_wants_no_credential() -> None:
    """A presigned URL that comes with one is refused, and seen."""
    player = Player(Partner(name="acme", makes="file", headers={"x-key": "k"}), BASE, 0.0)

    assert called(player, "file", 100.0)[0] == 200
    assert called(player, "file", 100.0, **{"x-key": "k"})[0] == 401
    assert called(player, "poll", 100.0)[0] == 401
