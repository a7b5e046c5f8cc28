"""What a test suite of your own needs: your triggers on the real engine in memory, or a real Kafka as a pytest fixture.

``TriggerTester`` runs triggers without a broker, on a clock that the test moves: ``testing.tester`` tells how.

``kafka_broker`` pytest finds by itself once the package is installed with the ``broker`` extra::

    def test_my_app(kafka_broker):
        client = Client(Config(bootstrap_servers=kafka_broker.bootstrap_servers))

The broker starts when the first test asks for it, takes a free port of the loopback interface, and is gone with its
data when the session ends, also when that is killed. Tests share it: give each its own topics with ``topic_prefix``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stream_triggers.broker import Broker
    from stream_triggers.testing.outcome import DeadLetter, Decision, Pending, Run
    from stream_triggers.testing.tester import TriggerTester

__all__ = ["DeadLetter", "Decision", "Pending", "Run", "TriggerTester", "kafka_broker"]

_HOME = {"TriggerTester": "tester", **dict.fromkeys(("DeadLetter", "Decision", "Pending", "Run"), "outcome")}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)  # pytest imports this module in every session


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """A real Apache Kafka, shared by all tests of the session."""
    from stream_triggers import broker  # not at the top: pytest imports this module whether it is used or not

    with broker.temporary() as running:
        yield running
