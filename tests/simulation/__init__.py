"""The deciding core under seeded crashes on a virtual clock; see docs/design/simulation.rst."""
