"""A transactional producer.

Rules:
1. A step is repeated as long as the library calls that safe and the time of a transaction is not over. A commit whose
   time is up has an unknown outcome.
2. A record that could not be delivered fails the commit.
3. Before an abort, records on their way get a bounded time to be acknowledged: aborting while the broker is still
   being told which partitions take part ends in a fatal error of the library.
4. A commit, or an abort, that got no answer is sent again by the library, and the first one might arrive during a later
   transaction and end that: this library does not number them. So no other transaction is begun on that producer; the
   one that follows it has a higher epoch, under which brokers refuse what was sent before.
5. The library refuses a partition that was added since it last heard of the topic: it is made to ask, once.
6. Sending positions may never come back, whatever time it is given: while the group's coordinator is away the library
   waits for a change of connection that may not come (librdkafka issues 5456 and 5511). So it is done on a thread of
   its own, which is left behind, with its client, when the time is over.
"""
# ruff: noqa: SLF001 - the client library spells its own error codes with an underscore

from __future__ import annotations

from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client
from confluent_kafka import TopicPartition as Position

from stream_triggers.errors import Aborted, Misconfigured, StreamTriggersError, Unavailable, Unsettled
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.kafka.delivery import hand_over
from stream_triggers.runtime.kafka.endings import Endings
from stream_triggers.runtime.kafka.failures import error_of, failure, reason, transaction_failure
from stream_triggers.runtime.kafka.settings import KafkaSettings, client_settings, connect, logger, new_client
from stream_triggers.runtime.log import Membership, Outgoing, TopicPartition

ACKNOWLEDGE_S = 2.0
"""How long an abort waits for records on their way."""

LATE_S = 1.0
"""How much longer than its time a step of the library may take, before it is taken for one that never ends."""

RETRY_PAUSE_S = 0.02

T = TypeVar("T")


class KafkaProducer:
    """A ``Producer`` over confluent-kafka."""

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._budget_s = settings.transaction_timeout_ms / 1000
        self._clock = clock
        chosen = {**client_settings(settings, "producer"), "error_cb": self._hear, "on_delivery": self._delivered}
        self._endings = Endings(chosen)
        self._client: Client = new_client(Client, chosen, settings)
        self._begun = False
        self._undelivered: StreamTriggersError | None = None
        self._in_doubt = False
        self._reported: set[int] = set()

    def open(self) -> None:
        connect(self._client)
        self._repeat(self._client.init_transactions, "taking over the transactional id", Unavailable)

    def begin(self) -> None:
        if self._in_doubt:
            raise Unsettled("a connection broke at the end of the last transaction, which may have been sent twice")
        self.serve()
        self._endings.begin()
        self._try(self._client.begin_transaction, "beginning a transaction")
        self._begun, self._undelivered = True, None

    def produce(self, topic: str, records: list[Outgoing]) -> None:
        what = f"writing to {topic}"
        refused = self._try(lambda: hand_over(self._client, topic, records), what)
        if any(error.code() == KafkaError._UNKNOWN_PARTITION for error, _ in refused):
            self._try(lambda: self._client.list_topics(topic, ACKNOWLEDGE_S), what)
            again = [record for _, record in refused]
            refused = self._try(lambda: hand_over(self._client, topic, again), what)
        self.serve()
        if refused:
            raise self._refusal(refused[0][0], what)

    def send_offsets(self, next_offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        if membership.generation < 0 or not membership.member_id:
            raise Aborted("positions of a process that is not a member of its group would not be fenced")
        if not next_offsets:
            raise Aborted("a transaction without positions would not be fenced")
        positions = [Position(*partition, offset) for partition, offset in next_offsets.items()]
        send, what = self._client.send_offsets_to_transaction, "sending positions"

        def step(left_s: float) -> None:
            _in_time(lambda: send(positions, membership.token, left_s), left_s + LATE_S, what)

        self._repeat(step, what, Aborted)

    def commit(self) -> None:
        self._repeat(self._client.commit_transaction, "committing", Unsettled)
        self._ended()

    def abort(self) -> None:
        if self._begun:
            self._try(lambda: self._client.flush(ACKNOWLEDGE_S), "aborting")
            self._repeat(self._client.abort_transaction, "aborting", Unsettled)
            self._ended()

    def serve(self) -> None:
        """Hear what the library has to report, which it keeps until then: ``_hear``, ``_delivered``, ``Endings``."""
        self._try(lambda: self._client.poll(0), "the producer")

    def close(self) -> None:
        """Let go of the client: closing it would abort the open transaction, and wait for the broker to do so."""
        client = vars(self).pop("_client", None)
        if client is not None:
            client.purge(blocking=False)

    def _repeat(self, step: Callable[[float], None], what: str, late: Callable[[str], StreamTriggersError]) -> None:
        """Take ``step`` until it succeeds; it gets the time that is left. Raises ``late`` when none is."""
        deadline_s = self._clock.monotonic_s() + self._budget_s
        while True:
            left_s = max(0.0, deadline_s - self._clock.monotonic_s())
            try:
                step(left_s)
            except KafkaException as error:
                cause = error_of(error)
                if not cause.retriable():
                    raise self._meaning(cause, what) from error
                if not left_s:
                    raise late(f"{what} took longer than {self._budget_s:g} s: {reason(cause)}") from error
                self._try(lambda: self._client.poll(RETRY_PAUSE_S), what)
            else:
                return

    def _ended(self) -> None:
        self._begun = False
        self._reported.clear()
        self.serve()
        self._in_doubt = not self._endings.certain

    def _try(self, step: Callable[[], T], what: str) -> T:
        try:
            return step()
        except KafkaException as error:
            raise self._meaning(error_of(error), what) from error

    def _meaning(self, error: KafkaError, what: str) -> StreamTriggersError:
        meaning = transaction_failure(error, what)
        return self._undelivered or meaning if isinstance(meaning, Aborted) else meaning

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """Keep why records of the transaction failed, since the commit says only that some did.

        One failure takes others with it; the one that an operator must mend is the cause.
        """
        if error is not None and not isinstance(self._undelivered, Misconfigured):
            refusal = self._refusal(error, f"writing to {message.topic()}")
            if self._undelivered is None or isinstance(refusal, Misconfigured):
                self._undelivered = refusal

    def _refusal(self, error: KafkaError, what: str) -> StreamTriggersError:
        """What it means that a record was not taken: nothing a retry could not mend, unless it is the operator's."""
        meaning = failure(error, what)
        return meaning if isinstance(meaning, Misconfigured) else Aborted(meaning.message)

    def _hear(self, error: KafkaError) -> None:
        if error.code() not in self._reported:
            self._reported.add(error.code())
            logger.info("kafka producer reports: %s", reason(error))


def _in_time(step: Callable[[], None], wait_s: float, what: str) -> None:
    """Take ``step`` on a thread of its own; raises ``Unsettled`` when it has not ended after ``wait_s``."""
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def take() -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - it is raised below, on the thread that asked
            ended.put(error)
        else:
            ended.put(None)

    Thread(target=take, name=what, daemon=True).start()
    try:
        error = ended.get(timeout=wait_s)
    except Empty:
        raise Unsettled(f"{what} did not end within {wait_s:g} s") from None
    if error is not None:
        raise error
