"""After a crash, the dead broker is fenced before the new one starts.

Why: the metadata log still says that the dead broker is alive and leads every partition. A broker that starts on it
takes up its coordinators at once, is then fenced because its new registration replaces the old one, and meanwhile has
no leader for any partition. Apache Kafka 4.3.1 takes a partition without a leader for a deleted one
(``KRaftMetadataCache.getPartitionLeaderEndpoint`` returns nothing for both), so a transaction whose commit was
acknowledged just before the crash, but whose markers were not yet written, is completed without them: its records
stay invisible and read-committed consumers stand still behind it for good. About one kill in four right after a commit
ends this way, on any one-node cluster.

How: a controller alone (no broker, no coordinators) is run on the same directory for a moment, with a session timeout
so short that the dead broker's session is over at once. The broker then starts fenced, gets its partitions together
with its leadership of them, and writes the markers; nor has it to wait for the old session to run out.
"""

from __future__ import annotations

import re

from stream_triggers.broker.directory import DataDir

CONTROLLER_LOG = "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.controller.ClusterControlManager=info"

_ACTIVE = "Performing controller activation"
_REGISTRATION = re.compile(r"(?:RegisterBrokerRecord|BrokerRegistrationChangeRecord)\(.*?\bfenced=(true|false|1|-1)\b")


def needed(data: DataDir) -> bool:
    """Whether a broker has run on this data and did not shut down in order."""
    return (data.kafka / "__cluster_metadata-0").is_dir() and not (data.kafka / ".kafka_cleanshutdown").exists()


def fenced(log: str) -> bool:
    """Whether the log of a controller says that it is active and knows no broker that is alive."""
    registrations = _REGISTRATION.findall(log)
    return _ACTIVE in log and (not registrations or registrations[-1] in ("true", "1"))
