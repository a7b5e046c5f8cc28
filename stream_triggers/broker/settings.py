"""The broker's server.properties: one node, loopback only, quick to answer, small.

Every setting that differs from Kafka's default is here with its reason. Callers may add or replace any that does not
say who the broker is or where it lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stream_triggers.errors import Misconfigured

HOST = "127.0.0.1"

_IDENTITY = (
    "advertised.listeners",
    "controller.",
    "listener",
    "log.dir",
    "metadata.log.dir",
    "node.id",
    "process.roles",
)

_SETTINGS = {
    # Topics: names are contracts here, so a typo must not make one.
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "log.segment.delete.delay.ms": "1000",  # a deleted topic gives its disk back at once
    # Internal topics: one replica, few partitions, so that they exist and are loaded within moments.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "2",
    # Groups: no waiting for members that will not come; sessions as short as a fault test wants.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "100",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.streams.initial.rebalance.delay.ms": "0",
    # Transactions: an abandoned one ends at its timeout plus this, not plus ten seconds.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    # A busy machine must not make the broker lose the leadership of its partitions: see fencing.
    "broker.session.timeout.ms": "30000",
    # Size: one machine, few clients. The cleaner alone would take 128 MB of heap.
    "log.cleaner.dedupe.buffer.size": "8388608",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "group.coordinator.threads": "1",
    "share.coordinator.threads": "1",
}


def check(properties: Mapping[str, str]) -> None:
    """Raise ``Misconfigured`` if a caller's property would move the broker or make it another one."""
    for name in properties:
        if name.startswith(_IDENTITY):
            raise Misconfigured(f"{name} is set by the broker itself", hint="give port or data_dir instead")


def render(*, log_dir: Path, port: int, controller_port: int, properties: Mapping[str, str]) -> str:
    """Write out server.properties."""
    identity = {
        **_controller(log_dir, controller_port),
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
    }
    return _lines({**_SETTINGS, **properties, **identity})


def render_controller(*, log_dir: Path, controller_port: int) -> str:
    """Write out the properties of the same node without its broker, which it soon takes for dead."""
    session = {
        "broker.session.timeout.ms": "100",
        "broker.heartbeat.interval.ms": "50",
        "controller.quorum.append.linger.ms": "0",
    }
    return _lines({**_controller(log_dir, controller_port), **session})


def _controller(log_dir: Path, port: int) -> dict[str, str]:
    return {
        "process.roles": "controller",
        "node.id": "1",
        "listeners": f"CONTROLLER://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": f"{HOST}:{port}",
        "log.dirs": str(log_dir),
    }


def _lines(properties: Mapping[str, str]) -> str:
    return "".join(f"{name}={_escaped(value)}\n" for name, value in properties.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")
