"""Forks, watches, respawns, drains, reloads. No Kafka, no threads, no HTTP.

Only here: os.fork, signal.
"""
