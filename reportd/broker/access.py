"""Which rights on the broker each of our programs needs. Pure; printed by ``topics create``."""

from dataclasses import dataclass

from reportd.broker.topics import Topics


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on a topic or a group, for one program's principal."""

    program: str
    resource: str
    """``topic`` or ``group``."""
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False
    """The name is what the resources' names start with."""

    def command(self, principal: str) -> str:
        """Return the options of ``kafka-acls.sh --add`` that give it to ``principal``."""
        operations = " ".join(f"--operation {operation}" for operation in self.operations)
        pattern = " --resource-pattern-type prefixed" if self.prefixed else ""
        return f"--allow-principal {principal} {operations} --{self.resource} {self.name}{pattern}"


def rights(prefix: str, group: str) -> list[Right]:
    """Return what daemon, enqueuer and operator need, and no more."""
    topics = Topics(prefix)
    partner_topics = [f"{prefix}.{kind}." for kind in ("requests", "backfill", "ledger")]
    inboxes = partner_topics[:2]
    shared = (topics.runs, topics.accounts)
    return [
        *(
            Right("reportd", "topic", name, ("Describe", "Read", "Write", "Delete"), prefixed=True)
            for name in partner_topics
        ),
        Right("reportd", "topic", topics.dead, ("Describe", "Write")),
        Right("reportd", "topic", topics.vms, ("Describe", "Read", "Write")),
        Right("reportd", "topic", topics.control, ("Describe", "Read")),
        Right("reportd", "topic", topics.runs, ("Describe", "Read", "Write")),
        Right("reportd", "topic", topics.accounts, ("Describe", "Read")),
        Right("reportd", "group", group, ("Describe", "Read")),
        *(
            Right("reportd-enqueue", "topic", name, ("Describe", "Read", "Write"), prefixed=True)
            for name in inboxes
        ),
        *(
            Right("reportd-enqueue", "topic", name, ("Describe", "Read", "Write"))
            for name in shared
        ),
        Right(
            "reportctl",
            "topic",
            f"{prefix}.",
            ("Create", "Describe", "DescribeConfigs", "Alter", "AlterConfigs", "Read", "Write"),
            prefixed=True,
        ),
        Right("reportctl", "group", group, ("Describe", "Read")),  # `leave` joins as who is gone
    ]
