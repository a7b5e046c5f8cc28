"""Nothing grows that must not: memory, however often partitions move, and the store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from stream_triggers.broker import Broker
from stream_triggers.core.message import Event
from stream_triggers.runtime.rocksdb import RocksStore
from tests.engine_bundle import SHIP, EngineBundle
from tests.faults.forker import ROOT
from tests.faults.scene import Scene

Make = Callable[..., Scene]
MIB = 1024 * 1024
CYCLES = 1000
LEAK_BYTES_MAX = 8 * MIB
"""What memory may differ by after the first few hundred of a thousand cycles: eight kilobytes lost in each are seen."""

SETTLED = 3
"""Hundreds of cycles until caches and allocators are what they will be."""


def memory_of(*arguments: str) -> list[int]:
    """What a process of ``cycles`` held after each hundred."""
    command = [sys.executable, "-m", "tests.faults.cycles", *arguments, str(CYCLES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.kafka
def test_a_thousand_changes_of_ownership_leave_memory_as_it_was(make_scene: Make, kafka_broker: Broker) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    scene.crew.start("0")
    scene.feeder.send(300)
    scene.judge.until_quiet()
    scene.crew.stop()
    held = memory_of("ownership", msgspec.json.encode(scene.crew.order("1")).decode())
    assert max(held[SETTLED:]) - held[SETTLED - 1] < LEAK_BYTES_MAX, held


def test_a_thousand_stores_opened_and_closed_leave_memory_as_it_was(tmp_path: Path) -> None:
    held = memory_of("store", str(tmp_path / "store"))
    assert max(held[SETTLED:]) - held[SETTLED - 1] < LEAK_BYTES_MAX, held


def test_what_the_disk_holds_of_old_claims_goes_with_their_segments(tmp_path: Path) -> None:
    hour_ms, retention_hours, batch = 3_600_000, 24, 2000
    bundle = EngineBundle(claim_retention_ms=retention_hours * hour_ms)
    bundle.define(SHIP)
    columns, held = [], []
    for day in range(6):
        worker = bundle.ready("0", RocksStore(tmp_path))  # opening it moves what is in its log to files
        for n in range(batch):
            bundle.send(Event("paid", f"{day}-{n}", bundle.clock.now_ms(), None, {"order": n}))
        bundle.work_off(worker)
        columns.append(len([each for each in worker._local.store.columns() if each.startswith("claims-")]))
        worker.close()
        held.append(sum(file.stat().st_size for file in tmp_path.glob("*.sst")))
        bundle.clock.advance(retention_hours * hour_ms)
    assert max(columns) <= 3
    assert held[-1] <= 2 * held[1], held
