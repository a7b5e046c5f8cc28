"""The log over Kafka, by confluent-kafka; nothing outside this package imports that library.

``settings`` says how clients are set up and why; ``failures`` what their errors mean; ``member``, ``producer``,
``reader`` and ``cluster`` implement ``runtime.log``; ``sender`` is for programs that write messages.
"""

from __future__ import annotations

from stream_triggers.runtime.kafka.cluster import KafkaLog
from stream_triggers.runtime.kafka.sender import Identify, KafkaSender
from stream_triggers.runtime.kafka.settings import TABLE, KafkaSettings, Setting, refuse_protected

__all__ = ["TABLE", "Identify", "KafkaLog", "KafkaSender", "KafkaSettings", "Setting", "refuse_protected"]
