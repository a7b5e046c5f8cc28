"""The load: triggers, and a sender that knows what every message it has sent must lead to.

The truth is kept here, apart from the engine: a message leads to what its kind and number say, once however often it
is sent.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import NamedTuple

from stream_triggers.client import Client
from stream_triggers.config import Config
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import DeliveryFailed

KEYS = 40
STEP_S = 0.02
REPEAT_CHANCE = 0.05
LARGE_EVERY = 7
TASK = "ship"

TRIGGERS: list[dict[str, JsonValue]] = [
    {
        "id": "each-order",
        "when": {"event": "order.placed"},
        "task": TASK,
        "key": "${event.payload.key}",
        "args": {"key": "${event.payload.key}", "n": "${event.payload.n}"},
    },
    {
        "id": "large-order",
        "when": {"any": [{"event": "order.placed", "filter": {"large": True}}, {"event": "order.grown"}]},
        "task": TASK,
        "args": {"key": "${event.payload.key}", "n": "${event.payload.n}"},
    },
    {
        "id": "shipped",
        "when": {"status": TASK, "is": ["success"]},
        "task": "tell",
        "args": {"key": "${status.arguments.key}", "n": "${status.arguments.n}"},
    },
    {
        "id": "receipt",
        "when": {"result": TASK, "filter": {"$": {"gte": 0}}},
        "task": "tell",
        "args": {"key": "${result.arguments.key}", "n": "${result.value}"},
    },
]
"""Every kind of leaf there is to fire on, and an OR."""


class Message(NamedTuple):
    """One occurrence; sending it again is sending the same."""

    kind: str
    key: str
    n: int

    @property
    def fires(self) -> tuple[str, ...]:
        """The triggers that it must make fire."""
        match self.kind:
            case "order.placed":
                return ("each-order", "large-order") if self.n % LARGE_EVERY == 0 else ("each-order",)
            case "status":
                return ("shipped",)
            case "result":
                return ("receipt",)
        return ()


Fired = tuple[str, str, int]
"""A trigger that fired, and the key and number of the message it fired for."""


class Feeder:
    """Sends messages on a thread of its own until it is told to stop."""

    def __init__(self, config: Config, *, rate: int, seed: int) -> None:
        """``rate`` is in messages a second, of all kinds."""
        self._client = Client(config, source="feeder")
        self._random = random.Random(seed)
        self._rate = rate
        self._numbers: Counter[str] = Counter()
        self._sent: list[Message] = []
        self._by_id: dict[str, Message] = {}
        self.has_sent_late = False
        """Whether messages were given up by Kafka's client, and sent again behind later ones."""
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> Feeder:
        """Begin to send."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Send no more; returns when the brokers have everything."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._flush()
        self._client.close()

    def send(self, count: int) -> None:
        """Send ``count`` messages now, and wait until the brokers have them."""
        for _ in range(count):
            self._send_one()
        self._flush()

    @property
    def sent(self) -> int:
        """How many different messages were sent up to now."""
        return len(self._sent)

    def expected(self) -> Counter[Fired]:
        """What everything sent must have led to, each once."""
        return Counter((trigger, each.key, each.n) for each in self._sent for trigger in each.fires)

    def repeat_all(self, messages: int) -> None:
        """Send the last ``messages`` again, as a sender that does not know whether they arrived."""
        for message in self._sent[-messages:]:
            self._write(message)
        self._flush()

    def _run(self) -> None:
        try:
            began_s, count = time.monotonic(), 0
            while not self._stop.wait(STEP_S):
                due = int((time.monotonic() - began_s) * self._rate)
                for _ in range(due - count):
                    self._send_one()
                count = max(count, due)
        except BaseException as error:  # noqa: BLE001 - raised again by stop
            self._error = error

    def _send_one(self) -> None:
        if self._sent and self._random.random() < REPEAT_CHANCE:
            self._write(self._random.choice(self._sent))
            return
        kind = self._random.choices(("order.placed", "status", "result", "ignored"), (70, 10, 10, 10))[0]
        key = f"{kind}-{self._random.randrange(KEYS)}"
        self._numbers[key] += 1
        message = Message(kind, key, self._numbers[key])
        self._sent.append(message)
        self._write(message)

    def _flush(self) -> None:
        """Wait until the brokers have everything; what Kafka's client gave up is sent again, as the same messages."""
        while True:
            try:
                self._client.flush()
            except DeliveryFailed as error:
                self.has_sent_late = True
                for name, _ in error.failures:
                    self._write(self._by_id[name.partition("/")[2]])
            else:
                return

    def _write(self, message: Message) -> None:
        kind, key, n = message
        name, arguments = f"{key}-{n}", {"key": key, "n": n}
        match kind:
            case "status":
                sent = self._client.report_task_status(TASK, name, "success", arguments=arguments, time_ms=n)
            case "result":
                sent = self._client.report_invocation_result(TASK, name, n, arguments=arguments, time_ms=n)
            case _:
                payload = {**arguments, "large": n % LARGE_EVERY == 0}
                sent = self._client.emit_event(kind, payload, key=key, event_id=name, time_ms=n)
        self._by_id[sent] = message
