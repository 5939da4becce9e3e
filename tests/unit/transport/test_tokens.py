"""When a token is fetched, and by whom; what follows when it is not to be had."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from reportd.errors import (
    ConfigError,
    CredentialRefusedError,
    NotYetError,
    OutputError,
    UnavailableError,
)
from reportd.transport.exchange import Answer, Failure, FailureKind
from reportd.transport.token_files import TokenFolder, TokenMemory, TokenState
from reportd.transport.token_request import TokenPlan
from reportd.transport.tokens import READ_AGAIN_SECONDS
from tests.unit.transport.token_server import (
    HOUR,
    NOW,
    PLAN,
    SECRETS,
    HandClock,
    Log,
    Notes,
    Rotating,
    TokenServer,
    said,
    tokens,
)

ROTATES = replace(PLAN, rotates=True)
AWAY = Failure(kind=FailureKind.CONNECT, detail="auth.acme.com does not resolve", seconds=0.1)
REVOKED = said(400, error="invalid_grant", error_description="refresh-0 was revoked")


@pytest.fixture
def clock() -> HandClock:
    """Give a clock that stands."""
    return HandClock()


@pytest.fixture
def server() -> TokenServer:
    """Give a server that gives."""
    return TokenServer()


def test_a_token_is_fetched_once_and_before_it_ends(clock: HandClock, server: TokenServer) -> None:
    """An hour's token serves for 55 minutes; then the next one is there before it is missed."""
    given = tokens(server, clock)

    assert [given.token(PLAN), given.token(PLAN)] == ["access-1", "access-1"]
    clock.now = NOW + HOUR - 301
    assert given.token(PLAN) == "access-1"
    clock.now = NOW + HOUR - 299
    assert given.token(PLAN) == "access-2"
    assert server.given == 2


def test_all_processes_of_a_vm_share_it(
    clock: HandClock, server: TokenServer, tmp_path: Path
) -> None:
    """Sixteen workers, one request; a restarted one asks for nothing."""
    folder = tmp_path / "tokens"
    workers = [tokens(server, clock, TokenFolder(folder)) for _ in range(16)]

    assert {worker.token(PLAN) for worker in workers} == {"access-1"}
    assert tokens(server, clock, TokenFolder(folder)).token(PLAN) == "access-1"
    assert server.given == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_nobody_waits_while_another_fetches(clock: HandClock, server: TokenServer) -> None:
    """A thread is not held: without a token it is told to come again, with one it goes on."""
    files = TokenMemory()
    one, two = tokens(server, clock, files), tokens(server, clock, files)
    asked: list[str] = []

    def meanwhile(_form: object) -> None:
        try:
            asked.append(two.token(PLAN))
        except NotYetError as error:
            asked.append(f"{error.wait_seconds}")

    server.otherwise = meanwhile
    one.token(PLAN)
    clock.now += HOUR - 200
    one.token(PLAN)

    assert asked == ["0.25", "access-1"]


def test_a_refused_token_is_replaced_once_a_vm(clock: HandClock, server: TokenServer) -> None:
    """The first 401 brings a new token; who comes with the old one later gets that."""
    files = TokenMemory()
    one, two = tokens(server, clock, files), tokens(server, clock, files)
    one.token(PLAN)
    two.token(PLAN)
    clock.now += 100

    assert one.token(PLAN, "access-1") == "access-2"
    assert two.token(PLAN, "access-1") == "access-2"
    assert server.given == 2


def test_a_new_token_is_not_to_blame(clock: HandClock, server: TokenServer) -> None:
    """An account without permission, answered with 401, does not cost a token a call."""
    given = tokens(server, clock)
    given.token(PLAN)

    assert given.token(PLAN, "access-1") == "access-2"
    clock.now += 59
    assert given.token(PLAN, "access-2") == "access-2"
    assert server.given == 2
    clock.now += 1
    assert given.token(PLAN, "access-2") == "access-3"


def test_a_refused_token_is_asked_for_until_there_is_another(
    clock: HandClock, server: TokenServer
) -> None:
    """A token server that is away just then makes the refusal nobody's fault."""
    given = tokens(server, clock)
    given.token(PLAN)
    server.otherwise = lambda _form: AWAY
    for _ in range(3):
        with pytest.raises(NotYetError) as caught:
            given.token(PLAN, "access-1")
        clock.now += caught.value.wait_seconds
    server.otherwise = lambda _form: None

    assert given.token(PLAN, "access-1") == "access-2"


def test_a_server_that_is_away_is_left_alone(clock: HandClock, server: TokenServer) -> None:
    """All processes together ask after 1, 2, 4 ... s; the token of before serves meanwhile."""
    files, log = TokenMemory(), Log()
    one, two = tokens(server, clock, files, log=log), tokens(server, clock, files, log=log)
    one.token(PLAN)
    server.otherwise = lambda _form: AWAY
    clock.now += HOUR - 100

    assert one.token(PLAN) == "access-1"
    assert two.token(PLAN) == "access-1"
    assert log.outcomes == ["minted", "failed"]
    clock.now += 95
    waits = []
    for _ in range(9):
        with pytest.raises(NotYetError, match="gives no token") as caught:
            two.token(PLAN)
        waits.append(caught.value.wait_seconds)
        clock.now += caught.value.wait_seconds
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60]

    server.otherwise = lambda _form: None
    assert one.token(PLAN) == "access-2"


def test_it_waits_as_the_server_says(clock: HandClock, server: TokenServer) -> None:
    """Retry-After wins over a shorter wait of our own, within an hour."""
    server.otherwise = lambda _form: Answer(
        status=429, headers={"retry-after": "7200"}, body=b"", seconds=0.1
    )

    with pytest.raises(NotYetError) as caught:
        tokens(server, clock).token(PLAN)

    assert caught.value.wait_seconds == HOUR


def test_a_revoked_credential_is_said_once(
    clock: HandClock, server: TokenServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One alert, with the secret's file and the server's words, and no secret."""
    files, log = TokenMemory(), Log()
    one, two = tokens(server, clock, files, log=log), tokens(server, clock, files, log=log)
    server.otherwise = lambda _form: REVOKED

    for _ in range(5):
        for each in (one, two):
            with pytest.raises(CredentialRefusedError) as caught:
                each.token(PLAN)
        clock.now += 20

    said_loud = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said_loud) == 1
    assert "refuses the credential (refresh, app-secret)" in said_loud[0].message
    assert "invalid_grant" in str(caught.value)
    assert "authorize again" in str(caught.value)
    assert log.outcomes == ["refused", "refused"]  # at 0 and after 60 s, of ten askers


def test_nobody_authorizes_an_app(clock: HandClock, server: TokenServer) -> None:
    """With client credentials there is only a secret to replace."""
    server.otherwise = lambda _form: REVOKED
    plan = replace(PLAN, grant="client_credentials", refresh_token="")

    with pytest.raises(CredentialRefusedError) as caught:
        tokens(server, clock).token(plan)

    assert "; replace the secret's file" in str(caught.value)


def test_a_new_secret_is_tried_at_once(clock: HandClock, server: TokenServer) -> None:
    """Whoever replaces the file does not wait for the end of a back-off."""
    secrets = dict(SECRETS)
    given = tokens(server, clock, secrets=secrets)
    server.otherwise = lambda form: REVOKED if form["refresh_token"] == "refresh-0" else None
    with pytest.raises(CredentialRefusedError):
        given.token(PLAN)

    secrets["refresh"] = "renewed"
    clock.now += 10

    assert given.token(PLAN) == "access-1"


def test_others_are_not_touched(clock: HandClock, server: TokenServer) -> None:
    """One credential's trouble is its own."""
    given = tokens(server, clock, secrets={**SECRETS, "second": "fine"})
    server.otherwise = lambda form: REVOKED if form["refresh_token"] == "refresh-0" else None

    with pytest.raises(CredentialRefusedError):
        given.token(PLAN)
    assert given.token(replace(PLAN, refresh_token="second")) == "access-1"


def test_a_clock_that_goes_back_makes_tokens_old(clock: HandClock, server: TokenServer) -> None:
    """A token from the future is not believed."""
    given = tokens(server, clock)
    given.token(PLAN)
    clock.now -= HOUR

    assert given.token(PLAN) == "access-2"


def test_what_must_not_be_seen(clock: HandClock, server: TokenServer) -> None:
    """Secrets and token are known to whoever hides them; nothing shows them by itself."""
    given = tokens(server, clock)
    given.token(PLAN)

    assert set(given.known(PLAN)) == {"s3cret", "refresh-0", "access-1"}
    shown = repr(vars(given))
    assert not [word for word in ("s3cret", "refresh-0", "access-1") if word in shown]


def test_a_clients_id_is_hidden_where_it_is_a_secret(clock: HandClock, server: TokenServer) -> None:
    """One that the partner's file says is a word like "reports": URLs and reasons may have it."""
    plan = replace(PLAN, client_id="", client_id_secret="app-id")
    given = tokens(server, clock, secrets={**SECRETS, "app-id": "app"})

    assert "app" in given.known(plan)
    assert "app" not in given.known(PLAN)


def test_a_secret_whose_file_is_gone_is_hidden_all_the_same(
    clock: HandClock, server: TokenServer
) -> None:
    """It is being replaced while an answer is on its way: what the call carried is known."""
    secrets = dict(SECRETS)
    given = tokens(server, clock, secrets=secrets)
    given.token(PLAN)
    clock.now += READ_AGAIN_SECONDS
    secrets.clear()

    assert set(given.known(PLAN)) == {"s3cret", "refresh-0", "access-1"}


def test_each_rotated_token_is_used_once(clock: HandClock) -> None:
    """VMs that share an output refresh in turn, and get each other's access tokens."""
    server, notes = Rotating(), Notes()
    vms = [tokens(server, clock, TokenMemory(), notes) for _ in range(3)]

    found = []
    for _ in range(4):
        found.append({vm.token(ROTATES) for vm in vms})
        clock.now += HOUR

    assert found == [{"access-1"}, {"access-2"}, {"access-3"}, {"access-4"}]
    assert [form["refresh_token"] for form in server.forms] == [f"refresh-{n}" for n in range(4)]
    assert not [text for text in notes.files.values() if b"refresh" in text or b"access" in text]


def test_a_new_machine_goes_on_with_the_chain(clock: HandClock) -> None:
    """What a dead VM had stored is what the next one uses; the secret's file is old by then."""
    server, notes = Rotating(), Notes()
    tokens(server, clock, TokenMemory(), notes).token(ROTATES)
    clock.now += 10 * HOUR

    assert tokens(server, clock, TokenMemory(), notes).token(ROTATES) == "access-2"


def test_it_is_stored_before_it_is_used(clock: HandClock, tmp_path: Path) -> None:
    """An output that is away: the next token waits on this VM, and is not lost with a process."""
    server, notes = Rotating(), Notes()
    notes.fails = lambda name: OutputError("no space left") if name.endswith("link") else None
    with pytest.raises(NotYetError, match="no space left"):
        tokens(server, clock, TokenFolder(tmp_path), notes).token(ROTATES)

    notes.fails = lambda _name: None
    clock.now += 61
    assert tokens(server, clock, TokenFolder(tmp_path), notes).token(ROTATES) == "access-1"
    assert server.given == 1
    clock.now += HOUR
    assert tokens(server, clock, TokenMemory(), notes).token(ROTATES) == "access-2"


def test_a_process_that_dies_while_it_stores_loses_nothing(
    clock: HandClock, tmp_path: Path
) -> None:
    """What it had got stands in the VM's own file; the next one stores it."""
    server, notes = Rotating(), Notes()
    notes.fails = lambda name: _killed(name) if name.endswith("link") else None
    with pytest.raises(KilledError):
        tokens(server, clock, TokenFolder(tmp_path), notes).token(ROTATES)

    notes.fails = lambda _name: None
    clock.now += 61
    assert tokens(server, clock, TokenFolder(tmp_path), notes).token(ROTATES) == "access-1"
    assert len(server.forms) == 1


def test_an_output_that_is_away_costs_no_refresh(clock: HandClock) -> None:
    """Without a lease nothing is sent: the token would be used up for nothing."""
    server, notes = Rotating(), Notes()
    notes.fails = lambda _name: OutputError("away")

    with pytest.raises(NotYetError, match="away"):
        tokens(server, clock, notes=notes).token(ROTATES)

    assert server.forms == []


class Full(TokenMemory):
    """A folder of tokens that takes nothing while it has no room."""

    def __init__(self) -> None:
        super().__init__()
        self.has_room = True

    def write(self, identity: str, state: TokenState) -> None:
        """Write, or fail."""
        if not self.has_room:
            raise UnavailableError("the folder of tokens: no space left")
        super().write(identity, state)


@pytest.mark.parametrize("plan", [PLAN, ROTATES])
def test_a_vm_without_room_asks_for_nothing(clock: HandClock, plan: TokenPlan) -> None:
    """What it got could not be kept, and a refresh token that rotates would be used up."""
    server, files = Rotating(), Full()
    files.has_room = False

    with pytest.raises(UnavailableError, match="no space left"):
        tokens(server, clock, files, Notes()).token(plan)

    assert server.forms == []


def test_a_vm_whose_room_ends_while_it_asks(clock: HandClock) -> None:
    """The next refresh token stands at the output all the same: the chain goes on."""
    server, files, notes = Rotating(), Full(), Notes()

    def ends(_form: object) -> None:
        files.has_room = False

    server.otherwise = ends
    with pytest.raises(UnavailableError):
        tokens(server, clock, files, notes).token(ROTATES)

    assert tokens(server, clock, TokenMemory(), notes).token(ROTATES) == "access-1"
    clock.now += HOUR
    assert tokens(server, clock, TokenMemory(), notes).token(ROTATES) == "access-2"


def test_a_vm_that_died_while_it_refreshed(clock: HandClock) -> None:
    """Its lease keeps others away for a minute, and no longer."""
    server, notes = Rotating(), Notes()
    server.otherwise = _killed
    with pytest.raises(KilledError):
        tokens(server, clock, TokenMemory(), notes).token(ROTATES)
    server.otherwise = lambda _form: None
    two = tokens(server, clock, TokenMemory(), notes)

    with pytest.raises(NotYetError, match="another VM"):
        two.token(ROTATES)
    clock.now += 61
    assert two.token(ROTATES) == "access-1"


class KilledError(BaseException):
    """The process is gone."""


def _killed(_form: object) -> None:
    raise KilledError


def test_a_refused_chain_begins_anew_with_a_new_secret(clock: HandClock) -> None:
    """The seal is the secret's: what was kept for the old one is not even readable."""
    server, notes, secrets = Rotating(), Notes(), dict(SECRETS)
    tokens(server, clock, TokenMemory(), notes, secrets).token(ROTATES)
    secrets["refresh"] = server.valid = "by-hand"

    assert tokens(server, clock, TokenMemory(), notes, secrets).token(ROTATES) == "access-2"


def test_a_new_secret_of_the_app_goes_on_with_the_chain(clock: HandClock) -> None:
    """The refresh token in the file was used up long ago: nobody has to authorize again."""
    server, notes, secrets = Rotating(), Notes(), dict(SECRETS)
    given = tokens(server, clock, TokenMemory(), notes, secrets)
    given.token(ROTATES)
    secrets["app-secret"] = "renewed"
    clock.now += HOUR

    assert given.token(ROTATES) == "access-2"
    assert server.forms[-1]["client_secret"] == "renewed"


def test_without_a_place_to_keep_it_nothing_is_used_up(
    clock: HandClock, server: TokenServer
) -> None:
    """A token that rotates is refused where the next one would be lost, with the reason."""
    with pytest.raises(ConfigError, match=r"'refresh': its refresh token rotates .*output"):
        tokens(server, clock).token(ROTATES)

    assert server.forms == []


def test_what_is_kept_does_not_grow(clock: HandClock) -> None:
    """A hundred hours leave some files."""
    server, notes = Rotating(), Notes()
    given = tokens(server, clock, notes=notes)
    for _ in range(100):
        given.token(ROTATES)
        clock.now += HOUR

    assert len(notes.files) < 30
