"""Runs the programs that are compared, each as a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.load import Work
from bench.meter import Measurement

COMMIT_MS = 100
"""The default of the engine, and of Kafka Streams under exactly-once."""

TIMEOUT_S = 900.0
STOP_S = 60.0

_JVM = ("-Xms1g", "-Xmx1g", "-XX:+UseParallelGC")
"""The collector for throughput, with memory enough that it seldom runs; the default one took longer."""

_STREAMS = Path(__file__).parent / "kafka_streams"
_SCHEMAS = Path(__file__).parent.parent / "schemas"
_PYTHON = (sys.executable, "-m")


class Failed(Exception):
    """A program that is measured did not end well; the message has the end of what it said."""


def floor(work: Work, messages: int, *, forward: bool = True) -> Measurement:
    """The client's floor; see ``bench.floor``."""
    option = "--forward" if forward else "--no-forward"
    return _measured([*_PYTHON, "bench.floor", *_names(work), str(messages), option])


def engine(work: Work, messages: int) -> Measurement:
    """One worker of the engine."""
    return _measured(_engine(work, messages, "0"))


def engine_keyed(work: Work, facts: int) -> Measurement:
    """One worker of the engine, until it has evaluated so many facts; what is counted are facts."""
    return _measured([*_engine(work, facts, "0"), "--facts"])


def engine_catching_up(work: Work, messages: int) -> Measurement:
    """One worker of the engine with a trigger that starts when everything has been read."""
    return _measured([*_PYTHON, "bench.engine", "catch-up", *_names(work), str(messages)])


def judge(work: Work) -> Measurement:
    """Verification of what a worker has done; see ``bench.judging``."""
    return _measured([*_PYTHON, "bench.judging", *_names(work)])


@contextmanager
def engines(work: Work, messages: int, workers: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Several workers of the engine that share the input; each ends when it has got nothing for some seconds."""
    running = [_start(_engine(work, messages, str(slot))) for slot in range(workers)]
    try:
        yield running
    finally:
        for each in running:
            each.kill()
            each.wait()


@contextmanager
def engine_serving(work: Work) -> Iterator[None]:
    """A worker of the engine that works until the end of the block."""
    with _serving([*_PYTHON, "bench.engine", "serve", *_names(work)]):
        yield


@dataclass(frozen=True)
class KafkaStreams:
    """The same work as a Kafka Streams program, built."""

    classpath: str
    style: Literal["tuned", "plain"] = "tuned"
    """With a codec by hand and settings for this work, or with default settings, Avro's and Jackson's libraries."""

    def count(self, work: Work, messages: int, commit_ms: int = COMMIT_MS) -> Measurement:
        """One process with one stream thread."""
        with tempfile.TemporaryDirectory() as state:
            return _measured(self._command(work, state, messages, commit_ms))

    @contextmanager
    def serving(self, work: Work, commit_ms: int) -> Iterator[None]:
        """A process that works until the end of the block."""
        with tempfile.TemporaryDirectory() as state, _serving(self._command(work, state, 0, commit_ms)):
            yield

    def _command(self, work: Work, state: str, messages: int, commit_ms: int) -> list[str]:
        options = {
            "bootstrap": work.bootstrap_servers,
            "application": f"{work.name}.{work.application}.streams-{self.style}",
            "events": work.topics.events,
            "invocations": work.streams_invocations,
            "runs": work.streams_runs,
            "state": state,
            "messages": messages,
            "commit-ms": commit_ms,
            "threads": 1,
            "schemas": _SCHEMAS,
            "style": self.style,
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return ["java", *_JVM, "-cp", self.classpath, "bench.Main", *arguments]


def build_kafka_streams() -> KafkaStreams | str:
    """The Kafka Streams program, built with Maven; why not, where it cannot be."""
    for tool in ("mvn", "java"):
        if shutil.which(tool) is None:
            return f"not run: no {tool} on the PATH"
    built = subprocess.run(["mvn", "-q", "-B", "package"], cwd=_STREAMS, capture_output=True, text=True, check=False)
    if built.returncode:
        return f"not run: mvn package failed: {(built.stdout + built.stderr)[-500:]}"
    return KafkaStreams(f"{_STREAMS / 'target' / 'classes'}:{_STREAMS / 'target' / 'lib'}/*")


def _names(work: Work) -> tuple[str, str, str]:
    return (work.bootstrap_servers, work.name, work.application)


def _engine(work: Work, messages: int, slot: str) -> list[str]:
    return [*_PYTHON, "bench.engine", "count", *_names(work), str(messages), "--slot", slot]


def _measured(command: Sequence[str]) -> Measurement:
    return ended(_start(command))


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> Measurement:
    """Wait for the end of a program; what it has measured. Raises ``Failed``."""
    try:
        said, complained = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if process.returncode:
        raise Failed(f"{process.args!r} ended with {process.returncode}: {complained[-2000:]}")
    measured: Measurement = json.loads(said.splitlines()[-1])
    return measured


@contextmanager
def _serving(command: Sequence[str]) -> Iterator[None]:
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True)
        assert process.stdin is not None
        try:
            yield
            if process.poll() is not None:
                said.seek(0)
                raise Failed(f"{process.args!r} ended early: {said.read()[-2000:]}")
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
