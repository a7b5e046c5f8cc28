"""Measures how long others wait when a worker is gone, and how fast state comes back; prints one line for each.

    python -m tests.faults.measure

Every number is of this machine, with whatever else runs on it, and a broker of its own on the same machine.

*takeover*: from SIGKILL to the first committed run record that a reader gets of a message of each partition, the last
of them. The same slot is started again at once, as a new process by the command line; another slot takes over by the
group's session timeout. *stall*: the longest time without a committed invocation in any partition while three workers
are restarted one after the other. *restore*: from the assignment of the partitions to the moment they are processed.
"""

from __future__ import annotations

import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from stream_triggers import broker
from stream_triggers.config import Config
from stream_triggers.core.invocation import RUN_ID_BYTES, TriggerRun
from stream_triggers.runtime import changelog
from stream_triggers.runtime.claims import Claims
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.store import MemoryStore
from tests.faults.crew import until
from tests.faults.forker import ROOT, Forker
from tests.faults.judge import Judge
from tests.faults.life import state_of
from tests.faults.scene import Scene, scene

TIMES = 7
CLAIMS = 1_000_000
CLAIMS_PER_RECORD = (1000, 20)
SLOTS = ("0", "1", "2")


def main() -> None:
    """Measure everything, one after the other."""
    with broker.temporary() as running, tempfile.TemporaryDirectory() as folder, Forker() as forker:

        @contextmanager
        def stage(name: str, **options: int | str) -> Iterator[Scene]:
            with scene(running.bootstrap_servers, name, forker, Path(folder), **options) as on:
                yield on

        _same_slot(stage)
        for session_s in (10, 6):
            _other_slot(stage, session_s)
        _rolling_restart(stage)
        for per_record in CLAIMS_PER_RECORD:
            _restore(stage, per_record)


Stage = Callable[..., Iterator[Scene]]


def _same_slot(stage: Stage) -> None:
    with stage("same-slot", session_timeout_ms=10_000, transaction_timeout_ms=10_000) as on:
        on.feeder.start()
        process = _command(on)
        took = []
        for _ in range(TIMES):
            watch = Watch(on.judge)
            watch.until_all_fired()
            process.send_signal(signal.SIGKILL)
            watch.begin()
            process.wait()
            process = _command(on)
            took.append(watch.until_all_fired())
        process.terminate()
        process.wait()
        on.feeder.stop()
        _tell("takeover, same slot, a new process at once", took)


def _other_slot(stage: Stage, session_s: int) -> None:
    name = f"other-slot-{session_s}"
    with stage(name, session_timeout_ms=session_s * 1000, transaction_timeout_ms=10_000) as on:
        on.feeder.start()
        took = []
        for _ in range(3):
            for slot in SLOTS[:2]:
                life = on.crew.lives.get(slot)
                if life is None or life.is_over:
                    on.crew.start(slot).until("applied")
            watch = Watch(on.judge)
            watch.until_all_fired()
            on.crew.lives["1"].kill()
            watch.begin()
            took.append(watch.until_all_fired())
            on.crew.lives["1"].until("ended")
        on.feeder.stop()
        _tell(f"takeover, another slot, session timeout {session_s} s", took)


def _rolling_restart(stage: Stage) -> None:
    with stage("rolling") as on:
        on.feeder.start()
        for slot in SLOTS:
            on.crew.start(slot)
        for slot in SLOTS:
            on.crew.lives[slot].until("applied")
        took = []
        for _ in range(TIMES):
            with on.judge.watch_stalls() as stalls:
                for slot in SLOTS:
                    on.crew.lives[slot].ask_to_stop()
                    on.crew.lives[slot].until("ended")
                    on.crew.start(slot).until("applied")
            took.append(stalls.longest_s)
        on.feeder.stop()
        _tell("stall, rolling restart of three workers", took)


def _restore(stage: Stage, per_record: int) -> None:
    with stage(f"restore-{per_record}") as on:
        _write_claims(on, per_record)
        lost = _until_ready(on)
        assert _claims_in_store(on) >= CLAIMS
        kept = _until_ready(on)
        _tell(
            f"restore of {CLAIMS:,} claims, {per_record} a record, state lost ({CLAIMS / lost:,.0f} claims/s)", [lost]
        )
        _tell("the same after a SIGKILL, state kept", [kept])


def _write_claims(on: Scene, per_record: int) -> None:
    """Write changelog records as transactions of so many runs would, evenly over the partitions of the events."""
    config, topic = on.config, on.judge.topics.events
    segment = Claims(MemoryStore(), config.claim_retention_ms).segment_at(time.time_ns() // 1_000_000)
    sender = on.judge.log.sender(lambda *_: "claims")
    for number in range(0, CLAIMS, per_record):
        run_ids = [each.to_bytes(RUN_ID_BYTES, "big") for each in range(number, number + per_record)]
        target = on.judge.topics.changelog_of(TopicPartition(topic, number // per_record % 4))
        sender.send(target.topic, list(changelog.records(number, segment, run_ids, target.partition)))
    sender.close(120)


def _until_ready(on: Scene) -> float:
    """Start a worker, let it work and kill it; by its own log, how long its partitions took to be ready."""
    life = on.crew.start("0")
    on.feeder.send(100)
    on.judge.until_quiet()
    life.kill()
    life.until("ended")
    moments = re.findall(r"^(\S+Z) info +(partitions (?:assigned|ready))", life.log_tail(), re.MULTILINE)
    newest = {what: datetime.fromisoformat(at) for at, what in moments}
    return (newest["partitions ready"] - newest["partitions assigned"]).total_seconds()


def _claims_in_store(on: Scene) -> int:
    store = RocksStore(state_of(on.crew.order("0").config()))
    found = sum(sum(1 for _ in store.scan(each, b"", b"\xff" * 40)) for each in store.columns() if "claims" in each)
    store.close()
    return found


class Watch:
    """Reads run records, and knows when the first one of each partition of the events came after ``begin``."""

    def __init__(self, judge: Judge) -> None:
        self._wanted = set(partitions_of(judge.log, [judge.topics.events]))
        self._reader = judge.log.reader()
        runs = partitions_of(judge.log, [judge.topics.trigger_runs])
        self._reader.assign(judge.log.end_offsets(runs))
        self.begin()

    def begin(self) -> None:
        """Now; records that were made before do not count."""
        self._began_s, self._began_ms = time.monotonic(), time.time_ns() // 1_000_000
        self._missing = set(self._wanted)

    def until_all_fired(self) -> float:
        """Wait for all partitions; how long it took."""
        until(self._all_fired, "a run in every partition")
        return time.monotonic() - self._began_s

    def _all_fired(self) -> bool:
        for record in self._reader.poll(1000, 0.01):
            run = decode(record.value())
            if isinstance(run, TriggerRun) and record.timestamp()[1] > self._began_ms:
                self._missing.discard(TopicPartition(run.participants[-1].topic, run.participants[-1].partition))
        return not self._missing


def _command(on: Scene) -> subprocess.Popen[bytes]:
    """A worker as an operator starts it."""
    config: Config = on.config
    options = {
        "bootstrap-servers": config.bootstrap_servers,
        "application": config.application,
        "topic-prefix": config.topic_prefix,
        "state-dir": str(on.crew.state_dir),
        "log-level": "warning",
    }
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen([sys.executable, "-m", "stream_triggers", "run", *given], cwd=ROOT)


def _tell(what: str, took_s: list[float]) -> None:
    median = f"{statistics.median(took_s):7.2f} s"
    rest = f"   median of {len(took_s)}, longest {max(took_s):.2f} s" if len(took_s) > 1 else ""
    sys.stdout.write(f"{median}  {what}{rest}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
