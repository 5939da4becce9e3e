"""``python -m reportd.demo.simulator CONFIG.json``: serve until standard input ends."""

import asyncio
import gc
import sys
from pathlib import Path

from reportd.demo.simulator.config import from_json
from reportd.demo.simulator.server import hurry, serve


def main() -> None:
    """Run the simulator's process."""
    config = from_json(Path(sys.argv[1]).read_bytes())
    hurry()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    asyncio.run(serve(config))


if __name__ == "__main__":
    main()
