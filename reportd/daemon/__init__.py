"""Composes the daemon: configuration -> supervisor with workers and observer as children."""
