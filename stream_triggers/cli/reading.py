"""Reading topics for a command: how far it is, is told only where that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from stream_triggers.cli import terminal
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.log import Log, Record, TopicPartition, partition_of
from stream_triggers.runtime.reading import read_between

PROGRESS_EVERY = 250_000
"""Records between two lines that tell how far it is."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Hears what is being read, how much of it has been, and how much there is at most."""


def records(
    log: Log,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    what: str,
    progress: Progress,
) -> Iterator[Record]:
    """The committed records of some partitions one by one."""
    total, done = sum(max(0, ends[each] - offset) for each, offset in starts.items()), 0
    for batch in read_between(log, starts, ends):
        yield from batch
        done += len(batch)
        if total >= PROGRESS_EVERY:
            progress(what, done, total)


def tell_skipped(record: Record, error: InvalidMessage) -> None:
    """Tell that a record is left out, since it cannot be read."""
    terminal.progress(f"skipped {partition_of(record)} at {record.offset()}: {error.message}")


class Lines:
    """Tells in lines how far each phase is."""

    def __init__(self) -> None:
        self._phase, self._told = "", 0

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase:
            self._phase, self._told = phase, 0
        if done - self._told >= PROGRESS_EVERY or (done == total and done > 0 and self._told < done):
            self._told = done
            terminal.progress(f"{phase}: {done:,} of {total:,}")
