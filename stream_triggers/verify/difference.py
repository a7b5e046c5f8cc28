"""What exactly is wrong with the first invocations whose content differs: both are read again and compared by field."""

from __future__ import annotations

from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import Position
from stream_triggers.runtime.log import Log, Record, TopicPartition
from stream_triggers.runtime.reading import read_between
from stream_triggers.verify.decoding import read
from stream_triggers.verify.inputs import Inputs
from stream_triggers.verify.report import Finding, Report

EVALUATIONS = 5
"""How often a message is evaluated again to see whether a function answers differently each time."""

UNSTEADY = "a function of its trigger answers differently each time"

EXPLAINED_MAX = 20
"""Findings that are explained; each costs two reads from the broker."""


def explain(cluster: Log, inputs: Inputs, report: Report) -> None:
    """Name the fields that differ in the details of the first findings of this kind."""
    explained = 0
    for at, finding in enumerate(report.findings):
        if finding.fault == "wrong" and finding.run_id and finding.cause is not None and explained < EXPLAINED_MAX:
            explained += 1
            report.findings[at] = finding._replace(detail=_difference(cluster, inputs, finding))


def _difference(cluster: Log, inputs: Inputs, finding: Finding) -> str:
    assert finding.cause is not None, "an invocation is wrong because of a message"
    assert finding.found is not None, "what differs is there"
    record = _record_at(cluster, finding.cause)
    expected = inputs.invocation_of(record, finding.run_id)
    again = [inputs.invocation_of(record, finding.run_id) for _ in range(EVALUATIONS - 1)]
    if expected is None:
        return UNSTEADY
    unsteady = {name for each in again for name in _differing(expected, each)}
    found = read(_record_at(cluster, finding.found), (Invocation,))
    names = [name for name in _differing(expected, found) if name not in unsteady]
    return f"differs in {', '.join(names)}" if names else UNSTEADY


def _differing(one: Invocation, other: Invocation | None) -> list[str]:
    """The fields that differ, also where only the type does; all where there is nothing to compare with."""
    names = Invocation.__struct_fields__
    if other is None:
        return list(names)
    return [name for name in names if repr(getattr(one, name)) != repr(getattr(other, name))]


def _record_at(cluster: Log, position: Position) -> Record:
    partition = TopicPartition(position.topic, position.partition)
    start, end = {partition: position.offset}, {partition: position.offset + 1}
    [record] = [record for batch in read_between(cluster, start, end) for record in batch]
    return record
