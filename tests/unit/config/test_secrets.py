"""Secrets are files of a folder, and show themselves to nobody."""

import copy
import os
import pickle
from pathlib import Path

import pytest

from reportd.config.secrets import MAX_BYTES, Secret, SecretsFolder
from reportd.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    return made


def test_nothing_but_reveal_shows_it() -> None:
    """Not str, not repr, not a format, not an error about it, not a copy."""
    secret = Secret("hunter2", "kafka")

    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", str([secret])]
    assert all("hunter2" not in text for text in shown)
    assert str(secret) == "Secret('kafka')"
    assert copy.deepcopy(secret).reveal() == copy.copy(secret).reveal() == "hunter2"


def test_it_is_not_pickled() -> None:
    """A pickle would carry it somewhere in the clear."""
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(Secret("hunter2", "kafka"))


def test_equality_is_the_values() -> None:
    """A reload can tell whether anything has changed."""
    assert Secret("a", "x") == Secret("a", "y")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"plain", "plain"),
        (b"line\n", "line"),
        (b"windows\r\n", "windows"),
        (b"two\n\n", "two\n"),
        (b" kept ", " kept "),
        ("ключ\n".encode(), "ключ"),
    ],
)
def test_one_newline_at_the_end_is_not_part_of_it(folder: Path, content: bytes, value: str) -> None:
    """Whatever editor wrote the file, the secret is what was meant."""
    (folder / "key").write_bytes(content)

    assert SecretsFolder(folder).read("key").reveal() == value


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\n", "a b", "a\0", "é", "x" * 256]
)
def test_names_are_plain_file_names(folder: Path, name: str) -> None:
    """A name, maybe from an accounts table, never leads out of the folder."""
    with pytest.raises(ConfigError, match="not a plain file name"):
        SecretsFolder(folder).read(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\xff", "is not UTF-8"),
        (b"hunter2" * MAX_BYTES, "is larger than"),
    ],
)
def test_what_is_wrong_is_said_without_the_content(
    folder: Path, content: bytes | None, message: str
) -> None:
    """The error names the secret and the file, and nothing from inside."""
    if content is not None:
        (folder / "key").write_bytes(content)

    with pytest.raises(ConfigError, match=message) as caught:
        SecretsFolder(folder).read("key")
    assert "'key'" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_folder_in_its_place_is_an_error(folder: Path) -> None:
    """Anything that cannot be read is a sentence."""
    (folder / "key").mkdir()

    with pytest.raises(ConfigError, match="Is a directory"):
        SecretsFolder(folder).read("key")


def test_systemds_credentials_come_first(folder: Path, tmp_path: Path) -> None:
    """LoadCredential= wins over the folder, which still has the others."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (folder / "both").write_text("from the folder")
    (credentials / "both").write_text("from systemd")
    (folder / "other").write_text("other")
    secrets = SecretsFolder.of(folder, {"CREDENTIALS_DIRECTORY": str(credentials)})

    assert secrets.read("both").reveal() == "from systemd"
    assert secrets.read("other").reveal() == "other"
    assert SecretsFolder.of(folder, {}).read("both").reveal() == "from the folder"


def test_systemds_folder_form(folder: Path, tmp_path: Path) -> None:
    """LoadCredential=secrets:FOLDER puts the folder's name before each file's; ours have none."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (folder / "key").write_text("from the folder")
    (credentials / "secrets_key").write_text("from the folder form")
    (credentials / "secrets_own").write_text("from the folder form")
    (credentials / "own").write_text("by its own name")
    secrets = SecretsFolder.of(folder, {"CREDENTIALS_DIRECTORY": str(credentials)})

    assert secrets.read("key").reveal() == "from the folder form"
    assert secrets.read("own").reveal() == "by its own name"


def test_a_file_that_changed_after_the_start_counts(folder: Path, tmp_path: Path) -> None:
    """Where reportd may read the folder, a changed secret takes no restart."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "secrets_key").write_text("of the start")
    (folder / "key").write_text("changed")
    secrets = SecretsFolder.of(folder, {"CREDENTIALS_DIRECTORY": str(credentials)})
    handed = (credentials / "secrets_key").stat().st_mtime_ns

    found = []
    for later in (-1_000_000_000, 1_000_000_000):
        os.utime(folder / "key", ns=(handed + later, handed + later))
        found.append(secrets.read("key").reveal())

    assert found == ["of the start", "changed"]


def test_what_systemd_did_not_hand_over(folder: Path, tmp_path: Path) -> None:
    """Under systemd a secret that is added later takes a restart, and the error says so."""
    secrets = SecretsFolder.of(folder, {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    with pytest.raises(ConfigError, match=f"put it into {folder}/key and restart the service"):
        secrets.read("key")


def test_a_rotated_secret_is_seen(folder: Path) -> None:
    """Reading again reads the file again."""
    (folder / "key").write_text("old")
    secrets = SecretsFolder(folder)
    secrets.read("key")
    (folder / "key").write_text("new")

    assert secrets.read("key").reveal() == "new"


@pytest.mark.parametrize("name", ["acme:emea", "café", "tab\t", "sub/a:b"])
def test_a_name_that_systemd_refuses_is_named(folder: Path, name: str) -> None:
    """Its own message names no file, and nothing else of the folder is handed over."""
    (folder / "sub").mkdir()
    (folder / name).write_text("hush")

    (found,) = SecretsFolder(folder).problems()
    assert ascii(str(folder / name)) in found


def test_what_systemd_hands_over_or_passes_over_is_no_problem(folder: Path) -> None:
    """Spaces, folders, hidden files, links, pipes: as tried with systemd 252."""
    for name in ("with space", "edit~", ".a:b", "acme-emea"):
        (folder / name).write_text("hush")
    (folder / ".sub").mkdir()
    (folder / ".sub" / "a:b").write_text("hush")
    (folder / "c:d").symlink_to("acme-emea")
    os.mkfifo(folder / "e:f")
    (folder / "large").write_bytes(bytes(900_000))

    assert list(SecretsFolder(folder).problems()) == []


def test_more_than_systemd_hands_over_is_said(folder: Path) -> None:
    """Two that are small enough alone may be too much together."""
    for name in ("one", "two"):
        (folder / name).write_bytes(bytes(600_000))

    (found,) = SecretsFolder(folder).problems()
    assert "1,200,000 bytes in all, 1,048,576 are allowed" in found
