"""How Kafka clients are set up: what is refused, what is passed on, and that the client library takes all of it."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.kafka import TABLE, KafkaLog, KafkaSettings, refuse_protected
from stream_triggers.runtime.kafka.settings import Role, client_settings, logger

SETTINGS = KafkaSettings("127.0.0.1:1", group="shop", instance="shop-0", transactional_id="shop-0")
CLIENTS = {"member": Consumer, "reader": Consumer, "producer": Producer, "sender": Producer, "admin": AdminClient}
FIXED = [name for row in TABLE if row.fixed for name in (row.name, *row.aliases)]


@pytest.mark.parametrize("name", FIXED)
def test_a_setting_that_correctness_rests_on_is_refused_with_its_reason(name: str) -> None:
    reason = next(row.reason for row in TABLE if name in (row.name, *row.aliases))
    with pytest.raises(Misconfigured) as raised:
        refuse_protected({"security.protocol": "SSL", name: "x"})
    assert raised.value.message == f"the Kafka setting {name} cannot be changed: {reason}"
    assert raised.value.hint == f"remove {name} from the kafka settings"


@pytest.mark.parametrize(
    "name",
    [
        "acks",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.idempotence",
        "group.instance.id",
        "group.protocol",
        "isolation.level",
        "partition.assignment.strategy",
        "retry.backoff.ms",
        "transactional.id",
        "transaction.timeout.ms",
    ],
)
def test_what_exactly_once_depends_on_is_among_them(name: str) -> None:
    assert name in FIXED


def test_a_log_refuses_them_when_it_is_made() -> None:
    with pytest.raises(Misconfigured, match=r"isolation\.level"):
        KafkaLog(replace(SETTINGS, extra={"isolation.level": "read_uncommitted"}))


@pytest.mark.parametrize("role", CLIENTS)
def test_the_library_takes_the_settings_of_every_client_and_finds_none_out_of_place(
    role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(SETTINGS, extra={"log_level": "4", "linger.ms": "7", "queued.min.messages": "10"})
    with caplog.at_level(logging.WARNING, logger.name):
        client = CLIENTS[role](client_settings(settings, role))
        client.poll(0)
    assert [record.getMessage() for record in caplog.records if "CONFWARN" in record.getMessage()] == []


def test_a_default_can_be_replaced_also_by_its_other_name() -> None:
    by_name = client_settings(replace(SETTINGS, extra={"linger.ms": "7"}), "producer")
    by_alias = client_settings(replace(SETTINGS, extra={"queue.buffering.max.ms": "7"}), "producer")
    assert by_name["linger.ms"] == "7"
    assert "linger.ms" not in by_alias
    assert by_alias["queue.buffering.max.ms"] == "7"


def test_what_the_table_does_not_know_goes_to_every_client() -> None:
    settings = replace(SETTINGS, extra={"security.protocol": "SASL_SSL"})
    assert {client_settings(settings, role)["security.protocol"] for role in CLIENTS} == {"SASL_SSL"}


def test_a_member_without_a_static_name_is_dynamic() -> None:
    assert "group.instance.id" not in client_settings(replace(SETTINGS, instance=None), "member")


def test_heartbeats_fit_into_a_short_session_three_times() -> None:
    chosen = client_settings(replace(SETTINGS, session_timeout_ms=900), "member")
    assert chosen["heartbeat.interval.ms"] == "300"


def test_secrets_are_not_shown() -> None:
    settings = replace(SETTINGS, extra={"sasl.password": "hunter2"})
    assert "hunter2" not in repr(settings)
    wrong = replace(settings, extra={"sasl.password": "hunter2", "security.protocol": "hunter2"})
    with pytest.raises(Misconfigured) as raised:
        KafkaLog(wrong)
    assert raised.value.message == (
        'the Kafka client refuses its settings: Invalid value "********" for configuration property "security.protocol"'
    )
    assert raised.value.__cause__ is None
