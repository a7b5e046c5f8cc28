"""How fast a program is, measured by its own process.

Rules:
1. Time runs from the first message to the commit of the last one.
2. The second half is also reported alone: by then caches are warm, and a JVM has compiled what it runs.
3. CPU time is that of the whole process, with the threads of the Kafka client, over the same time. What was spent
   before the first message (``start_cpu_s``) does not grow with the number of messages and is not in it.
4. Memory is the most that was resident.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Measurement: TypeAlias = dict[str, Any]
"""What a program prints, as one JSON object: rates in messages per second, CPU in seconds, memory in MB (2^20)."""


class Mark(NamedTuple):
    """How far a program was at one instant; ``at_s`` is monotonic, and the same for all processes of a machine."""

    at_s: float
    messages: int
    cpu_s: float


class Meter:
    """Counts messages and remembers when."""

    def __init__(self) -> None:
        self._marks: list[Mark] = []

    @property
    def messages(self) -> int:
        """How many have been counted."""
        return self._marks[-1].messages if self._marks else 0

    def start(self) -> None:
        """Say that the next message counted is the first; only the last such call counts."""
        self._marks = [Mark(time.perf_counter(), 0, time.process_time())]

    def count(self, messages: int) -> None:
        """Note that these have been processed."""
        self._marks.append(Mark(time.perf_counter(), self.messages + messages, time.process_time()))

    def result(self) -> Measurement:
        """What has been measured, up to now."""
        self.count(0)
        first, last = self._marks[0], self._marks[-1]
        middle = next(mark for mark in self._marks if mark.messages >= last.messages / 2)
        half = last.messages - middle.messages
        return {
            "messages": last.messages,
            "events_per_s": last.messages / (last.at_s - first.at_s),
            "second_half_events_per_s": half / (last.at_s - middle.at_s),
            "start_cpu_s": first.cpu_s,
            "cpu_s_per_million": (last.cpu_s - first.cpu_s) / last.messages * 1e6,
            "second_half_cpu_s_per_million": (last.cpu_s - middle.cpu_s) / half * 1e6,
            "rss_mb": resident_mb(),
            "timeline": [(mark.at_s, mark.messages) for mark in self._marks],
        }


def resident_mb() -> float:
    """The most memory that this process has had.

    What ``getrusage`` says includes the parent's pages at the time of the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
