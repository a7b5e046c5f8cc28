"""The demo: the main job on a real Kafka of its own, with a worker killed in the middle, and the proof at the end.

It starts a broker that is gone afterwards, two workers and a task worker as processes of their own, sends events, kills
a worker with SIGKILL when half of them are sent, waits until nothing is left to do, and has ``verify`` compare what was
invoked with what the definitions and the messages say must have been.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stream_triggers import broker
from stream_triggers.client import Client
from stream_triggers.config import Config
from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import JsonValue
from stream_triggers.core.trigger import trigger_json
from stream_triggers.errors import Unavailable
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.lag import partitions_of, unread
from stream_triggers.runtime.log import Reader
from stream_triggers.runtime.topics import Topics, specs
from stream_triggers.supervisor import Supervisor
from stream_triggers.trigger_file import load_triggers
from stream_triggers.verify import Report, verify

WORKERS = ("worker-0", "worker-1")
KILLED = "worker-1"
TASKS = "tasks"
APPLICATION = "demo"

SEND_S = 8.0
"""Time over which the events are sent, so that there is something to see; the engine could do it much faster."""

STEPS = 100
"""Steps in which they are sent."""

QUIET_TIMEOUT_S = 60.0


def run(events: int, console: Console) -> Report:
    """Run the demo with this many ``events`` and show it on ``console``; the report says whether it went well."""
    console.print("[bold]1[/]  starting Apache Kafka, on this machine and only for this demo")
    with broker.temporary() as kafka, tempfile.TemporaryDirectory(prefix="stream-triggers-demo-") as state:
        console.print(f"   Kafka {kafka.version} at {kafka.bootstrap_servers}")
        config = Config(
            bootstrap_servers=kafka.bootstrap_servers,
            application=APPLICATION,
            state_dir=Path(state),
            log_level="warning",
        )
        return _Demo(config, events, console).run()


class _Demo:
    def __init__(self, config: Config, events: int, console: Console) -> None:
        self._config = config
        self._events = events
        self._console = console
        self._topics = Topics(APPLICATION)
        self._workers = KafkaLog(KafkaSettings(config.bootstrap_servers, group=APPLICATION))
        self._task_workers = KafkaLog(KafkaSettings(config.bootstrap_servers, group=f"{APPLICATION}-tasks"))
        self._triggers = load_triggers(Path(str(resources.files("stream_triggers.demo") / "orders.yaml")))
        self._seen: Counter[str] = Counter()

    def run(self) -> Report:
        self._workers.create_topics(specs(self._topics, {}, claim_retention_ms=self._config.claim_retention_ms))
        with Client(self._config) as client:
            client.apply(self._triggers)
            self._console.print("[bold]2[/]  the triggers of an order are applied")
            self._console.print(self._table_of_triggers())
            self._console.print(f"[bold]3[/]  two workers and a task worker run, {self._events:,} events are sent")
            with _processes(self._config, self._console) as supervisor:
                self._play(client, supervisor)
        self._console.print("[bold]4[/]  every invocation is checked against the messages and the definitions")
        report = verify(self._workers, self._config, AllowedFunctions())
        self._console.print(self._table_of_counts())
        return report

    def _play(self, client: Client, supervisor: Supervisor) -> None:
        """Send the events, kill a worker half way, show the invocations as they become readable, until all is done."""
        progress = Progress(
            TextColumn("   events sent"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=self._console
        )
        bar = progress.add_task("events", total=self._events)
        reader = self._workers.reader()
        reader.assign(self._workers.start_offsets(partitions_of(self._workers, [self._topics.invocations])))
        with Live(progress, console=self._console, transient=True, refresh_per_second=8) as live:
            for step in range(STEPS):
                began_s = time.monotonic()
                self._send(client, self._events * step // STEPS, self._events * (step + 1) // STEPS)
                if step == STEPS // 2:
                    self._kill(supervisor)
                self._look(reader)
                progress.update(bar, completed=self._events * (step + 1) // STEPS)
                live.update(Group(progress, self._table_of_counts()))
                time.sleep(max(0.0, SEND_S / STEPS - (time.monotonic() - began_s)))
            deadline_s = time.monotonic() + QUIET_TIMEOUT_S
            while not self._is_quiet():
                self._look(reader)
                live.update(Group(progress, self._table_of_counts()))
                if time.monotonic() > deadline_s:
                    raise Unavailable(
                        f"not everything was processed within {QUIET_TIMEOUT_S:g} s",
                        hint="the machine may be busy: try fewer --events",
                    )
            self._look(reader)
        reader.close()

    def _send(self, client: Client, first: int, end: int) -> None:
        for number in range(first, end):
            order = f"order-{number}"
            payload = {"order_id": order, "total": number % 500}
            client.emit_event("order.placed", payload, key=order, event_id=f"placed-{number}")
        client.flush()

    def _kill(self, supervisor: Supervisor) -> None:
        pid = supervisor.pid(KILLED)
        if pid is None:
            raise Unavailable(f"{KILLED} is not running when it should be killed", hint="start the demo again")
        os.kill(pid, signal.SIGKILL)
        self._console.print(
            f"   [bold red]{KILLED} (process {pid}) was killed with SIGKILL, in the middle of its work[/]"
        )

    def _look(self, reader: Reader) -> None:
        """Count the invocations that have become readable."""
        while records := reader.poll(10_000, 0.0):
            for record in records:
                invocation = decode(record.value())
                assert isinstance(invocation, Invocation)
                self._seen[invocation.trigger_id] += 1

    def _is_quiet(self) -> bool:
        """Whether everything is read, and nothing was written while that was asked."""
        invocations = partitions_of(self._workers, [self._topics.invocations])
        inputs = partitions_of(self._workers, self._topics.inputs)
        before = self._workers.end_offsets([*inputs, *invocations])
        return (
            not unread(self._workers, inputs)
            and not unread(self._task_workers, invocations)
            and self._workers.end_offsets(before) == before
        )

    def _table_of_triggers(self) -> Table:
        table = Table("trigger", "when", "task", box=None, padding=(0, 3))
        for trigger in self._triggers:
            when = "  ".join(f"{word}: {_short(value)}" for word, value in trigger_json(trigger)["when"].items())
            table.add_row(trigger.id, when, trigger.task)
        return table

    def _table_of_counts(self) -> Table:
        table = Table("trigger", "invocations", "task", box=None, padding=(0, 3))
        for trigger in self._triggers:
            table.add_row(trigger.id, f"{self._seen[trigger.id]:,}", trigger.task)
        return table


@contextmanager
def _processes(config: Config, console: Console) -> Iterator[Supervisor]:
    """The workers and the task worker, each a process that is started again when it dies."""
    options = (
        "--stop-on-eof",
        *("--bootstrap-servers", config.bootstrap_servers),
        *("--application", config.application),
        *("--state-dir", str(config.state_dir)),
        *("--log-level", config.log_level),
    )

    def command(slot: str) -> list[str]:
        job = ["work", "stream_triggers.demo.tasks:app"] if slot == TASKS else ["run"]
        return [sys.executable, "-m", "stream_triggers", *job, "--slot", slot, *options]

    def show(slot: str, line: str) -> None:
        console.print(f"   [dim]{slot} | {escape(line)}[/]")

    supervisor = Supervisor(command, (*WORKERS, TASKS), budget_s=10.0, output=show)
    stop = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(stop,), name="supervisor")
    thread.start()
    try:
        yield supervisor
    finally:
        stop.set()
        thread.join()


def _short(value: JsonValue) -> str:
    """A filter, a list or a text of the table, without the signs that JSON needs."""
    return str(value).translate(str.maketrans("", "", "{}[]'"))
