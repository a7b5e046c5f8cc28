"""What became of everything that was sent: two accounts that know nothing of each other, and the order.

1. ``verify``: the inputs evaluated again by the core, compared with the invocations by id and content.
2. The feeder's own: each message it has sent led to what it must, once.
3. Order: of one key, and of one input partition, what was fired comes in the order in which it was sent.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import TypeVar

from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient

from stream_triggers.config import Config
from stream_triggers.core.invocation import Invocation
from stream_triggers.core.record import DeadLetter
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.lag import partitions_of, unread
from stream_triggers.runtime.log import Reader, Record, TopicPartition
from stream_triggers.runtime.reading import read_all
from stream_triggers.runtime.topics import Topics, specs
from stream_triggers.verify import Report, verify
from tests.faults.crew import BOUND_S, until
from tests.faults.feeder import Fired

T = TypeVar("T")


class Stalls:
    """How long a reader of committed records has waited for the next one of a partition, at the longest."""

    def __init__(self) -> None:
        self.records = 0
        self.longest_s = 0.0

    def watch(self, reader: Reader, stop: threading.Event) -> None:
        """Read until ``stop`` is set; a partition that brings nothing to the end has waited until then."""
        newest_s = dict.fromkeys(reader.positions(), time.monotonic())
        while not stop.is_set():
            records = reader.poll(1000, 0.05)
            self.records += len(records)
            for record in records:
                self._note(newest_s, TopicPartition(record.topic(), record.partition()))
        for partition in newest_s:
            self._note(newest_s, partition)

    def _note(self, newest_s: dict[TopicPartition, float], partition: TopicPartition) -> None:
        now_s = time.monotonic()
        self.longest_s = max(self.longest_s, now_s - newest_s[partition])
        newest_s[partition] = now_s


class Judge:
    """Looks at one application from outside of its workers."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.topics = Topics(config.application, config.topic_prefix)
        self.log = KafkaLog(KafkaSettings(config.bootstrap_servers, group=config.application))

    def create_topics(self, partitions: int = 4) -> None:
        """Make all topics of the application."""
        retention_ms = self._config.claim_retention_ms
        self.log.create_topics(specs(self.topics, {}, claim_retention_ms=retention_ms, partitions=partitions))

    def lag(self) -> int:
        """How many messages the workers have still to process."""
        return unread(self.log, partitions_of(self.log, self.topics.inputs))

    def until_quiet(self, bound_s: float = BOUND_S) -> None:
        """Wait until everything that was sent has been processed."""
        until(lambda: self.lag() == 0, "all messages processed", bound_s)

    def invocations(self) -> list[Invocation]:
        """Every committed invocation, those of one key in their order."""
        return [found for found, _ in self.fired()]

    def fired(self) -> Iterator[tuple[Invocation, int]]:
        """Every committed invocation, and when it was written."""
        return ((found, record.timestamp()[1]) for record, found in self._read(self.topics.invocations, Invocation))

    def written(self, topic: str) -> int:
        """Where the partitions of a topic end, together: markers of transactions count, too."""
        return sum(self.log.end_offsets(partitions_of(self.log, [topic])).values())

    def assert_nothing_found(self) -> None:
        """``verify`` has judged everything, and finds nothing."""
        report = verify(self.log, self._config, AllowedFunctions())
        assert (report.findings, report.unjudged) == ([], 0), report.counts()

    def empty_changelogs(self) -> None:
        """Delete every changelog record there is, as retention would."""
        changelogs = [self.topics.changelog_of(each) for each in partitions_of(self.log, self.topics.inputs)]
        ends = [Position(*partition, end) for partition, end in self.log.end_offsets(changelogs).items()]
        admin = AdminClient({"bootstrap.servers": self._config.bootstrap_servers})
        for future in admin.delete_records(ends).values():
            future.result()

    def dead_letters(self) -> list[DeadLetter]:
        """Every committed dead letter."""
        return [found for _, found in self._read(self.topics.dead_letters, DeadLetter)]

    @contextmanager
    def watch_stalls(self) -> Iterator[Stalls]:
        """Read invocations as they are committed, and note how long each partition brought nothing."""
        stalls, stop = Stalls(), threading.Event()
        partitions = partitions_of(self.log, [self.topics.invocations])
        reader = self.log.reader()
        reader.assign(self.log.end_offsets(partitions))
        thread = threading.Thread(target=stalls.watch, args=(reader, stop), name="stalls")
        thread.start()
        try:
            yield stalls
        finally:
            stop.set()
            thread.join()
            reader.close()

    def assert_exactly_once(
        self, expected: Counter[Fired], *, besides: Container[str] = (), sent_in_order: bool = True
    ) -> Report:
        """Nothing lost, doubled, wrong or out of order; ``expected`` is what the sender says.

        It says nothing of the triggers named in ``besides``.
        """
        report = verify(self.log, self._config, AllowedFunctions())
        assert not report.findings, f"{report.counts()}: {report.findings[:5]}"
        fired = Counter(
            (each.trigger_id, each.arguments["key"], each.arguments["n"])
            for each in self.invocations()
            if each.trigger_id not in besides
        )
        assert fired - expected == Counter(), "fired too often, or without reason"
        assert expected - fired == Counter(), "did not fire"
        if sent_in_order:
            self._assert_order_of_keys()
        self._assert_order_of_partitions()
        return report

    def _assert_order_of_keys(self) -> None:
        newest: dict[str, int] = defaultdict(int)
        for each in self.invocations():
            if each.key is not None:
                assert each.arguments["n"] > newest[each.key], f"{each.key} fired for {each.arguments} too late"
                newest[each.key] = each.arguments["n"]

    def _assert_order_of_partitions(self) -> None:
        """By the claims: all owners of a partition write them to one changelog, under the input offset reached."""
        for source in partitions_of(self.log, self.topics.inputs):
            reached = b""
            for batch in read_all(self.log, [self.topics.changelog_of(source)]):
                for record in batch:
                    key = record.key() or b""
                    assert key > reached, f"{source} was processed again after it was up to {reached.hex()}"
                    reached = key

    def _read(self, topic: str, kind: type[T]) -> Iterator[tuple[Record, T]]:
        for batch in read_all(self.log, partitions_of(self.log, [topic])):
            for record in batch:
                found = decode(record.value() or b"")
                if isinstance(found, kind):
                    yield record, found
