"""Keeps a fixed set of worker processes alive on one machine, one process for each slot.

Rules:
1. A slot has at most one process. A process that ends by itself is started again under the same slot, after a pause
   that grows while it keeps ending soon and is bounded. Within the session timeout that costs no rebalance.
2. Exit statuses in ``GIVE_UP`` say that a restart would not help; the slot stays down and the others go on.
3. Stopping: every process gets SIGTERM and the budget to stop in; what is left then is killed.
4. No process outlives the supervisor, however that ends: each holds the read end of a pipe as its standard input,
   the kernel closes the write end with the supervisor, and the process stops when its input ends
   (``stop_at_end_of_input``).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from stream_triggers.errors import Corrupt, Fenced, Misconfigured, StreamTriggersError
from stream_triggers.telemetry import log

logger = logging.getLogger(__name__)

GIVE_UP: Mapping[int, tuple[type[StreamTriggersError], str]] = {
    3: (Misconfigured, "misconfigured"),
    4: (Fenced, "another process runs under this slot"),
    5: (Corrupt, "local state is unreadable"),
}
"""Exit statuses of a worker after which its slot is given up, the error behind each, and what it means."""

READERS_END_S = 1.0
"""Wait for the last lines of a process that has ended; a process it started may keep the pipe open longer."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long a slot waits before its process is started again.

    ``first_s``, doubled each time up to ``longest_s``; ``first_s`` again after a process that ran for ``steady_s``.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    steady_s: float = 60.0


def exit_status(error: StreamTriggersError) -> int:
    """The status with which a worker process ends because of ``error``."""
    return next((status for status, (kind, _) in GIVE_UP.items() if isinstance(error, kind)), 1)


class Supervisor:
    """Runs ``command(slot)`` for each of ``slots``; ``output(slot, line)`` gets what the processes print."""

    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        slots: Sequence[str],
        *,
        budget_s: float,
        output: Callable[[str, str], None],
        pauses: Pauses = Pauses(),
    ) -> None:
        self._command = command
        self._slots = slots
        self._budget_s = budget_s
        self._output = output
        self._pauses = pauses
        self._lock = threading.Lock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._given_up: dict[str, int] = {}

    def run(self, stop: threading.Event) -> int:
        """Keep the processes running until ``stop`` is set or every slot was given up; returns an exit status.

        It is 0 when all stopped as asked, the status of a slot that was given up, or 1 when one had to be killed.
        """
        keepers = [
            threading.Thread(target=self._keep, args=(slot, stop), name=f"slot {slot}", daemon=True)
            for slot in self._slots
        ]
        for keeper in keepers:
            keeper.start()
        while not stop.wait(0.1) and any(keeper.is_alive() for keeper in keepers):
            pass
        stop.set()
        killed = self._stop(keepers)
        return max(self._given_up.values(), default=1 if killed else 0)

    def pid(self, slot: str) -> int | None:
        """The process that runs under ``slot`` now, None when there is none."""
        with self._lock:
            process = self._processes.get(slot)
            return process.pid if process is not None and process.poll() is None else None

    def _stop(self, keepers: Sequence[threading.Thread]) -> list[str]:
        """Stop what runs; returns the slots whose processes had to be killed."""
        with self._lock:  # no process is started after this: the keepers look at ``stop`` under the lock
            processes = dict(self._processes)
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + self._budget_s
        for keeper in keepers:
            keeper.join(max(0.0, deadline_s - time.monotonic()))
        killed = [slot for slot, process in processes.items() if process.poll() is None]
        for slot in killed:
            log(logger, "slot killed", slot=slot, budget_s=self._budget_s)
            processes[slot].kill()
        for keeper in keepers:
            keeper.join()
        return killed

    def _keep(self, slot: str, stop: threading.Event) -> None:
        pause_s = self._pauses.first_s
        while not stop.is_set():
            started_s = time.monotonic()
            process = self._start(slot, stop)
            status = 1 if process is None else self._watch(slot, process)
            if stop.is_set():
                return
            if status in GIVE_UP:
                self._given_up[slot] = status
                log(logger, "slot given up", slot=slot, status=status, reason=GIVE_UP[status][1])
                return
            if time.monotonic() - started_s >= self._pauses.steady_s:
                pause_s = self._pauses.first_s
            log(logger, "slot ended", slot=slot, status=status, pause_s=pause_s)
            stop.wait(pause_s)
            pause_s = min(2 * pause_s, self._pauses.longest_s)

    def _start(self, slot: str, stop: threading.Event) -> subprocess.Popen[bytes] | None:
        """The new process of ``slot``; None when it must not, or cannot, be started."""
        with self._lock:
            if stop.is_set():
                return None
            try:
                process = subprocess.Popen(
                    self._command(slot),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    process_group=0,  # Ctrl-C in a terminal reaches the supervisor only, which passes it on once
                )
            except OSError as error:
                log(logger, "slot not started", slot=slot, error=error)
                return None
            self._processes[slot] = process
        log(logger, "slot started", slot=slot, pid=process.pid)
        return process

    def _watch(self, slot: str, process: subprocess.Popen[bytes]) -> int:
        """Pass on what the process prints until it has ended; returns its exit status."""
        assert process.stdin is not None, "it was started with pipes"
        assert process.stdout is not None, "it was started with pipes"
        reader = threading.Thread(target=self._read, args=(slot, process.stdout), name=f"output {slot}", daemon=True)
        reader.start()
        status = process.wait()
        reader.join(READERS_END_S)
        process.stdin.close()
        return status

    def _read(self, slot: str, lines: BinaryIO) -> None:
        with lines:
            for line in lines:
                self._output(slot, line.decode(errors="replace").rstrip("\r\n"))


def stop_at_end_of_input(budget_s: float) -> None:
    """Make this process get a SIGTERM when its standard input ends, and end at once if it still runs after the budget.

    For a process that a ``Supervisor`` started: that is how it notices that the supervisor is gone.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(budget_s)
        os._exit(1)

    threading.Thread(target=watch, name="end of input", daemon=True).start()
