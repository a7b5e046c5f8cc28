"""One Kafka cluster: makes the clients, and answers questions about topics.

Rules:
1. The end of a partition is its high watermark, asked for uncommitted: the last stable offset would not count what an
   open transaction has written.
2. Topics that were made exist when ``create_topics`` returns, for every client.
3. A new leader is asked at once. The client library keeps whom it knows for minutes, also when it is told that the
   leader has changed; so its client is replaced.
"""

# ruff: noqa: SLF001 - the client library spells its own error codes with an underscore

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import OFFSET_END, Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from stream_triggers.errors import Misconfigured, Unavailable
from stream_triggers.runtime.clock import Clock, SystemClock
from stream_triggers.runtime.kafka.failures import CREATE, error_of, failure, reason
from stream_triggers.runtime.kafka.member import KafkaMember
from stream_triggers.runtime.kafka.producer import KafkaProducer
from stream_triggers.runtime.kafka.reader import KafkaReader
from stream_triggers.runtime.kafka.sender import Identify, KafkaSender
from stream_triggers.runtime.kafka.settings import KafkaSettings, client_settings, connect, new_client, refuse_protected
from stream_triggers.runtime.log import TopicPartition, TopicSpec

REQUEST_S = 15.0
"""How long an answer is waited for; a broker that is starting takes some of it."""

_BROKER_DEFAULT = -1
_NEW_LEADER = frozenset(
    {KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION}
)
_NOT_FOUND = frozenset(
    {KafkaError._NOENT, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART}
)

T = TypeVar("T")


class KafkaLog:
    """A ``Log`` over confluent-kafka, and maker of senders, which are Kafka's own."""

    def __init__(self, settings: KafkaSettings, clock: Clock | None = None) -> None:
        """Raises ``Misconfigured`` when ``settings.extra`` has what this program sets itself."""
        refuse_protected(settings.extra)
        self._settings = settings
        self._clock = clock or SystemClock()
        self._admin = self._new_admin()
        self._is_connected = False

    def member(self) -> KafkaMember:
        return KafkaMember(self._settings)

    def producer(self) -> KafkaProducer:
        return KafkaProducer(self._settings, self._clock)

    def reader(self) -> KafkaReader:
        return KafkaReader(self._settings)

    def sender(self, identify: Identify) -> KafkaSender:
        """A producer without transactions; ``identify`` names messages in its reports."""
        return KafkaSender(self._settings, identify)

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def offsets_at(self, partitions: Iterable[TopicPartition], time_ms: int) -> Mapping[TopicPartition, int]:
        """Asked by a consumer: administration says "none is so late" also when the answer has not come in time."""
        asked = [Position(topic, partition, time_ms) for topic, partition in partitions]
        ends = self.end_offsets(TopicPartition(each.topic, each.partition) for each in asked)
        consumer: Consumer = new_client(Consumer, client_settings(self._settings, "reader"), self._settings)
        try:
            answers = consumer.offsets_for_times(asked, timeout=REQUEST_S) if asked else []
        except KafkaException as error:
            raise failure(error_of(error), "offsets by time") from error
        finally:
            consumer.close()
        found = {}
        for each in answers:
            if each.error is not None:
                raise failure(each.error, f"offsets by time of {each.topic}/{each.partition}")
            partition = TopicPartition(each.topic, each.partition)
            found[partition] = ends[partition] if each.offset == OFFSET_END else each.offset
        return found

    def topics(self, names: Iterable[str]) -> Mapping[str, TopicSpec]:
        found = self._partitions(names)
        if not found:
            return {}
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in found]
        futures = self._admin.describe_configs(asked, request_timeout=REQUEST_S)
        specs = {}
        for resource, future in futures.items():
            entries = _answer(future, f"settings of topic {resource.name}").values()
            settings = {entry.name: entry.value for entry in entries if entry.value is not None}
            specs[resource.name] = TopicSpec(resource.name, found[resource.name], settings)
        return specs

    def topic_ids(self, names: Iterable[str]) -> Mapping[str, str]:
        asked = TopicCollection(sorted(self._partitions(names)))
        answers = self._admin.describe_topics(asked, request_timeout=REQUEST_S)
        return {name: str(_answer(future, f"id of topic {name}").topic_id) for name, future in answers.items()}

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        if not specs:
            return
        wanted = [NewTopic(spec.name, spec.partitions, _BROKER_DEFAULT, config=dict(spec.settings)) for spec in specs]
        for name, future in self._admin.create_topics(wanted, request_timeout=REQUEST_S).items():
            try:
                future.result()
            except KafkaException as error:
                if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise failure(error_of(error), f"creating topic {name}") from error
        self._await_topics({spec.name for spec in specs})

    def close(self) -> None:
        """Nothing to release: the connection goes with this object."""

    def _new_admin(self) -> AdminClient:
        return new_client(AdminClient, client_settings(self._settings, "admin"), self._settings)

    def _await_topics(self, names: set[str]) -> None:
        """A broker knows of a new topic some time before it answers for its partitions."""
        deadline_s = self._clock.monotonic_s() + REQUEST_S
        while True:
            found = self._partitions(names)
            try:
                self.end_offsets(TopicPartition(name, at) for name, count in found.items() for at in range(count))
                if found.keys() == names:
                    return
            except Unavailable:
                if self._clock.monotonic_s() > deadline_s:
                    raise
            if self._clock.monotonic_s() > deadline_s:
                missing = ", ".join(sorted(names - found.keys()))
                raise Unavailable(f"topics made {REQUEST_S:g} s ago cannot be seen: {missing}")

    def _partitions(self, names: Iterable[str]) -> dict[str, int]:
        """How many partitions each of the named topics has, if it exists and they all have leaders."""
        known = self._listed()
        return {name: len(known[name].partitions) for name in names if name in known and _has_leaders(known[name])}

    def _listed(self) -> Mapping[str, Any]:
        try:
            topics: Mapping[str, Any] = self._admin.list_topics(timeout=REQUEST_S).topics
        except KafkaException as error:
            raise failure(error_of(error), "the list of topics") from error
        return topics

    def _offsets(self, partitions: Iterable[TopicPartition], spec: OffsetSpec) -> dict[TopicPartition, int]:
        asked = {Position(topic, partition): spec for topic, partition in partitions}
        if not asked:
            return {}
        futures = self._ask_for_offsets(asked)
        if any(_code(future) in _NEW_LEADER for future in futures.values()):
            self._admin, self._is_connected = self._new_admin(), False
            futures = self._ask_for_offsets(asked)
        if any(_code(future) in _NOT_FOUND for future in futures.values()):
            self._require_existing(asked)
            futures = self._ask_for_offsets(asked)
        found = {}
        for position, future in futures.items():
            partition = TopicPartition(position.topic, position.partition)
            offset = _answer(future, f"offsets of {partition}", may_pass=_NOT_FOUND).offset
            if offset < 0:  # what the library answers when time is up
                raise Unavailable(f"offsets of {partition} were not told within {REQUEST_S:g} s")
            found[partition] = offset
        return found

    def _require_existing(self, asked: Iterable[Position]) -> None:
        """Tell what does not exist from what has no leader now, or is new: to the library they are the same.

        To ask makes the library hear of topics and partitions that are new.
        """
        known = self._listed()
        for topic, partition in sorted((each.topic, each.partition) for each in asked):
            if topic not in known:
                raise Misconfigured(f"topic {topic} does not exist", hint=CREATE)
            count = len(known[topic].partitions)
            if partition >= count and known[topic].error is None:
                raise Misconfigured(
                    f"topic {topic} has no partition {partition}: it has {count}",
                    hint="see stream-triggers topics check",
                )

    def _ask_for_offsets(self, asked: Mapping[Position, OffsetSpec]) -> Mapping[Position, Future[Any]]:
        if not self._is_connected:
            connect(self._admin)
            self._is_connected = True
        futures: dict[Position, Future[Any]] = self._admin.list_offsets(
            dict(asked), isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=REQUEST_S
        )
        return futures


def _code(future: Future[Any]) -> int | None:
    """The code of the error that was answered, if one was."""
    error = future.exception()
    return error_of(error).code() if isinstance(error, KafkaException) else None


def _has_leaders(topic: Any) -> bool:
    return topic.error is None and all(partition.error is None for partition in topic.partitions.values())


def _answer(future: Future[T], what: str, may_pass: Collection[int] = ()) -> T:
    """What was answered; errors whose codes ``may_pass`` are worth another try, whatever they are elsewhere."""
    try:
        return future.result()
    except KafkaException as problem:
        error = error_of(problem)
        if error.code() in may_pass:
            raise Unavailable(f"{what}: {reason(error)}") from problem
        raise failure(error, what) from problem
