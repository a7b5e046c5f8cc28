"""Connections to Kafka, each for the part that a command plays, and the topics as they are.

Rules:
1. A worker has one name everywhere: its group member, its transactional id and its state directory are those of its
   slot.
2. A command that finds nothing listening where Kafka should be says so within seconds. Whatever listens is given all
   the time it needs.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from stream_triggers.client import Client
from stream_triggers.config import Config
from stream_triggers.errors import Misconfigured, Unavailable
from stream_triggers.runtime import topics
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Log, TopicSpec
from stream_triggers.runtime.topics import Problem, Topics

LISTENING_S = 4.0
"""How long a broker that does not listen is waited for: one that is just being started, or is on its way back."""

LOOK_AGAIN_S = 0.1

KAFKA_PORT = 9092
"""Where the address of a broker has none, as for Kafka's own clients."""

PROBLEMS_SHOWN_MAX = 3
"""Problems that one error names; ``topics check`` shows all."""


def onlooker(config: Config) -> KafkaSettings:
    """Connect without joining a group."""
    return KafkaSettings(bootstrap_servers=config.bootstrap_servers, extra=config.kafka)


def worker(config: Config) -> KafkaSettings:
    """Connect as the worker of the configured slot."""
    name = f"{config.application}-{config.slot}"
    return replace(
        onlooker(config),
        group=config.application,
        instance=name,
        transactional_id=name,
        session_timeout_ms=config.session_timeout_ms,
        transaction_timeout_ms=config.transaction_timeout_ms,
    )


def state_dir(config: Config) -> Path:
    """Where the worker of the configured slot keeps its state; made if it does not exist."""
    path = config.state_dir / config.application / config.slot
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"state directory {path} cannot be made: {error.strerror}", hint="name another one with --state-dir"
        ) from error
    return path


def require_broker(bootstrap_servers: str, patience_s: float = LISTENING_S) -> None:
    """Raise ``Unavailable`` when nothing accepts connections at any of the addresses within ``patience_s``."""
    clock = SystemClock()
    addresses = [_address(server) for server in bootstrap_servers.split(",")]
    deadline_s = clock.monotonic_s() + patience_s
    while not any(_listens(address, patience_s / len(addresses)) for address in addresses):
        if clock.monotonic_s() > deadline_s:
            raise Unavailable(f"nothing listens at {bootstrap_servers}")
        time.sleep(LOOK_AGAIN_S)


def client(config: Config, *, source: str | None = None) -> Client:
    """A client for as long as a command runs."""
    require_broker(config.bootstrap_servers)
    return Client(config, source=source)


@contextmanager
def connected(settings: KafkaSettings) -> Iterator[Log]:
    """A connection for as long as a command runs."""
    require_broker(settings.bootstrap_servers)
    log = KafkaLog(settings)
    try:
        yield log
    finally:
        log.close()


def wanted_topics(log: Log, config: Config, *, partitions: int = topics.PARTITIONS) -> tuple[TopicSpec, ...]:
    """How every topic of the application is to be set up."""
    names = Topics.of(config)
    return topics.specs(
        names, log.topics(names.all), claim_retention_ms=config.claim_retention_ms, partitions=partitions
    )


def topic_problems(log: Log, config: Config) -> tuple[Problem, ...]:
    """What is wrong with the topics as they are."""
    wanted = wanted_topics(log, config)
    return topics.check(Topics.of(config), log.topics([spec.name for spec in wanted]), wanted)


def require_topics(log: Log, config: Config) -> None:
    """Raise ``Misconfigured`` when the topics are not as workers need them, naming the commands that repair them."""
    problems = topic_problems(log, config)
    if not problems:
        return
    named = [f"topic {each.topic} {each.problem}" for each in problems[:PROBLEMS_SHOWN_MAX]]
    if len(problems) > len(named):
        named.append(f"{len(problems) - len(named)} more")
    repairs = list(dict.fromkeys(each.repair for each in problems))
    raise Misconfigured("; ".join(named), hint="\n      ".join(repairs))


def _address(server: str) -> tuple[str, int]:
    """Host and port; a protocol before them is what Kafka's client allows."""
    try:
        parts = urlsplit(f"//{server.rpartition('://')[2].strip()}")
        return parts.hostname or "", parts.port or KAFKA_PORT
    except ValueError as error:
        raise Misconfigured(f"bootstrap_servers: {server!r} is no address", hint="write it as host:port") from error


def _listens(address: tuple[str, int], timeout_s: float) -> bool:
    try:
        socket.create_connection(address, timeout_s).close()
    except (OSError, UnicodeError):  # the second for a name that can be no host's
        return False
    return True
