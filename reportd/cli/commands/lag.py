"""``reportctl lag``: where the group is in each partition, and what is open there."""

import argparse
import http.client
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from reportd.broker.admin import Admin
from reportd.broker.message import Part
from reportd.broker.topics import Topics
from reportd.cli.observing import ask_observer
from reportd.cli.options import add_config_option
from reportd.cli.reaching import reach
from reportd.cli.showing import show_json, show_table
from reportd.config.load import Config, load
from reportd.config.problems import did_you_mean
from reportd.errors import ConfigError

if TYPE_CHECKING:
    from reportd.cli.options import Subparsers


@dataclass(frozen=True, slots=True)
class Place:
    """One partition: what the broker knows, and what this VM's worker does."""

    topic: str
    partition: int
    begin: int
    commit: int | None
    """None: the group has committed nothing yet."""
    end: int
    open: int | None
    """None: another VM's, or nobody's; it is at most the lag."""

    @property
    def lag(self) -> int:
        """Offsets not committed: finished ones behind an open one are among them."""
        return max(0, self.end - (self.begin if self.commit is None else self.commit))


def add_parser(subparsers: "Subparsers") -> argparse.ArgumentParser:
    """Add ``lag [PARTNER] [--json]``."""
    parser = subparsers.add_parser(
        "lag",
        help="where the group is in each partition",
        description="Show each partition's first offset, commit, end and lag, and how many "
        "requests are open in it where this VM has it. The lag counts what has ended behind an "
        "open request, too: judge by what is open.",
        epilog="example: reportctl lag google_ads",
    )
    parser.add_argument("partner", nargs="?", metavar="PARTNER", help="of this partner alone")
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Show it; raises `BrokerError`."""
    config = load(args.config)
    topics = Topics(config.settings.kafka.prefix)
    admin = Admin(reach(config.settings.kafka))
    try:
        found = list(_places(admin, topics, args.partner, _open(config)))
    finally:
        admin.close()
    if args.json:
        show_json([{**asdict(one), "lag": one.lag} for one in found])
        return 0
    show_table(
        ("topic", "partition", "begin", "commit", "end", "lag", "open"),
        (
            (one.topic, one.partition, one.begin, one.commit, one.end, one.lag, one.open)
            for one in found
        ),
        empty="no partner has topics: 'reportctl topics create' makes them",
    )
    return 0


def _places(
    admin: Admin, topics: Topics, partner: str | None, opened: Mapping[Part, int]
) -> Iterator[Place]:
    counts = admin.topics()
    parsed = {name: kind for name in counts if (kind := topics.parse(name)) is not None}
    known = sorted({of for _, of in parsed.values()})
    if partner is not None and partner not in known:
        raise ConfigError(f"{partner} has no topics; {did_you_mean(partner, known)}")
    names = [
        name
        for name, (kind, of) in sorted(parsed.items())
        if kind != "ledger" and partner in (None, of)
    ]
    parts = [(name, number) for name in names for number in range(counts[name])]
    commits = admin.group_offsets(topics.prefix, names)
    begins, ends = admin.begin_offsets(parts), admin.end_offsets(parts)
    for part in parts:
        commit = commits[part].offset if part in commits else None
        yield Place(*part, begins[part], commit, ends[part], opened.get(part))


def _open(config: Config) -> dict[Part, int]:
    """Return how many requests are open in the partitions that this VM has, if it is there."""
    try:
        found = ask_observer(config.settings.metrics)
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return {
        (one["topic"], one["partition"]): sum(one["states"].values())
        for one in found.get("partitions", ())
        if one["owner"] is not None
    }
