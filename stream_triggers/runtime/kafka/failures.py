"""What an error of the Kafka client means: who must act, in the terms of ``stream_triggers.errors``.

Rules:
1. What a retry can mend is ``Unavailable``; what only an operator can mend is ``Misconfigured`` and says how.
2. A fatal error ends the client it came from. Of a transactional producer it means ``Fenced`` when a newer one has its
   id (or the broker timed its transaction out, which looks the same), else ``Unsettled``.
"""
# ruff: noqa: SLF001 - the client library spells its own error codes with an underscore

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from stream_triggers.errors import Aborted, Fenced, Misconfigured, StreamTriggersError, Unavailable, Unsettled
from stream_triggers.runtime.topics import CREATE_COMMAND

_FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
    }
)

_POSITION_GONE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})

CREATE = f"make the topics, with the options that are set here: {CREATE_COMMAND}"
"""What an operator does about a topic that does not exist, where nothing but its name is known."""

_OPERATOR = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: CREATE,
    KafkaError._UNKNOWN_TOPIC: CREATE,
    KafkaError._UNKNOWN_PARTITION: "the topic does not have this partition: see stream-triggers topics check",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the user needs the right to read, write and describe the topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the user needs the right to read the group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the user needs the right to write idempotently",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the user needs the right to write with the transactional id",
    KafkaError.SASL_AUTHENTICATION_FAILED: "look at the sasl settings under kafka",
    KafkaError._AUTHENTICATION: "look at the sasl settings under kafka",
    KafkaError._SSL: "look at the ssl settings under kafka",
    KafkaError.MSG_SIZE_TOO_LARGE: "raise the topic's max.message.bytes, or lower payload_bytes_max",
    KafkaError.RECORD_LIST_TOO_LARGE: "raise the topic's max.message.bytes, or lower payload_bytes_max",
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "the broker's transaction.max.timeout.ms is below transaction_timeout_ms",
    KafkaError.INVALID_SESSION_TIMEOUT: "session_timeout_ms is below the broker's group.min.session.timeout.ms",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "another program uses the same group; give the application its own name",
    KafkaError.INVALID_REPLICATION_FACTOR: "the broker's default.replication.factor is above its number of brokers",
    KafkaError.POLICY_VIOLATION: "the cluster's policy does not allow the topic as it is asked for",
    KafkaError.INVALID_CONFIG: "the cluster does not take a setting the topic is asked for with",
    KafkaError.UNSUPPORTED_VERSION: "the brokers are too old; Kafka 2.5 is the oldest that can do it",
}
"""Errors that stay until an operator has acted, with what to do."""


def remedy(error: KafkaError) -> str:
    """What an operator does about ``error``; empty when a retry may mend it."""
    return _OPERATOR.get(error.code(), "")


def error_of(exception: KafkaException) -> KafkaError:
    """The error that ``exception`` carries."""
    error: KafkaError = exception.args[0]
    return error


def reason(error: KafkaError) -> str:
    """``error`` in words, with the name by which it can be looked up."""
    return f"{error.str()} ({error.name()})"


def failure(error: KafkaError, what: str) -> StreamTriggersError:
    """What ``error`` means when the brokers were asked, or read from, for ``what``."""
    if error.code() in _OPERATOR:
        return Misconfigured(f"{what}: {reason(error)}", hint=_OPERATOR[error.code()])
    return Unavailable(f"{what}: {reason(error)}")


def reading_failure(error: KafkaError, where: str) -> StreamTriggersError:
    """What ``error`` means that came instead of a record of ``where``."""
    if error.code() == KafkaError._FATAL or error.code() in _FENCED:
        return Fenced(
            f"the member is out of its group for good: {reason(error)}",
            hint="two processes have the same application and slot: stop one, or give it another slot",
        )
    if error.code() in _POSITION_GONE:
        return Misconfigured(
            f"{where} does not have the position where reading continues: {reason(error)}",
            hint="messages were deleted before they were read (raise the topic's retention), or the topic was made"
            " again; to go on, move the group with kafka-consumer-groups.sh --reset-offsets",
        )
    return failure(error, f"reading {where}")


def transaction_failure(error: KafkaError, what: str) -> StreamTriggersError:
    """What ``error`` means that ended ``what`` of a transaction."""
    if error.fatal() and error.code() in _FENCED:
        return Fenced(
            f"{what}: {reason(error)}",
            hint="a newer process has the same transactional id, or the transaction was open beyond its timeout",
        )
    if error.code() in _OPERATOR:
        return Misconfigured(f"{what}: {reason(error)}", hint=_OPERATOR[error.code()])
    if error.txn_requires_abort():
        return Aborted(f"{what}: {reason(error)}")
    return Unsettled(f"{what}: {reason(error)}")
