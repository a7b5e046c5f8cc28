"""``verify`` as a process: judges what one worker has done with the events of a round, and measures itself.

Its rate is that of messages judged, over the whole verification: invocations, run records and messages are all read.
"""

from __future__ import annotations

import json
import time

import typer

from bench.load import Work
from bench.meter import resident_mb
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog
from stream_triggers.verify import verify


def main(bootstrap_servers: str, name: str, application: str) -> None:
    """Judge a round and print a measurement."""
    work = Work(bootstrap_servers, name, application)
    log = KafkaLog(work.settings())
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    report = verify(log, work.config, AllowedFunctions())
    took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    log.close()
    print(
        json.dumps(
            {
                "messages": report.messages,
                "events_per_s": report.messages / took_s,
                "cpu_s_per_million": cpu_s / report.messages * 1e6,
                "rss_mb": resident_mb(),
                "expected": report.expected,
                "unjudged": report.unjudged,
                "findings": sum(report.faults.values()),
            }
        )
    )


if __name__ == "__main__":
    typer.run(main)
