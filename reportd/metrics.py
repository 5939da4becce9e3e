"""Every metric of reportd: names, labels, and what to do with the number.

Declarations are plain values; nothing is counted before a child calls `Metrics.of_process` right
after its fork. Counters and histograms live in files, one set a *slot* (``worker-0``), not a pid:
a respawned worker goes on with its slot's files, so no counter goes backwards, and whatever a
killed worker had counted stays counted. The observer reads all the files (`read_files`).

Gauges hold no values here: the observer makes them anew every second from the board and the
broker, so those of a dead worker vanish. Labels are bounded (a partner, an outcome, a slot; never
an account or an id): beyond `MAX_SERIES` of one metric a counter counts everything as ``other``,
and a gauge is told without its last label, by `Declared.folded`. Where the files have no room
(``/run`` is full) what is new is not counted; nobody ends for it.
"""

import logging
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, multiprocess, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

MAX_SERIES = 500
OTHER = "other"

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_LONG_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 14400.0, 86400.0)


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric: its name, what kind it is, what it tells whoever looks at it, its labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    across: Literal["sum", "max", "min", "each"] = "sum"
    """What the VMs' numbers make together; each: nothing, look at each VM's.

    What describes the whole group is the same on every VM: its maximum, never its sum.
    """
    folded: Literal["sum", "max", "min"] = "max"
    """Of a gauge: what series become of which there are more than `MAX_SERIES`."""


# Counted by workers.

CALLS = Declared(
    "reportd_calls_total",
    "counter",
    "HTTP calls to partners by outcome. Many throttled: lower the limit in the partner file; "
    "many transient or auth: look at the partner or the credential.",
    ("partner", "outcome"),
)
TOKEN_REQUESTS = Declared(
    "reportd_token_requests_total",
    "counter",
    "Requests to token servers by outcome: minted, refused, failed. Any refused: a credential was "
    "revoked; `reportctl status` names it. Failed for long: its token server is away.",
    ("partner", "outcome"),
)
CALL_SECONDS = Declared(
    "reportd_call_duration_seconds",
    "histogram",
    "From sending a call to the last byte of its answer. Slow and below the limit: give the "
    "workers more threads.",
    ("partner",),
    _SECONDS,
)
ANSWER_BYTES = Declared(
    "reportd_answer_bytes_total",
    "counter",
    "Bytes of answers after decompression. Much more than reportd_file_bytes_total grows by: ask "
    "the partner for fewer columns.",
    ("partner",),
)
REQUESTS_ENDED = Declared(
    "reportd_requests_ended_total",
    "counter",
    "Requests that reached a terminal state: result, dead, superseded, cancelled. Any dead ones: "
    "see `reportctl dead list`.",
    ("partner", "state"),
)
REQUEST_SECONDS = Declared(
    "reportd_request_duration_seconds",
    "histogram",
    "From a request's first call to its confirmed end, waiting for limits included. Growing while "
    "calls are quick: the limit is what it waits for, see reportd_limit_share.",
    ("partner",),
    _LONG_SECONDS,
)
ROWS = Declared(
    "reportd_rows_total",
    "counter",
    "Rows published. None for a day although requests end: ask the partner why reports are empty.",
    ("partner",),
)
FILES = Declared(
    "reportd_files_total",
    "counter",
    "Files published, by format. None although requests end: see `reportctl dead list`.",
    ("partner", "format"),
)
FILE_BYTES = Declared(
    "reportd_file_bytes_total",
    "counter",
    "Bytes of published files: how fast the output grows, and when its disk is full.",
    ("partner",),
)
COMMITS = Declared(
    "reportd_commits_total",
    "counter",
    "Commits of offsets by outcome: accepted or failed. Failing for long: the lease runs out and "
    "the worker stops calling; look at the broker.",
    ("outcome",),
)
FORWARDED = Declared(
    "reportd_forwarded_total",
    "counter",
    "Messages found in another partition than their key's, and sent there. Rising: a producer "
    "does not partition by murmur2, or a topic was grown by hand (use `reportctl topics grow`).",
    ("partner",),
)
RECEIPTS = Declared(
    "reportd_receipts_found_total",
    "counter",
    "Requests in doubt after a crash that ended by their receipt, without a call. Not a fault: "
    "it is how many calls were not repeated.",
    ("partner",),
)
REBALANCES = Declared(
    "reportd_rebalances_total",
    "counter",
    "Rebalance events of workers: assigned, revoked, lost. Lost ones: workers were away for "
    "longer than session_timeout_seconds.",
    ("event",),
)

# Told by the observer from the board, the supervisor and the broker.

OPEN_REQUESTS = Declared(
    "reportd_open_requests",
    "gauge",
    "Requests on this VM's partitions that have not ended, by state: ready, in_flight, limit, "
    "backoff, quota, pending, scheduled, held, paused, parked, unread. Pending: the partner is at "
    "it; held: it refuses; paused: somebody wants it so; parked: read again later; unread: still "
    "in Kafka.",
    ("partner", "state"),
    folded="sum",
)
OLDEST_OPEN = Declared(
    "reportd_oldest_open_request_timestamp_seconds",
    "gauge",
    "When the oldest open request of this VM was enqueued (epoch). Alert on time() minus it: "
    "something is stuck.",
    ("partner",),
    across="min",
    folded="min",
)
OFFSET_LAG = Declared(
    "reportd_offset_lag",
    "gauge",
    "End minus commit. It counts finished requests behind an open one and scheduled ones too: "
    "judge by reportd_open_requests. The same on every VM: take the max, not the sum.",
    ("topic", "partition"),
    across="max",
    folded="sum",
)
COMMIT_AGE = Declared(
    "reportd_commit_age_seconds",
    "gauge",
    "Since a worker sent the last commit that was accepted, of any of its partitions. Over 20: "
    "look at the broker; nothing is published once the lease is out.",
    ("slot",),
    across="each",
)
LIMIT_SHARE = Declared(
    "reportd_limit_share",
    "gauge",
    "Share of the busiest scope's limit in use, 0 to 1. At 1: the limit is the bottleneck, not "
    "reportd. Low with many ready: more threads or workers.",
    ("partner", "per"),
    across="max",
)
QUOTA_REMAINING = Declared(
    "reportd_quota_remaining_calls",
    "gauge",
    "Calls (or what their cost counts) left of the quota of a partner's scope that has the least. "
    "0: its requests wait as quota until the reset, others go on.",
    ("partner",),
    across="min",
    folded="min",
)
QUOTA_RESET = Declared(
    "reportd_quota_reset_timestamp_seconds",
    "gauge",
    "When there is more again of that scope's quota (epoch); of a rolling one, when its first "
    "grants fall out of it.",
    ("partner",),
    across="max",
)
ETA = Declared(
    "reportd_eta_seconds",
    "gauge",
    "Time until the open requests are done at the rate of the last minutes; absent while "
    "nothing ends, or all of them wait (paused, for a quota). Compare it with the schedule's "
    "deadline.",
    ("partner",),
    across="max",
)
ENDED_RATE = Declared(
    "reportd_ended_per_second",
    "gauge",
    "Requests of the whole group ended a second over the last minutes; what the ETA is made from. "
    "0 with many ready: see reportd_circuit_open and the log.",
    ("partner",),
    across="max",
    folded="sum",
)
CIRCUIT_OPEN = Declared(
    "reportd_circuit_open",
    "gauge",
    "1 while calls are held back because a partner (kind outage) or a credential fails for "
    "everyone: `reportctl status` says why.",
    ("partner", "kind"),
    across="max",
)
PARTITIONS_OWNED = Declared(
    "reportd_partitions_owned",
    "gauge",
    "Partitions that a worker owns. 0 on a worker: more workers than partitions.",
    ("slot",),
    across="each",
    folded="sum",
)
CHILD_UP = Declared(
    "reportd_child_up",
    "gauge",
    "1 while the child lives and beats, 0 while it is down, starting or silent: the log says how "
    "it ended.",
    ("slot",),
    across="each",
    folded="min",
)
WORKER_RESTARTS = Declared(
    "reportd_worker_restarts_total",
    "counter",
    "Times a child was started again after a death nobody asked for. Rising: see the log for how "
    "it dies; after three deaths a request that kills its worker is a dead letter.",
    ("slot",),
    across="each",
    folded="sum",
)
PRIVATE_BYTES = Declared(
    "reportd_private_memory_bytes",
    "gauge",
    "Private dirty memory of a child: what it costs beyond the shared pages of the supervisor. "
    "Size the VM by it, see docs/operations.rst.",
    ("slot",),
    across="each",
    folded="sum",
)
RELOAD_OK = Declared(
    "reportd_config_last_reload_successful",
    "gauge",
    "0: the configuration on disk is wrong and the one before still runs; the log names every "
    "problem.",
    across="each",
)
CONFIG_AGREES = Declared(
    "reportd_config_agrees",
    "gauge",
    "0: a live VM of the group runs another configuration than this one; roll it out everywhere.",
    across="min",
)
BROKER_AGE = Declared(
    "reportd_broker_answer_age_seconds",
    "gauge",
    "Age of the offsets that lag and ETA are made from. Growing: the broker does not answer.",
    across="each",
)
OUTPUT_AWAY = Declared(
    "reportd_output_away",
    "gauge",
    "1 while a worker cannot write its files and has stopped calling: look at the disk or mount.",
    ("slot",),
    across="each",
)
FENCE_OPEN = Declared(
    "reportd_fence_open",
    "gauge",
    "0 while a worker's lease on its partitions is out: it calls nobody until a commit gets "
    "through. Look at the broker, and whether the VM was suspended.",
    ("slot",),
    across="each",
    folded="min",
)
RUN_OPEN = Declared(
    "reportd_run_open_requests",
    "gauge",
    "Requests of a schedule's newest run that are not committed yet, at most; the same on every "
    "VM. Compare with the deadline.",
    ("schedule",),
    across="max",
    folded="sum",
)
RUN_REQUESTS = Declared(
    "reportd_run_requests",
    "gauge",
    "Requests that a schedule's newest run asked of a partner; the same on every VM. Fewer than "
    "the day before: look at the accounts table.",
    ("schedule", "partner"),
    across="max",
    folded="sum",
)
RUN_DONE = Declared(
    "reportd_run_done_requests",
    "gauge",
    "Those of them that are committed, at least: what ended behind an open one counts when that "
    "one ends. Standing still long before reportd_run_requests: see what the open ones wait for.",
    ("schedule", "partner"),
    across="max",
    folded="sum",
)
RUN_DEADLINE = Declared(
    "reportd_run_deadline_timestamp_seconds",
    "gauge",
    "When a schedule's newest run has to be complete (epoch). Alert when it is past and the run "
    "is open.",
    ("schedule",),
    across="max",
    folded="min",
)
SUNSET = Declared(
    "reportd_partner_api_sunset_timestamp_seconds",
    "gauge",
    "When a partner refuses the version of its interface that the partner file speaks (epoch). "
    "Less than 45 days away: update the file. Absent: the file names no such day.",
    ("partner",),
    across="min",
    folded="min",
)
ALLOWED_RATE = Declared(
    "reportd_allowed_calls_per_second",
    "gauge",
    "Calls a second that the partner's limits allow to the scopes that this VM's workers have "
    "used; daily quotas left out. Open requests over it are the least time they can take. Absent: "
    "nothing was called yet, or nothing limits.",
    ("partner",),
    folded="sum",
)
SCHEDULE_SLOT = Declared(
    "reportd_schedule_slot_timestamp_seconds",
    "gauge",
    "The last instant of a schedule's calendar that has passed (epoch). Later than the last run: "
    "it was not enqueued; see `systemctl status reportd-enqueue@NAME`.",
    ("schedule",),
    across="max",
)
LAST_RUN = Declared(
    "reportd_last_run_timestamp_seconds",
    "gauge",
    "When a schedule's newest run was enqueued (epoch). Long ago: its timer does not run.",
    ("schedule",),
    across="max",
    folded="min",
)
RUN_COMPLETE = Declared(
    "reportd_run_complete_timestamp_seconds",
    "gauge",
    "When the last run of a schedule that is over was found to be, complete or partial (epoch).",
    ("schedule",),
    across="max",
    folded="min",
)
RUN_PARTIAL = Declared(
    "reportd_run_partial",
    "gauge",
    "1: something is missing in a schedule's last run that is over; `reportctl runs RUN` says "
    "what. Mend it with `reportctl dead replay`.",
    ("schedule",),
    across="max",
)
MISSING_ACCOUNT_DAYS = Declared(
    "reportd_missing_account_days",
    "gauge",
    "Expected minus published account-days of the schedules' last runs that are over; `reportctl "
    "runs RUN` says which file names them. Mend them, and replay.",
    ("partner", "report"),
    across="max",
    folded="sum",
)
OLDER_MISSING = Declared(
    "reportd_older_missing_account_days",
    "gauge",
    "Account-days that runs before each schedule's newest lack, and that neither a replay nor a "
    "newer run has brought; for 30 days. `reportctl status` names the runs: mend what was wrong, "
    "and replay.",
    ("partner", "report"),
    across="max",
    folded="sum",
)
STUCK_RUNS = Declared(
    "reportd_stuck_runs",
    "gauge",
    "Runs of which all offsets are committed and that cannot be finished: not all of their "
    "requests have ended, the output is away, or nobody can be told. `reportctl status` says why.",
    ("schedule",),
    across="max",
    folded="sum",
)
UNOWNED = Declared(
    "reportd_unowned_partitions",
    "gauge",
    "Partitions of requests topics that no worker of the group has; of a partner whose file was "
    "removed those with requests of a run. 0 but for moments; a worker leaves and joins anew if it "
    "stays so. Above 0 for minutes: no VM runs, or the group is stuck; `reportctl status` says it.",
    across="max",
)
LEFT_OUT = Declared(
    "reportd_status_left_out",
    "gauge",
    "Circuits, held requests, controls and partitions that a worker has beyond what it can show. "
    "Above 0: status and metrics do not tell all; `reportctl controls` and the log do. With "
    "partitions among them: give the VM more workers.",
    ("slot",),
    across="each",
    folded="sum",
)
VMS_LIVE = Declared(
    "reportd_vms_live",
    "gauge",
    "VMs of the group that are alive, this one too. Fewer than there are meant to be: one died, or "
    "its reportd was stopped.",
    across="max",
)

COUNTED: tuple[Declared, ...] = (
    CALLS, TOKEN_REQUESTS, CALL_SECONDS, ANSWER_BYTES, REQUESTS_ENDED, REQUEST_SECONDS, ROWS,
    FILES, FILE_BYTES, COMMITS, FORWARDED, RECEIPTS, REBALANCES,
)  # fmt: skip
OBSERVED: tuple[Declared, ...] = (
    OPEN_REQUESTS, OLDEST_OPEN, OFFSET_LAG, COMMIT_AGE, LIMIT_SHARE, QUOTA_REMAINING,
    QUOTA_RESET, ETA, ENDED_RATE, CIRCUIT_OPEN,
    PARTITIONS_OWNED, CHILD_UP, WORKER_RESTARTS, PRIVATE_BYTES, RELOAD_OK, CONFIG_AGREES,
    BROKER_AGE, OUTPUT_AWAY, FENCE_OPEN, RUN_OPEN, RUN_REQUESTS, RUN_DONE, RUN_DEADLINE,
    RUN_COMPLETE, RUN_PARTIAL,
    MISSING_ACCOUNT_DAYS, OLDER_MISSING, STUCK_RUNS, LAST_RUN, SCHEDULE_SLOT, ALLOWED_RATE, SUNSET,
    UNOWNED, VMS_LIVE, LEFT_OUT,
)  # fmt: skip
ALL: tuple[Declared, ...] = COUNTED + OBSERVED


class _File(MmapedDict):
    """A slot's file that takes its room first: a mapped page without any is a SIGBUS."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        with Path(filename).open("ab") as file:
            file.truncate(max(file.tell(), mmap.PAGESIZE))  # an empty one could not be read
            os.posix_fallocate(file.fileno(), 0, mmap.PAGESIZE)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]  # theirs

    def _init_value(self, key: str) -> None:
        # beside the key: its length, padding, two doubles
        os.posix_fallocate(self._f.fileno(), 0, self._used + len(key.encode()) + 32)
        super()._init_value(key)  # type: ignore[no-untyped-call]  # theirs


class _Nowhere:
    """What counts what there is no room for."""

    _said = False

    def inc(self, by: float = 1.0) -> None:
        """Forget it."""

    def observe(self, value: float) -> None:
        """Forget it."""

    def say(self, error: OSError) -> None:
        """Say it once a process."""
        if not self._said:
            self._said = True
            what = error.strerror
            logger.warning("some is not counted: %s", what, extra={"action": "not_counted"})


_NOWHERE = _Nowhere()


class CounterOf:
    """A counter with its label sets kept at hand: an increment is about a microsecond."""

    def __init__(self, declared: Declared, registry: CollectorRegistry) -> None:
        """Make it; label sets come into being with their first increment."""
        self._width = len(declared.labels)
        self._family = Counter(
            declared.name.removesuffix("_total"), declared.help, declared.labels, registry=registry
        )
        self._series: dict[tuple[str, ...], Counter] = {}

    def inc(self, *labels: str, by: float = 1.0) -> None:
        """Count; ``labels`` in the declared order."""
        series: Counter | _Nowhere | None = self._series.get(labels)
        if series is None:
            series = self._add(labels)
        series.inc(by)

    def expect(self, *labels: str) -> None:
        """Show a series from the start, as 0: what it first counts is an increase, too."""
        if labels not in self._series:
            self._add(labels)

    def _add(self, labels: tuple[str, ...]) -> Counter | _Nowhere:
        if len(self._series) >= MAX_SERIES:
            labels = (OTHER,) * self._width
        try:
            series = self._family.labels(*labels) if labels else self._family
        except OSError as error:  # tried again with the next one
            _NOWHERE.say(error)
            return _NOWHERE
        self._series[labels] = series
        return series


class HistogramOf:
    """A histogram with its label sets kept at hand."""

    def __init__(self, declared: Declared, registry: CollectorRegistry) -> None:
        """Make it; label sets come into being with their first observation."""
        self._width = len(declared.labels)
        self._family = Histogram(
            declared.name,
            declared.help,
            declared.labels,
            buckets=declared.buckets,
            registry=registry,
        )
        self._series: dict[tuple[str, ...], Histogram] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count one value; ``labels`` in the declared order."""
        series: Histogram | _Nowhere | None = self._series.get(labels)
        if series is None:
            series = self._add(labels)
        series.observe(value)

    def _add(self, labels: tuple[str, ...]) -> Histogram | _Nowhere:
        if len(self._series) >= MAX_SERIES:
            labels = (OTHER,) * self._width
        try:
            series = self._family.labels(*labels) if labels else self._family
        except OSError as error:
            _NOWHERE.say(error)
            return _NOWHERE
        self._series[labels] = series
        return series


class Metrics:
    """What one worker counts. Threads may share it; processes may not."""

    def __init__(self) -> None:
        """Make every counter; use `of_process` or `in_memory`, which choose where they live."""
        self.registry = CollectorRegistry()
        self.calls = CounterOf(CALLS, self.registry)
        self.token_requests = CounterOf(TOKEN_REQUESTS, self.registry)
        self.call_seconds = HistogramOf(CALL_SECONDS, self.registry)
        self.answer_bytes = CounterOf(ANSWER_BYTES, self.registry)
        self.requests_ended = CounterOf(REQUESTS_ENDED, self.registry)
        self.request_seconds = HistogramOf(REQUEST_SECONDS, self.registry)
        self.rows = CounterOf(ROWS, self.registry)
        self.files = CounterOf(FILES, self.registry)
        self.file_bytes = CounterOf(FILE_BYTES, self.registry)
        self.commits = CounterOf(COMMITS, self.registry)
        self.forwarded = CounterOf(FORWARDED, self.registry)
        self.receipts_found = CounterOf(RECEIPTS, self.registry)
        self.rebalances = CounterOf(REBALANCES, self.registry)

    @classmethod
    def of_process(cls, folder: Path, slot: str) -> "Metrics":
        """Count into the slot's files from here on; call it in the child, after the fork.

        ``slot`` has no underscore (the files' names are split at it).
        """
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        values.ValueClass = values.MultiProcessValue(  # type: ignore[no-untyped-call]  # theirs
            process_identifier=lambda: slot
        )
        values.MmapedDict = _File  # type: ignore[attr-defined]  # theirs
        return cls()

    @classmethod
    def in_memory(cls) -> "Metrics":
        """Count in this process's memory alone: tests and simulations."""
        values.ValueClass = values.MutexValue
        return cls()

    def value(self, name: str, **labels: str) -> float:
        """Return one sample as this process knows it; 0 if it was never counted."""
        return self.registry.get_sample_value(name, labels) or 0.0


def empty_folder(folder: Path) -> None:
    """Make the folder of the counters' files, or empty it: once, before the first fork."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def read_files(folder: Path) -> Collector:
    """Return what reads the counters of all slots, dead or alive, at each scrape."""
    return multiprocess.MultiProcessCollector(  # type: ignore[no-untyped-call]  # theirs
        None, path=str(folder)
    )
