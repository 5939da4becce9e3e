"""A day of ten million requests on a virtual clock: the real engine, limits and ledger image."""
