"""Connections to Kafka, each for the part that a command plays, and the topics as they are.

A worker has one name everywhere: its group member, its transactional id and its state directory are those of its slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stream_triggers.config import Config
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime import topics
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Log, TopicSpec
from stream_triggers.runtime.topics import Problem, Topics

PROBLEMS_SHOWN_MAX = 3
"""Problems that one error names; ``topics check`` shows all."""


def topics_of(config: Config) -> Topics:
    """The topics of the configured application."""
    return Topics(config.application, config.topic_prefix)


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


@contextmanager
def connected(settings: KafkaSettings) -> Iterator[Log]:
    """A connection for as long as a command runs."""
    log = KafkaLog(settings)
    try:
        yield log
    finally:
        log.close()


def wanted_topics(log: Log, config: Config, *, partitions: int = topics.PARTITIONS) -> tuple[TopicSpec, ...]:
    """How every topic of the application is to be set up."""
    names = topics_of(config)
    return topics.specs(
        names, log.topics(names.all), claim_retention_ms=config.claim_retention_ms, partitions=partitions
    )


def topic_problems(log: Log, config: Config) -> tuple[Problem, ...]:
    """What is wrong with the topics as they are."""
    wanted = wanted_topics(log, config)
    return topics.check(log.topics([spec.name for spec in wanted]), wanted)


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
