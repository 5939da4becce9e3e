"""``reportd``: the daemon."""

import argparse
import os
import sys
from collections.abc import Sequence

from reportd.cli.options import add_config_option


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; return its exit status: 0 stopped, 78 configuration, 75 not there yet."""
    parser = argparse.ArgumentParser(
        prog="reportd",
        description="Take requests from Kafka, download, write files. Signals: TERM drains and "
        "stops, HUP checks the configuration and replaces the workers one by one, USR1 dumps "
        "stacks.",
    )
    add_config_option(parser)
    args = parser.parse_args(argv)
    # Libraries that start threads when they are imported: the supervisor forks, it must have none
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from reportd.daemon.wiring import run  # noqa: PLC0415  # they read it at their import

    return run(args.config)


if __name__ == "__main__":
    sys.exit(main())
