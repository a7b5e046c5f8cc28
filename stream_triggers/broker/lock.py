"""Make the lock file of another Kafka version: ``python -m stream_triggers.broker.lock VERSION``.

Resolves the run-time dependencies of the server, picks the slf4j binding of the slf4j version it uses, downloads all
of it into a temporary folder, and writes names, sizes and hashes into ``kafka.lock.json``. Look at the difference
before committing it, and run ``tests/broker``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from stream_triggers.broker import jars, pins
from stream_triggers.errors import Misconfigured, StreamTriggersError

SERVER = "org.apache.kafka:kafka_2.13"
LOG_API = "org.slf4j:slf4j-api"
LOG_BINDING = "org.slf4j:slf4j-simple"


def make(version: str) -> pins.Lock:
    """Resolve a version of Apache Kafka and hash every jar it needs at run time."""
    with TemporaryDirectory() as folder:
        context = jars.maven_context(Path(folder))
        server = context.create_dependency(f"{SERVER}:{version}")
        try:
            inputs, transitive = context.resolver.resolve([server])
            found = [*inputs, *(dependency for dependency in transitive if dependency.scope in ("compile", "runtime"))]
            api = next(
                _version(dependency) for dependency in found if _coordinate(dependency).startswith(f"{LOG_API}:")
            )
            found.append(context.create_dependency(f"{LOG_BINDING}:{api}"))
            pinned = tuple(_pin(dependency) for dependency in found)
        except (RuntimeError, OSError) as error:
            raise Misconfigured(f"Apache Kafka {version} cannot be resolved: {error}") from error
    return pins.Lock(version, pinned[:1] + tuple(sorted(pinned[1:], key=lambda jar: jar.coordinate)))


def write(lock: pins.Lock, path: Path = pins.LOCK_FILE) -> None:
    """Write a lock file, formatted for reading differences."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(lock), indent=2) + b"\n")


def _pin(dependency: Any) -> pins.Jar:
    path: Path = dependency.artifact.resolve()
    return pins.Jar(_coordinate(dependency), path.name, path.stat().st_size, pins.sha256(path))


def _coordinate(dependency: Any) -> str:
    return f"{dependency.groupId}:{dependency.artifactId}:{_version(dependency)}"


def _version(dependency: Any) -> str:
    return str(dependency.version)


def main(arguments: list[str]) -> int:
    """Write the lock file of the version named on the command line."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m stream_triggers.broker.lock VERSION\n")
        return 2
    try:
        lock = make(arguments[0])
    except StreamTriggersError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    write(lock)
    sys.stdout.write(f"{pins.LOCK_FILE}: {len(lock.jars)} jars, {lock.bytes_total / 1e6:.0f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
