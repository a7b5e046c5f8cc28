"""A deterministic Kafka in memory: the log that fault schedules run on, by the thousand.

One ``MemoryCluster`` is the truth; each simulated process has a ``MemoryLog`` on it, and makes its member, producer and
readers from that. Nothing runs in the background and nothing is random: time is a ``ManualClock``, faults are planned
in ``Faults``, and everything else happens inside the calls the test makes.

Rules:
1. What a client may see is what Apache Kafka and librdkafka do with a classic group, ``range``, static membership and
   transactions without KIP-890; ``tests/runtime/log_suite.py`` runs over this log and over a real broker.
2. Where Kafka leaves a choice to chance (which partition for a record without a key, member ids, which partition is
   read first) the choice is fixed.
3. Not modelled: compaction, replication, message size limits, a time limit on rebalances, late requests other than the
   end of a transaction.

The modules, each seeing only those before it: ``fault``; ``topic`` (entries, offsets, keys); ``group``;
``transaction``; ``cluster``; ``client``; ``member`` and ``producer``; ``log``.
"""

from stream_triggers.runtime.memory_log.cluster import MemoryCluster
from stream_triggers.runtime.memory_log.fault import Crashed, Fault, Faults, Point
from stream_triggers.runtime.memory_log.log import MemoryLog
from stream_triggers.runtime.memory_log.member import MemoryMember, MemoryReader
from stream_triggers.runtime.memory_log.producer import MemoryProducer
from stream_triggers.runtime.memory_log.topic import Entry, murmur2

__all__ = [
    "Crashed",
    "Entry",
    "Fault",
    "Faults",
    "MemoryCluster",
    "MemoryLog",
    "MemoryMember",
    "MemoryProducer",
    "MemoryReader",
    "Point",
    "murmur2",
]
