"""What a test suite of your own needs: a real Kafka for the session, as a pytest fixture.

pytest finds it by itself once the package is installed with the ``broker`` extra::

    def test_my_app(kafka_broker):
        client = Client(Config(bootstrap_servers=kafka_broker.bootstrap_servers))

The broker starts when the first test asks for it, takes a free port of the loopback interface, and is gone with its
data when the session ends, also when that is killed. Tests share it: give each its own topics with ``topic_prefix``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stream_triggers.broker import Broker


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """A real Apache Kafka, shared by all tests of the session."""
    from stream_triggers import broker  # not at the top: pytest imports this module whether it is used or not

    with broker.temporary() as running:
        yield running
