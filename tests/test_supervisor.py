"""The supervisor, with real processes: small ones that print, end, or refuse to stop."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil
import pytest

from stream_triggers.errors import Corrupt, Fenced, Misconfigured, Unavailable
from stream_triggers.supervisor import Pauses, Supervisor, exit_status

WAIT_S = 30
SHORT = Pauses(first_s=0.01, longest_s=0.04)

CRASH = "print('up', flush=True); raise SystemExit(1)"
STOP_WELL = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print('stopped', flush=True), sys.exit(0)))
print('up', flush=True)
while True: signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
while True: signal.pause()
"""
WATCHFUL = """
import os, signal
from stream_triggers.supervisor import stop_at_end_of_input
{before}
stop_at_end_of_input(budget_s=0.2)
print(os.getpid(), flush=True)
while True: signal.pause()
"""


class Running:
    """A supervisor on a thread, and what its processes printed."""

    def __init__(self, scripts: Mapping[str, str], budget_s: float, pauses: Pauses) -> None:
        self.lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self.status: queue.Queue[int] = queue.Queue()
        self.stop = threading.Event()
        supervisor = Supervisor(
            lambda slot: [sys.executable, "-c", scripts[slot]],
            list(scripts),
            budget_s=budget_s,
            output=lambda slot, line: self.lines.put((slot, line)),
            pauses=pauses,
        )
        self.thread = threading.Thread(target=lambda: self.status.put(supervisor.run(self.stop)))

    def next_line(self) -> tuple[str, str]:
        return self.lines.get(timeout=WAIT_S)

    def stopped(self) -> int:
        self.stop.set()
        return self.status.get(timeout=WAIT_S)


@contextmanager
def supervise(scripts: Mapping[str, str], *, budget_s: float = WAIT_S, pauses: Pauses = SHORT) -> Iterator[Running]:
    running = Running(scripts, budget_s, pauses)
    running.thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        running.thread.join()


def fields_of(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    return [record.values for record in caplog.records if record.getMessage() == event]


def test_a_process_that_crashes_is_started_again_under_its_slot():
    with supervise({"7": CRASH}) as running:
        assert [running.next_line() for _ in range(3)] == [("7", "up")] * 3


def test_the_pause_before_a_restart_grows_up_to_its_bound(caplog):
    with supervise({"0": CRASH}) as running:
        for _ in range(5):
            running.next_line()
    assert [row["pause_s"] for row in fields_of(caplog, "slot ended")][:4] == [0.01, 0.02, 0.04, 0.04]


def test_the_pause_is_short_again_after_a_process_that_ran_steadily(caplog):
    with supervise({"0": CRASH}, pauses=Pauses(first_s=0.01, longest_s=0.04, steady_s=0.0)) as running:
        for _ in range(4):
            running.next_line()
    assert {row["pause_s"] for row in fields_of(caplog, "slot ended")} == {0.01}


def test_stopping_lets_every_process_stop_by_itself():
    with supervise({"0": STOP_WELL, "1": STOP_WELL}) as running:
        assert sorted([running.next_line(), running.next_line()]) == [("0", "up"), ("1", "up")]
        assert running.stopped() == 0
        assert sorted([running.next_line(), running.next_line()]) == [("0", "stopped"), ("1", "stopped")]


def test_a_process_that_does_not_stop_within_the_budget_is_killed():
    with supervise({"0": STUBBORN}, budget_s=0.2) as running:
        running.next_line()
        assert running.stopped() == 1


@pytest.mark.parametrize("status", [3, 4, 5])
def test_a_status_that_says_a_restart_would_not_help_gives_the_slot_up(status, caplog):
    with supervise({"0": f"raise SystemExit({status})"}) as running:
        assert running.status.get(timeout=WAIT_S) == status
    assert len(fields_of(caplog, "slot given up")) == 1


def test_the_other_slots_go_on_when_one_is_given_up(caplog):
    caplog.set_level(logging.INFO)
    with supervise({"0": "raise SystemExit(3)", "1": CRASH}) as running:
        given_up = False
        while not given_up:
            running.next_line()
            given_up = bool(fields_of(caplog, "slot given up"))
        running.next_line()
        assert running.stopped() == 3


@pytest.mark.parametrize(
    ("error", "status"), [(Misconfigured("x"), 3), (Fenced("x"), 4), (Corrupt("x"), 5), (Unavailable("x"), 1)]
)
def test_each_error_has_its_exit_status(error, status):
    assert exit_status(error) == status


@pytest.mark.parametrize("before", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"], ids=["heeds", "ignores"])
def test_no_process_outlives_a_supervisor_that_is_killed(before):
    script = f"""
import sys, threading
from stream_triggers.supervisor import Supervisor
Supervisor(
    lambda slot: [sys.executable, '-c', {WATCHFUL.format(before=before)!r}], ['0'], budget_s=30,
    output=lambda slot, line: print(line, flush=True),
).run(threading.Event())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        worker = psutil.Process(int(supervisor.stdout.readline()))
        os.kill(supervisor.pid, signal.SIGKILL)
        # Nobody reaps an orphan in a container without an init: ended is ended, reaped or not.
        assert ended(worker)


def ended(process: psutil.Process) -> bool:
    deadline = threading.Event()
    for _ in range(WAIT_S * 20):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        deadline.wait(0.05)
    return False
