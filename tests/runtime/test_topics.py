"""Topics: names, how each is set up, and what is found wrong with those that exist."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream_triggers.config import Config
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.log import TopicPartition, TopicSpec
from stream_triggers.runtime.topics import Problem, Topics, check, specs

DAY_MS = 24 * 3_600_000
TOPICS = Topics("shop", servers="k1:9092,k2:9092")
CREATE = "stream-triggers topics create --bootstrap-servers k1:9092,k2:9092 --application shop"
CHANGELOG = "shop-claims-events-changelog"


def wanted(existing: dict[str, TopicSpec] | None = None) -> dict[str, TopicSpec]:
    return {spec.name: spec for spec in specs(TOPICS, existing or {}, claim_retention_ms=DAY_MS)}


def with_settings(name: str, **settings: str) -> dict[str, TopicSpec]:
    """All topics as they are wanted, but for these settings of one."""
    topics = wanted()
    changed = {key.replace("_", "."): value for key, value in settings.items()}
    topics[name] = replace(topics[name], settings={**topics[name].settings, **changed})
    return topics


def problems(existing: dict[str, TopicSpec]) -> tuple[Problem, ...]:
    return check(TOPICS, existing, wanted(existing).values())


@pytest.mark.parametrize(
    ("config", "command"),
    [
        (Config(), "stream-triggers topics create"),
        (Config(topic_prefix="eu."), "stream-triggers topics create --topic-prefix eu."),
        (
            Config(bootstrap_servers="k1:9092", application="shop", topic_prefix="eu."),
            "stream-triggers topics create --bootstrap-servers k1:9092 --application shop --topic-prefix eu.",
        ),
    ],
)
def test_the_command_that_makes_topics_names_what_tells_them_from_others(config: Config, command: str) -> None:
    assert Topics.of(config).create_command == command


def test_names_are_those_of_the_contract() -> None:
    assert set(wanted()) == {
        "events",
        "task-status",
        "task-results",
        "trigger-definitions",
        "trigger-facts",
        "progress",
        "invocations",
        "trigger-runs",
        "dead-letters",
        "shop-claims-events-changelog",
        "shop-claims-task-status-changelog",
        "shop-claims-task-results-changelog",
        "shop-state-trigger-facts-changelog",
    }


def test_a_prefix_is_put_before_every_name_once() -> None:
    topics = Topics("shop", "eu.")
    assert topics.inputs == ("eu.events", "eu.task-status", "eu.task-results")
    assert topics.changelog(topics.events) == "eu.shop-claims-events-changelog"
    assert topics.changelog(topics.trigger_facts) == "eu.shop-state-trigger-facts-changelog"
    assert all(spec.name.startswith("eu.") for spec in specs(topics, {}, claim_retention_ms=DAY_MS))


def test_a_partitions_changelog_has_its_number() -> None:
    assert TOPICS.changelog_of(TopicPartition("events", 3)) == TopicPartition(CHANGELOG, 3)


@pytest.mark.parametrize(("application", "prefix"), [("a shop", ""), ("shop", "eu/"), ("s" * 240, "")])
def test_names_kafka_does_not_take_are_refused(application: str, prefix: str) -> None:
    with pytest.raises(Misconfigured, match="cannot be the name of a topic"):
        Topics(application, prefix)


@pytest.mark.parametrize(
    ("name", "partitions", "settings"),
    [
        ("events", 4, {"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "4194304"}),
        ("invocations", 4, {"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "4194304"}),
        (
            "trigger-definitions",
            1,
            {"cleanup.policy": "compact", "min.compaction.lag.ms": "604800000", "max.message.bytes": "4194304"},
        ),
        ("progress", 1, {"cleanup.policy": "compact", "max.message.bytes": "4194304"}),
        (
            CHANGELOG,
            4,
            {
                "cleanup.policy": "compact,delete",
                "retention.ms": "129600000",
                "segment.ms": "21600000",
                "max.message.bytes": "4194304",
            },
        ),
    ],
)
def test_each_topic_is_set_up_for_what_it_holds(name: str, partitions: int, settings: dict[str, str]) -> None:
    assert wanted()[name] == TopicSpec(name, partitions, settings)


def test_a_dead_letter_may_be_twice_as_large_as_the_record_it_holds() -> None:
    assert wanted()["dead-letters"].settings["max.message.bytes"] == "8388608"


def test_partitions_can_be_chosen() -> None:
    chosen = {spec.name: spec for spec in specs(TOPICS, {}, claim_retention_ms=DAY_MS, partitions=8)}
    assert chosen["events"] == TopicSpec(
        "events", 8, {"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "4194304"}
    )
    assert chosen[CHANGELOG].partitions == 8
    assert chosen["trigger-definitions"].partitions == 1


def test_a_changelog_follows_an_input_that_others_made() -> None:
    made = {"events": TopicSpec("events", 12, {})}
    assert wanted(made)[CHANGELOG].partitions == 12
    assert wanted(made)["shop-claims-task-status-changelog"].partitions == 4


@pytest.mark.parametrize(
    ("kept", "lag"), [("3600000", "604800000"), ("2419200000", "2419200000"), ("-1", str(2**63 - 1))]
)
def test_versions_are_kept_as_long_as_messages(kept: str, lag: str) -> None:
    made = {"task-status": TopicSpec("task-status", 12, {"retention.ms": kept})}
    assert wanted(made)["trigger-definitions"].settings["min.compaction.lag.ms"] == lag


def test_topics_as_they_are_wanted_have_no_problem() -> None:
    assert problems(wanted()) == ()


def test_a_missing_topic_is_created() -> None:
    existing = wanted()
    del existing["dead-letters"]
    assert problems(existing) == (Problem("dead-letters", "does not exist", CREATE),)


def test_a_changelog_with_fewer_partitions_than_its_input_gets_more() -> None:
    existing = {**wanted(), "events": TopicSpec("events", 6, {})}
    assert problems(existing) == (
        Problem(
            CHANGELOG,
            "has 4 partitions, needs 6",
            f"kafka-topics.sh --bootstrap-server k1:9092,k2:9092 --topic {CHANGELOG} --alter --partitions 6",
        ),
    )


def test_a_changelog_with_more_partitions_than_its_input_is_made_again() -> None:
    existing = {**wanted(), "events": TopicSpec("events", 2, {})}
    assert problems(existing) == (
        Problem(
            CHANGELOG,
            "has 4 partitions, needs 2; made again it is empty",
            f"kafka-topics.sh --bootstrap-server k1:9092,k2:9092 --topic {CHANGELOG} --delete && {CREATE}",
        ),
    )


@pytest.mark.parametrize(
    ("name", "settings", "problem", "change"),
    [
        (
            "events",
            {"cleanup_policy": "compact"},
            "is compacted, which drops messages",
            "'cleanup.policy=[delete]'",
        ),
        ("trigger-definitions", {"cleanup_policy": "delete"}, "is not compacted", "'cleanup.policy=[compact]'"),
        (
            "trigger-definitions",
            {"cleanup_policy": "delete,compact"},
            "deletes old records",
            "'cleanup.policy=[compact]'",
        ),
        (CHANGELOG, {"cleanup_policy": "delete"}, "is not compacted", "'cleanup.policy=[compact,delete]'"),
        (
            "trigger-definitions",
            {"min_compaction_lag_ms": "0"},
            "keeps old versions for 0 ms, needs 604800000",
            "min.compaction.lag.ms=604800000",
        ),
        (
            CHANGELOG,
            {"retention_ms": "3600000"},
            "keeps records for 3600000 ms, needs 129600000",
            "retention.ms=129600000",
        ),
    ],
)
def test_a_topic_that_would_lose_records_is_set_right(
    name: str, settings: dict[str, str], problem: str, change: str
) -> None:
    command = f"kafka-configs.sh --bootstrap-server k1:9092,k2:9092 --topic {name} --alter --add-config {change}"
    assert problems(with_settings(name, **settings)) == (Problem(name, problem, command),)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (CHANGELOG, {"cleanup_policy": "delete,compact"}),
        (CHANGELOG, {"retention_ms": "-1"}),
        (CHANGELOG, {"cleanup_policy": "compact", "retention_ms": "1000"}),
        ("events", {"retention_ms": "1000"}),
        ("invocations", {"max_message_bytes": "1000"}),
    ],
)
def test_what_the_engine_does_not_depend_on_is_the_operators(name: str, settings: dict[str, str]) -> None:
    assert problems(with_settings(name, **settings)) == ()


def test_inputs_and_outputs_may_have_any_number_of_partitions() -> None:
    existing = wanted()
    for name in ("invocations", "trigger-runs", "dead-letters"):
        existing[name] = replace(existing[name], partitions=11)
    assert problems(existing) == ()


@pytest.mark.parametrize("partitions", [2, 11])
def test_when_the_facts_have_another_number_of_partitions_what_keys_remember_cannot_be_kept(partitions: int) -> None:
    existing = wanted()
    existing["trigger-facts"] = replace(existing["trigger-facts"], partitions=partitions)
    (problem,) = problems(existing)
    assert problem.topic == "trigger-facts"
    assert problem.problem == (
        f"has {partitions} partitions, and what keys remember is filed by 4: stop all workers, and let them begin anew,"
        " with everything forgotten that is open or pending"
    )
    assert problem.repair.split(" && ") == [
        "kafka-topics.sh --bootstrap-server k1:9092,k2:9092 --topic trigger-facts --delete",
        "kafka-topics.sh --bootstrap-server k1:9092,k2:9092 --topic shop-state-trigger-facts-changelog --delete",
        "kafka-consumer-groups.sh --bootstrap-server k1:9092,k2:9092 --topic trigger-facts --group shop"
        " --delete-offsets",
        f"{CREATE} --partitions {partitions}",
    ]


def test_definitions_in_more_than_one_partition_are_a_problem() -> None:
    existing = wanted()
    existing["trigger-definitions"] = replace(existing["trigger-definitions"], partitions=3)
    assert [(each.topic, each.problem) for each in problems(existing)] == [
        ("trigger-definitions", "has 3 partitions, needs 1; made again it is empty")
    ]
