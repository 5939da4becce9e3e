"""The only wiring: which children there are, and what each is handed. The supervisor's process.

Everything a child needs is imported and loaded here, before the forks: children share the pages.
"""

import dataclasses
import faulthandler
import logging
import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson
from setproctitle import setproctitle

from reportd import log, metrics
from reportd.board import Board
from reportd.broker.before_fork import set_up_library
from reportd.clock import Clock, SystemClock
from reportd.config.load import Config, folders, load
from reportd.daemon.preflight import preflight
from reportd.errors import EXIT_CONFIG, ConfigError
from reportd.metrics import Metrics
from reportd.model.vm import Vm
from reportd.notify import Notifier, watchdog_seconds
from reportd.observer import main as observer_main
from reportd.observer.machine import this_vm
from reportd.observer.main import Watched
from reportd.observer.views import DaemonView, daemon_view
from reportd.partners.load import load_partners, partner_problems
from reportd.partners.partner import Partner, allowed_rates, sunsets
from reportd.sinks.paths import PathTemplate
from reportd.supervisor.child import ChildContext, ChildSpec
from reportd.supervisor.herald import Herald
from reportd.supervisor.loop import Supervisor
from reportd.supervisor.plan import Plan
from reportd.supervisor.probe import Report
from reportd.supervisor.reload_file import ReloadFile, runtime_folder
from reportd.transport.connection import tls_context
from reportd.worker import main as worker_main
from reportd.worker.opening import open_output

logger = logging.getLogger(__name__)

SUPERVISOR_SLOT = 0
OBSERVER_SLOT = 1
FIRST_WORKER_SLOT = 2
SPARE_WORKERS = 64
"""The board does not grow: it has room for so many workers at least, whatever the start needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with its partners."""

    config: Config
    partners: Mapping[str, Partner]
    store: str = ""
    """The output's id, once it was looked at."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rollout:
    """A reload on its way: what workers of before it have, and since when (epoch seconds)."""

    before: Mapping[str, Partner]
    planned_at: float


class DaemonSource:
    """Plans for the supervisor, from the configuration on disk."""

    def __init__(
        self,
        first: Loaded,
        me: Vm,
        board: Board,
        metrics_folder: Path,
        tokens_folder: Path,
        clock: Clock,
    ) -> None:
        """Start with what was loaded already; every later plan is read from disk anew."""
        self._path = first.config.path
        self._first: Loaded | None = first
        self._running: Loaded | None = None
        """What the workers have that a plan replaces: the last one that was accepted."""
        self._me = me
        self._board = board
        self._metrics_folder = metrics_folder
        self._tokens_folder = tokens_folder
        self._clock = clock
        self._listens = ""

    def check(self) -> Report:
        """See `reportd.supervisor.plan.Source`."""
        loaded = self._load()
        config = loaded.config
        found = preflight(config, loaded.partners, self._me, self._clock, listens=self._listens)
        return dataclasses.asdict(found)

    def plan(self, report: Report) -> Plan:
        """See `reportd.supervisor.plan.Source`."""
        loaded = dataclasses.replace(self._load(), store=str(report["store"]))
        self._first = None
        config, settings = loaded.config, loaded.config.settings
        if config.config_hash != report["config"]:
            raise ConfigError(f"{config.path}: was changed while it was looked at; reload again")
        workers = int(report["workers"])
        if workers > int(report["partitions"]):
            logger.warning(
                "%d workers for %d partitions: some will have nothing to do",
                workers,
                report["partitions"],
                extra={"action": "idle_workers"},
            )
        me = self._me.model_copy(
            update={
                "slots": workers,
                "store": loaded.store,
                "shared": settings.output.shared,
                "config": config.config_hash,
            }
        )
        log.setup(settings.log.level)
        # Read here once: in each worker the system's authorities would take 1.5 MB
        tls = tls_context()
        rollout = self._rollout(loaded)
        children = [self._worker(loaded, me, index, tls, rollout) for index in range(workers)]
        return Plan(
            children=[*children, self._observer(loaded, me)],
            drain_seconds=settings.workers.drain_seconds,
            heartbeat_limit_seconds=settings.workers.heartbeat_limit_seconds,
            accepted=lambda: self._accepted(loaded),
        )

    def _accepted(self, loaded: Loaded) -> None:
        self._running = loaded
        self._listens = loaded.config.settings.metrics.listen

    def _load(self) -> Loaded:
        if self._first is not None:
            return self._first
        loaded = load_all(self._path)
        wanted = this_vm(loaded.config, 0.0).machine
        if wanted != self._me.machine:
            raise ConfigError(
                f"{self._path}: workers.machine_id: cannot change from {self._me.machine} to "
                f"{wanted} at a reload; restart reportd"
            )
        return loaded

    def _rollout(self, loaded: Loaded) -> Rollout | None:
        """Begin a reload; None at the start. Raises `ConfigError`."""
        if self._running is None:
            return None
        _refuse_what_is_another_daemons(self._running, loaded)
        return Rollout(self._running.partners, self._clock.wall())

    def _is_over(self, rollout: Rollout | None) -> bool:
        """Say whether a reload is over: no worker of before it runs any more."""
        return rollout is None or self._told().reload.at >= rollout.planned_at

    def _told(self) -> DaemonView:
        return daemon_view(self._board.slot(SUPERVISOR_SLOT).read())

    def _worker(
        self,
        loaded: Loaded,
        me: Vm,
        index: int,
        tls: ssl.SSLContext,
        rollout: Rollout | None,
    ) -> ChildSpec:
        def run(context: ChildContext) -> int:
            log.setup(loaded.config.settings.log.level, process=context.name)
            return worker_main.run(
                config=loaded.config,
                partners=loaded.partners,
                slot=context.slot,
                observer_slot=self._board.slot(OBSERVER_SLOT),
                instance_id=f"{me.machine}-{index}",
                strikes=context.strikes,
                stop_requested=context.stop.requested,
                leaves=context.stop.for_good,
                metrics=Metrics.of_process(self._metrics_folder, context.name),
                tokens_folder=self._tokens_folder,
                tls=tls,
                partners_before=rollout.before if rollout is not None else None,
                is_rolled_out=lambda: self._is_over(rollout),
            )

        return ChildSpec(
            name=f"worker-{index}",
            title=f"worker {index}",
            slot_index=FIRST_WORKER_SLOT + index,
            run=run,
        )

    def _observer(self, loaded: Loaded, me: Vm) -> ChildSpec:
        watched = Watched(
            config=loaded.config,
            me=me,
            board=self._board,
            supervisor_slot=SUPERVISOR_SLOT,
            metrics_folder=self._metrics_folder,
            partners=frozenset(loaded.partners),
            open_marks=lambda: open_output(loaded.config.settings.output).marks,
            sunsets=sunsets(loaded.partners),
            allowed=allowed_rates(loaded.partners),
        )

        def run(context: ChildContext) -> int:
            log.setup(loaded.config.settings.log.level, process=context.name)
            return observer_main.run(watched, context.slot, context.stop, self._clock)

        return ChildSpec(
            name="observer", title="observer", slot_index=OBSERVER_SLOT, run=run, last=True
        )


def _refuse_what_is_another_daemons(running: Loaded, wanted: Loaded) -> None:
    """Raise `ConfigError` for a reload whose workers would be others' beside those of before.

    Of another prefix they would count the same accounts' limits apart. Of another store each would
    find commits that are not its own, and end with 78, and the daemon with it.
    """
    before, after = running.config.settings, wanted.config.settings
    path = wanted.config.path
    if after.kafka.prefix != before.kafka.prefix:
        raise ConfigError(
            f"{path}: kafka.prefix: cannot change from {before.kafka.prefix} to"
            f" {after.kafka.prefix} at a reload; restart reportd"
        )
    if wanted.store != running.store:
        raise ConfigError(
            f"{path}: output.root: {after.output.root} is another store than {before.output.root},"
            " and what is finished lies there; to begin anew, restart reportd with another"
            " kafka.prefix"
        )


def run(path: Path) -> int:
    """Be the daemon; return its exit status."""
    log.setup()
    faulthandler.enable(file=2, all_threads=True)
    setproctitle("reportd: supervisor")
    clock = SystemClock()
    try:
        first = load_all(path)
        me = this_vm(first.config, clock.wall())
    except ConfigError as error:
        for problem in error.problems:
            logger.critical("%s", problem, extra={"action": "halt", "status": EXIT_CONFIG})
        Notifier().stopping("; ".join(error.problems))
        return EXIT_CONFIG
    log.setup(first.config.settings.log.level)
    set_up_library()
    board = Board(FIRST_WORKER_SLOT + max(_most_workers(first.config), SPARE_WORKERS))
    with metrics_folder(os.environ) as folder, tokens_folder(os.environ) as tokens:
        source = DaemonSource(first, me, board, folder, tokens, clock)
        herald = Herald(
            Notifier(),
            board.slot(SUPERVISOR_SLOT),
            lambda: _summary(board.slot(OBSERVER_SLOT).read()),
            watchdog_seconds(),
            reload_file(os.environ, me),
        )
        observer = board.slot(OBSERVER_SLOT)
        return Supervisor(
            source, board, herald, clock, joins_anew=lambda: _joins_anew(observer.read())
        ).run()


def _most_workers(config: Config) -> int:
    """Return the most workers that a configuration can lead to."""
    workers = config.settings.workers
    return workers.max_processes if isinstance(workers.processes, str) else workers.processes


def load_all(path: Path) -> Loaded:
    """Load configuration and partners; raises `ConfigError` with every problem of all files."""
    try:
        config = load(path)
    except ConfigError as error:
        named = folders(path)
        others = partner_problems(named.partners) if named is not None else ()
        raise ConfigError(*error.problems, *others) from None
    template = PathTemplate(config.settings.output.path)
    problems = [f"{config.path}: output.path: {what}" for what in template.problems()]
    partners: Mapping[str, Partner] = {}
    try:
        partners = load_partners(config.settings.partners_folder)
    except ConfigError as error:
        problems += error.problems
    for partner in partners.values():
        for name, report in partner.reports.items():
            found = template.problems(report.spec.params)
            problems += [
                f"{config.path}: output.path: {what} (for {partner.name}.{name})"
                for what in found
                if what not in template.problems()
            ]
    if problems:
        raise ConfigError(*problems)
    return Loaded(config, partners)


@contextmanager
def metrics_folder(environ: Mapping[str, str]) -> Iterator[Path]:
    """Give an empty folder for the counters: in systemd's runtime directory, or a private one."""
    runtime = runtime_folder(environ)
    if runtime is not None:
        folder = runtime / "metrics"
        metrics.empty_folder(folder)
        yield folder
        return
    folder = Path(tempfile.mkdtemp(prefix="reportd-metrics-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def tokens_folder(environ: Mapping[str, str]) -> Iterator[Path]:
    """Give a private folder for access tokens: in systemd's runtime directory, or a passing one."""
    runtime = runtime_folder(environ)
    if runtime is not None:
        yield runtime / "tokens"
        return
    folder = Path(tempfile.mkdtemp(prefix="reportd-tokens-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def reload_file(environ: Mapping[str, str], me: Vm) -> ReloadFile | None:
    """Return where reloads are told of: in systemd's runtime directory, if there is one."""
    folder = runtime_folder(environ)
    return ReloadFile(folder, me.pid, me.pid_started) if folder else None


def _joins_anew(snapshot: bytes) -> tuple[str, float]:
    name, since = orjson.loads(snapshot)["joins_anew"] if snapshot else ("", 0.0)
    return str(name), float(since)


def _summary(snapshot: bytes) -> str:
    if not snapshot:
        return ""
    return str(orjson.loads(snapshot).get("summary", ""))
