"""Lanes: triggers that started in the past catch up, whatever the brokers answer meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

import pytest

from stream_triggers.core.record import Start
from stream_triggers.errors import Unavailable
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.memory_log import MemoryLog
from tests.engine_bundle import SHIP, EngineBundle, paid


class UnansweredLog(MemoryLog):
    """A cluster that gives no answer the first time that it is asked a ``question`` about a topic."""

    def __init__(self, bundle: EngineBundle, question: str, topic: str) -> None:
        super().__init__(bundle.cluster)
        self._question = question, topic
        self.was_asked = False

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return super().start_offsets(self._answered("start", partitions))

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return super().end_offsets(self._answered("end", partitions))

    def offsets_at(self, partitions: Iterable[TopicPartition], time_ms: int) -> Mapping[TopicPartition, int]:
        return super().offsets_at(self._answered("at", partitions), time_ms)

    def _answered(self, question: str, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        asked = list(partitions)
        if self._question in {(question, each.topic) for each in asked} and not self.was_asked:
            self.was_asked = True
            raise Unavailable("no answer")
        return asked


@pytest.mark.parametrize(("question", "topic"), [("end", "progress"), ("start", "progress"), ("at", "events")])
def test_a_question_that_goes_unanswered_loses_no_partition(question: str, topic: str) -> None:
    bundle = EngineBundle()
    bundle.send(paid("e1"))
    bundle.define({**SHIP, "id": "note"}, start=Start(0, 0))
    predecessor = bundle.ready()
    bundle.until(lambda: bundle.fired() != [], predecessor)
    predecessor.close()
    bundle.define(SHIP, start=Start(0, 0))
    log = UnansweredLog(bundle, question, topic)
    worker = bundle.start(log=log)

    def go_on() -> bool:
        with suppress(Unavailable):
            worker.run_once(0.2)
        return worker.counters.restores == 4 and len(bundle.fired()) == 2

    bundle.until(go_on)
    bundle.send(paid("e2"))
    bundle.work_off(worker)

    assert log.was_asked
    assert bundle.fired() == ["note event/e1", "ship event/e1", "note event/e2", "ship event/e2"]
