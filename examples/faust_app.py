"""A Faust application beside the engine: it emits events, and runs the task that a trigger on them invokes.

Start a broker and the engine, store the trigger, then run this:

    stream-triggers broker start --port 9092
    stream-triggers topics create
    stream-triggers apply examples/faust_triggers.yaml
    stream-triggers run &
    faust --workdir examples -A faust_app worker --without-web

and write an order, one JSON object a line, to the topic ``orders``: {"id": "7", "total": 120}.

Everything here is at least once. An event emitted again has the same id, so its trigger fires once; what ``ship`` does
for an invocation it does again after a crash, and can tell by ``invocation.id``.
"""

import os

import faust
from faust.types import StreamT

from stream_triggers.faust import Invocation, emit_event, invocations_agent, report_status

BROKER = os.environ.get("STREAM_TRIGGERS_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
PREFIX = os.environ.get("STREAM_TRIGGERS_TOPIC_PREFIX", "")

app = faust.App(
    "shop",
    broker=f"kafka://{BROKER}",
    store="memory://",
    topic_disable_leader=True,
    topic_partitions=4,
    consumer_auto_offset_reset="earliest",
)


class Order(faust.Record):
    """What the shop writes."""

    id: str
    total: int


orders = app.topic(f"{PREFIX}orders", value_type=Order)


@app.agent(orders)
async def announce(stream: StreamT[Order]) -> None:
    """Tell the engine about every order."""
    async for order in stream:
        facts = {"id": order.id, "total": order.total}
        await emit_event(app, "order.placed", facts, key=order.id, topic_prefix=PREFIX)


@invocations_agent(app, task="shop.ship", topic_prefix=PREFIX)
async def ship(stream: StreamT[Invocation]) -> None:
    """Do what the trigger asks for, and say so, which may fire the next trigger."""
    async for invocation in stream:
        order_id = invocation.arguments["order"]
        print("ship order", order_id, "for", invocation.id, flush=True)
        await report_status(app, invocation, "success", topic_prefix=PREFIX)
        await emit_event(app, "order.shipped", {"id": order_id}, key=order_id, topic_prefix=PREFIX)
