"""A store in a folder: its identity, permissions, links, sweeping, and what it refuses."""

import grp
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd.config.settings import OutputSettings
from reportd.errors import ConfigError, OutputError
from reportd.sinks.folders import Permissions
from reportd.sinks.local import LocalStore
from reportd.sinks.paths import PathTemplate
from reportd.sinks.publish import Publisher
from reportd.sinks.store import Store, stage_key
from tests.unit.sinks.making import DAY, a_request, a_table, nothing_forbids

NOW = 2_000_000_000.0


def publish(store: Store, account: str = "1", file_format: str = "csv") -> str:
    """Publish one file; return its path."""
    publisher = Publisher(store, PathTemplate())
    request = a_request(account=account, formats=(file_format,))
    tables = {DAY: a_table()}
    done = publisher.publish(request, publisher.targets(request), tables, nothing_forbids)
    return done.files[0].path


@pytest.fixture(params=[0o000, 0o077, 0o022])
def any_umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give a umask, and take it back."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_identity_is_made_once(tmp_path: Path) -> None:
    """Every process and VM that sees the root sees the same id."""
    first, second = LocalStore(tmp_path), LocalStore(tmp_path)

    assert first.identity == second.identity
    assert (tmp_path / "_reportd/store").read_text() == f"{first.identity}\n"


def test_another_root_has_another_identity(tmp_path: Path) -> None:
    """Two VMs that do not share their output find out by it."""
    roots = [tmp_path / name for name in "ab"]
    for root in roots:
        root.mkdir()

    assert LocalStore(roots[0]).identity != LocalStore(roots[1]).identity


def test_file_systems_without_links_get_an_identity_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some mounts have none."""

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)

    assert LocalStore(tmp_path).identity == LocalStore(tmp_path).identity


def test_a_damaged_identity_is_an_error(tmp_path: Path) -> None:
    """Nobody guesses which store this is."""
    LocalStore(tmp_path)
    (tmp_path / "_reportd/store").write_text("what?\n")

    with pytest.raises(OutputError, match="does not hold an id"):
        LocalStore(tmp_path)


@pytest.mark.parametrize("root", ["missing", "file"])
def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path, root: str) -> None:
    """It may not be mounted; making it would write beside the mount."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="output root"):
        LocalStore(tmp_path / root)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_root_without_capitals_is_refused(tmp_path: Path) -> None:
    """Where ABC and abc are one name, two accounts would be one file (a Windows share)."""
    (tmp_path / "_REPORTD").symlink_to("_reportd")

    with pytest.raises(ConfigError, match="capitals"):
        LocalStore(tmp_path)


def test_an_unmounted_root_is_not_written(tmp_path: Path) -> None:
    """What lies below a mount point is another folder: no staging there, no files."""
    root = tmp_path / "root"
    root.mkdir()
    store = LocalStore(root)
    root.rename(tmp_path / "elsewhere")
    root.mkdir()

    with pytest.raises(OutputError):
        publish(store)
    with pytest.raises(OutputError):
        store.probe()
    assert list(root.iterdir()) == []


def test_a_probe_notices_another_mount(tmp_path: Path) -> None:
    """It is the same path, but not the same store."""
    root = tmp_path / "root"
    root.mkdir()
    store = LocalStore(root)
    store.probe()
    root.rename(tmp_path / "elsewhere")
    root.mkdir()
    LocalStore(root)

    with pytest.raises(OutputError, match="its id has changed"):
        store.probe()


def test_another_stores_root_is_not_written(tmp_path: Path) -> None:
    """Unmounted while it is used: what lies below may be a store of its own, of before the mount.

    Nothing is looked for there, either: what is finished would be asked again.
    """
    root, mounted = tmp_path / "root", tmp_path / "mounted"
    root.mkdir()
    store = LocalStore(root)
    path = publish(store)
    root.rename(mounted)
    root.mkdir()
    LocalStore(root)

    with pytest.raises(OutputError, match="its id has changed"):
        publish(store, "2")
    with pytest.raises(OutputError, match="its id has changed"):
        store.stages(stage_key("a" * 32, 0))
    assert sorted(each.name for each in root.iterdir()) == ["_reportd"]
    shutil.rmtree(root)
    root.symlink_to(mounted)
    assert publish(store) == path


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    """Full or not."""
    store = LocalStore(tmp_path)
    store.probe()

    assert list((tmp_path / "_reportd/staging").iterdir()) == []


@pytest.mark.parametrize(("mode", "folder_mode"), [(0o640, 0o750), (0o644, 0o755), (0o600, 0o700)])
@pytest.mark.usefixtures("any_umask")
def test_permissions_do_not_depend_on_the_umask(
    tmp_path: Path, mode: int, folder_mode: int
) -> None:
    """Files have the configured mode, folders x where files have r."""
    path = tmp_path / publish(LocalStore(tmp_path, Permissions(mode)))
    found = [*(tmp_path / "_reportd").rglob("*"), path, *path.relative_to(tmp_path).parents]

    for one in found:
        status = (tmp_path / one).stat()
        if one == Path():
            continue
        wanted = folder_mode if stat.S_ISDIR(status.st_mode) else mode
        assert stat.S_IMODE(status.st_mode) == wanted, one


def test_folders_keep_the_group_that_they_inherit(tmp_path: Path) -> None:
    """A root with the set-group-id bit hands its group to all that is made in it."""
    tmp_path.chmod(0o2750)
    path = tmp_path / publish(LocalStore(tmp_path))

    assert path.parent.stat().st_mode & stat.S_ISGID


@pytest.mark.usefixtures("any_umask")
def test_folders_have_the_mode_they_were_given(tmp_path: Path) -> None:
    """Apart from the files', the set-group-id bit included."""
    path = tmp_path / publish(LocalStore(tmp_path, Permissions(0o640, 0o2770)))

    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert {stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path.parents[1])} == {0o2770}


def settings(root: Path, group: str) -> OutputSettings:
    return OutputSettings(root=str(root), group=group)


def test_everything_has_the_group(tmp_path: Path) -> None:
    """Files and folders alike, before they have their names; the root itself is not ours."""
    other = 12345 if os.geteuid() == 0 else os.getgroups()[-1]
    before = tmp_path.stat().st_gid
    path = tmp_path / publish(LocalStore(tmp_path, Permissions(group=other)))

    found = [path, *(tmp_path / "_reportd").rglob("*"), *path.parents[:3]]
    assert {one.stat().st_gid for one in found} == {other}
    assert tmp_path.stat().st_gid == before


def test_group_is_known_by_its_name(tmp_path: Path) -> None:
    """The process's own can always be given; one that nobody knows is a mistake."""
    own = grp.getgrgid(os.getegid()).gr_name
    path = tmp_path / publish(LocalStore.of(settings(tmp_path, own)))

    assert path.stat().st_gid == os.getegid()
    with pytest.raises(ConfigError, match="there is no group 'nobody-has-this'"):
        LocalStore.of(settings(tmp_path, "nobody-has-this"))


def test_group_of_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not belong to a group cannot give files to it: said before the first file."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "getegid", lambda: 12345)
    monkeypatch.setattr(os, "getgroups", list)

    with pytest.raises(ConfigError, match="SupplementaryGroups=root"):
        LocalStore.of(settings(tmp_path, "root"))


@pytest.mark.parametrize("where", ["acme", "acme/stats", "acme/stats/date=2026-11-21"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_link_is_not_followed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, where: str, *, inside: bool
) -> None:
    """Nothing is written outside the root, whoever put a link there."""
    outside = tmp_path / "other" if inside else tmp_path_factory.mktemp("outside")
    outside.mkdir(exist_ok=True)
    store = LocalStore(tmp_path)
    link = tmp_path / where
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)

    with pytest.raises(OutputError, match=r"Not a directory|Too many levels"):
        publish(store)
    assert list(outside.rglob("*")) == []


@pytest.mark.parametrize("gone", ["acme", "acme/stats/date=2026-11-21"])
def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path, gone: str) -> None:
    """Also one that this store has made, and so does not look at any more."""
    store = LocalStore(tmp_path)
    path = publish(store)
    shutil.rmtree(tmp_path / gone)

    assert publish(store) == path
    assert (tmp_path / path).is_file()


def test_a_link_in_the_final_files_place_is_replaced(tmp_path: Path) -> None:
    """By the file itself: what it led to stays as it was."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    store = LocalStore(tmp_path)
    path = tmp_path / publish(store)
    path.unlink()
    path.symlink_to(precious)

    publish(store)

    assert not path.is_symlink()
    assert precious.read_text() == "precious"


def test_a_root_may_be_a_link_itself(tmp_path: Path) -> None:
    """It is resolved once, at the start."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    publish(LocalStore(tmp_path / "link"))

    assert (tmp_path / "real/acme").is_dir()


def test_a_pipe_in_a_files_place_blocks_nobody(tmp_path: Path) -> None:
    """It is not a file of ours."""
    store = LocalStore(tmp_path)
    path = tmp_path / publish(store)
    path.unlink()
    os.mkfifo(path)

    assert store.receipt_of(str(path.relative_to(tmp_path)), "csv") is None


def test_a_folder_in_a_files_place_is_an_output_error(tmp_path: Path) -> None:
    """Named, and nothing lost."""
    (tmp_path / "acme/stats/date=2026-11-21/1.csv").mkdir(parents=True)

    with pytest.raises(OutputError, match=r"acme/stats/date=2026-11-21/1\.csv"):
        publish(LocalStore(tmp_path))


@pytest.mark.parametrize("key", ["", "../x", "a/b", "A" * 32, "a", "x" * 65, "ab-x", "ab.c"])
def test_a_key_cannot_lead_elsewhere(tmp_path: Path, key: str) -> None:
    """Keys are ids, and ids are hexadecimal."""
    store = LocalStore(tmp_path)

    with pytest.raises(ValueError, match="not a stage's key"):
        store.stage(key)


def test_sweeping_takes_what_is_old_and_nobodys(tmp_path: Path) -> None:
    """Temp files of open requests stay, however old; so do young ones, and all final files."""
    store = LocalStore(tmp_path)
    path = publish(store)
    publisher = Publisher(store, PathTemplate())
    keys = []
    for number in range(3):
        request = a_request(account=str(number), formats=("parquet", "csv"))
        publisher.prepare(request, publisher.targets(request), {DAY: a_table()}, nothing_forbids)
        keys.append(stage_key(request.id, 0))
    old, still_open, young = keys
    for file in (tmp_path / "_reportd/staging").rglob("*.*"):
        age = 0.0 if file.name.startswith(young) else 7200.0
        os.utime(file, (NOW - age, NOW - age))

    removed = store.sweep(3600, NOW, still_open.__eq__)

    left = {file.name.partition(".")[0] for file in (tmp_path / "_reportd/staging").rglob("*.*")}
    assert removed == 3
    assert left == {still_open, young}
    assert store.receipt_of(path, "csv") is not None
    assert old not in left


def test_nothing_of_ours_ends_like_data(tmp_path: Path) -> None:
    """DuckDB's globs read names that begin with ``_``, so theirs must not end like data."""
    store = LocalStore(tmp_path)
    publish(store)
    publisher = Publisher(store, PathTemplate())
    request = a_request(account="2", formats=("parquet", "csv.gz"))
    publisher.prepare(request, publisher.targets(request), {DAY: a_table()}, nothing_forbids)

    names = [path.name for path in (tmp_path / "_reportd").rglob("*") if path.is_file()]

    assert names
    assert all(name == "store" or name.endswith((".tmp", ".receipt")) for name in names)


def test_a_new_folders_parent_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a crash of the machine could lose the folder with the file in it."""
    store = LocalStore(tmp_path)
    synced: list[str] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    publish(store, file_format="parquet")

    root = str(tmp_path.resolve())
    for folder in ("", "/acme", "/acme/stats", "/acme/stats/date=2026-11-21"):
        assert f"{root}{folder}" in synced


def test_notes_are_the_owners_alone(tmp_path: Path, any_umask: int) -> None:
    """Whatever readers of the output may read: not these, nor the folder they lie in."""
    store = LocalStore(tmp_path, Permissions(0o644, 0o755))

    store.notes.create("chain.1.link", b"sealed")

    folder = tmp_path / "_reportd/tokens"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "chain.1.link")]
    assert modes == [0o700, 0o600]
    assert [path.name for path in folder.iterdir()] == ["chain.1.link"]
