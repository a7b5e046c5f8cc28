"""Plays a story of these examples on a real Kafka, in a time that one can wait for.

A story is a function that sends messages and lets time pass. Here ``advance("2h")`` sleeps, ``speed`` times
shorter, and every duration in the triggers is as much shorter. In a test ``TriggerTester`` plays the same story.

A broker is started for the story, or STREAM_TRIGGERS_BOOTSTRAP_SERVERS names the one to use. The topics of each play
have a prefix of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from stream_triggers import Client, Config, broker, invocations, load_triggers
from stream_triggers.core.duration import duration_text, parse_duration
from stream_triggers.core.trigger import trigger_json

DURATIONS = ("within", "wait", "max_wait", "last", "for", "per", "ttl", "grace", "delay", "expires", "max_age")
"""The fields of a trigger that are durations."""

PATIENCE_S = 60.0

Ran = list[tuple[str, dict[str, Any]]]
"""Tasks that ran, with their arguments."""


class Stage(Protocol):
    """What a story uses: a ``TriggerTester`` has it, and so has ``Live``."""

    def send(self, event_code: str, payload: Any = None) -> str: ...
    def result(self, task: str, value: Any = None, *, arguments: Any = ...) -> str: ...
    def failure(self, task: str, exception: type[BaseException], message: str = "") -> str: ...
    def advance(self, duration: str) -> None: ...


class Live:
    """A stage on Kafka."""

    def __init__(self, client: Client, speed: float) -> None:
        self._client = client
        self._speed = speed
        self._calls = 0

    def send(self, event_code: str, payload: Any = None) -> str:
        """Send an event."""
        print("event    ", event_code, payload)
        return self._client.emit_event(event_code, payload)

    def result(self, task: str, value: Any = None, *, arguments: Any = None) -> str:
        """Report what a task returned."""
        print("result   ", task, value)
        return self._client.report_invocation_result(task, self._call(), value, arguments=arguments or {})

    def failure(self, task: str, exception: type[BaseException], message: str = "") -> str:
        """Report that a task raised."""
        print("failure  ", task, f"{exception.__name__}: {message}")
        return self._client.report_invocation_failure(task, self._call(), exception(message))

    def advance(self, duration: str) -> None:
        """Let time pass."""
        self._client.flush()
        seconds = parse_duration(duration, "duration") / 1000 / self._speed
        print(f"          … {duration} in {seconds:g} s")
        time.sleep(seconds)

    def _call(self) -> str:
        self._calls += 1
        return f"call-{self._calls}"


def play(program: str, story: Callable[[Stage], None], expected: Ran, *, speed: float) -> None:
    """Play the story of a ``program``, whose triggers are in the file beside it; exits with 1 if others run."""
    name = Path(program).stem.replace("_", "-")
    triggers = [shortened(trigger_json(each), speed) for each in load_triggers(Path(program).with_suffix(".yaml"))]
    with ExitStack() as stack:
        address = os.environ.get("STREAM_TRIGGERS_BOOTSTRAP_SERVERS")
        if not address:
            print("          starting Apache Kafka")
            address = stack.enter_context(broker.temporary()).bootstrap_servers
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{name}-")))
        config = Config(
            bootstrap_servers=address, application=name, topic_prefix=f"{name}-{os.getpid()}-", state_dir=state
        )
        subprocess.run(_command("topics", "create", config=config), check=True, stdout=subprocess.DEVNULL)
        client = stack.enter_context(Client(config))
        client.apply(triggers)
        worker = subprocess.Popen(_command("run", "--log-level", "warning", config=config))
        stack.callback(worker.wait)
        stack.callback(worker.terminate)
        ran: Ran = []
        stop = threading.Event()
        shown = threading.Thread(target=_show, args=(config, ran, stop))
        shown.start()
        stack.callback(shown.join)
        stack.callback(stop.set)
        story(Live(client, speed))
        client.flush()
        deadline_s = time.monotonic() + PATIENCE_S
        while len(ran) < len(expected) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        time.sleep(1.0)  # for what should not come
    if sorted(ran, key=str) != sorted(expected, key=str):
        sys.exit(f"expected {expected}, found {ran}")
    print("          that is what was expected")


def shortened(value: Any, speed: float) -> Any:
    """The JSON form of a trigger, or a part of it, with all its durations ``speed`` times shorter."""
    if isinstance(value, list):
        return [shortened(item, speed) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: duration_text(max(1, int(parse_duration(item, name) / speed)))
        if name in DURATIONS and isinstance(item, str)
        else shortened(item, speed)
        for name, item in value.items()
    }


def _show(config: Config, ran: Ran, stop: threading.Event) -> None:
    for invocation in invocations(config, group=f"{config.topic_prefix}show", stop=stop):
        print("run      ", invocation.task, invocation.arguments, flush=True)
        ran.append((invocation.task, invocation.arguments))


def _command(*words: str, config: Config) -> list[str]:
    options = {
        "--bootstrap-servers": config.bootstrap_servers,
        "--application": config.application,
        "--topic-prefix": config.topic_prefix,
    }
    if words[0] == "run":
        options["--state-dir"] = str(config.state_dir)
    return [sys.executable, "-m", "stream_triggers", *words, *[word for pair in options.items() for word in pair]]
