"""A trial does what a worker would: verdicts, waits, limits, steps; on a clock that jumps."""

from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reportd.config.secrets import Secret
from reportd.errors import ConfigError, InvalidMessageError, NotYetError
from reportd.model.content import Content
from reportd.partners.partner import Partner
from reportd.partners.recording import Recorder, new_recording, read_request
from reportd.partners.verdict import Outcome, Verdict
from reportd.transport.credentials import Credentials
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from reportd.transport.token_request import TokenPlan
from reportd.trial.replay import RecordedClock, open_recording
from reportd.trial.run import ImpatientError, RefusedError, Trial
from tests.unit.partners.making import NOW, answer, partner, request

FLOW = """
[reports.stats]
rows = "data[]"
columns = { clicks = "int64" }
[[reports.stats.steps]]
name = "create"
post = "https://api.acme.com/reports"
json = { day = "{{ from }}" }
pick = { report = "id" }
[[reports.stats.steps]]
name = "poll"
get = "https://api.acme.com/reports/{{ picked.report }}"
pick = { url = "url" }
[reports.stats.steps.poll]
first_seconds = 5
factor = 2
jitter = 0
done = "state == 'DONE'"
failed = "state == 'FAILED'"
[[reports.stats.steps]]
name = "download"
get = "{{ picked.url }}"
hosts = ["files.acme.com"]
"""
BUSY = "slow_down = [{ status = 429, wait = 'header:Retry-After' }]\n"
LIMITS = (
    "limits = [{ per = 'account', calls = 1, seconds = 2, meter = 'bucket' },"
    " { per = 'partner', calls = 1000, seconds = 86400 }]\n"
)


class Stage:
    """A partner that answers in turn, and whoever watches."""

    def __init__(self, of: Partner, *answers: Answer | Failure, patience: float = 600.0) -> None:
        self.answers = list(answers)
        self.clock = RecordedClock(NOW)
        self.calls: list[tuple[float, str]] = []
        self.verdicts: list[tuple[Outcome, list[str]]] = []
        self.waits: list[tuple[float, str]] = []
        self.numbers: list[int] = []
        self.steps: list[str] = []
        self.secrets: Collection[str] = ()
        self.trial = Trial(
            partner=of,
            send=self.send,
            credentials=Credentials(lambda name: Secret("hunter2-token", name)),
            clock=self.clock,
            pause=self.clock.pause,
            watcher=self,
            patience_seconds=patience,
        )

    def send(self, call: Call) -> Answer | Failure:
        self.calls.append((self.clock.monotonic(), f"{call.method} {call.url}"))
        return self.answers.pop(0)

    def calling(self, number: int, step: str, _call: Call, secrets: Collection[str]) -> None:
        self.numbers.append(number)
        self.steps.append(step)
        assert list(range(1, number + 1)) == self.numbers
        self.secrets = secrets

    def judged(
        self, _outcome: Answer | Failure, verdict: Verdict, fitting: Collection[str]
    ) -> None:
        self.verdicts.append((verdict.outcome, list(fitting)))

    def waiting(self, seconds: float, why: str) -> None:
        self.waits.append((seconds, why))

    def run(self, **fields: Any) -> list[Content]:
        return self.trial.run(request(**fields))


def test_pages_come_together() -> None:
    """Every page's answer is kept, in order."""
    of = partner(report='next = { cursor = "next", query = "after" }\n')
    first, last = answer({"data": [1], "next": "b"}), answer({"data": [2], "next": None})
    stage = Stage(of, first, last)

    assert [first.body, last.body] == stage.run()
    assert "&after=b" in stage.calls[1][1]
    assert [(Outcome.OK, []), (Outcome.OK, [])] == stage.verdicts


def test_slow_down_is_obeyed() -> None:
    """The wait is what the partner says, and the rule that said so is named."""
    of = partner(BUSY + "permanent = [{ status = [400, 429] }]\n")
    stage = Stage(of, answer(b"", 429, retry_after="30"), answer({"data": []}))

    stage.run()

    assert [(30.0, "as the partner says")] == stage.waits
    assert (Outcome.THROTTLED, ["slow_down[1]", "permanent[1]"]) == stage.verdicts[0]
    assert [0.0, 30.0] == [at for at, _ in stage.calls]


class AwayTokens:
    """A token server that is not there, and then is."""

    def __init__(self) -> None:
        self.asked = 0

    def token(self, _plan: TokenPlan, _refused: str = "") -> str:
        self.asked += 1
        if self.asked == 1:
            raise NotYetError("no token: HTTP 404", 8.0)
        return "token"

    def known(self, _plan: TokenPlan) -> tuple[str, ...]:
        return ()


def test_the_partner_did_not_say_what_its_token_server_makes_wait() -> None:
    """Who wrote the wrong token_url looks for it there, and not in the limits."""
    auth = (
        'auth = { oauth2 = { grant = "client_credentials", client_id = "us",'
        ' token_url = "https://api.acme.com/token", client_secret = { secret = "app" } } }\n'
    )
    stage = Stage(partner(auth), answer({"data": []}))
    credentials = Credentials(lambda name: Secret("hush", name), AwayTokens())
    stage.trial = replace(stage.trial, credentials=credentials)

    stage.run()

    assert [(8.0, "then the token server is asked again")] == stage.waits


def test_a_slow_down_without_a_word_how_long() -> None:
    """Waits grow as a worker's do; a spent quota takes longer than anybody wants to wait."""
    nothing = answer(b"", 429, retry_after="0")
    stage = Stage(partner(BUSY), answer(b"", 429), nothing, answer({"data": []}))
    stage.run()
    assert [1.0, 2.0] == [seconds for seconds, _ in stage.waits]

    stage = Stage(partner("quota = [{ status = 403 }]\n"), answer(b"", 403))
    with pytest.raises(ImpatientError, match="the partner does not say how long"):
        stage.run()


def test_what_usage_says_slows_down() -> None:
    """A good answer that says that a limit is nearly spent keeps the next call back."""
    usage = "usage = [{ used = 'header:X-Usage', wait_seconds = 20 }]\n"
    of = partner(usage, 'next = { cursor = "next", query = "after" }\n')
    stage = Stage(of, answer({"data": [], "next": "b"}, x_usage="90"), answer({"data": []}))

    stage.run()

    assert [0.0, 20.0] == [at for at, _ in stage.calls]
    assert [(20.0, "the limit per account")] == stage.waits


def test_patience_has_an_end() -> None:
    """A long wait ends the trial, with what to do; a partner's word is never cut short."""
    stage = Stage(partner(BUSY), answer(b"", 429, retry_after="3600"), patience=600.0)

    with pytest.raises(ImpatientError, match=r"in 3600 s .as the partner says.*--patience"):
        stage.run()


def test_limits_are_kept() -> None:
    """Calls are spaced as the file's limits say; a day's limit does not hold the first one."""
    of = partner(LIMITS, 'next = { cursor = "next", query = "after" }\n')
    pages = [answer({"data": [], "next": cursor}) for cursor in ("a", "b", None)]
    stage = Stage(of, *pages)

    stage.run()

    times = [at for at, _ in stage.calls]
    assert times[0] <= 2.0
    assert all(later - earlier >= 2.0 for earlier, later in pairwise(times))
    assert "the limit per account" in {why for _, why in stage.waits}


@pytest.mark.parametrize(
    ("first", "secrets"),
    [
        (answer(b"", 302, location="https://api.acme.com/moved"), ("one", "one")),
        (answer(b"", 401), ("one", "two")),
    ],
)
def test_each_call_that_is_sent_waits_for_the_limits(
    first: Answer, secrets: tuple[str, ...]
) -> None:
    """The partner counts the one after a redirect, or after a 401, as it counts the first."""
    of = partner("auth = { bearer = { secret = 'x' } }\n" + LIMITS)
    stage = Stage(of, first, answer({"data": []}))
    left = [*secrets]
    read = lambda name: Secret(left.pop(0) if len(left) > 1 else left[0], name)  # noqa: E731
    stage.trial = replace(stage.trial, credentials=Credentials(read))

    stage.run()

    first_at, second_at = (at for at, _ in stage.calls)
    assert second_at - first_at >= 2.0


def test_a_new_secret_that_is_refused_too_ends_it() -> None:
    """It is renewed once."""
    stage = Stage(partner("auth = { bearer = { secret = 'x' } }\n"), *[answer(b"", 401)] * 3)
    left = ["one", "two", "three", "four"]
    credentials = Credentials(lambda name: Secret(left.pop(0), name))
    stage.trial = replace(stage.trial, credentials=credentials)

    with pytest.raises(RefusedError, match="HTTP 401"):
        stage.run()
    assert len(stage.calls) == 2


def test_failures_are_tried_again_a_few_times() -> None:
    """Three calls show enough; then it is said what the last one said."""
    down = Failure(kind=FailureKind.CONNECT, detail="api.acme.com does not resolve", seconds=0.1)
    good = answer({"data": []})
    assert [good.body] == Stage(partner(), down, answer(b"", 503), good).run()

    stage = Stage(partner(), down, down, down)
    with pytest.raises(RefusedError, match="does not resolve") as caught:
        stage.run()
    assert Outcome.TRANSIENT is caught.value.verdict.outcome
    assert 3 == len(stage.calls)


def test_a_refusal_ends_it() -> None:
    """What is permanent is shown at once, with the beginning of the answer."""
    with pytest.raises(RefusedError) as caught:
        Stage(partner(), answer({"error": "no such account"}, 404)).run()

    assert b"no such account" in caught.value.verdict.sample


def test_create_poll_download() -> None:
    """A flow of steps: waits between polls, a picked URL is used, its rows are the answer."""
    rows = answer({"data": [{"clicks": 1}]})
    stage = Stage(
        partner(base=FLOW),
        answer({"id": "r1"}),
        answer({"state": "RUNNING"}),
        answer({"state": "DONE", "url": "https://files.acme.com/x?sig=abc"}),
        rows,
    )

    assert [rows.body] == stage.run(first_day="2025-11-21")
    assert [
        "POST https://api.acme.com/reports",
        "GET https://api.acme.com/reports/r1",
        "GET https://api.acme.com/reports/r1",
        "GET https://files.acme.com/x?sig=abc",
    ] == [call for _, call in stage.calls]
    assert ["create", "poll", "poll", "download"] == stage.steps
    assert [5.0, 10.0] == [seconds for seconds, _ in stage.waits]


def test_rules_of_other_steps_do_not_fit() -> None:
    """What is shown as deciding is what decided: a rule for another step did not."""
    rules = "transient = [{ status = 404, steps = ['poll'] }]\npermanent = [{ status = 404 }]\n"
    stage = Stage(partner(rules, base=FLOW), answer(b"", 404))

    with pytest.raises(RefusedError):
        stage.run(first_day="2025-11-21")

    assert [(Outcome.PERMANENT, ["permanent[1]"])] == stage.verdicts


def test_an_adopted_report_is_said_to_be_one() -> None:
    """The rule of a step that adopts what is running already is named with its step."""
    adopt = """adopt = [{ status = 425, pick = { report = "text:of ([a-z0-9]+)" } }]\n"""
    base = FLOW.replace('pick = { report = "id" }\n', 'pick = { report = "id" }\n' + adopt)
    done = answer({"state": "DONE", "url": "https://files.acme.com/x"})
    rows = answer({"data": []})
    stage = Stage(partner(base=base), answer(b"duplicate of r7", 425), done, rows)

    stage.run(first_day="2025-11-21")

    assert (Outcome.OK, ["create.adopt[1]"]) == stage.verdicts[0]
    assert "GET https://api.acme.com/reports/r7" == stage.calls[1][1]


def test_a_report_that_failed_is_made_again() -> None:
    """What was made and failed is created anew; nothing of the old one is used."""
    rows = answer({"data": []})
    done = answer({"state": "DONE", "url": "https://files.acme.com/x"})
    stage = Stage(
        partner(base=FLOW),
        answer({"id": "r1"}),
        answer({"state": "FAILED"}),
        answer({"id": "r2"}),
        done,
        rows,
    )

    assert [rows.body] == stage.run(first_day="2025-11-21")
    assert "GET https://api.acme.com/reports/r2" == stage.calls[3][1]


def test_what_was_too_big_comes_in_parts() -> None:
    """The pages of a part that was too big do not count; its smaller parts' do."""
    of = partner("too_big = [{ status = 413 }]\n", 'next = { cursor = "next", query = "after" }\n')
    one, two = answer({"data": [{"clicks": 1}]}), answer({"data": [{"clicks": 2}]})
    stage = Stage(of, answer({"data": [0], "next": "b"}), answer(b"", 413), one, two)

    assert [one.body, two.body] == stage.run(first_day="2025-11-20")
    assert "from=2025-11-20&to=2025-11-20" in stage.calls[2][1]
    assert "from=2025-11-21&to=2025-11-21" in stage.calls[3][1]


def test_nothing_is_sent_for_a_wrong_request_or_a_missing_secret() -> None:
    """Both are found before the first call."""
    stage = Stage(partner())
    with pytest.raises(InvalidMessageError, match="no such report"):
        stage.run(report="nope")

    auth = partner('auth = { bearer = { secret = "acme" } }\n')
    stage = Stage(auth)

    def read(name: str) -> Secret:
        raise ConfigError(f"secret {name!r}: there is no file")

    stage.trial = Trial(
        partner=auth,
        send=stage.send,
        credentials=Credentials(read),
        clock=stage.clock,
        pause=stage.clock.pause,
        watcher=stage,
    )
    with pytest.raises(ConfigError, match="there is no file"):
        stage.run()
    assert [] == stage.calls


def test_the_watcher_knows_the_secrets() -> None:
    """Whoever shows a call can hide them."""
    stage = Stage(partner('auth = { bearer = { secret = "acme" } }\n'), answer({"data": []}))

    stage.run()

    assert ("hunter2-token",) == tuple(stage.secrets)


def test_a_flow_is_recorded_without_the_key_in_its_url_and_replayed(tmp_path: Path) -> None:
    """A download URL is good for whoever has it: what is kept shows its place alone."""
    of = partner(base=FLOW)
    url = "https://files.acme.com/x?q=0paque-k3y&part=1"
    rows = answer({"data": [{"clicks": 1}]})
    stage = Stage(of, answer({"id": "r1"}), answer({"state": "DONE", "url": url}), rows)
    asked = request(first_day="2025-11-21")
    new_recording(tmp_path / "rec", asked)
    recorder = Recorder(stage.send, tmp_path / "rec", stage.clock.wall, lambda: stage.secrets)
    stage.trial = replace(stage.trial, send=recorder.send)

    assert [rows.body] == stage.trial.run(asked)
    recorder.close()

    kept = b"".join(path.read_bytes() for path in (tmp_path / "rec").iterdir())
    assert b"https://files.acme.com/x?q=[secret]&part=1" in kept
    assert b"0paque-k3y" not in kept
    player, clock = open_recording(tmp_path / "rec")
    again = Stage(of)
    trial = replace(again.trial, send=player.send, clock=clock, pause=clock.pause)
    assert [rows.body] == trial.run(read_request(tmp_path / "rec"))
    assert ([], 0) == (player.differences, player.left)


def test_a_rule_of_usage_slows_a_trial_down() -> None:
    """What a good answer says of the limits' use is obeyed before the next call."""
    of = partner(
        "usage = [{ left = 'header:X-Left', below = 1, wait_seconds = 20 }]\n",
        'next = { cursor = "next", query = "after" }\n',
    )
    first = answer({"data": [1], "next": "b"}, x_left="0")
    stage = Stage(of, first, answer({"data": [2], "next": None}))

    stage.run()

    assert [0.0, 20.0] == [at for at, _ in stage.calls]


def test_good_answers_cost_no_errors() -> None:
    """A limit of two errors does not end a trial of many pages."""
    of = partner(
        "limits = [{ per = 'account', calls = 2, seconds = 3600, counts = 'errors' }]\n",
        'next = { cursor = "next", query = "after" }\n',
    )
    pages = [answer({"data": [1], "next": str(number)}) for number in range(5)]
    stage = Stage(of, *pages, answer({"data": [2], "next": None}))

    stage.run()

    assert len(stage.calls) == 6
    assert stage.clock.monotonic() < 60


def test_a_quota_that_grows_by_the_files_rule_is_waited_for() -> None:
    """Nobody says when it ends, but the file says when to ask."""
    rule = "quota = [{ status = 403, wait_seconds = 30, wait_growth = 2 }]\n"
    stage = Stage(partner(rule), answer(b"", 403), answer(b"", 403), answer({"data": []}))

    stage.run()

    assert [30.0, 60.0] == [seconds for seconds, _ in stage.waits]
