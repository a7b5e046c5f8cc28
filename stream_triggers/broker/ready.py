"""Whether a broker answers: its metadata, and the coordinators of groups and transactions.

A fresh broker makes its internal topics when a client first looks for a coordinator. A client that comes too early
is told to come back, and librdkafka then waits up to three seconds before it joins its group, so a broker counts as
ready only once its coordinators have answered here.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_triggers.broker.settings import HOST

_POLL_S = 0.02
_ANSWER_S = 2.0
_FIND_COORDINATOR = 10
_INIT_PRODUCER_ID = 22
_TRANSACTION = 1
# One group for each of the four partitions of the offsets topic: a one-letter name hashes to its letter's number.
_GROUPS = ["a", "b", "c", "d"]
_LOADING = (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR)


class NotReady(Exception):
    """The broker did not answer in time, or ended before it did."""


def wait(port: int, cluster_id: str, *, alive: Callable[[], bool], timeout_s: float) -> None:
    """Return once the broker of this cluster answers on this port.

    Raises:
        NotReady: it ended (``alive`` says so), or did not answer within ``timeout_s``.

    """
    deadline = time.monotonic() + timeout_s

    def until(condition: Callable[[], bool], what: str) -> None:
        while not condition():
            if not alive():
                raise NotReady("it ended")
            if time.monotonic() > deadline:
                raise NotReady(f"{what} within {timeout_s:g} s")
            time.sleep(_POLL_S)

    until(lambda: _transaction_coordinator_known(port), "no answer")
    until(lambda: _producer_ids_loaded(port), "no producer ids")
    admin = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0, "reconnect.backoff.max.ms": 100})
    until(lambda: _is_cluster(admin, cluster_id), "no metadata of its cluster")
    until(lambda: _group_coordinators_loaded(admin), "group coordinators still loading")


def _transaction_coordinator_known(port: int) -> bool:
    """Ask for the coordinator of a transactional id, which makes the topic of transactions.

    librdkafka offers no way to ask without leaving a transactional id behind, and asks only every half second.
    """
    return _answers(port, _FIND_COORDINATOR, struct.pack(">h5sb", 5, b"ready", _TRANSACTION))


def _producer_ids_loaded(port: int) -> bool:
    """Ask for a producer id: the first one makes the broker fetch a block of them."""
    return _answers(port, _INIT_PRODUCER_ID, struct.pack(">hi", -1, 1000))


def _answers(port: int, api: int, body: bytes) -> bool:
    """Send a request of version 1 and see whether its answer is other than "still loading"."""
    request = struct.pack(">hhih", api, 1, 0, 0) + body
    try:
        with socket.create_connection((HOST, port), timeout=_ANSWER_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                header = answer.read(14)  # size, correlation, throttle time, error
    except OSError:
        return False
    return len(header) == 14 and struct.unpack(">iiih", header)[3] not in _LOADING


def _is_cluster(admin: AdminClient, cluster_id: str) -> bool:
    try:
        return bool(admin.list_topics(timeout=_ANSWER_S).cluster_id == cluster_id)
    except KafkaException:
        return False


def _group_coordinators_loaded(admin: AdminClient) -> bool:
    answers = admin.describe_consumer_groups(_GROUPS, request_timeout=_ANSWER_S)
    return all(_loaded(answer) for answer in answers.values())


def _loaded(answer: Future[Any]) -> bool:
    try:
        answer.result()
    except KafkaException as error:
        # Any other answer, "no such group" above all, comes from a coordinator that has loaded.
        return error.args[0].code() not in _LOADING and not error.args[0].code() < 0
    return True
