"""What a reload may change: plans, without a process."""

from pathlib import Path

import pytest

from reportd import log
from reportd.board import Board
from reportd.clock import SystemClock
from reportd.daemon.wiring import DaemonSource, load_all
from reportd.errors import ConfigError
from reportd.observer.machine import this_vm
from reportd.supervisor.plan import Plan

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
        self.source = DaemonSource(loaded, me, Board(10), *folders, SystemClock())

    def configure(self, root: str, prefix: str = "reportd") -> None:
        self.path.write_text(SETTINGS.format(root=root, prefix=prefix))

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
    assert len(made.plan("a" * 32).children) == 3
    return made


def test_a_reload_to_another_store_is_refused(daemon: Daemon) -> None:
    """Its workers would find commits of the store before, and end the daemon."""
    daemon.configure("second")
    with pytest.raises(ConfigError, match=r"output.root: .*second is another store than .*first"):
        daemon.plan("b" * 32)

    daemon.configure("first")
    assert daemon.plan("a" * 32).children


def test_the_same_store_elsewhere_and_a_new_beginning(daemon: Daemon) -> None:
    """A copy with its id is the same store; another prefix has no commits yet."""
    daemon.configure("second")
    assert daemon.plan("a" * 32).children

    daemon.configure("third", prefix="anew")
    assert daemon.plan("c" * 32).children
