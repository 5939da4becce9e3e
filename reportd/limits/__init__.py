"""Buckets, windows, daily quotas: plain objects of the worker that owns the key."""
