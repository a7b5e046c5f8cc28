"""Which member of a group holds a static name, as the group's coordinator says."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_triggers.runtime.kafka.failures import error_of, failure
from stream_triggers.runtime.kafka.settings import KafkaSettings, client_settings, connect, new_client

REQUEST_S = 5.0


def holder_of(settings: KafkaSettings) -> str | None:
    """The id of the member that has ``settings.instance`` in ``settings.group`` now, None if nobody has.

    Raises ``Unavailable`` when the brokers do not say.
    """
    admin: AdminClient = new_client(AdminClient, client_settings(settings, "admin"), settings)
    connect(admin)
    try:
        future = admin.describe_consumer_groups([settings.group], request_timeout=REQUEST_S)[settings.group]
        members = future.result().members
    except KafkaException as error:
        raise failure(error_of(error), f"members of group {settings.group}") from error
    holders = (member.member_id for member in members if member.group_instance_id == settings.instance)
    return next(holders, None)
