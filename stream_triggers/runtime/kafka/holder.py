"""Which member of a group holds a static name, as the group's coordinator says.

Asked by the older of the library's two requests, which it calls deprecated: when the newer one
(``describe_consumer_groups``) times out, librdkafka 2.12 may end the whole process by an assertion. The older one does
not tell static names, but a coordinator makes the ids of static members of them.
"""

from __future__ import annotations

import re
import warnings

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_triggers.runtime.kafka.failures import error_of, failure
from stream_triggers.runtime.kafka.settings import KafkaSettings, client_settings, connect, new_client

REQUEST_S = 5.0

_RANDOM = r"-[0-9A-Za-z_-]{22,36}"
"""What a coordinator puts behind the static name: a UUID in one of its two forms."""


def holder_of(settings: KafkaSettings) -> str | None:
    """The id of the member that has ``settings.instance`` in ``settings.group`` now, None if nobody has.

    Raises ``Unavailable`` when the brokers do not say.
    """
    admin: AdminClient = new_client(AdminClient, client_settings(settings, "admin"), settings)
    connect(admin)
    what = f"members of group {settings.group}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            groups = admin.list_groups(settings.group, timeout=REQUEST_S)
    except KafkaException as error:
        raise failure(error_of(error), what) from error
    for group in groups:
        if group.error is not None:
            raise failure(group.error, what)
    of_this_name = re.compile(re.escape(settings.instance or "") + _RANDOM)
    ids = (member.id or "" for group in groups for member in group.members)
    return next((each for each in ids if of_this_name.fullmatch(each)), None)
