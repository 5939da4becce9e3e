"""What reportd is compared with: asyncio, aiohttp, aiokafka, uvloop; as quick as we can make it.

It keeps less than reportd does: no fsync, no receipt, no look before a call, no fence, no ledger;
after a crash it asks again what it had not committed.
"""
