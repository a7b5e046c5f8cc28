"""Fixtures: a real Kafka, one broker for the session and fresh topics for each test that asks; what Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import count

import pytest

from stream_triggers.broker import Broker
from stream_triggers.config import Config
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.topics import Topics, specs

_numbers = count(1)


@pytest.fixture(scope="session")
def bootstrap_servers(kafka_broker: Broker) -> str:
    """The address of a broker that is there for this session only."""
    return kafka_broker.bootstrap_servers


@pytest.fixture
def kafka_config(bootstrap_servers) -> Config:
    """An application of its own, with its topics made."""
    name = f"t{next(_numbers)}"
    config = Config(bootstrap_servers=bootstrap_servers, application=name, topic_prefix=f"{name}-")
    topics = Topics(config.application, config.topic_prefix)
    log = KafkaLog(KafkaSettings(bootstrap_servers))
    log.create_topics(specs(topics, {}, claim_retention_ms=config.claim_retention_ms))
    return config


@pytest.fixture
def _as_in_a_worker() -> Iterator[None]:
    """A worker has a handler of its own for Ctrl-C."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def _as_in_a_program() -> Iterator[None]:
    """Ctrl-C raises, which it does not in what a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
