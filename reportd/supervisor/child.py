"""One child process: what it is asked to do, how it is forked, how it ends.

`fork_child` runs in the supervisor; everything below it in the child, which never returns into
the supervisor's code: it leaves by ``os._exit`` with the status that its function returned, 78 or
75 for the errors that say so, 1 for anything unexpected.
"""

import ctypes
import faulthandler
import gc
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType

from setproctitle import setproctitle

from reportd.board import Slot
from reportd.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, ConfigError, Halt, UnavailableError
from reportd.supervisor.inbox import LEAVE, blocked, unblock

logger = logging.getLogger(__name__)

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8
_ARENAS = 2
_STDERR = 2


class Stop:
    """Whether this child was asked to drain and stop. Made in the child, after the fork."""

    def __init__(self, parent: int) -> None:
        """Open the pipe that becomes readable when a stop is asked."""
        self._parent = parent
        self._asked = False
        self._for_good = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def requested(self) -> bool:
        """Return whether to stop: it was asked, or the supervisor is gone."""
        return self._asked or os.getppid() != self._parent

    def for_good(self) -> bool:
        """Return whether nobody will take this child's place."""
        return self._for_good

    def fileno(self) -> int:
        """Return a descriptor that is readable from the moment a stop is asked; never read it."""
        return self._reader

    def listen(self) -> None:
        """Take SIGTERM, SIGINT and `LEAVE` as the wish to stop; main thread only."""
        # The wakeup descriptor is written by the C handler: a poll in another thread wakes
        # although the main thread sits in a library.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(LEAVE, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self._asked = True
        self._for_good |= number == LEAVE


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildContext:
    """What a child's function is handed."""

    name: str
    slot: Slot
    """Beat here at least every few seconds: the silent are aborted."""
    strikes: Mapping[str, int]
    """Crash strikes by request id, as they stood at the fork."""
    stop: Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One child as the supervisor knows it."""

    name: str
    """Also the name of its metrics files: no underscore."""
    title: str
    """What ``ps`` shows behind ``reportd: ``."""
    slot_index: int
    """Its slot of the board."""
    run: Callable[[ChildContext], int] = field(repr=False)
    """Runs in the child and returns its exit status."""
    last: bool = False
    """Stopped and replaced after all others: the observer, who shows how they drain."""


def fork_child(spec: ChildSpec, slot: Slot, strikes: Mapping[str, int]) -> int:
    """Fork one child and return its pid. Nothing else may run in this process: no threads."""
    parent = os.getpid()
    gc.collect()
    gc.freeze()  # what both share is not written to by the child's collector: it stays shared
    with blocked():
        pid = os.fork()
        if pid == 0:
            _live(spec, slot, strikes, parent)
    return pid


def _live(spec: ChildSpec, slot: Slot, strikes: Mapping[str, int], parent: int) -> None:
    """Be the child; never returns."""
    status = 1
    try:
        stop = Stop(parent)
        _settle(spec.title, parent)
        stop.listen()
        unblock()
        context = ChildContext(name=spec.name, slot=slot, strikes=strikes, stop=stop)
        status = guarded(lambda: spec.run(context), slot, spec.name)
    finally:
        leave(status)


def _settle(title: str, parent: int) -> None:
    """Make this fresh fork a process of its own that dies with its parent."""
    die_with_parent(parent)
    share_arenas()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    faulthandler.enable(file=_STDERR, all_threads=True)  # SIGABRT too: how the wedged are ended
    faulthandler.register(signal.SIGUSR1, file=_STDERR, all_threads=True, chain=False)
    setproctitle(f"reportd: {title}")


def die_with_parent(parent: int) -> None:
    """Let the kernel end this process when the one that forked it ends.

    The daemon is started again by whoever watches it: children of the one before must be gone,
    or two processes would share a group member's name.
    """
    if _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        logger.warning("cannot tie this process to its supervisor", extra={"action": "no_pdeath"})
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def share_arenas() -> None:
    """Let all threads share two of malloc's arenas, which M_ARENA_MAX of mallopt(3) says.

    librdkafka's seven have one each otherwise: 0.15 MB of an idle worker.
    """
    mallopt = getattr(_LIBC, "mallopt", None)  # not every C library has it
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def guarded(run: Callable[[], int], slot: Slot, name: str) -> int:
    """Run a child's function; turn what it raises into an exit status and a reason."""
    try:
        return run()
    except Halt as halt:
        slot.halt(halt.status, halt.reason)
        return halt.status
    except ConfigError as error:
        slot.halt(EXIT_CONFIG, str(error))
        return EXIT_CONFIG
    except UnavailableError as error:
        slot.halt(EXIT_UNAVAILABLE, str(error))
        return EXIT_UNAVAILABLE
    except Exception as error:  # the process's one broad except: it ends here
        logger.critical(
            "%s ends by an unexpected error", name, exc_info=error, extra={"action": "child_failed"}
        )
        slot.halt(1, f"{type(error).__name__}: {error}")
        return 1


def leave(status: int) -> None:
    """End this process now, without running what belongs to the supervisor."""
    logging.shutdown()
    os._exit(status)
