import os
from pathlib import Path

from reportd.enqueue.holder import is_gone, machine_name, process_name


def proc(folder: Path, pid: int, start: int, state: str = "S", boot: str = "b1") -> Path:
    """Make a /proc with one process, whose command has a space and a bracket."""
    (folder / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (folder / "sys/kernel/random/boot_id").write_text(f"{boot}\n")
    (folder / str(pid)).mkdir(exist_ok=True)
    fields = " ".join(["0"] * 18)
    (folder / str(pid) / "stat").write_text(f"{pid} (a) b) {state} {fields} {start} 0 0\n")
    return folder


def test_own_process_lives() -> None:
    """A process finds its own name, and that it is there."""
    assert f":{os.getpid()}:" in process_name()
    assert not is_gone(process_name())


def test_name_is_boot_pid_and_start(tmp_path: Path) -> None:
    """A reused pid, or the same one after a reboot, is another name."""
    assert process_name(5, proc(tmp_path, 5, 77)) == "b1:5:77"


def test_ended_replaced_and_zombie_processes_are_gone(tmp_path: Path) -> None:
    """Gone is what has no process, another process under its pid, or only a zombie."""
    folder = proc(tmp_path, 5, 77)
    proc(folder, 6, 78, state="Z")

    assert [True, True, True, True, False] == [
        is_gone(name, folder) for name in ("b1:4:77", "b1:5:76", "b0:5:77", "b1:6:78", "b1:5:77")
    ]


def test_foreign_names_are_not_gone(tmp_path: Path) -> None:
    """A name that is none of ours says nothing about a process."""
    assert not is_gone("", proc(tmp_path, 5, 77))
    assert not is_gone("../../etc", tmp_path)


def test_machine_is_configured_or_its_id(tmp_path: Path) -> None:
    """The configured name counts, then the machine's id, then its host name."""
    without = machine_name(None, tmp_path)
    (tmp_path / "machine-id").write_text("abc\n")

    assert ("vm", "abc", os.uname().nodename) == (
        machine_name("vm", tmp_path),
        machine_name(None, tmp_path),
        without,
    )
