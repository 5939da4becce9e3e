"""The four dashboards of ``etc/grafana``: fleet, partner, process, enqueue. Plain data."""

from reportd import metrics
from reportd.observer.panels import Dashboard, Panel, over_vms, quantile

_ONE = ("partner",)

FLEET = Dashboard(
    uid="reportd-fleet",
    title="reportd: fleet",
    description="Is today's data going to be there? What is done, what is open, what it waits for.",
    panels=(
        Panel(
            title="Open of the newest runs",
            description="Requests of each schedule's newest run that are not done. 0: all is "
            "there.",
            query=over_vms(metrics.RUN_OPEN, "schedule"),
            legend="{{schedule}}",
            kind="stat",
            width=6,
            height=5,
        ),
        Panel(
            title="Time to the deadline",
            description="Until the newest run has to be complete. Below 0: it is past.",
            query=f"{over_vms(metrics.RUN_DEADLINE, 'schedule')} - time()",
            legend="{{schedule}}",
            unit="s",
            kind="stat",
            width=6,
            height=5,
        ),
        Panel(
            title="Missing account-days",
            description="Of runs that are over: asked for, and published by nobody. `reportctl "
            "runs RUN` says which file names them.",
            query=over_vms(metrics.MISSING_ACCOUNT_DAYS, "partner", "report"),
            legend="{{partner}}.{{report}}",
            kind="stat",
            width=6,
            height=5,
        ),
        Panel(
            title="Fails for everyone",
            description="Partners (outage) and credentials whose calls are held back: `reportctl "
            "status` says why.",
            query=over_vms(metrics.CIRCUIT_OPEN, "partner", "kind"),
            legend="{{partner}} {{kind}}",
            kind="stat",
            width=4,
            height=5,
        ),
        Panel(
            title="VMs",
            description="VMs of the group that are alive.",
            query=over_vms(metrics.VMS_LIVE),
            legend="alive",
            kind="stat",
            width=2,
            height=5,
        ),
        Panel(
            title="Done of the newest runs",
            description="Of what each schedule's newest run asked of a partner, by commits: the "
            "truth is never less.",
            query=f"sum by (partner) ({over_vms(metrics.RUN_DONE, 'schedule', 'partner')})"
            f" / sum by (partner) ({over_vms(metrics.RUN_REQUESTS, 'schedule', 'partner')})",
            legend="{{partner}}",
            unit="percentunit",
        ),
        Panel(
            title="Left over at the deadline",
            description="Time to the deadline, less the time until the partner's open requests "
            "are done. Below 0: it will be late.",
            query=f"{over_vms(metrics.RUN_REQUESTS, 'schedule', 'partner')} * 0"
            f" + on (schedule) group_left () {over_vms(metrics.RUN_DEADLINE, 'schedule')}"
            f" - time() - on (partner) group_left () {over_vms(metrics.ETA, 'partner')}",
            legend="{{schedule}} {{partner}}",
            unit="s",
        ),
        Panel(
            title="Still missing of older runs",
            description="Account-days that runs before the newest lack, and nothing has brought "
            "since: `reportctl status` names the runs.",
            query=over_vms(metrics.OLDER_MISSING, "partner", "report"),
            legend="{{partner}}.{{report}}",
        ),
        Panel(
            title="Open requests, and what they wait for",
            description="ready and in_flight are at work; limit waits for the partner's limit, "
            "quota for its reset, pending for its report, scheduled for a day to end, held is "
            "refused.",
            query=over_vms(metrics.OPEN_REQUESTS, "partner", "state"),
            legend="{{partner}} {{state}}",
            stacked=True,
            width=12,
        ),
        Panel(
            title="Requests that end",
            description="Requests a second that reach a terminal state.",
            query=over_vms(metrics.REQUESTS_ENDED, "partner"),
            legend="{{partner}}",
            unit="reqps",
            width=12,
        ),
        Panel(
            title="Time until done",
            description="Of what can be worked on, at the pace of the last minutes. Compare it "
            "with the time to the deadline.",
            query=over_vms(metrics.ETA, "partner"),
            legend="{{partner}}",
            unit="s",
        ),
        Panel(
            title="Limit in use",
            description="Of the busiest scope. At 100 % the limit is what takes the time; low with "
            "many ready: more threads, or another VM.",
            query=over_vms(metrics.LIMIT_SHARE, "partner", "per"),
            legend="{{partner}} by {{per}}",
            unit="percentunit",
        ),
        Panel(
            title="Dead letters",
            description="Requests that are given up, a second: `reportctl dead list`.",
            query=over_vms(metrics.REQUESTS_ENDED, "partner", state="dead"),
            legend="{{partner}}",
            unit="reqps",
        ),
    ),
)

PARTNER = Dashboard(
    uid="reportd-partner",
    title="reportd: partner",
    description="One partner: its calls, its limits, what comes of it.",
    chosen=_ONE,
    panels=(
        Panel(
            title="Open by state",
            description="What this partner's open requests do, or wait for.",
            query=over_vms(metrics.OPEN_REQUESTS, "partner", "state", chosen=_ONE),
            legend="{{partner}} {{state}}",
            stacked=True,
        ),
        Panel(
            title="Ended by state",
            description="Requests a second that end as result, dead, superseded or cancelled.",
            query=over_vms(metrics.REQUESTS_ENDED, "partner", "state", chosen=_ONE),
            legend="{{partner}} {{state}}",
            unit="reqps",
        ),
        Panel(
            title="Calls by outcome",
            description="Many throttled: the limit in the partner file is too high, or somebody "
            "else uses it. Many transient or auth: look at the partner or the credential.",
            query=over_vms(metrics.CALLS, "partner", "outcome", chosen=_ONE),
            legend="{{partner}} {{outcome}}",
            unit="reqps",
        ),
        Panel(
            title="Calls that are allowed",
            description="By the partner's limits, to the scopes that were used.",
            query=over_vms(metrics.ALLOWED_RATE, "partner", chosen=_ONE),
            legend="{{partner}}",
            unit="reqps",
        ),
        Panel(
            title="Quota that is left",
            description="Calls of the day's quota, of the scope that has the least left.",
            query=over_vms(metrics.QUOTA_REMAINING, "partner", chosen=_ONE),
            legend="{{partner}}",
        ),
        Panel(
            title="Until the quota is whole",
            description="How long it takes until the quota starts over.",
            query=f"{over_vms(metrics.QUOTA_RESET, 'partner', chosen=_ONE)} - time()",
            legend="{{partner}}",
            unit="s",
        ),
        Panel(
            title="Duration of calls",
            description="95 % take less. Slow with the limit hardly used: more threads.",
            query=quantile(metrics.CALL_SECONDS, 0.95, "partner", chosen=_ONE),
            legend="{{partner}}",
            unit="s",
        ),
        Panel(
            title="Duration of requests",
            description="From the first call to the end, waiting for limits included; 95 % take "
            "less.",
            query=quantile(metrics.REQUEST_SECONDS, 0.95, "partner", chosen=_ONE),
            legend="{{partner}}",
            unit="s",
        ),
        Panel(
            title="Age of the oldest open request",
            description="Growing while others end: something holds it.",
            query=f"time() - {over_vms(metrics.OLDEST_OPEN, 'partner', chosen=_ONE)}",
            legend="{{partner}}",
            unit="s",
        ),
        Panel(
            title="Rows",
            description="Rows published a second.",
            query=over_vms(metrics.ROWS, "partner", chosen=_ONE),
            legend="{{partner}}",
            unit="wps",
        ),
        Panel(
            title="Files",
            description="Files published a second, by format.",
            query=over_vms(metrics.FILES, "partner", "format", chosen=_ONE),
            legend="{{partner}} {{format}}",
            unit="wps",
        ),
        Panel(
            title="Answers",
            description="Bytes of answers a second, unpacked.",
            query=over_vms(metrics.ANSWER_BYTES, "partner", chosen=_ONE),
            legend="{{partner}}",
            unit="Bps",
        ),
        Panel(
            title="Output",
            description="Bytes of files a second: how fast the output grows.",
            query=over_vms(metrics.FILE_BYTES, "partner", chosen=_ONE),
            legend="{{partner}}",
            unit="Bps",
        ),
        Panel(
            title="Until the version is refused",
            description="How long the partner takes the version of its interface that the partner "
            "file speaks.",
            query=f"{over_vms(metrics.SUNSET, 'partner', chosen=_ONE)} - time()",
            legend="{{partner}}",
            unit="s",
        ),
    ),
)

PROCESS = Dashboard(
    uid="reportd-process",
    title="reportd: processes",
    description="Each VM's workers: do they live, commit and write?",
    panels=(
        Panel(
            title="Alive",
            description="1 while a child lives and beats.",
            query=over_vms(metrics.CHILD_UP, "instance", "slot"),
            legend="{{instance}} {{slot}}",
            unit="none",
        ),
        Panel(
            title="Deaths",
            description="Children that were started again, a second; the log says how they died.",
            query=over_vms(metrics.WORKER_RESTARTS, "instance", "slot"),
            legend="{{instance}} {{slot}}",
            unit="ops",
        ),
        Panel(
            title="Memory",
            description="Private memory of each child.",
            query=over_vms(metrics.PRIVATE_BYTES, "instance", "slot"),
            legend="{{instance}} {{slot}}",
            unit="bytes",
        ),
        Panel(
            title="Partitions",
            description="Of each worker. 0: more workers than partitions.",
            query=over_vms(metrics.PARTITIONS_OWNED, "instance", "slot"),
            legend="{{instance}} {{slot}}",
            unit="none",
        ),
        Panel(
            title="Age of the last commit",
            description="Over 20 s: look at the broker.",
            query=over_vms(metrics.COMMIT_AGE, "instance", "slot"),
            legend="{{instance}} {{slot}}",
            unit="s",
        ),
        Panel(
            title="Commits",
            description="Commits a second, accepted or failed.",
            query=over_vms(metrics.COMMITS, "instance", "outcome"),
            legend="{{instance}} {{outcome}}",
            unit="ops",
        ),
        Panel(
            title="May call",
            description="1 while a worker's lease on its partitions is good, 0 while it is out.",
            query=over_vms(metrics.FENCE_OPEN, "instance", "slot"),
            legend="{{instance}} {{slot}}",
            unit="none",
        ),
        Panel(
            title="Can write",
            description="0 while a worker cannot write its files: look at the disk or mount.",
            query=f"1 - {over_vms(metrics.OUTPUT_AWAY, 'instance', 'slot')}",
            legend="{{instance}} {{slot}}",
            unit="none",
        ),
        Panel(
            title="Rebalances",
            description="Partitions that come and go, events a second. Lost ones: workers were "
            "away.",
            query=over_vms(metrics.REBALANCES, "instance", "event"),
            legend="{{instance}} {{event}}",
            unit="ops",
        ),
        Panel(
            title="Age of Kafka's answer",
            description="Of the offsets that are shown. Growing: Kafka does not answer.",
            query=over_vms(metrics.BROKER_AGE, "instance"),
            legend="{{instance}}",
            unit="s",
        ),
        Panel(
            title="Same configuration",
            description="0: a VM of the group runs another one.",
            query=over_vms(metrics.CONFIG_AGREES),
            legend="all VMs",
            unit="none",
            kind="stat",
        ),
        Panel(
            title="Configuration is right",
            description="0: the one on disk is refused, the one before runs on.",
            query=over_vms(metrics.RELOAD_OK, "instance"),
            legend="{{instance}}",
            unit="none",
            kind="stat",
        ),
    ),
)

ENQUEUE = Dashboard(
    uid="reportd-enqueue",
    title="reportd: enqueue",
    description="What was asked for, when, and how much of it lies in Kafka.",
    panels=(
        Panel(
            title="Since it was due",
            description="Since the last instant of each schedule's calendar.",
            query=f"time() - {over_vms(metrics.SCHEDULE_SLOT, 'schedule')}",
            legend="{{schedule}}",
            unit="s",
            kind="stat",
        ),
        Panel(
            title="Since the newest run",
            description="Since it was enqueued. Longer than since it was due: it is missing.",
            query=f"time() - {over_vms(metrics.LAST_RUN, 'schedule')}",
            legend="{{schedule}}",
            unit="s",
            kind="stat",
        ),
        Panel(
            title="Since a run was over",
            description="Since the last run of each schedule that is over was found to be.",
            query=f"time() - {over_vms(metrics.RUN_COMPLETE, 'schedule')}",
            legend="{{schedule}}",
            unit="s",
            kind="stat",
        ),
        Panel(
            title="Open of the newest run",
            description="Jumps with an enqueue, and goes down to 0.",
            query=over_vms(metrics.RUN_OPEN, "schedule"),
            legend="{{schedule}}",
        ),
        Panel(
            title="Something is missing",
            description="1: the last run that is over is partial; `reportctl runs RUN` says what.",
            query=over_vms(metrics.RUN_PARTIAL, "schedule"),
            legend="{{schedule}}",
            unit="none",
        ),
        Panel(
            title="Cannot be finished",
            description="Runs that are worked off and whose file or news are not out: `reportctl "
            "status` says why.",
            query=over_vms(metrics.STUCK_RUNS, "schedule"),
            legend="{{schedule}}",
            unit="none",
        ),
        Panel(
            title="Wait for their day to end",
            description="Requests that were enqueued before what they ask for is there.",
            query=over_vms(metrics.OPEN_REQUESTS, "partner", state="scheduled"),
            legend="{{partner}}",
        ),
        Panel(
            title="Offsets not committed",
            description="Raw lag by topic. It counts finished requests behind an open one, too.",
            query=f"sum by (topic) ({over_vms(metrics.OFFSET_LAG, 'topic', 'partition')})",
            legend="{{topic}}",
            width=12,
        ),
        Panel(
            title="In the wrong partition",
            description="Messages a second that were sent on to their key's partition: a producer "
            "does not partition by murmur2.",
            query=over_vms(metrics.FORWARDED, "partner"),
            legend="{{partner}}",
            unit="ops",
            width=12,
        ),
    ),
)

DASHBOARDS = (FLEET, PARTNER, PROCESS, ENQUEUE)
