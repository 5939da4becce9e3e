"""Forks, watches, respawns, drains, reloads. No Kafka, threads or HTTP. Only here: os.fork, signal."""
