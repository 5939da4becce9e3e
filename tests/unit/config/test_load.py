"""A configuration is loaded whole, or not at all, with every reason."""

from pathlib import Path

import pytest

from reportd.config.kafka import REFUSED, SECRET
from reportd.config.load import Config, load
from reportd.config.secrets import Secret
from reportd.config.settings import KafkaSettings, MetricsSettings
from reportd.errors import ConfigError

MINIMAL = 'kafka = { servers = "k1:9092" }\noutput = { root = "out" }\n'


class Place:
    """A folder with a configuration in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "reportd.toml"
        (folder / "secrets").mkdir()
        (folder / "partners").mkdir()
        (folder / "conf.d").mkdir()

    def load(self, text: str = MINIMAL, environ: dict[str, str] | None = None) -> Config:
        self.file.write_text(text)
        return load(self.file, environ or {})

    def problems(self, text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(text)
        return [line.replace(f"{self.folder}/", "") for line in caught.value.problems]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_shape_that_users_write(place: Place) -> None:
    """What CONFIG.md shows is understood, secrets included."""
    (place.folder / "secrets" / "kafka").write_text("hunter2\n")
    config = place.load(
        """
        kafka = { servers = "k1:9093,k2:9093", prefix = "ads", "security.protocol" = "SASL_SSL",
        "sasl.password" = { secret = "kafka" } }
        workers = { processes = "per-partition", max_processes = 16, vms = 2, drain_seconds = 60 }
        metrics = { listen = "127.0.0.1:9477" }
        [output]
        root = "/mnt/marketing/raw"
        shared = true
        path = "{partner}/{report}/date={date}/{account}.{ext}"
        mode = "0640"
    """.replace('SASL_SSL",\n        ', 'SASL_SSL", ')
    )

    kafka = config.settings.kafka
    assert kafka.prefix == "ads"
    assert kafka.librdkafka == {
        "security.protocol": "SASL_SSL",
        "sasl.password": Secret("hunter2"),
    }
    assert config.settings.workers.processes == "per-partition"
    assert config.settings.output.file_mode == 0o640
    assert "hunter2" not in repr(config)
    assert config.base == place.folder


def test_relative_paths_start_at_the_file(place: Place) -> None:
    """Wherever the daemon is started, the same files are meant; defaults too."""
    settings = place.load('partners_folder = "p"\n' + MINIMAL).settings

    assert settings.output.root == str(place.folder / "out")
    assert settings.partners_folder == place.folder / "p"
    assert settings.schedules_folder == place.folder / "schedules"
    assert settings.secrets_folder == place.folder / "secrets"


def test_conf_d_is_laid_over_in_the_order_of_names(place: Place) -> None:
    """Tables are merged, values replaced; what is not TOML by its name is left alone."""
    (place.folder / "conf.d" / "20.toml").write_text("workers = { threads = 20 }")
    (place.folder / "conf.d" / "10.toml").write_text("workers = { threads = 10, vms = 1 }")
    (place.folder / "conf.d" / "30.toml.off").write_text("nonsense")
    settings = place.load(MINIMAL + "workers = { threads = 5, drain_seconds = 7 }").settings

    assert settings.workers.threads == 20
    assert settings.workers.drain_seconds == 7.0


def test_conf_d_replaces_a_secret_whole(place: Place) -> None:
    """A reference is a value: one laid over another leaves nothing of it."""
    (place.folder / "secrets" / "new").write_text("n")
    (place.folder / "conf.d" / "a.toml").write_text(
        'kafka = { "sasl.password" = { secret = "new" } }'
    )
    settings = place.load("""
        kafka = { servers = "k1:9092", "sasl.password" = { secret = "old" } }
        output = { root = "out" }
    """).settings

    assert settings.kafka.librdkafka["sasl.password"] == Secret("n")


def test_a_problem_names_the_file_it_stands_in(place: Place) -> None:
    """With several files, the one to edit is the one that is said."""
    (place.folder / "conf.d" / "a.toml").write_text("workers = { threads = 0 }\n[output]\nmode=1")
    found = place.problems(MINIMAL + "workers = { vms = 0 }")

    assert found == [
        "conf.d/a.toml: output.mode: must be text in quotes",
        "reportd.toml: workers.vms: must be at least 1",
        "conf.d/a.toml: workers.threads: must be at least 1",
    ]


def test_every_unreadable_file_is_named(place: Place) -> None:
    """Broken files are all said before anything else."""
    (place.folder / "conf.d" / "a.toml").write_bytes(b"\xff")
    (place.folder / "conf.d" / "b.toml").mkdir()

    assert place.problems("= 1") == [
        "reportd.toml: not TOML: Invalid statement (at line 1, column 1)",
        "conf.d/a.toml: not UTF-8 text; save it as UTF-8",
        "conf.d/b.toml: cannot be read: Is a directory",
    ]


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    """Not there at all: say which."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file"):
        load(tmp_path / "nowhere.toml", {})


def test_deep_nesting_is_a_sentence(place: Place) -> None:
    """A hostile file ends in an error, not in a crash."""
    assert place.problems("a = " + "[" * 100_000) == ["reportd.toml: not TOML: nested too deeply"]


def test_the_hash_is_of_what_partners_extend(place: Place) -> None:
    """VMs whose packages bring another catalogue are told apart, if they use it."""
    catalogue = place.folder / "catalogue"
    catalogue.mkdir()
    place.load()

    def hashed(extends: str, content: str) -> str:
        (place.folder / "partners" / "acme.toml").write_text(f'extends = "{extends}"')
        (catalogue / "meta.toml").write_text(content)
        return load(place.file, {}, catalogue).config_hash

    assert hashed("meta", "x = 1") != hashed("meta", "x = 2")
    assert hashed("other", "x = 1") == hashed("other", "x = 2")


def test_the_hash_is_of_what_vms_share(place: Place) -> None:
    """Comments and the VM's own name do not change it; a setting or a partner file does."""
    base = place.load().config_hash
    own = 'workers = { machine_id = "vm-1" }\nmetrics = { listen = "127.0.0.2:9477" }'
    named = place.load("# hello\n" + MINIMAL + own).config_hash
    changed = place.load(MINIMAL + "workers = { threads = 3 }").config_hash
    (place.folder / "partners" / "acme.toml").write_text("x = 1")
    partner = place.load().config_hash

    assert named == base
    assert len({base, changed, partner}) == 3


@pytest.mark.parametrize(
    "table",
    [
        '{ servers = "k:1", "socket.keepalive.enable" = true, "linger.ms" = 5 }',
        '{ servers = "k:1", socket.keepalive.enable = true, linger.ms = 5 }',
    ],
)
def test_librdkafka_settings_quoted_or_dotted(place: Place, table: str) -> None:
    """TOML's dotted keys and quoted names mean the same; values are librdkafka's spelling."""
    settings = place.load(f'kafka = {table}\noutput = {{ root = "out" }}').settings

    assert settings.kafka.librdkafka == {"socket.keepalive.enable": "true", "linger.ms": "5"}


def test_what_promises_hang_on_is_refused() -> None:
    """Whoever shortens the list must see why: order, hand-made commits, nothing given up or cut."""
    hang_on = {
        "acks",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "group.id",
        "group.instance.id",
        "isolation.level",
        "max.in.flight",
        "message.max.bytes",
        "message.timeout.ms",
        "partitioner",
        "receive.message.max.bytes",
        "session.timeout.ms",
    }

    assert hang_on <= REFUSED.keys()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_settings_that_would_break_a_promise_are_refused(place: Place, name: str) -> None:
    """Each is named with the reason."""
    found = place.problems(
        f'kafka = {{ servers = "k:1", "{name}" = "1" }}\noutput = {{ root = "out" }}'
    )

    assert len(found) == 1
    assert REFUSED[name] in found[0]


@pytest.mark.parametrize("name", sorted(SECRET))
def test_secrets_do_not_stand_in_the_file(place: Place, name: str) -> None:
    """A password in the clear is refused, and not repeated."""
    found = place.problems(
        f'kafka = {{ servers = "k:1", "{name}" = "hunter2" }}\noutput = {{ root = "out" }}'
    )

    assert found == [
        f'reportd.toml: kafka."{name}": a secret does not stand here; write {{ secret = "name" }}'
    ]


def test_the_first_problem_of_kafka_does_not_hide_the_next(place: Place) -> None:
    """Refused, mistyped and wrong ones are all said at once."""
    found = place.problems(
        'kafka = { server = "k:1", acks = 1, "sasl.password" = "x", prefix = 7 }\noutput = {}'
    )

    keys = [line.split(": ")[1] for line in found]
    assert keys == [
        "kafka.servers",
        "kafka.prefix",
        "kafka.server",
        "kafka.acks",
        'kafka."sasl.password"',
        "output.root",
    ]


@pytest.mark.parametrize(
    ("listen", "host", "port", "is_local"),
    [
        ("127.0.0.1:9477", "127.0.0.1", 9477, True),
        ("127.1.2.3:0", "127.1.2.3", 0, True),
        ("localhost:1", "localhost", 1, True),
        ("[::1]:9477", "::1", 9477, True),
    ],
)
def test_metrics_listen_here(listen: str, host: str, port: int, *, is_local: bool) -> None:
    """Loopback needs no guard."""
    metrics = MetricsSettings(listen=listen)

    assert (metrics.host, metrics.port, metrics.is_local) == (host, port, is_local)


@pytest.mark.parametrize("listen", ["0.0.0.0:9477", "[::]:9477", "10.0.0.5:80", "vm-1:9477"])
def test_metrics_for_others_need_a_guard(listen: str) -> None:
    """What others can reach asks for a token or TLS."""
    with pytest.raises(ValueError, match="can be reached by others"):
        MetricsSettings(listen=listen)

    assert not MetricsSettings(listen=listen, token=Secret("x")).is_local


@pytest.mark.parametrize("listen", ["9477", ":9477", "127.0.0.1", "127.0.0.1:99999", "::1:9477"])
def test_metrics_address_has_a_port(listen: str) -> None:
    """An address that cannot be bound is refused here."""
    with pytest.raises(ValueError, match="must be address:port"):
        MetricsSettings(listen=listen)


def test_settings_are_frozen() -> None:
    """Nobody changes them on the way."""
    kafka = KafkaSettings(servers="k1:9092")

    with pytest.raises(ValueError, match="frozen"):
        setattr(kafka, "prefix", "other")  # noqa: B010  mypy would not let us


S3 = """
kafka = { servers = "k1:9092" }
workers = { vms = 2 }
[output]
root = "s3://marketing/raw"
[output.s3]
access_key = { secret = "s3-access-key" }
secret_key = { secret = "s3-secret-key" }
"""


def test_a_bucket_is_shared_and_its_keys_are_files(place: Place) -> None:
    """Every VM sees it without being told; what is shown of the settings holds no key."""
    for name in ("s3-access-key", "s3-secret-key"):
        (place.folder / "secrets" / name).write_text(f"hunter2 {name}\n")
    config = place.load(S3)
    output = config.settings.output

    assert (output.root, output.is_s3, output.shared) == ("s3://marketing/raw", True, True)
    assert output.s3 is not None
    assert output.s3.secret_key.reveal() == "hunter2 s3-secret-key"
    assert output.s3.request_seconds == 19.0
    assert "hunter2" not in repr(config) + str(config.settings)
