"""Processes of other owners: who they are, whether they live, how to end them; and locks between processes.

A process id alone names nobody once the process is gone, so a process is named by its id and its ``birth``: on Linux
the boot and the clock tick at which it started, elsewhere what ``ps`` says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

from stream_triggers.errors import Misconfigured

Spawn = Callable[[Sequence[str], Mapping[str, str], Path], int]

_POLL_S = 0.02
_LINUX = sys.platform == "linux"


def birth(pid: int) -> str | None:
    """When this process started, as an opaque text, or None if there is no such process."""
    seen = _look(pid)
    return seen[0] if seen is not None else None


def alive(pid: int, born: str) -> bool:
    """Whether the process that was started as ``pid`` at ``born`` still runs."""
    seen = _look(pid)
    if seen is None or seen[0] != born:
        return False
    if seen[1]:
        with suppress(ChildProcessError):  # collect it if it is ours
            os.waitpid(pid, os.WNOHANG)
    return not seen[1]


def uptime_s(pid: int) -> float:
    """How long a process has been running, in seconds."""
    if _LINUX:
        fields = _stat(pid)
        if fields is None:
            return 0.0
        now_s = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, now_s - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    days, _, clock = _ps(pid, "etime=").rpartition("-")
    parts = [int(part) for part in clock.split(":") if part]
    seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
    return float(seconds + 86_400 * int(days or 0))


def wait_gone(pid: int, born: str, timeout_s: float) -> bool:
    """Wait until the process is gone; False if it outlives the timeout."""
    deadline = time.monotonic() + timeout_s
    while alive(pid, born):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def end(pid: int, born: str, *, timeout_s: float) -> None:
    """Ask the process to end, and kill it when it has not after ``timeout_s``; 0 kills at once."""
    if timeout_s > 0:
        _send(pid, born, signal.SIGTERM)
        if wait_gone(pid, born, timeout_s):
            return
    _send(pid, born, signal.SIGKILL)
    wait_gone(pid, born, timeout_s=10)


def spawn(arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
    """Start a process in a session of its own, so that Ctrl-C in the caller's terminal does not reach it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    defaults = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
    start = partial(
        os.posix_spawn,
        arguments[0],
        list(arguments),
        environment,
        file_actions=actions,
        setsigmask=(),
        setsigdef=defaults,
    )
    try:
        return start(setsid=True)
    except NotImplementedError:  # a C library without it: a process group of its own is enough for Ctrl-C
        return start(setpgroup=0)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes (and threads) on a file, which may be deleted while it is held."""
    if sys.platform == "win32":
        raise Misconfigured(
            "the built-in broker runs on Linux and macOS only",
            hint="start Kafka with docker compose (docker-compose.yml) and give its address",
        )
    import fcntl

    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Misconfigured(
                f"directory {path.parent} cannot be made, or not be written to: {error.strerror}",
                hint="choose another one, or change its permissions",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at this path: its last holder may have deleted it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _send(pid: int, born: str, number: signal.Signals) -> None:
    if alive(pid, born):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _look(pid: int) -> tuple[str, bool] | None:
    """The birth of a process, and whether it has ended and only waits to be collected."""
    if not _LINUX:
        state, _, started = _ps(pid, "stat=,lstart=").partition(" ")
        return (started.strip(), state.startswith("Z")) if state else None
    fields = _stat(pid)
    if fields is None:
        return None
    # The first thread may have ended before others that still hold the process's ports.
    ended = fields[0] in ("Z", "X") and int(fields[17]) <= 1
    return f"{_boot()}:{fields[19]}", ended


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third on; the second is a name that may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _ps(pid: int, columns: str) -> str:
    answer = subprocess.run(["ps", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()
