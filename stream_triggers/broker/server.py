"""Start, look at, stop and wipe a broker.

Everything that changes a broker holds its data directory's lock; ``status`` only reads. Two starts at the same time
give the same broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from stream_triggers.broker import jvm, launch, ready, settings, system
from stream_triggers.broker.directory import DataDir, State, default_dir
from stream_triggers.broker.keeper import keep
from stream_triggers.errors import Misconfigured, Unavailable

_START_S = 120.0
_STOP_S = 30.0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that was running when this was made; ``restart`` gives its successor."""

    pid: int
    port: int
    version: str
    data_dir: Path
    log_path: Path
    _prepare: Callable[[], jvm.Launcher] = field(repr=False, compare=False)

    @property
    def bootstrap_servers(self) -> str:
        return f"{settings.HOST}:{self.port}"

    def kill(self) -> None:
        """Kill the process as a crash would (SIGKILL); the data stays."""
        data = DataDir(self.data_dir)
        with system.locked(data.lock):
            _end(data, timeout_s=0)

    def restart(self, *, timeout_s: float = _START_S) -> Broker:
        """Start the same broker again: same data, port and properties. One that still runs is stopped first."""
        data = DataDir(self.data_dir)
        with system.locked(data.lock):
            _end(data, timeout_s=_STOP_S)
            state = data.read()
            properties = state.properties if state is not None else {}
            return _start(data, self.port, properties, self._prepare, timeout_s=timeout_s)


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of the broker of a data directory.

    ``stale``: it was started and has ended without ``stop``; ``log_path`` may say why.
    """

    state: Literal["running", "stopped", "stale"]
    data_dir: Path
    log_path: Path
    broker: Broker | None = None
    uptime_s: float | None = None


def start(
    *,
    data_dir: Path | None = None,
    port: int | None = None,
    properties: Mapping[str, str] | None = None,
    progress: bool = True,
    timeout_s: float = _START_S,
) -> Broker:
    """Start a broker in the background and wait until it answers; return the one that already runs, if any.

    It outlives the caller and Ctrl-C. Without ``port`` it listens where it did last time, at first on a free port.
    ``properties`` are added to its server.properties, for this start.

    Raises:
        Misconfigured: a directory that cannot be used, no Java, a port that is taken, a wrong property, or a broker
            that runs with other settings.
        Unavailable: the jars cannot be downloaded now, or the broker did not answer within ``timeout_s``.
        Corrupt: a jar is not the pinned one.

    """
    settings.check(properties or {})
    data = _data(data_dir)
    prepare = partial(jvm.prepare, data, system.spawn, progress=progress)
    with system.locked(data.lock):
        state = data.read()
        if state is not None and state.alive():
            _check_same(state, port, properties)
            _wait(data, state, timeout_s)
            return _broker(data, state, prepare)
        return _start(data, port, properties or {}, prepare, timeout_s=timeout_s)


def status(data_dir: Path | None = None) -> Status:
    """Look whether a broker runs."""
    data = _data(data_dir)
    state = data.read()
    if state is None or state.stopped:
        return Status("stopped", data.root, data.log)
    if not state.alive():
        return Status("stale", data.root, data.log)
    prepare = partial(jvm.prepare, data, system.spawn, progress=True)
    return Status("running", data.root, data.log, _broker(data, state, prepare), system.uptime_s(state.pid))


def stop(data_dir: Path | None = None, timeout_s: float = _STOP_S) -> bool:
    """Stop the broker and keep its data; a broker that takes longer than ``timeout_s`` is killed.

    Returns whether one was running.
    """
    data = _data(data_dir)
    if not data.root.exists():
        return False
    with system.locked(data.lock):
        ended = _end(data, timeout_s=timeout_s)
        state = data.read()
        if state is not None:
            data.write(msgspec.structs.replace(state, stopped=True))
        return ended


def wipe(data_dir: Path | None = None, *, force: bool = False) -> None:
    """Delete the broker's data; with ``force``, stop it first.

    Raises:
        Misconfigured: the broker is running, or the directory cannot be used.

    """
    data = _data(data_dir)
    if not data.root.exists():
        return
    with system.locked(data.lock):
        state = data.read()
        if state is not None and state.alive() and not force:
            raise Misconfigured(f"the broker of {data.root} is running", hint="stop it first, or wipe with --force")
        _end(data, timeout_s=0)
        data.delete()


@contextmanager
def temporary(
    *, properties: Mapping[str, str] | None = None, progress: bool = True, long_running: bool = False
) -> Iterator[Broker]:
    """Run a throw-away broker in a temporary directory; process and data are gone at the end.

    Also when the caller is killed: see ``keeper``. One that is ``long_running`` starts slower and, some minutes later,
    serves as fast as brokers in production.
    """
    settings.check(properties or {})
    with keep() as keeper:
        data = DataDir(keeper.folder)
        with system.locked(data.lock):
            prepare = partial(jvm.prepare, data, keeper.spawn, progress=progress, long_running=long_running)
            broker = _start(data, None, properties or {}, prepare, timeout_s=_START_S)
        yield broker


def _data(data_dir: Path | None) -> DataDir:
    return DataDir((data_dir or default_dir()).expanduser().resolve())


def _start(
    data: DataDir,
    port: int | None,
    properties: Mapping[str, str],
    prepare: Callable[[], jvm.Launcher],
    *,
    timeout_s: float,
) -> Broker:
    """Start where none runs; if another process takes a port meanwhile, try again."""
    if port is not None and not launch.is_free(port):
        raise Misconfigured(
            f"port {port} of {settings.HOST} is taken", hint="stop what listens there, or choose another port"
        )
    launcher = prepare()
    last = data.read()
    chosen = port or launch.free_port(last.port if last is not None else None)
    for tries_left in reversed(range(_TRIES)):
        try:
            state = launch.launch(launcher, port=chosen, properties=properties, timeout_s=timeout_s)
            return _broker(data, state, prepare)
        except launch.PortTaken:
            if not tries_left:
                raise
            chosen = port or launch.free_port(None)
    raise AssertionError("the last try returns or raises")


def _end(data: DataDir, *, timeout_s: float) -> bool:
    """End the broker of this directory, if one runs."""
    state = data.read()
    if state is None or not state.alive():
        return False
    system.end(state.pid, state.birth, timeout_s=timeout_s)
    return True


def _wait(data: DataDir, state: State, timeout_s: float) -> None:
    """Wait for a broker that another caller has started, and perhaps was not able to wait for."""
    try:
        ready.wait(state.port, data.cluster_id(), alive=state.alive, timeout_s=timeout_s)
    except ready.NotReady as error:
        raise Unavailable(
            f"the broker with process id {state.pid} does not answer: {error}", hint=f"look at {data.log}, or stop it"
        ) from error


def _check_same(state: State, port: int | None, properties: Mapping[str, str] | None) -> None:
    if port is not None and port != state.port:
        raise Misconfigured(f"the broker already runs, on port {state.port}", hint="stop it to change the port")
    if properties is not None and dict(properties) != state.properties:
        raise Misconfigured("the broker already runs, with other properties", hint="stop it to change them")


def _broker(data: DataDir, state: State, prepare: Callable[[], jvm.Launcher]) -> Broker:
    return Broker(state.pid, state.port, state.version, data.root, data.log, prepare)
