"""What a reload may change: plans, without a process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reportd import log
from reportd.board import Board
from reportd.clock import SystemClock
from reportd.config.load import Config
from reportd.daemon import wiring
from reportd.daemon.preflight import Preflight
from reportd.daemon.wiring import SUPERVISOR_SLOT, DaemonSource, load_all
from reportd.errors import ConfigError
from reportd.observer.machine import this_vm
from reportd.supervisor.child import ChildContext
from reportd.supervisor.plan import Plan
from reportd.worker import main as worker_main

PARTNER = """
hosts = ["api.acme.com"]
limits = [{ per = "account", calls = 5, seconds = 1 }]
[reports.campaigns]
get = "https://api.acme.com/{{ account.id }}"
rows = "data[]"
columns = { clicks = "int64" }
"""
SETTINGS = """
kafka = {{ servers = "k1:9092", prefix = "{prefix}" }}
workers = {{ machine_id = "vm-a" }}
output = {{ root = "{root}" }}
"""


class Daemon:
    """A configuration on disk, and the plans made of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "partners").mkdir()
        (folder / "partners/acme.toml").write_text(PARTNER)
        self.path = folder / "reportd.toml"
        self.configure("first")
        loaded = load_all(self.path)
        me = this_vm(loaded.config, 0.0)
        folders = folder / "metrics", folder / "tokens"
        folders[0].mkdir()
        self.board = Board(10)
        self.source = DaemonSource(loaded, me, self.board, *folders, SystemClock())

    def configure(self, root: str, prefix: str = "reportd") -> None:
        self.path.write_text(SETTINGS.format(root=root, prefix=prefix))

    def listen(self, address: str) -> None:
        text = self.path.read_text()
        self.path.write_text(f'{text}metrics = {{ listen = "{address}" }}\n')

    def plan(self, store: str) -> Plan:
        """Plan as if the check had found this store."""
        found = load_all(self.path).config.config_hash
        report = {"workers": 2, "partitions": 2, "store": store, "config": found}
        return self.source.plan(report)


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Give a daemon whose first plan is made."""
    monkeypatch.setattr(log, "setup", lambda *_given, **_named: None)
    made = Daemon(tmp_path)
    made.plan("a" * 32).accepted()
    return made


def test_a_reload_to_another_store_is_refused(daemon: Daemon) -> None:
    """Its workers would find commits of the store before, and end the daemon."""
    daemon.configure("second")
    with pytest.raises(ConfigError, match=r"output.root: .*second is another store than .*first"):
        daemon.plan("b" * 32)

    daemon.configure("first")
    assert daemon.plan("a" * 32).children


def test_the_same_store_elsewhere(daemon: Daemon) -> None:
    """A copy with its id is the same store."""
    daemon.configure("second")

    assert daemon.plan("a" * 32).children


def test_another_prefix_needs_a_restart(daemon: Daemon) -> None:
    """Its workers would call for the same accounts as those of before, by limits of their own."""
    daemon.configure("second", prefix="anew")

    with pytest.raises(ConfigError, match=r"kafka.prefix: .* from reportd to anew"):
        daemon.plan("b" * 32)


def test_a_plan_that_came_to_nothing_is_not_what_runs(daemon: Daemon) -> None:
    """Its workers did not start: the next reload is compared with what went on."""
    daemon.configure("second")
    daemon.plan("a" * 32)
    daemon.configure("third")

    with pytest.raises(ConfigError, match=r"third is another store than .*first"):
        daemon.plan("b" * 32)


def test_limits_of_before_are_kept_after_a_refused_reload(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of other reloads: workers of before still call by what they have."""
    given: dict[str, Any] = {}

    def run(**named: Any) -> int:
        given.update(named)
        return 0

    monkeypatch.setattr(worker_main, "run", run)
    daemon.board.slot(SUPERVISOR_SLOT).publish(b'{"reload": {"ok": false, "at": 1.0}}')
    acme = daemon.path.parent / "partners/acme.toml"
    acme.write_text(acme.read_text().replace("calls = 5", "calls = 500"))

    worker, *_ = daemon.plan("a" * 32).children
    stop = SimpleNamespace(requested=None, for_good=None)
    context = SimpleNamespace(name="worker-0", slot=None, strikes={}, stop=stop)

    assert worker.run(cast("ChildContext", context)) == 0
    assert given["partners_before"]["acme"].spec.limits[0].calls == 5
    assert given["partners"]["acme"].spec.limits[0].calls == 500


def test_an_address_that_came_to_nothing_is_not_the_observers(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port that the observer has is asked of nobody, or every later reload found it taken."""
    asked: list[str] = []

    def preflight(config: Config, *_all: Any, listens: str) -> Preflight:
        asked.append(listens)
        return Preflight(workers=2, partitions=2, store="a" * 32, config=config.config_hash)

    monkeypatch.setattr(wiring, "preflight", preflight)
    daemon.listen("127.0.0.1:9999")
    daemon.source.plan(daemon.source.check())
    daemon.configure("first")

    daemon.source.plan(daemon.source.check()).accepted()

    assert asked == ["127.0.0.1:9477"] * 2
