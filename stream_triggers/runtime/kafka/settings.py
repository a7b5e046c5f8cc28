"""How the Kafka clients are set up: one table of every setting that exactly-once or latency depends on, with reasons.

Rules:
1. A setting whose row is fixed is what this program's correctness rests on; the user's value for it is refused.
2. The other rows are defaults. Whatever is not in the table (SASL, TLS, buffers) goes to the clients as it is.
3. A value that is a secret appears in no error text and in no ``repr``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from confluent_kafka import KafkaException

from stream_triggers.config import shown
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.kafka.failures import error_of
from stream_triggers.runtime.topics import LETTER_BYTES_MAX

logger = logging.getLogger("stream_triggers.kafka")

CONNECT_S = 0.5
"""How long a new client waits for its first connection before it goes on without one."""

HEARTBEAT_MS_MAX = 3000
"""A member hears within this time that another one took its name; shorter where the session is short."""

Role: TypeAlias = Literal["member", "reader", "producer", "sender", "admin"]
"""The clients: group member, reader of given positions, transactional producer, plain producer, administration."""

T = TypeVar("T")

_ALL: tuple[Role, ...] = ("member", "reader", "producer", "sender", "admin")
_READING: tuple[Role, ...] = ("member", "reader")
_WRITING: tuple[Role, ...] = ("producer", "sender")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """What the clients of one process have in common.

    ``group`` may be empty where nothing joins one, ``transactional_id`` where nothing is transactional. ``instance`` is
    the member's static name, ``<application>-<slot>``; without one every start of the process is a new member.
    ``extra`` is passed to the clients; it may hold secrets.
    """

    bootstrap_servers: str
    group: str = ""
    instance: str | None = None
    transactional_id: str = ""
    session_timeout_ms: int = 10_000
    transaction_timeout_ms: int = 10_000
    message_bytes_max: int = LETTER_BYTES_MAX
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)


class Setting(NamedTuple):
    """One row: a client setting, what it is set to, for which clients, and why.

    A value of None leaves it out. ``aliases`` are other names the client library takes for the same setting.
    """

    name: str
    value: str | bool | Callable[[KafkaSettings], str | None]
    roles: tuple[Role, ...]
    reason: str
    fixed: bool = True
    aliases: tuple[str, ...] = ()


TABLE: tuple[Setting, ...] = (
    Setting(
        "bootstrap.servers",
        lambda s: s.bootstrap_servers,
        _ALL,
        "it has a setting of its own, bootstrap_servers",
        aliases=("metadata.broker.list",),
    ),
    Setting("group.id", lambda s: s.group or "none", _READING, "committed positions belong to the application's group"),
    Setting("group.instance.id", lambda s: s.instance, ("member",), "a slot that restarts keeps its partitions"),
    Setting(
        "group.protocol",
        "classic",
        ("member",),
        "the newer one moves generations without telling: positions would not be fenced by the one that read them",
    ),
    Setting(
        "partition.assignment.strategy",
        "range",
        ("member",),
        "it gives partition n of every input to one worker; cooperative strategies split them",
    ),
    Setting("session.timeout.ms", lambda s: str(s.session_timeout_ms), ("member",), "set by session_timeout_ms"),
    Setting(
        "heartbeat.interval.ms",
        lambda s: str(min(HEARTBEAT_MS_MAX, s.session_timeout_ms // 3)),
        ("member",),
        "three heartbeats fit into a session, and a worker whose name was taken is told soon",
    ),
    Setting(
        "max.poll.interval.ms",
        lambda s: str(max(300_000, s.session_timeout_ms)),
        ("member",),
        "a worker stuck for so long has lost its partitions",
        fixed=False,
    ),
    Setting(
        "enable.auto.commit",
        "false",
        _READING,
        "positions are committed by the transaction that holds their outputs",
        aliases=("auto.commit.enable",),
    ),
    Setting("enable.auto.offset.store", "false", _READING, "positions are kept by the worker"),
    Setting(
        "auto.offset.reset",
        "error",
        _READING,
        "every position is given; one that is gone means lost messages, which must not pass unnoticed",
    ),
    Setting("isolation.level", "read_committed", _READING, "what an aborted transaction wrote never happened"),
    Setting("enable.partition.eof", "true", ("reader",), "the end of a partition is a position too"),
    Setting(
        "allow.auto.create.topics", "false", _READING, "topics are made with the settings they need, or not at all"
    ),
    Setting(
        "fetch.wait.max.ms",
        "50",
        _READING,
        "a fetch that waits holds up those of partitions started meanwhile; waiting less only costs the idle broker",
        fixed=False,
    ),
    Setting(
        "fetch.queue.backoff.ms",
        "5",
        _READING,
        "after a full queue was drained the default leaves the worker without input for up to a second",
        fixed=False,
    ),
    Setting("fetch.error.backoff.ms", "50", _READING, "a new leader is found in less", fixed=False),
    Setting(
        "fetch.message.max.bytes",
        "262144",
        _READING,
        "small compressed messages unpack to many times what was fetched, of each partition: the default, four times as"
        " much, takes 300 MB for a backlog and is no faster; a larger record is fetched all the same",
        fixed=False,
        aliases=("max.partition.fetch.bytes",),
    ),
    Setting("queued.min.messages", "20000", _READING, "a fifth of a second's work, held per partition", fixed=False),
    Setting("queued.max.messages.kbytes", "65536", _READING, "what all partitions may hold in memory", fixed=False),
    Setting("enable.idempotence", "true", _WRITING, "a retried request must not write twice, nor change the order"),
    Setting(
        "acks",
        "all",
        _WRITING,
        "a record acknowledged by one broker is lost with it",
        aliases=("request.required.acks",),
    ),
    Setting(
        "transactional.id",
        lambda s: s.transactional_id,
        ("producer",),
        "a successor of the same slot must end what this one leaves open",
    ),
    Setting(
        "transaction.timeout.ms",
        lambda s: str(s.transaction_timeout_ms),
        ("producer",),
        "set by transaction_timeout_ms; readers wait for a dead worker's transaction that long",
    ),
    Setting(
        "message.timeout.ms",
        lambda s: str(s.transaction_timeout_ms),
        ("producer",),
        "a record that cannot be written while its transaction may live must fail it",
        aliases=("delivery.timeout.ms",),
    ),
    Setting("message.timeout.ms", "30000", ("sender",), "then the caller is told that it failed"),
    Setting("topic.metadata.propagation.max.ms", "5000", _WRITING, "a topic not seen by then is missing", fixed=False),
    Setting(
        "message.max.bytes",
        lambda s: str(s.message_bytes_max),
        _WRITING,
        "topics are made to take records of this size",
    ),
    Setting(
        "partitioner",
        "murmur2_random",
        _WRITING,
        "clients in other languages put a key into the same partition",
    ),
    Setting(
        "retry.backoff.ms",
        "1",
        _WRITING,
        "a transaction that begins while the markers of the last one are written is told to retry; 100, the default,"
        " makes every cycle last that long",
    ),
    Setting("retry.backoff.max.ms", "1000", _WRITING, "while a broker is away the retries grow rarer", fixed=False),
    Setting(
        "delivery.report.only.error",
        True,
        _WRITING,
        "a report of every record costs as much as sending it; a failure fails the transaction, or the flush",
    ),
    Setting(
        "linger.ms",
        "5",
        _WRITING,
        "a commit and a flush send at once; between them records are gathered",
        fixed=False,
        aliases=("queue.buffering.max.ms",),
    ),
    Setting(
        "compression.type",
        "lz4",
        _WRITING,
        "messages are alike; it takes little time and halves what brokers store",
        fixed=False,
        aliases=("compression.codec",),
    ),
    Setting("queue.buffering.max.messages", "200000", _WRITING, "with the next, what may wait to be sent", fixed=False),
    Setting("queue.buffering.max.kbytes", "131072", _WRITING, "bounds memory while a broker is slow", fixed=False),
    Setting(
        "reconnect.backoff.ms",
        "10",
        _ALL,
        "the first connection to a broker follows one to the address it was found by; the default puts 100 between",
        fixed=False,
    ),
    Setting("reconnect.backoff.max.ms", "1000", _ALL, "a broker that is back is found within a second", fixed=False),
    Setting("socket.keepalive.enable", "true", _ALL, "a peer that vanished is noticed", fixed=False),
    Setting("log_level", "2", _ALL, "the rest is told by errors, once; 6 is the library's default", fixed=False),
    Setting("enable.metrics.push", "false", _ALL, "nobody here asks for the client's own metrics", fixed=False),
)
"""Every setting that exactly-once or latency depends on. Measured numbers are in the reasons."""


def refuse_protected(extra: Mapping[str, str]) -> None:
    """Raise ``Misconfigured`` when ``extra`` sets what this program sets itself, naming the setting and the reason."""
    for row in TABLE:
        for name in (row.name, *row.aliases):
            if row.fixed and name in extra:
                raise Misconfigured(
                    f"the Kafka setting {name} cannot be changed: {row.reason}",
                    hint=f"remove {name} from the kafka settings",
                )


def client_settings(settings: KafkaSettings, role: Role) -> dict[str, Any]:
    """The complete configuration of one client."""
    chosen: dict[str, Any] = {"logger": logger}
    replaced = {row.name for row in TABLE for alias in row.aliases if alias in settings.extra}
    for row in TABLE:
        value = row.value(settings) if callable(row.value) else row.value
        if role in row.roles and row.name not in replaced and value is not None:
            chosen[row.name] = value
    elsewhere = {name for row in TABLE if role not in row.roles for name in (row.name, *row.aliases)} - chosen.keys()
    chosen.update({name: value for name, value in settings.extra.items() if name not in elsewhere})
    return chosen


def new_client(make: Callable[[dict[str, Any]], T], chosen: dict[str, Any], settings: KafkaSettings) -> T:
    """A client of the library; raises ``Misconfigured`` when it refuses its settings, without showing secrets."""
    try:
        return make(chosen)
    except KafkaException as error:
        text = error_of(error).str().strip()
        for name, value in settings.extra.items():
            if value and shown(name, value) != value:
                text = text.replace(value, "********")
        raise Misconfigured(f"the Kafka client refuses its settings: {text}") from None


def connect(client: Any) -> None:
    """Have a connection before ``client`` looks for one.

    A client that finds none looks again later: a producer after half a second, a consumer after one, a request for
    offsets after three. The first connection takes some milliseconds.
    """
    try:
        client.list_topics(timeout=CONNECT_S)
    except KafkaException as error:
        logger.debug("kafka client is not connected yet: %s", error)
