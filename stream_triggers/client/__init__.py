"""What programs send: events, statuses and results of tasks, triggers.

``messages`` is the client; ``definitions`` reads and writes the stored triggers; ``asynchronous`` is the same client
for programs that run on asyncio.
"""

from stream_triggers.client.asynchronous import AsyncClient
from stream_triggers.client.definitions import Change, StoredTrigger, TriggerSpec
from stream_triggers.client.messages import Client

__all__ = ["AsyncClient", "Change", "Client", "StoredTrigger", "TriggerSpec"]
