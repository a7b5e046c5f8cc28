"""Starts lives of workers by forking: a process that has imported everything becomes a worker in milliseconds.

This file is both sides. Run as a program, it reads one request a line from standard input (an ``Order`` to live, or a
signal for a life) and writes one line for everything that happens. It forks before any client or store exists, so a
life has nothing of another's. When its input ends, every life is killed: none outlives the program that asked for it.

Lives are known by number, not by process id: the program is the only one that collects its children, so a signal never
reaches a process of another owner that has come to have the same id.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from tests.faults.life import Order, live

ROOT = Path(__file__).parents[2]

What = Literal["begun", "applied", "stopping", "ended"]


class Live(msgspec.Struct, frozen=True, tag="live"):
    """Asks for a life."""

    number: int
    order: Order


class Send(msgspec.Struct, frozen=True, tag="send"):
    """Asks for a signal to a life; one that has ended already gets none."""

    number: int
    signal: int


class Happened(msgspec.Struct, frozen=True):
    """Something a life did.

    ``pid`` is told when it has begun; ``status`` when it has ended, as ``os.waitstatus_to_exitcode`` says (-9: killed).
    """

    number: int
    what: What
    pid: int | None = None
    status: int | None = None


class Forker:
    """The side that asks."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self._numbers = count(1)
        self._listeners: dict[int, Callable[[Happened], None]] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="forker", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._program.stdin is not None
        self._program.stdin.close()
        self._program.wait()
        self._reader.join()

    def start(self, order: Order, listener: Callable[[Happened], None]) -> int:
        """Start a life and return its number; ``listener`` hears on another thread what becomes of it."""
        number = next(self._numbers)
        self._listeners[number] = listener
        self._ask(Live(number, order))
        return number

    def send(self, number: int, signal_number: int) -> None:
        """Send a signal to a life."""
        self._ask(Send(number, signal_number))

    def _ask(self, request: Live | Send) -> None:
        with self._lock:
            assert self._program.stdin is not None
            self._program.stdin.write(msgspec.json.encode(request) + b"\n")
            self._program.stdin.flush()

    def _read(self) -> None:
        assert self._program.stdout is not None
        for line in self._program.stdout:
            happened = msgspec.json.decode(line, type=Happened)
            self._listeners[happened.number](happened)


def main() -> None:
    """The side that is asked: one thread, no client, no store."""
    requests = open(0, "rb", buffering=0)  # noqa: SIM115 - unbuffered: unread bytes must stay visible to select
    wake, wakened = os.pipe()
    os.set_blocking(wakened, False)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pids: dict[int, int] = {}
    try:
        while True:
            ready, _, _ = select.select([requests, wake], [], [])
            if wake in ready:
                os.read(wake, 4096)
                _collect(pids)
            if requests in ready:
                line = requests.readline()
                if not line:
                    break
                _serve(msgspec.json.decode(line, type=Live | Send), pids)
    except BrokenPipeError:  # whoever asked was killed, and hears nothing any more
        pass
    finally:
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        for pid in pids.values():
            os.waitpid(pid, 0)


def _serve(request: Live | Send, pids: dict[int, int]) -> None:
    match request:
        case Live(number, order):
            pid = os.fork()
            if pid == 0:
                _be(number, order)
            pids[number] = pid
            _tell(1, Happened(number, "begun", pid=pid))
        case Send(number, signal_number) if number in pids:
            os.kill(pids[number], signal_number)


def _be(number: int, order: Order) -> None:
    """In the child: keep a copy of the way to tell, and nothing else of the parent."""
    os.setpgid(0, 0)  # a stopped process whose parent ends is continued and hung up only as a group of its own
    telling = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    live(order, lambda what: _tell(telling, Happened(number, what)))


def _collect(pids: dict[int, int]) -> None:
    for number, pid in list(pids.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del pids[number]
            _tell(1, Happened(number, "ended", status=os.waitstatus_to_exitcode(status)))


def _tell(descriptor: int, happened: Happened) -> None:
    os.write(descriptor, msgspec.json.encode(happened) + b"\n")  # short enough for a pipe to take it in one piece


if __name__ == "__main__":
    main()
