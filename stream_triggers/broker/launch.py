"""One start: settings, format, process, first answer.

The state file is written as soon as there is a process, before it answers, so a caller that dies while waiting leaves
a broker that the next ``start`` or ``stop`` finds. Kafka's directory is formatted under another name and then
renamed, so one that exists is whole.
"""

from __future__ import annotations

import base64
import secrets
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stream_triggers.broker import classes, jars, pins, process, ready, settings
from stream_triggers.broker.data import DataDir, State
from stream_triggers.broker.java import Java, find
from stream_triggers.errors import Misconfigured, Unavailable

_FORMAT_S = 60.0
_TAIL_LINES = 15
# Below the range from which systems take ports for outgoing connections, so that a client which keeps calling a dead
# broker cannot be given the broker's own port, and a restart finds it free.
_PORTS = range(20_000, 32_000)

# Measured on two cores (3 million records): the C1 compiler alone serves as many records for half the CPU, and starts
# faster; the serial collector needs a third less memory than G1 and parallel, at the same speed.
_JVM = (
    "-Xms128m",
    "-Xmx768m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+ErrorFileToStdout",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.NetworkClient=error",
)
_JVM_24 = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")  # what they warn of otherwise


class PortTaken(Misconfigured):
    """Another process has taken one of the broker's ports since they were chosen."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """What it takes to run a class of Kafka for one data directory."""

    data: DataDir
    java: Java
    spawn: process.Spawn
    fixed: tuple[str, ...]  # the JVM's arguments that a class archive depends on
    archive: Path

    @property
    def class_list(self) -> Path:
        return self.data.temporary / "classes.list"

    def run(self, main: str, *arguments: str) -> int:
        """Start a class in the background, its output going to the broker's log."""
        own = [f"-Djava.io.tmpdir={self.data.temporary}"]  # native libraries are unpacked here
        if not self.archive.exists():
            own.append(f"-XX:DumpLoadedClassList={self.class_list}")
        elif self.archive.stat().st_size:
            own.append(f"-XX:SharedArchiveFile={self.archive}")
        command = [str(self.java.executable), *own, *self.fixed, main, *arguments]
        return self.spawn(command, self.java.environment(), self.data.log)


def prepare(data: DataDir, spawn: process.Spawn, *, progress: bool) -> Launcher:
    """Find Java and the jars."""
    java = find()
    class_path = ":".join(str(jar) for jar in jars.ensure(progress=progress))
    fixed = (*_JVM, *(_JVM_24 if java.major >= 24 else ()), "-cp", class_path)
    return Launcher(data, java, spawn, fixed, classes.archive_path(jars.cache_dir(), java))


def launch(launcher: Launcher, *, port: int, properties: Mapping[str, str], timeout_s: float) -> State:
    """Start a broker and wait until it answers; nothing is left running if this raises.

    Raises:
        Misconfigured: it ended at once; the hint holds the end of its log.
        Unavailable: it did not answer in time.

    """
    data = launcher.data
    _lay_out(data)
    if not data.formatted():
        _format(launcher, port, properties)
    _write_settings(data, data.kafka, port, properties)
    pid = launcher.run("kafka.Kafka", str(data.settings))
    born = process.birth(pid) or ""
    try:
        state = State(pid, born, port, pins.load().kafka, dict(properties))
        data.write(state)
        ready.wait(port, data.cluster_id(), alive=state.alive, timeout_s=timeout_s)
        classes.make(launcher.java, launcher.fixed, launcher.class_list, launcher.archive)
    except BaseException as error:
        ended = not process.alive(pid, born)
        process.end(pid, born, timeout_s=0)
        if isinstance(error, ready.NotReady):
            raise _not_started(data, str(error), ended=ended) from error
        raise
    return state


def free_port(preferred: int | None) -> int:
    """A port nobody listens on: the preferred one if possible."""
    if preferred is not None and is_free(preferred):
        return preferred
    while not is_free(port := secrets.choice(_PORTS)):
        pass
    return port


def is_free(port: int) -> bool:
    """Whether the broker could listen on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, port))
        except OSError:
            return False
        return True


def _lay_out(data: DataDir) -> None:
    shutil.rmtree(data.temporary, ignore_errors=True)
    data.temporary.mkdir(parents=True)
    if data.log.exists():
        data.log.replace(data.previous_log)


def _write_settings(data: DataDir, log_dir: Path, port: int, properties: Mapping[str, str]) -> None:
    while (controller_port := free_port(None)) == port:
        pass
    data.settings.write_text(
        settings.render(log_dir=log_dir, port=port, controller_port=controller_port, properties=properties)
    )


def _format(launcher: Launcher, port: int, properties: Mapping[str, str]) -> None:
    data = launcher.data
    shutil.rmtree(data.unformatted, ignore_errors=True)
    _write_settings(data, data.unformatted, port, properties)
    tool = ("kafka.tools.StorageTool", "format", "--standalone", "-t", _random_cluster_id(), "-c", str(data.settings))
    pid = launcher.run(*tool)
    born = process.birth(pid) or ""
    try:
        if not process.wait_gone(pid, born, _FORMAT_S):
            raise _not_started(data, f"its storage was not formatted within {_FORMAT_S:g} s", ended=False)
    finally:
        process.end(pid, born, timeout_s=0)
    if not (data.unformatted / "meta.properties").is_file():
        raise _not_started(data, "its storage could not be formatted", ended=True)
    data.unformatted.rename(data.kafka)


def _random_cluster_id() -> str:
    """A random UUID as Kafka writes it; one that begins with a dash would be read as an option."""
    while (text := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _not_started(data: DataDir, what: str, *, ended: bool) -> Misconfigured | Unavailable:
    tail = data.log_tail(_TAIL_LINES)
    hint = f"the end of {data.log}:\n{tail}" if tail else f"{data.log} is empty"
    if ended and "Address already in use" in tail:
        return PortTaken("the broker did not start: one of its ports is in use", hint=hint)
    kind = Misconfigured if ended else Unavailable
    return kind(f"the broker did not start: {what}", hint=hint)
