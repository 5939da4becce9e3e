"""The settings of ``reportd.toml``: one declaration for checks, sample file and docs page.

Plain frozen values, made by `reportd.config.load` in the supervisor and by the tools; workers
and the observer get them through the fork.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from reportd.config.base import FilePath, Origin, SecretValue, Section, as_tuple, matching
from reportd.config.kafka import REFUSED, SECRET, WITHOUT_DOT, flatten
from reportd.config.passed import plain
from reportd.config.problems import FieldProblems, Location, did_you_mean
from reportd.config.secrets import Secret

PER_PARTITION: Final = "per-partition"

_HOST_AND_PORT = re.compile(r"^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$")

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
_MODE = re.compile(r"^0?[0-7]{3}$")
_FOLDER_MODE = re.compile(r"^[02]?[0-7]{3}$")
_GROUP = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$")
_REGION = re.compile(r"^[a-z0-9-]{1,64}$")
_ENDPOINT = re.compile(r"^https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?$")
_WEBHOOK = re.compile(
    r"^https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?(?:[/?][^\s\\#]*)?$"
)
_BUCKET_AND_PREFIX = re.compile(
    r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9=+-][A-Za-z0-9=._+-]{0,99}){0,10}$"
)

S3_SCHEME: Final = "s3://"
S3_TRIES: Final = 2
"""How often a request to a bucket is sent: once more when the server was too busy."""


class KafkaSettings(Section):
    """Where Kafka is, and how to talk to it."""

    servers: str = Field(examples=["localhost:9092"])
    """Brokers to start from: ``host:port``, several with commas."""
    prefix: Annotated[str, matching(_NAME, "must be letters, digits, . _ -, at most 100")] = (
        "reportd"
    )
    """What all topics' names start with; the consumer group is called the same."""
    librdkafka: Mapping[str, str | Secret] = Field(
        {},
        examples=[{"security.protocol": "SASL_SSL", "sasl.password": {"secret": "kafka"}}],
    )
    """Any other setting of librdkafka, as librdkafka names it, written beside ``servers``
    (``"security.protocol" = "SASL_SSL"``). Those that would break a promise are refused."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """Take what is not declared here for settings of librdkafka."""
        if not isinstance(data, Mapping):
            return data
        own = {name: data[name] for name in ("servers", "prefix") if name in data}
        given = data.get("librdkafka")
        passed = dict(given) if isinstance(given, Mapping) else {}
        passed |= flatten({k: v for k, v in data.items() if k not in {*own, "librdkafka"}})
        return own | {"librdkafka": passed}

    @field_validator("servers")
    @classmethod
    def _servers(cls, servers: str) -> str:
        for server in servers.split(","):
            if not _HOST_AND_PORT.fullmatch(server.strip()):
                raise ValueError("must be host:port, several with commas")
        return servers

    @field_validator("librdkafka", mode="before")
    @classmethod
    def _passed(cls, passed: Mapping[str, Any], info: ValidationInfo) -> dict[str, str | Secret]:
        problems: dict[str, str] = {}
        taken: dict[str, str | Secret] = {}
        for name, value in passed.items():
            try:
                taken[name] = _librdkafka_value(name, value, info)
            except ValueError as error:
                problems[name] = str(error)
        if problems:
            raise FieldProblems(problems, above=1)
        return taken


def _librdkafka_value(name: str, value: Any, info: ValidationInfo) -> str | Secret:
    if name in REFUSED:
        raise ValueError(f"is not yours to set: {REFUSED[name]}; remove it")
    if "." not in name and name not in WITHOUT_DOT:
        hint = did_you_mean(name, ("servers", "prefix"))
        raise ValueError(f"unknown setting; {hint} (librdkafka's names have dots, in quotes)")
    if name in SECRET and not isinstance(value, Secret | Mapping):
        raise ValueError('a secret does not stand here; write { secret = "name" }')
    return plain(value, info)


def _processes(value: Any) -> Any:
    if isinstance(value, bool) or not (
        value == PER_PARTITION or (isinstance(value, int) and 1 <= value <= 1024)
    ):
        raise ValueError(f'must be "{PER_PARTITION}" or a number from 1 to 1024')
    return value


class WorkerSettings(Section):
    """The consumer processes of this VM."""

    processes: Annotated[int | Literal["per-partition"], BeforeValidator(_processes)] = (
        "per-partition"
    )
    """How many to fork: ``"per-partition"`` asks the broker for the partitions of all partners'
    request topics and takes this VM's part of them; a number is taken as it is."""
    max_processes: int = Field(16, ge=1, le=1024)
    """The most to fork on this VM, whatever the partitions."""
    vms: int = Field(1, ge=1, le=1000)
    """How many VMs run reportd; each forks its part. More than one needs ``output.shared``."""
    threads: int = Field(16, ge=1, le=1024)
    """Calls in flight at once in each process. None of them waits for a limit or a back-off."""
    window_requests: int = Field(5000, ge=1, le=1_000_000)
    """Open requests that a process holds in memory; the others stay in Kafka."""
    drain_seconds: float = Field(60.0, ge=0, le=3600)
    """Time that calls in flight get to finish at stop, reload and rebalance."""
    heartbeat_limit_seconds: float = Field(30.0, ge=1, le=3600)
    """A worker that is silent for longer is wedged: it is aborted with a trace and replaced."""
    session_timeout_seconds: float = Field(45.0, ge=6, le=1800)
    """After this silence Kafka gives a worker's partitions to others; within it a restart moves
    nothing. Between the broker's ``group.min.session.timeout.ms`` and its maximum."""
    machine_id: (
        Annotated[str, matching(_NAME, "must be letters, digits, . _ -, at most 100")] | None
    ) = Field(None, examples=["vm-1"])
    """This VM's name in the consumer group, different on each; unset: ``/etc/machine-id``."""


class TlsSettings(Section):
    """A certificate to serve with."""

    certificate: FilePath
    """PEM file with the certificate and its chain."""
    key: FilePath
    """PEM file with the private key."""


class MetricsSettings(Section):
    """Where the observer answers /metrics, /healthz, /readyz and /status."""

    listen: str = "127.0.0.1:9477"
    """``address:port``. One that others can reach asks for ``token`` or ``tls``."""
    token: SecretValue | None = Field(None, examples=[{"secret": "metrics"}])
    """Askers have to send it, as a bearer token."""
    tls: TlsSettings | None = Field(
        None, examples=[{"certificate": "/etc/reportd/tls.crt", "key": "/etc/reportd/tls.key"}]
    )
    """Serve HTTPS with this certificate."""

    @field_validator("listen")
    @classmethod
    def _listen(cls, listen: str) -> str:
        if not _HOST_AND_PORT.fullmatch(listen) or int(listen.rpartition(":")[2]) > 65535:
            raise ValueError("must be address:port, like 127.0.0.1:9477 or [::1]:9477")
        return listen

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not self.is_local and self.token is None and self.tls is None:
            raise FieldProblems(
                {
                    "listen": f"{self.listen} can be reached by others; set token ="
                    ' { secret = "name" } or tls, or listen on 127.0.0.1'
                }
            )
        return self

    @property
    def host(self) -> str:
        """The address to bind, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to bind; 0: any."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class S3Settings(Section):
    """How the bucket of an ``s3://`` root is reached."""

    access_key: SecretValue = Field(examples=[{"secret": "s3-access-key"}])
    """The id of the key that requests are signed with."""
    secret_key: SecretValue = Field(examples=[{"secret": "s3-secret-key"}])
    """The key itself."""
    region: Annotated[str, matching(_REGION, "must be a region's name, like eu-central-1")] = (
        "us-east-1"
    )
    """The bucket's region."""
    endpoint: str | None = Field(None, examples=["https://s3.example.com"])
    """Where the server is, ``http`` only in a network of your own; unset: Amazon's, of the region.
    The bucket stands in the path then, not in the host's name."""
    connect_timeout_seconds: float = Field(3.0, ge=1, le=60)
    """A connection has to come about within this time."""
    request_timeout_seconds: float = Field(6.0, ge=1, le=300)
    """A request on which not a byte moves for so long has failed. The lease on partitions has to
    outlast two tries: together with ``connect_timeout_seconds`` it is bounded by
    ``workers.session_timeout_seconds``."""

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not _ENDPOINT.fullmatch(endpoint):
            raise ValueError("must be http(s)://host or http(s)://host:port, nothing behind it")
        return endpoint

    @property
    def request_seconds(self) -> float:
        """How long one request may take, tried twice, with the pause between."""
        return S3_TRIES * (self.connect_timeout_seconds + self.request_timeout_seconds) + 1.0


class OutputSettings(Section):
    """Where the files go."""

    root: str = Field(min_length=1, examples=["/var/lib/reportd/output"])
    """Where the finished files lie: a folder, local or mounted, or ``s3://bucket/prefix``."""
    shared: bool = False
    """Whether every VM sees the same folder (NFS ...). If not, a second VM is refused. A bucket is
    shared."""
    path: str = Field("{partner}/{report}/date={date}/{account}.{ext}", min_length=1)
    """A file's place below ``root``. It must name everything that varies: ``{partner}``,
    ``{report}``, ``{account}``, ``{date}``, ``{ext}`` and each parameter, ``{params.name}``."""
    mode: Annotated[str, matching(_MODE, 'must be octal and in quotes, like "0640"')] = "0640"
    """The files' permissions, octal, whatever the umask. This and what follows about permissions
    is of folders alone: a bucket has its policy."""
    folder_mode: (
        Annotated[str, matching(_FOLDER_MODE, 'must be octal and in quotes, like "2750"')] | None
    ) = Field(None, examples=["2750"])
    """The permissions of folders that are made, octal; 2 in front hands a folder's group on to
    what others put there. Unset: as the files', with ``x`` wherever they have ``r``."""
    group: Annotated[str, matching(_GROUP, "must be a group's name")] | None = Field(
        None, examples=["analysts"]
    )
    """The group that files and new folders are given, before readers see them. reportd has to
    belong to it (``SupplementaryGroups=``). Unset: its own."""
    s3: S3Settings | None = Field(
        None,
        examples=[
            {"access_key": {"secret": "s3-access-key"}, "secret_key": {"secret": "s3-secret-key"}}
        ],
    )
    """How the bucket of an ``s3://`` root is reached: needed for one."""

    @model_validator(mode="before")
    @classmethod
    def _bucket_is_shared(cls, data: Any) -> Any:
        """Take a bucket for shared, whether it is written or not."""
        if not isinstance(data, Mapping) or not str(data.get("root", "")).startswith(S3_SCHEME):
            return data
        return {"shared": True, **data}

    @model_validator(mode="after")
    def _bucket_is_reached(self) -> Self:
        if self.is_s3 and self.s3 is None:
            raise FieldProblems(
                {"s3": f"is missing: {self.root} needs access_key and secret_key; add them"}
            )
        if self.is_s3 and not self.shared:
            raise FieldProblems({"shared": "every VM sees a bucket; remove it"})
        return self

    @property
    def is_s3(self) -> bool:
        """Whether the root is in a bucket."""
        return self.root.startswith(S3_SCHEME)

    @field_validator("root")
    @classmethod
    def _root(cls, root: str, info: ValidationInfo) -> str:
        if root.startswith(S3_SCHEME):
            if not _BUCKET_AND_PREFIX.fullmatch(root):
                raise ValueError(
                    "must be s3://bucket or s3://bucket/prefix, of letters, digits and =._+-, with"
                    " no slash at its end"
                )
            return root
        if "://" in root:
            raise ValueError("must be a folder, local or mounted, or s3://bucket/prefix")
        if "\0" in root:
            raise ValueError("must be a path")
        return str(info.context.folder / root) if isinstance(info.context, Origin) else root

    @field_validator("mode")
    @classmethod
    def _mode(cls, mode: str) -> str:
        if int(mode, 8) & 0o600 != 0o600:
            raise ValueError("must let the owner read and write: begin it with 06 or 07")
        if int(mode, 8) & 0o002:
            raise ValueError("must not let everybody write: end it with 0, 4 or 5")
        return mode

    @field_validator("folder_mode")
    @classmethod
    def _folder_mode(cls, mode: str | None) -> str | None:
        if mode is not None and int(mode, 8) & 0o700 != 0o700:
            raise ValueError("must let the owner do everything: begin it with 07 or 27")
        if mode is not None and int(mode, 8) & 0o002:
            raise ValueError("must not let everybody write: end it with 0, 4 or 5")
        return mode

    @property
    def file_mode(self) -> int:
        """The files' mode as a number."""
        return int(self.mode, 8)

    @property
    def folder_mode_bits(self) -> int | None:
        """The folders' mode as a number; None: it follows from the files'."""
        return None if self.folder_mode is None else int(self.folder_mode, 8)


class RunsSettings(Section):
    """Who is told when a run is over."""

    webhook: str | None = Field(None, examples=["https://airflow.example.com/hooks/reportd"])
    """A URL that the run's record is posted to, as JSON, with its ``Idempotency-Key``. Any 2xx will
    do; otherwise it is tried again, for a day."""
    webhook_token: SecretValue | None = Field(None, examples=[{"secret": "webhook"}])
    """Sent to it as a bearer token."""
    command: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        (), examples=[["/usr/local/bin/after-reportd", "daily"]]
    )
    """A program and its arguments, run without a shell and as the daemon's user: the record on its
    standard input, ``REPORTD_EVENT`` (the key), ``REPORTD_RUN`` and ``REPORTD_STATE`` in its
    environment. Status 0 will do; otherwise it is tried again, for a day."""
    timeout_seconds: float = Field(30.0, ge=1, le=600)
    """How long either may take."""

    @field_validator("webhook")
    @classmethod
    def _webhook(cls, webhook: str | None) -> str | None:
        if webhook is not None and not _WEBHOOK.fullmatch(webhook):
            raise ValueError("must be http(s)://host/path, without blanks, user and password")
        return webhook

    @model_validator(mode="after")
    def _token_is_kept(self) -> Self:
        if self.webhook_token is not None and not (self.webhook or "").startswith("https://"):
            raise FieldProblems(
                {"webhook_token": "would be read on the way; webhook must be an https:// URL"}
            )
        return self


class LogSettings(Section):
    """What is said on standard error (the journal)."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is said."""


class Settings(Section):
    """Everything in ``reportd.toml`` and ``conf.d/*.toml``."""

    kafka: KafkaSettings
    output: OutputSettings
    workers: WorkerSettings = WorkerSettings()
    metrics: MetricsSettings = MetricsSettings()
    runs: RunsSettings = RunsSettings()
    log: LogSettings = LogSettings()
    secrets_folder: FilePath = Field(Path("secrets"), validate_default=True)
    """Each secret is a file of this folder; ``{ secret = "name" }`` reads it. Credentials that
    systemd hands over (``LoadCredential=``) come first, but for files changed since."""
    partners_folder: FilePath = Field(Path("partners"), validate_default=True)
    """One file a partner, ``<partner>.toml``."""
    schedules_folder: FilePath = Field(Path("schedules"), validate_default=True)
    """One file a schedule, ``<schedule>.toml``."""

    @model_validator(mode="after")
    def _shared(self) -> Self:
        if self.workers.vms > 1 and not self.output.shared:
            at: Location = ("output", "shared")
            what = (
                f"workers.vms = {self.workers.vms} needs an output that all VMs see; set true if"
                " they do, or vms = 1"
            )
            raise FieldProblems({at: what})
        return self

    @model_validator(mode="after")
    def _lease_outlasts_s3(self) -> Self:
        s3, session = self.output.s3, self.workers.session_timeout_seconds
        if self.output.is_s3 and s3 is not None and s3.request_seconds > session / 2:
            below: Location = ("output", "s3", "request_timeout_seconds")
            what = (
                f"{S3_TRIES} tries take up to {s3.request_seconds:g} s, more than half of"
                f" workers.session_timeout_seconds = {session:g}; change one of them"
            )
            raise FieldProblems({below: what})
        return self
