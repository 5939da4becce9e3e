"""``python -m bench.peer SETTINGS.json``: so many forked processes, until SIGTERM."""

import gc
import multiprocessing
import signal
import sys
from pathlib import Path

import uvloop

from bench.peer.consumer import Worker
from bench.peer.settings import PeerSettings, read


def work(settings: PeerSettings) -> None:
    """Be one process."""
    uvloop.run(Worker(settings).run())


def main() -> int:
    """Fork the processes, everything imported; end them with us."""
    settings = read(Path(sys.argv[1]))
    if settings.processes == 1:
        work(settings)
        return 0
    gc.freeze()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(settings,)) for _ in range(settings.processes)]
    for child in children:
        child.start()

    def stop(_signum: int, _frame: object) -> None:
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    for child in children:
        child.join()
    return max(child.exitcode or 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
