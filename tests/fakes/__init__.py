"""The catalogue's partners, played with their oddities: pure objects that answer calls.

A comment beside what a fake says tells where it comes from: ``recorded`` is a file of
``tests/data/recorded``, anything else an address.
"""
