"""reportd, reportctl, reportd-enqueue: parse arguments, choose, print; nothing else."""
