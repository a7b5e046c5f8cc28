"""The records that a step of a worker makes, by the topic they go to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.topics import Topics


@dataclass(slots=True)
class Outputs:
    """Records to write; ``runs`` holds run records and decisions, ``facts`` activations and ticks, too."""

    invocations: list[Outgoing] = field(default_factory=list)
    runs: list[Outgoing] = field(default_factory=list)
    dead_letters: list[Outgoing] = field(default_factory=list)
    facts: list[Outgoing] = field(default_factory=list)
    progress: list[Outgoing] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be written."""
        return not (self.invocations or self.runs or self.dead_letters or self.facts or self.progress)

    def add(self, other: Outputs) -> None:
        """Add what another step has made."""
        self.invocations += other.invocations
        self.runs += other.runs
        self.dead_letters += other.dead_letters
        self.facts += other.facts
        self.progress += other.progress

    def by_topic(self, topics: Topics) -> Iterator[tuple[str, list[Outgoing]]]:
        """Each topic that gets records, with them."""
        pairs = (
            (topics.invocations, self.invocations),
            (topics.trigger_runs, self.runs),
            (topics.dead_letters, self.dead_letters),
            (topics.trigger_facts, self.facts),
            (topics.progress, self.progress),
        )
        return ((topic, records) for topic, records in pairs if records)
