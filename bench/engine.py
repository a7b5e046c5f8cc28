"""Runs one worker over everything in its partitions, then says how it went: one JSON object on standard output.

Timed from the first batch to the commit of the last message, by the worker's own process; the CPU time is that of the
whole process, with the Kafka client's threads, from start to end.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.load import Work
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.worker import Worker

IDLE_S = 3.0
"""A worker that shares the input with another stops when nothing has come for this long."""


def main(bootstrap_servers: str, name: str, count: int, slot: str) -> None:
    """Process up to ``count`` messages of the work called ``name``."""
    work = Work(bootstrap_servers, name)
    config = work.config
    with tempfile.TemporaryDirectory() as state:
        worker = Worker(
            KafkaLog(work.settings(slot)),
            lambda: RocksStore(Path(state) / "store"),
            SystemClock(),
            config,
            AllowedFunctions(),
        )
        worker.start()
        marks = [(time.perf_counter(), 0)]
        done, last_s = 0, time.monotonic()
        while done < count and (done == 0 or time.monotonic() - last_s < IDLE_S):
            taken = worker.run_once(0.1)
            if taken:
                if not done:  # what the first batch took is not known; it is counted, which is to the engine's loss
                    marks = [(last_s, 0)]
                marks.append((time.perf_counter(), taken))
                done += taken
                last_s = time.monotonic()
        worker.commit()
        end = time.perf_counter()
        worker.close()
    half = next(at for at in range(len(marks)) if sum(n for _, n in marks[: at + 1]) >= done / 2)
    second_half = sum(n for _, n in marks[half + 1 :])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "messages": done,
                "started": marks[0][0],
                "ended": end,
                "events_per_s": done / (end - marks[0][0]),
                "second_half_events_per_s": second_half / (end - marks[half][0]),
                "fired": worker.counters.fired,
                "transactions": worker.counters.transactions,
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "rss_mb": usage.ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
