"""reportd against a plain asyncio consumer, on this machine, in one run: ``make bench``."""
