"""What a process tells about itself: every counter and every log event, by name, in one place.

Rules:
1. A log event that is not in ``LOG_EVENTS``, or a counter that is not a field of ``Counters``, does not exist.
2. An event's level says who must act: ``error`` the operator, ``warning`` the author of a trigger or the sender of a
   message, ``info`` nobody. ``debug`` is for reading along.
3. A line is its event, then its fields as ``name=value``: what varies is never part of the event's name.
4. Labels are closed sets. Ids and keys belong into decisions and dead letters.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple, TextIO, TypeAlias

from stream_triggers.core.invocation import Reason

Stage: TypeAlias = Literal["decode", "filter", "arguments", "step", "task"]
"""Where a message failed that went to the dead letters."""

LogEvent: TypeAlias = Literal[
    "worker started",
    "worker stopped",
    "worker fenced",
    "worker failed",
    "partitions assigned",
    "partitions revoked",
    "partitions lost",
    "partitions ready",
    "partition refused",
    "triggers in force",
    "trigger caught up",
    "trigger quarantined",
    "message rejected",
    "evaluation failed",
    "transaction aborted",
    "transaction unsettled",
    "producer fenced",
    "kafka unavailable",
    "state in use",
    "task skipped",
    "records deleted unread",
    "summary",
    "slot started",
    "slot not started",
    "slot ended",
    "slot given up",
    "slot killed",
]


class LogEventRow(NamedTuple):
    """What a log event means, and the fields its line has."""

    event: LogEvent
    level: Literal["debug", "info", "warning", "error"]
    fields: str
    meaning: str


LOG_EVENTS: tuple[LogEventRow, ...] = (
    LogEventRow("worker started", "info", "application, slot", "A worker is joining its group."),
    LogEventRow("worker stopped", "info", "", "It has committed what it could and left."),
    LogEventRow("worker fenced", "error", "error", "Another process runs under its slot: stop one of the two."),
    LogEventRow("worker failed", "error", "error", "It ends; a restart goes on from the last commit."),
    LogEventRow("partitions assigned", "info", "count, partitions", "These are processed here now."),
    LogEventRow("partitions revoked", "info", "count, partitions", "They are committed and go to another worker."),
    LogEventRow("partitions lost", "info", "count, partitions", "Others have them already; open work is dropped."),
    LogEventRow("partitions ready", "info", "count, partitions", "Their claims are restored; processing begins."),
    LogEventRow(
        "partition refused",
        "error",
        "partition, error, hint",
        "Its changelog is of a newer release, or lacks it: not processed here for now; the others are.",
    ),
    LogEventRow("triggers in force", "info", "count, definitions_offset", "The definitions have changed."),
    LogEventRow(
        "trigger caught up",
        "info",
        "trigger, partition, offset",
        "It started in the past, and from here on takes what is new in the partition.",
    ),
    LogEventRow("trigger quarantined", "error", "trigger, error", "This worker cannot run its definition."),
    LogEventRow("message rejected", "warning", "topic, partition, offset, error", "Dead-lettered: it cannot be read."),
    LogEventRow(
        "evaluation failed",
        "warning",
        "trigger, stage, topic, partition, offset, error",
        "Dead-lettered for one trigger: its filter or template failed on a message.",
    ),
    LogEventRow("transaction aborted", "info", "error", "Nothing of it counts; its input is read again."),
    LogEventRow("transaction unsettled", "info", "error", "The outcome is unknown and is read back from Kafka."),
    LogEventRow(
        "producer fenced",
        "info",
        "error",
        "Its transaction timed out, or a second worker has its slot; it pauses until it would know.",
    ),
    LogEventRow("kafka unavailable", "info", "error, pause_s", "Tried again after the pause."),
    LogEventRow(
        "state in use", "info", "error, pause_s", "Another process has this slot's state; tried again after the pause."
    ),
    LogEventRow("task skipped", "warning", "task", "No function here is registered for it; told once."),
    LogEventRow(
        "records deleted unread",
        "error",
        "topic, partition, offset, next_offset",
        "Retention overtook a reader between these offsets: keep the topic's records longer.",
    ),
    LogEventRow("summary", "info", "the counters that moved", "What was counted since the last summary."),
    LogEventRow("slot started", "info", "slot, pid", "The supervisor started a worker process."),
    LogEventRow("slot not started", "error", "slot, error", "The system refused a new process; tried again."),
    LogEventRow("slot ended", "error", "slot, status, pause_s", "The process ended by itself; it starts again."),
    LogEventRow("slot given up", "error", "slot, status, reason", "A restart would not help; the others go on."),
    LogEventRow("slot killed", "error", "slot, budget_s", "It did not stop within its budget."),
)
"""The table of log events."""

_LEVELS: Mapping[str, int] = {row.event: logging.getLevelNamesMapping()[row.level.upper()] for row in LOG_EVENTS}


def log(logger: logging.Logger, event: LogEvent, **values: object) -> None:
    """Write one line about ``event`` at its level."""
    logger.log(_LEVELS[event], event, extra={"values": values}, stacklevel=2)


def _row(meaning: str, label: str = "") -> Mapping[str, str]:
    return {"meaning": meaning, "label": label}


@dataclass(slots=True)
class Counters:
    """What one worker has counted since it started. Plain numbers: whoever counts adds to the fields."""

    messages: int = field(default=0, metadata=_row("Messages read."))
    unmatched: int = field(default=0, metadata=_row("Messages that no trigger accepted."))
    matched: int = field(default=0, metadata=_row("Messages accepted by a trigger, counted once for each trigger."))
    caught_up: int = field(default=0, metadata=_row("Messages read again for triggers that start in the past."))
    facts: int = field(default=0, metadata=_row("Facts of keyed triggers evaluated."))
    fired: int = field(default=0, metadata=_row("Invocations written."))
    decisions: Counter[Reason] = field(
        default_factory=Counter, metadata=_row("Matches that did not fire, and why.", "reason")
    )
    dead_letters: Counter[Stage] = field(
        default_factory=Counter, metadata=_row("Messages written to the dead letters, and where they failed.", "stage")
    )
    transactions: int = field(default=0, metadata=_row("Transactions committed."))
    aborts: int = field(default=0, metadata=_row("Transactions aborted; their input is read again and counts again."))
    restores: int = field(default=0, metadata=_row("Partitions restored from the changelog."))
    refused: int = field(default=0, metadata=_row("Partitions not processed: their changelog cannot be read."))

    def values(self) -> Iterator[tuple[str, str, int]]:
        """Every counter as ``(name, label, number)``, the label empty where there is none."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int):
                yield each.name, "", value
            else:
                # The copy is made in one step, whatever the thread that counts does.
                yield from ((each.name, label, number) for label, number in sorted(value.copy().items()))


class CounterRow(NamedTuple):
    """What a counter counts, and what it is split by."""

    name: str
    label: str
    meaning: str


COUNTERS: tuple[CounterRow, ...] = tuple(
    CounterRow(each.name, each.metadata["label"], each.metadata["meaning"]) for each in fields(Counters)
)
"""The table of counters."""


class Summary:
    """Turns counters into one ``summary`` line for the time since the last one; may run on a thread of its own."""

    def __init__(self, counters: Counters, now_s: float) -> None:
        self._counters = counters
        self._since_s = now_s
        self._before: Mapping[tuple[str, str], int] = {}

    def log(self, logger: logging.Logger, now_s: float) -> None:
        """Write the line; ``now_s`` and the one before come from a clock that does not go back."""
        now = {(name, label): number for name, label, number in self._counters.values()}
        seconds = now_s - self._since_s
        moved = {key: number - self._before.get(key, 0) for key, number in now.items()}
        rate = moved["messages", ""] / max(seconds, 1e-3)
        shown = {f"{name}.{label}" if label else name: number for (name, label), number in moved.items() if number}
        log(logger, "summary", seconds=round(seconds, 1), messages_per_s=round(rate), **shown)
        self._since_s = now_s
        self._before = now


def set_up(form: Literal["text", "json"], level: str, slot: str = "", stream: TextIO | None = None) -> None:
    """Send the log of the whole process to ``stream`` (standard error), one line each, from ``level`` on.

    For programs, not for libraries: it replaces what was set up before. Other packages are heard from ``warning`` on.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(slot) if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("stream_triggers").setLevel(level.upper())


class TextLines(logging.Formatter):
    """``instant level event name=value``, for people."""

    def format(self, record: logging.LogRecord) -> str:
        words = [record.getMessage(), *(f"{name}={_word(value)}" for name, value in _values(record).items())]
        line = f"{_instant(record)} {record.levelname.lower():<7} {' '.join(words)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a line, for programs: time, level, logger, slot, event, and the event's fields in ``fields``."""

    def __init__(self, slot: str = "") -> None:
        super().__init__()
        self._slot = slot

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "slot": self._slot,
            "event": record.getMessage(),
            "fields": _values(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def markdown() -> str:
    """The tables of counters and log events, as the README has them."""
    counters = [f"| `{row.name}` | {row.label} | {row.meaning} |" for row in COUNTERS]
    events = [f"| {row.event} | {row.level} | {row.fields} | {row.meaning} |" for row in LOG_EVENTS]
    counters[:0] = ["| counter | by | counts |", "|---|---|---|"]
    events[:0] = ["| log event | level | fields | meaning |", "|---|---|---|---|"]
    return "\n".join([*counters, "", *events, ""])


def _instant(record: logging.LogRecord) -> str:
    """When it was logged, UTC: the logging module's own clock, which nothing but a line of text depends on."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


def _values(record: logging.LogRecord) -> Mapping[str, object]:
    return getattr(record, "values", {})


def _word(value: object) -> str:
    text = str(value)
    return text if text and not set(text) & set(' \t\r\n"=') else json.dumps(text)
