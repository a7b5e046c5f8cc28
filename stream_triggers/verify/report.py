"""What a verification comes to: numbers, and findings, of which a bounded number is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from stream_triggers.core.message import Position

FINDINGS_KEPT_MAX = 1000
"""Findings of one fault that are kept; of more, only the number is."""

TEXT_KEPT_MAX = 1000
"""Characters that are kept of a text in a finding: a foreign record may name millions."""

Fault: TypeAlias = Literal["lost", "duplicated", "unexpected", "wrong", "unrecorded", "unreported"]
"""What can be wrong; the package says what each means."""


class Finding(NamedTuple):
    """Something that is not as it must be.

    ``cause`` is the position of the message behind it and ``found`` that of the record that is wrong or too many, each
    None where there is none. ``run_id`` is empty where it is about a decision or a dead letter.
    """

    fault: Fault
    run_id: str
    trigger_id: str
    cause: Position | None
    found: Position | None
    detail: str


@dataclass(slots=True)
class Report:
    """The outcome of a verification."""

    messages: int = 0
    """Messages that were judged."""
    expected: int = 0
    """Invocations that they had to make."""
    invocations: int = 0
    """Invocations found of them, or of nothing."""
    rejected: int = 0
    """Messages that no worker could read, or that were too large."""
    failed: int = 0
    """How often a definition could not handle a message."""
    repeated: int = 0
    """Matches of a message that had come before, and fired nothing."""
    refired: int = 0
    """Those that fired again, as they may when the claim has been forgotten."""
    facts: int = 0
    """Facts that the messages had to make, for triggers with memory or time."""
    unevaluated: int = 0
    """Invocations of such triggers, of which the facts were not evaluated again, for not all of them are read."""
    unjudged: int = 0
    """Messages that cannot be judged, or not by all definitions, because what would be needed for it is gone, and the
    invocations that are ``unevaluated``."""
    findings: list[Finding] = field(default_factory=list)
    """Per fault the first ``FINDINGS_KEPT_MAX``."""
    faults: Counter[Fault] = field(default_factory=Counter)
    """How many findings there are of each fault, those that were not kept included."""

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if it is one of the first of its kind."""
        self.faults[finding.fault] += 1
        if self.faults[finding.fault] <= FINDINGS_KEPT_MAX:
            kept = {name: getattr(finding, name)[:TEXT_KEPT_MAX] for name in ("run_id", "trigger_id", "detail")}
            self.findings.append(finding._replace(**kept))

    def add_unnamed(self, fault: Fault, count: int) -> None:
        """Count findings of which nothing more is known."""
        self.faults[fault] += count

    def count(self, fault: Fault) -> int:
        """How many findings are of this kind."""
        return self.faults[fault]

    @property
    def is_faulty(self) -> bool:
        """Whether anything is not as it must be."""
        return self.faults.total() > 0

    @property
    def is_blind(self) -> bool:
        """Whether there are messages, and none of them could be judged."""
        return self.unjudged > 0 and self.messages == 0

    @property
    def is_doubled(self) -> bool:
        """Whether as much fired once more as had to fire at all, as when two applications share their topics."""
        return 0 < self.expected <= self.faults["duplicated"]

    def counts(self) -> dict[str, int]:
        """Every number of the report by name, the findings by fault."""
        numbers = {each.name: getattr(self, each.name) for each in fields(self) if each.type == "int"}
        return numbers | {fault: self.faults[fault] for fault in get_args(Fault)}

    def document(self) -> dict[str, Any]:
        """Numbers and findings as a JSON object."""
        return {**self.counts(), "findings": [_document(each) for each in self.findings]}


def _document(finding: Finding) -> dict[str, Any]:
    positions = {name: _place(getattr(finding, name)) for name in ("cause", "found")}
    return {**finding._asdict(), **positions}


def _place(position: Position | None) -> dict[str, Any] | None:
    if position is None:
        return None
    return {"topic": position.topic, "partition": position.partition, "offset": position.offset}
