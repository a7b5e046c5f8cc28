"""Topics: their names, how each is to be set up, and what is wrong with those that exist.

Rules:
1. Names come from here and from nowhere else; the prefix is put before every one of them.
2. Partition ``n`` of a changelog belongs to partition ``n`` of the topic it is of, so both have the same number.
3. A table is compacted and has one partition, which every worker reads whole: ``trigger-definitions``, ``progress``.
   A claims changelog is compacted too, and deleted when no claim in it can be asked for any more; that of the keyed
   stage is compacted only.
4. Inputs and outputs may have been made by others, with any number of partitions. The facts have theirs for good: it
   says where what a key remembers is filed.
5. A version of a trigger is kept for as long as messages are that it was in force for: what they had to fire can be
   verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from stream_triggers.config import Config
from stream_triggers.core.message import Kind
from stream_triggers.core.words import counted
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.log import TopicPartition, TopicSpec

PARTITIONS = 4
PARTITIONS_MAX = 100_000
"""What Kafka's client library takes; brokers have had enough long before."""

RETENTION_MS = 7 * 24 * 3_600_000

TOMBSTONES_KEPT_MS = 24 * 3_600_000
"""How long the changelog of the keyed stage keeps the deletion of a state, after which a reader may miss it."""

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Largest record a topic takes: a payload of the default limit, the message and invocation around it, and room."""

LETTER_BYTES_MAX = 2 * MESSAGE_BYTES_MAX
"""Largest record of the dead letters, which hold whole records of other topics; what clients may write at most."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SEGMENTS_PER_RETENTION = 4
"""Kafka deletes whole segments, never the newest: a topic keeps up to a segment more than its retention."""
CREATE_COMMAND = "stream-triggers topics create"
"""What makes topics; ``Topics.create_command`` adds the options."""

_DEFAULTS = Config()
_LAG = "min.compaction.lag.ms"
_FOREVER_MS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of all topics of one application; ``servers`` are for the commands that an operator is given."""

    application: str
    prefix: str = ""
    servers: str = _DEFAULTS.bootstrap_servers

    @classmethod
    def of(cls, config: Config) -> Self:
        """The topics of the configured application."""
        return cls(config.application, config.topic_prefix, config.bootstrap_servers)

    def __post_init__(self) -> None:
        for name in (*self.all, *self.changelogs):
            if not _NAME.fullmatch(name):
                raise Misconfigured(
                    f"{name!r} cannot be the name of a topic",
                    hint="shorten application and topic_prefix; letters, digits, '.', '_' and '-' are allowed",
                )

    @property
    def events(self) -> str:
        """``Event`` records."""
        return f"{self.prefix}events"

    @property
    def task_status(self) -> str:
        """``TaskStatus`` records."""
        return f"{self.prefix}task-status"

    @property
    def task_results(self) -> str:
        """``TaskResult`` records."""
        return f"{self.prefix}task-results"

    @property
    def trigger_definitions(self) -> str:
        """``TriggerDefinition`` records by trigger id."""
        return f"{self.prefix}trigger-definitions"

    @property
    def trigger_facts(self) -> str:
        """``Fact``, ``Tick`` and ``Activation`` records."""
        return f"{self.prefix}trigger-facts"

    @property
    def progress(self) -> str:
        """Low watermarks by input partition; where triggers that start in the past have come to, for good."""
        return f"{self.prefix}progress"

    @property
    def invocations(self) -> str:
        """``Invocation`` records."""
        return f"{self.prefix}invocations"

    @property
    def trigger_runs(self) -> str:
        """``TriggerRun`` and ``Decision`` records."""
        return f"{self.prefix}trigger-runs"

    @property
    def dead_letters(self) -> str:
        """``DeadLetter`` records."""
        return f"{self.prefix}dead-letters"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The topics workers read messages from."""
        return (self.events, self.task_status, self.task_results)

    @property
    def kinds(self) -> Mapping[str, frozenset[Kind]]:
        """By topic of the inputs, what its messages can be."""
        return {
            self.events: frozenset({"event"}),
            self.task_status: frozenset({"status"}),
            self.task_results: frozenset({"result", "exception"}),
        }

    @property
    def consumed(self) -> tuple[str, ...]:
        """The topics that workers own partitions of: the inputs, and the facts that they make of them."""
        return (*self.inputs, self.trigger_facts)

    @property
    def changelogs(self) -> tuple[str, ...]:
        """The changelogs of those."""
        return tuple(map(self.changelog, self.consumed))

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic but the changelogs."""
        return (
            *self.inputs,
            self.trigger_definitions,
            self.trigger_facts,
            self.progress,
            self.invocations,
            self.trigger_runs,
            self.dead_letters,
        )

    def changelog(self, consumed: str) -> str:
        """The topic of the claims made for messages of an input topic, or of the states made of facts."""
        kind = "state" if consumed == self.trigger_facts else "claims"
        return f"{self.prefix}{self.application}-{kind}-{consumed.removeprefix(self.prefix)}-changelog"

    def changelog_of(self, partition: TopicPartition) -> TopicPartition:
        """Where what belongs to a partition of a consumed topic is kept."""
        return TopicPartition(self.changelog(partition.topic), partition.partition)

    @property
    def create_command(self) -> str:
        """The command that makes these topics, with the options that tell them from others."""
        options = (
            ("--bootstrap-servers", self.servers, _DEFAULTS.bootstrap_servers),
            ("--application", self.application, _DEFAULTS.application),
            ("--topic-prefix", self.prefix, _DEFAULTS.topic_prefix),
        )
        given = [f"{option} {value}" for option, value, default in options if value != default]
        return " ".join([CREATE_COMMAND, *given])

    def kafka_command(self, script: str, topic: str) -> str:
        """The start of a command of Kafka's own about ``topic``."""
        return f"{script} --bootstrap-server {self.servers} --topic {topic}"

    def grow_command(self, topic: str, partitions: int) -> str:
        """The command that adds partitions to ``topic`` until it has so many."""
        return f"{self.kafka_command('kafka-topics.sh', topic)} --alter --partitions {partitions}"

    def delete_command(self, topic: str) -> str:
        """The command that deletes ``topic``."""
        return f"{self.kafka_command('kafka-topics.sh', topic)} --delete"

    def forget_command(self, partitions: int) -> str:
        """The commands that make the facts, and what keys remember, again: both empty, with so many partitions."""
        group = f"{self.kafka_command('kafka-consumer-groups.sh', self.trigger_facts)} --group {self.application}"
        deleted = map(self.delete_command, (self.trigger_facts, self.changelog(self.trigger_facts)))
        create = f"{self.create_command} --partitions {partitions}"
        return " && ".join([*deleted, f"{group} --delete-offsets", create])


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a topic that must be put right before workers start; ``repair`` is a command that does."""

    topic: str
    problem: str
    repair: str


def specs(
    topics: Topics,
    existing: Mapping[str, TopicSpec],
    *,
    claim_retention_ms: int,
    partitions: int = PARTITIONS,
) -> tuple[TopicSpec, ...]:
    """How every topic is to be set up; a changelog follows what it is of as it exists, else as it is to be made."""
    kept = {"cleanup.policy": "delete", "retention.ms": str(RETENTION_MS)}
    table = {"cleanup.policy": "compact"}
    claims = {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(claims_needed_ms(claim_retention_ms)),
        "segment.ms": str(claim_retention_ms // _SEGMENTS_PER_RETENTION),
    }
    tables = {
        topics.trigger_definitions: {**table, _LAG: str(_kept_ms(topics.inputs, existing))},
        topics.progress: table,
    }
    wanted = [(name, 1, tables[name]) if name in tables else (name, partitions, kept) for name in topics.all]
    states = {"cleanup.policy": "compact", "delete.retention.ms": str(TOMBSTONES_KEPT_MS)}
    for name in topics.consumed:
        as_it_is = existing[name].partitions if name in existing else partitions
        wanted.append((topics.changelog(name), as_it_is, states if name == topics.trigger_facts else claims))
    largest = {name: MESSAGE_BYTES_MAX for name, _, _ in wanted} | {topics.dead_letters: LETTER_BYTES_MAX}
    return tuple(
        TopicSpec(name, count, {**settings, "max.message.bytes": str(largest[name])})
        for name, count, settings in wanted
    )


def _kept_ms(inputs: Iterable[str], existing: Mapping[str, TopicSpec]) -> int:
    """For how long messages are kept at most, in inputs as they are or are to be made."""
    kept = [int(existing[name].settings.get("retention.ms", RETENTION_MS)) for name in inputs if name in existing]
    return max(each if each >= 0 else _FOREVER_MS for each in (RETENTION_MS, *kept))


def claims_needed_ms(claim_retention_ms: int) -> int:
    """How long a changelog record may be asked for.

    A claim lives up to a third longer than its retention; the rest is for clocks that differ.
    """
    return claim_retention_ms * 3 // 2


def check(topics: Topics, existing: Mapping[str, TopicSpec], wanted: Iterable[TopicSpec]) -> tuple[Problem, ...]:
    """What keeps workers from running on the ``existing`` ones of ``topics``, in the order of ``wanted``.

    Only what the engine depends on is compared: how long inputs and outputs are kept, and their sizes, are not.
    """
    problems: list[Problem] = []
    for spec in wanted:
        found = existing.get(spec.name)
        if found is None:
            problems.append(Problem(spec.name, "does not exist", topics.create_command))
        else:
            problems += [*_partition_problems(topics, found, spec), *_setting_problems(topics, found, spec)]
    return tuple(problems)


def _partition_problems(topics: Topics, found: TopicSpec, spec: TopicSpec) -> Iterator[Problem]:
    """Partitions can be added to a topic, not taken away; those of inputs and outputs are the operator's business."""
    if "compact" not in spec.settings["cleanup.policy"]:
        return
    if spec.name == topics.changelog(topics.trigger_facts):
        if found.partitions != spec.partitions:
            problem = (
                f"has {counted(spec.partitions, 'partition')}, and what keys remember is filed by {found.partitions}:"
                " stop all workers, and let them begin anew, with everything forgotten that is open or pending"
            )
            yield Problem(topics.trigger_facts, problem, topics.forget_command(spec.partitions))
        return
    problem = f"has {counted(found.partitions, 'partition')}, needs {spec.partitions}"
    if found.partitions < spec.partitions:
        yield Problem(spec.name, problem, topics.grow_command(spec.name, spec.partitions))
    elif found.partitions > spec.partitions:
        again = f"{topics.delete_command(spec.name)} && {topics.create_command}"
        yield Problem(spec.name, f"{problem}; made again it is empty", again)


def _setting_problems(topics: Topics, found: TopicSpec, spec: TopicSpec) -> Iterator[Problem]:
    alter = f"{topics.kafka_command('kafka-configs.sh', spec.name)} --alter --add-config"
    wanted, policy = spec.settings["cleanup.policy"], found.settings.get("cleanup.policy", "delete")
    if "compact" in wanted and "compact" not in policy:
        yield Problem(spec.name, "is not compacted", f"{alter} 'cleanup.policy=[{wanted}]'")
    elif "compact" in policy and "compact" not in wanted:
        yield Problem(spec.name, "is compacted, which drops messages", f"{alter} 'cleanup.policy=[{wanted}]'")
    elif "delete" in policy and "delete" not in wanted:
        yield Problem(spec.name, "deletes old records", f"{alter} 'cleanup.policy=[{wanted}]'")
    needed, kept = (int(each.settings.get("retention.ms", "-1")) for each in (spec, found))
    if "compact" in wanted and "delete" in policy and 0 <= kept < needed:
        yield Problem(spec.name, f"keeps records for {kept} ms, needs {needed}", f"{alter} retention.ms={needed}")
    needed, kept = (int(each.settings.get(_LAG, "0")) for each in (spec, found))
    if kept < needed:
        yield Problem(spec.name, f"keeps old versions for {kept} ms, needs {needed}", f"{alter} {_LAG}={needed}")
