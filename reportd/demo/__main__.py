"""``python -m reportd.demo``: see `reportd.demo.demo`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from reportd.demo.demo import run_demo
from reportd.demo.scene import demo_scene
from reportd.errors import ReportdError


def main() -> int:
    """Run the demo; 1: a promise was broken, or it could not be run to its end."""
    parser = argparse.ArgumentParser(prog="python -m reportd.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="emptied first")
    parser.add_argument("--seconds-limit", type=float, default=300.0, metavar="N")
    parser.add_argument("--scale", type=float, default=1.0, help="how much is asked for")
    parser.add_argument("--keep", action="store_true", help="keep the broker's data, too")
    arguments = parser.parse_args()
    console = Console()
    try:
        return run_demo(
            arguments.folder.absolute(),
            demo_scene(arguments.scale),
            console,
            arguments.seconds_limit,
            keep=arguments.keep,
        )
    except ReportdError as error:
        console.print(f"The demo could not be run to its end: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
