"""The JVM that runs a class of Kafka: its flags, its class path, its class archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stream_triggers.broker import classes, jars, system
from stream_triggers.broker.directory import DataDir
from stream_triggers.broker.java import Java, find

# Measured on two cores (3 million records): the serial collector needs a third less memory than G1 and parallel, at the
# same speed.
_JVM = (
    "-Xms128m",
    "-Xmx768m",
    "-XX:+UseSerialGC",
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
_C1_ONLY = "-XX:TieredStopAtLevel=1"
"""Starts faster, and serves the first millions of records for half the CPU. What is compiled by C2 in some minutes then
takes less: a transaction of 13 partitions 5 ms instead of 8."""

_JVM_24 = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")  # what they warn of otherwise


@dataclass(frozen=True, slots=True)
class Launcher:
    """What it takes to run a class of Kafka for one data directory."""

    data: DataDir
    java: Java
    spawn: system.Spawn
    fixed: tuple[str, ...]  # the JVM's arguments that a class archive depends on
    archive: Path

    @property
    def class_list(self) -> Path:
        return self.data.temporary / "classes.list"

    def run(self, main: str, *arguments: str, options: tuple[str, ...] = ()) -> int:
        """Start a class in the background, its output going to the broker's log, and return its process id."""
        own = [f"-Djava.io.tmpdir={self.data.temporary}", *options]  # native libraries are unpacked there
        if not self.archive.exists():
            own.append(f"-XX:DumpLoadedClassList={self.class_list}")
        elif self.archive.stat().st_size:
            own.append(f"-XX:SharedArchiveFile={self.archive}")
        command = [str(self.java.executable), *own, *self.fixed, main, *arguments]
        return self.spawn(command, self.java.environment(), self.data.log)


def prepare(data: DataDir, spawn: system.Spawn, *, progress: bool, long_running: bool = False) -> Launcher:
    """Find Java and the jars; a JVM that is ``long_running`` compiles fully, as brokers in production do."""
    java = find()
    class_path = ":".join(str(jar) for jar in jars.ensure(progress=progress))
    compiler = () if long_running else (_C1_ONLY,)
    fixed = (*_JVM, *compiler, *(_JVM_24 if java.major >= 24 else ()), "-cp", class_path)
    return Launcher(data, java, spawn, fixed, classes.archive_path(jars.cache_dir(), java))
