"""Labs: real systemds (Debian 12) in containers, to install the built packages in.

A `Lab` is one VM: booted by name, on this machine's network (a broker on 127.0.0.1 is reachable
from every lab, and two labs cannot listen at the same port), with its own root, journal, cgroups
and machine id. ``packaging/build-deb`` makes the packages once for a state of the source;
``systemd-lab`` the base that all labs start from.
"""

import functools
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.system.stage import pause

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
COMMANDS = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "pgrep": "procps",
    "dh": "debhelper",
    "dpkg-buildpackage": "dpkg-dev",
}
"""What labs and packages need -> the Debian package that has it (see ``packaging/bootstrap``)."""

BASE_PACKAGES = "faketime"
"""What the base has beside a minimal Debian: a clock to turn, for the tests that do."""

BOOT_SECONDS = 60.0
BUILD_SECONDS = 600.0
DEBS = "/debs"
"""Where the built packages are seen in a lab."""


class LabError(AssertionError):
    """A lab, or a command in it, did not do what it should have done."""


def lab_tool() -> Path | None:
    """Return ``systemd-lab``: ``shared/tools`` lies beside the checkout."""
    found = (folder / "shared" / "tools" / "systemd-lab" for folder in ROOT.parents)
    return next((tool for tool in found if tool.exists()), None)


def why_not() -> str:
    """Return why no lab can be booted here; empty: it can."""
    if os.geteuid() != 0:
        return "needs root"
    if lab_tool() is None:
        return "systemd-lab is not beside the checkout (shared/tools)"
    missing = sorted({COMMANDS[name] for name in COMMANDS if shutil.which(name) is None})
    return f"needs the Debian packages {' '.join(missing)}" if missing else ""


# --- packages -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Packages:
    """The two packages of one version."""

    reportd: Path
    enqueue: Path


def build_packages(*options: str) -> Packages:
    """Build the packages from this checkout, or take them from the cache: a minute at most.

    ``options`` are those of ``packaging/build-deb``, for upgrades: ``"--version", "0.0.9"``.
    """
    command = [str(ROOT / "packaging" / "build-deb"), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS
    )
    if done.returncode:
        raise LabError(f"{shlex.join(command)}:\n{done.stderr}")
    found = {path.name.partition("_")[0]: path for path in map(Path, done.stdout.split())}
    return Packages(found["reportd"], found["reportd-enqueue"])


# --- labs -----------------------------------------------------------------------------------


@dataclass
class Lab:
    """One VM. Make it, `up`, and `reset` at the end; its processes outlive the test otherwise."""

    name: str
    """Also its host name."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Where in the lab -> which folder of this machine is seen there (as a mounted output is)."""
    private_network: bool = False
    """A loopback of its own and nothing else."""
    machine_id: str = ""
    """As a clone has another's; empty: one of its own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More for ``systemd-lab``."""

    # Its life

    def up(self) -> Self:
        """Boot it; returns when systemd has started everything."""
        self._tool("up", seconds=2 * BOOT_SECONDS)
        return self

    def down(self) -> None:
        """Shut it down as `poweroff` does; its root is kept."""
        self._tool("down", seconds=2 * BOOT_SECONDS)

    def reboot(self) -> None:
        """Shut down and boot again."""
        self.down()
        self.up()

    def is_up(self) -> bool:
        """Say whether its systemd answers."""
        done = subprocess.run(
            [str(lab_tool()), "status"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=BOOT_SECONDS,
        )
        return done.returncode == 0

    def reset(self) -> None:
        """Shut it down and forget it."""
        self._tool("reset", seconds=2 * BOOT_SECONDS)

    # Commands

    def tries(
        self, *command: str, seconds: float = 120.0, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root; it may fail. ``text`` is its standard input."""
        return subprocess.run(
            [str(lab_tool()), "run", *command],
            env=self._environment(),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
        )

    def run(self, *command: str, seconds: float = 120.0, text: str | None = None) -> str:
        """Run a command inside, as root, and return what it said; it must end with 0."""
        done = self.tries(*command, seconds=seconds, text=text)
        if done.returncode:
            raise LabError(
                f"{self.name}: {shlex.join(command)} ended with {done.returncode}:\n{done.stdout}"
            )
        return done.stdout

    def shell(self, script: str, seconds: float = 120.0) -> str:
        """Run a script of ``bash`` inside; every command of it must succeed."""
        return self.run("bash", "-euo", "pipefail", "-c", script, seconds=seconds)

    def systemctl(self, *command: str, seconds: float = 120.0) -> str:
        """Run ``systemctl``; on failure the journal of the unit that was named is shown, too."""
        done = self.tries("systemctl", *command, seconds=seconds)
        if done.returncode:
            raise LabError(
                f"{self.name}: systemctl {shlex.join(command)} ended with {done.returncode}:\n"
                f"{done.stdout}\n{self.journal(command[-1], lines=60)}"
            )
        return done.stdout

    # Files

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file, and the folders above it."""
        self.run(
            "sh",
            "-ec",
            'mkdir -p "$(dirname "$1")"; cat >"$1.new"; chmod "$2" "$1.new"; chown "$3" "$1.new"; '
            'mv -fT "$1.new" "$1"',
            "write",
            path,
            f"{mode:o}",
            owner,
            text=text,
        )

    def read(self, path: str) -> str:
        """Return a file's text."""
        return self.run("cat", path)

    def drop_in(self, unit: str, text: str, name: str = "50-test") -> None:
        """Write a drop-in of a unit and let systemd read it."""
        self.write(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.run("systemctl", "daemon-reload")

    # Packages and units

    def install(self, *debs: Path, more: tuple[str, ...] = ()) -> str:
        """Install packages with ``dpkg``: nothing is fetched, so all dependencies must be there.

        They have to lie in a folder that the lab sees; ``more`` are options of dpkg.
        """
        # unsafe: what a power cut would leave of this lab's files is nobody's concern
        command = ("dpkg", "--force-unsafe-io", "--force-confold", *more, "--install")
        return self.run(*command, *map(self.seen, debs))

    def seen(self, path: Path) -> str:
        """Return where the lab sees a file of this machine."""
        for inside, folder in self.folders.items():
            if path.is_relative_to(folder):
                return str(Path(inside) / path.relative_to(folder))
        raise LabError(f"{self.name} does not see {path}")

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit, as ``systemctl show`` says them."""
        said = self.run("systemctl", "show", unit, *(f"--property={one}" for one in properties))
        return dict(line.partition("=")[::2] for line in said.splitlines() if "=" in line)

    def between(self, unit: str, first: str, last: str) -> float:
        """Return the seconds between two stamps that systemd itself has put on a unit.

        ``between("reportd", "ActiveExit", "ActiveEnter")``: how long it was not ready.
        """
        stamps = [f"{stamp}TimestampMonotonic" for stamp in (first, last)]
        shown = self.show(unit, *stamps)
        began, ended = (int(shown[stamp]) / 1e6 for stamp in stamps)
        assert ended > began > 0, shown
        return ended - began

    def state(self, unit: str) -> str:
        """Return ``active``, ``failed``, ``activating`` ..."""
        return self.show(unit, "ActiveState").get("ActiveState", "")

    def journal(self, unit: str = "", lines: int = 400) -> str:
        """Return the end of a unit's journal, with what systemd said of it; of all if none."""
        return self.tries(
            *("journalctl", "--no-pager", "--quiet", "--output=short-precise", f"--lines={lines}"),
            *([f"--unit={unit}"] if unit else []),
        ).stdout

    def says(self, words: str, unit: str = "reportd") -> None:
        """Wait until the journal of ``unit`` has ``words``; of everything if it is empty.

        systemctl does not wait for journald. What a process says in its last moment before or
        instead of the program may be filed under no unit: journald finds it gone.
        """
        self.until(lambda: words in self.journal(unit), f"{words!r} in the journal", unit)

    def until(
        self, found: Callable[[], T], what: str, unit: str = "reportd", seconds: float = 120.0
    ) -> T:
        """Wait for something to become true and return it; else show the journal of ``unit``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if result := found():
                return result
            pause(0.1)
        raise LabError(
            f"{self.name}: waited {seconds:g} s in vain for {what}\n{self.journal(unit, lines=80)}"
        )

    def processes(self) -> dict[int, str]:
        """Return reportd's processes: pid *on this machine* -> title without ``reportd: ``.

        By name of the lab's own leader, so that labs side by side do not see each other's.
        """
        found = {}
        namespace = self._namespace()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.stat(folder / "ns" / "pid").st_ino != namespace:  # noqa: PTH116
                    continue
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                continue
            if title.startswith("reportd: "):
                found[int(folder.name)] = title.removeprefix("reportd: ")
        return found

    def _namespace(self) -> int:
        link = self.run("readlink", "/proc/1/ns/pid")
        return int(re.findall(r"\d+", link)[0])

    def _tool(self, command: str, seconds: float) -> None:
        done = subprocess.run(
            [str(lab_tool()), command],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
        )
        if done.returncode:
            raise LabError(f"systemd-lab {command} {self.name}:\n{done.stdout}{done.stderr}")

    def _environment(self) -> dict[str, str]:
        binds = [
            f"--bind{'-ro' if inside == DEBS else ''}={folder}:{inside}"
            for inside, folder in self.folders.items()
        ]
        own = [f"--uuid={self.machine_id}"] if self.machine_id else []
        return _environment(
            SYSTEMD_LAB_NAME=self.name,
            SYSTEMD_LAB_NET="private" if self.private_network else "host",
            SYSTEMD_LAB_NSPAWN_OPTS=" ".join(binds + own),
            **self.environment,
        )


@functools.cache
def _mirror() -> str:
    """Return the mirror that apt uses here, for the base; systemd-lab asks apt for each command."""
    asked = ("apt-get", "indextargets", "--format", "$(REPO_URI)")
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return next((line for line in said.splitlines() if "security" not in line), "")


def _environment(**more: str) -> dict[str, str]:
    """Return the environment of ``systemd-lab``."""
    mirror = os.environ.get("SYSTEMD_LAB_MIRROR") or _mirror()
    return {
        **os.environ,
        "SYSTEMD_LAB_PACKAGES": BASE_PACKAGES,
        **({"SYSTEMD_LAB_MIRROR": mirror} if mirror else {}),
        **more,
    }


def build_base() -> None:
    """Make the base that every lab starts from: a minute or two once, then nothing."""
    done = subprocess.run(
        [str(lab_tool()), "build"],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if done.returncode:
        raise LabError(f"systemd-lab build:\n{done.stderr}")


def maker(
    stack: ExitStack, packages: Packages, made: list[Lab] | None = None
) -> Callable[..., Lab]:
    """Return a maker of labs, with the packages at `DEBS`; they are reset when ``stack`` closes.

    Each is noted in ``made``.
    """

    def make(name: str, *, folders: Mapping[str, Path] | None = None, **more: Any) -> Lab:
        seen = {DEBS: packages.reportd.parent.parent, **(folders or {})}
        lab = Lab(f"t{os.getpid()}-{name}", seen, **more)
        stack.callback(lab.reset)
        if made is not None:
            made.append(lab)
        return lab.up()

    return make


def reset_orphans() -> None:
    """End the labs whose test process is gone: their names say whose they were."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(os.environ.get("SYSTEMD_LAB_DIR") or f"{cache}/systemd-lab") / "labs"
    for lab in folder.glob("t*-*"):
        owner = re.fullmatch(r"t(\d+)-[^.]*", lab.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            Lab(lab.name).reset()
