"""One consumer process: loop, ledger, scheduler, executor, recovery."""
