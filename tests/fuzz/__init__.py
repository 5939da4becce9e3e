"""Recorded answers with wrong bytes: whatever comes has a class, and costs what was said."""
