"""``watch``: invocations as they are written, as a view that keeps itself current, or line by line.

Rules:
1. Only committed invocations are seen, each once; watching joins no group and moves nobody's position.
2. On a terminal the view shows counts and rates for each trigger, and the last invocations. Anywhere else, and with
   ``--json``, each invocation is a line.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, NamedTuple

import msgspec
import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.reading import tell_skipped
from stream_triggers.cli.settings import Settings, configured
from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import JsonValue
from stream_triggers.core.words import counted
from stream_triggers.errors import InvalidMessage, Misconfigured
from stream_triggers.runtime.clock import Clock, SystemClock
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.log import Log, Record
from stream_triggers.runtime.topics import CREATE_COMMAND, Topics

RATE_WINDOW_S = 10
"""Rates are over so many seconds: long enough to be steady, short enough to follow."""

LAST_SHOWN = 10
"""Invocations at the bottom of the view."""

REFRESH_S = 0.25
"""Least time between two pictures of the view."""

READ_MAX = 2000
READ_WAIT_S = 0.2


class Seen(NamedTuple):
    """An invocation and where it stands."""

    invocation: Invocation
    partition: int
    offset: int


@configured("cluster")
def watch(
    settings: Settings,
    *,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest invocation kept, not with the next one.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="From the oldest one kept until now, then end.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="End after N invocations.")] = None,
    trigger: Annotated[str | None, typer.Option("--trigger", metavar="ID", help="Only those of this trigger.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each invocation as one line of JSON.")] = False,
) -> None:
    """Show invocations as they are written. Ctrl-C ends it.

    For example:
      stream-triggers watch
      stream-triggers watch --trigger ship-paid-order --json
      stream-triggers watch --once --json | wc -l
    """
    live = sys.stdout.isatty() and not as_json and not once
    with cluster.connected(cluster.onlooker(settings.config)) as log:
        batches = read(log, Topics.of(settings.config).invocations, from_start=from_start or once, once=once)
        chosen = _first(limit, ([seen for seen in batch if _is_of(trigger, seen)] for batch in batches))
        try:
            if live:
                _show_view(chosen, SystemClock())
            else:
                _print_lines(chosen, _as_json if as_json else _as_text)
        except KeyboardInterrupt:
            return  # the usual way to end it


def read(log: Log, topic: str, *, from_start: bool, once: bool) -> Iterator[list[Seen]]:
    """Batches of invocations, also empty ones; with ``once`` only of those that are there now."""
    partitions = partitions_of(log, [topic])
    if not partitions:
        raise Misconfigured(f"topic {topic} does not exist", hint=f"make the topics: {CREATE_COMMAND}")
    ends = log.end_offsets(partitions)
    reader = log.reader()
    try:
        reader.assign(log.start_offsets(partitions) if from_start else ends)
        while not once or any(position < ends[each] for each, position in reader.positions().items()):
            yield [seen for record in reader.poll(READ_MAX, READ_WAIT_S) if (seen := _seen(record)) is not None]
    finally:
        reader.close()


class Tally:
    """What the view shows: counts, rates and the last invocations."""

    def __init__(self, now_s: float) -> None:
        self._started_s = now_s
        self._counts: Counter[tuple[str, str]] = Counter()
        self._recent: deque[tuple[float, Counter[tuple[str, str]]]] = deque()
        self.last: deque[Seen] = deque(maxlen=LAST_SHOWN)

    def add(self, batch: Sequence[Seen], now_s: float) -> None:
        """Take in a batch that was read at ``now_s``."""
        counts = Counter((seen.invocation.trigger_id, seen.invocation.task) for seen in batch)
        self._counts += counts
        self._recent.append((now_s, counts))
        self.last.extend(batch)

    def rows(self, now_s: float) -> list[tuple[str, str, int, float]]:
        """Trigger id, task, count and invocations per second, the most frequent first."""
        while self._recent and self._recent[0][0] <= now_s - RATE_WINDOW_S:
            self._recent.popleft()
        recent = sum((counts for _, counts in self._recent), Counter[tuple[str, str]]())
        window_s = max(1.0, min(RATE_WINDOW_S, now_s - self._started_s))
        return [(*name, count, recent[name] / window_s) for name, count in self._counts.most_common()]


def _first(limit: int | None, batches: Iterator[list[Seen]]) -> Iterator[list[Seen]]:
    left = limit
    for batch in batches:
        yield batch[:left]
        if left is not None:
            left -= len(batch)
            if left <= 0:
                return


def _is_of(trigger: str | None, seen: Seen) -> bool:
    return trigger is None or seen.invocation.trigger_id == trigger


def _seen(record: Record) -> Seen | None:
    try:
        value = decode(record.value() or b"")
    except InvalidMessage as error:
        tell_skipped(record, error)
        return None
    return Seen(value, record.partition(), record.offset()) if isinstance(value, Invocation) else None


def _print_lines(batches: Iterator[list[Seen]], form: Callable[[Seen], str]) -> None:
    count = 0
    for batch in batches:
        for seen in batch:
            terminal.line(form(seen))
        count += len(batch)
    terminal.progress(counted(count, "invocation"))


def _show_view(batches: Iterator[list[Seen]], clock: Clock) -> None:
    tally = Tally(clock.monotonic_s())
    drawn_s = float("-inf")
    with Live(console=terminal.console(), auto_refresh=False) as live:
        for batch in batches:
            now_s = clock.monotonic_s()
            tally.add(batch, now_s)
            if now_s - drawn_s >= REFRESH_S:
                live.update(_picture(tally, now_s), refresh=True)
                drawn_s = now_s
        live.update(_picture(tally, clock.monotonic_s()), refresh=True)


def _picture(tally: Tally, now_s: float) -> Group:
    triggers = Table("trigger", "task", "invocations", "per second", box=None, header_style="bold", pad_edge=False)
    for trigger_id, task, count, rate in tally.rows(now_s):
        triggers.add_row(Text(trigger_id), Text(task), f"{count:,}", f"{rate:,.1f}")
    last = Table("time", "trigger", "key", "arguments", box=None, header_style="bold", pad_edge=False)
    for seen in tally.last:
        one = seen.invocation
        arguments = Text(terminal.json_text(one.arguments), no_wrap=True, overflow="ellipsis")
        last.add_row(terminal.instant(one.time_ms), Text(one.trigger_id), Text(one.key or ""), arguments)
    return Group(triggers, Text(), last)


def _as_json(seen: Seen) -> str:
    value: dict[str, JsonValue] = msgspec.to_builtins(seen.invocation)
    return terminal.json_text({**value, "partition": seen.partition, "offset": seen.offset})


def _as_text(seen: Seen) -> str:
    one = seen.invocation
    key = "" if one.key is None else f" key={one.key}"
    arguments = terminal.json_text(one.arguments)
    return f"{terminal.instant(one.time_ms)} {one.trigger_id} -> {one.task}{key} run={one.run_id} {arguments}"
