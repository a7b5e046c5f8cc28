"""One start: settings, format, process, first answer.

The state file is written as soon as there is a process, before it answers, so a caller that dies while waiting leaves
a broker that the next ``start`` or ``stop`` finds. Kafka's directory is formatted under another name and then
renamed, so one that exists is whole.
"""

from __future__ import annotations

import base64
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stream_triggers.broker import classes, fencing, pins, ready, settings, system
from stream_triggers.broker.directory import DataDir, State
from stream_triggers.broker.jvm import Launcher
from stream_triggers.broker.keeper import keep
from stream_triggers.errors import Misconfigured, Unavailable

_HELPER_S = 60.0
_POLL_S = 0.02
_TAIL_LINES = 15
# Below the range from which systems take ports for outgoing connections, so that a client which keeps calling a dead
# broker cannot be given the broker's own port, and a restart finds it free.
_PORTS = range(20_000, 32_000)


class PortTaken(Misconfigured):
    """Another process has taken one of the broker's ports since they were chosen."""


def launch(launcher: Launcher, *, port: int, properties: Mapping[str, str], timeout_s: float) -> State:
    """Start a broker and wait until it answers; nothing is left running if this raises.

    Raises:
        Misconfigured: it ended at once; the hint holds the end of its log.
        Unavailable: it did not answer in time.

    """
    data = launcher.data
    _lay_out(data)
    if not data.formatted():
        _format(launcher, port, properties)
    elif fencing.needed(data):
        _fence(launcher)
    _write_settings(data, data.kafka, port, properties)
    pid = launcher.run("kafka.Kafka", str(data.settings))
    born = system.birth(pid) or ""
    try:
        state = State(pid, born, port, pins.load().kafka, dict(properties))
        data.write(state)
        ready.wait(port, data.cluster_id(), alive=state.alive, timeout_s=timeout_s)
        classes.make(launcher.java, launcher.fixed, launcher.class_list, launcher.archive)
    except BaseException as error:
        ended = not system.alive(pid, born)
        system.end(pid, born, timeout_s=0)
        if isinstance(error, ready.NotReady):
            raise _not_started(data, str(error), ended=ended) from error
        raise
    return state


def free_port(preferred: int | None) -> int:
    """A port nobody listens on: the preferred one if possible."""
    if preferred is not None and is_free(preferred):
        return preferred
    while not is_free(port := secrets.choice(_PORTS)):
        pass
    return port


def is_free(port: int) -> bool:
    """Whether the broker could listen on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, port))
        except OSError:
            return False
        return True


def _lay_out(data: DataDir) -> None:
    shutil.rmtree(data.temporary, ignore_errors=True)
    data.temporary.mkdir(parents=True)
    if data.log.exists():
        data.log.replace(data.previous_log)


def _write_settings(data: DataDir, log_dir: Path, port: int, properties: Mapping[str, str]) -> None:
    while (controller_port := free_port(None)) == port:
        pass
    data.settings.write_text(
        settings.render(log_dir=log_dir, port=port, controller_port=controller_port, properties=properties)
    )


def _format(launcher: Launcher, port: int, properties: Mapping[str, str]) -> None:
    data = launcher.data
    shutil.rmtree(data.unformatted, ignore_errors=True)
    _write_settings(data, data.unformatted, port, properties)
    tool = ("kafka.tools.StorageTool", "format", "--standalone", "-t", _random_cluster_id(), "-c", str(data.settings))
    with _helper(launcher, *tool) as ended:
        while not ended():
            time.sleep(_POLL_S)
    if not (data.unformatted / "meta.properties").is_file():
        raise _not_started(data, "its storage could not be formatted", ended=True)
    data.unformatted.rename(data.kafka)


def _fence(launcher: Launcher) -> None:
    """See ``fencing``."""
    data = launcher.data
    data.settings.write_text(settings.render_controller(log_dir=data.kafka, controller_port=free_port(None)))
    with _helper(launcher, "kafka.Kafka", str(data.settings), options=(fencing.CONTROLLER_LOG,)) as ended:
        while not fencing.fenced(data.log.read_text(errors="replace")):
            if ended():
                raise _not_started(data, "its last session could not be ended", ended=True)
            time.sleep(_POLL_S)


@contextmanager
def _helper(
    launcher: Launcher, main: str, *arguments: str, options: tuple[str, ...] = ()
) -> Iterator[Callable[[], bool]]:
    """Run a class that ends with the block, or with the caller; tells whether it has ended.

    Raises:
        Unavailable: it ran for too long.

    """
    deadline = time.monotonic() + _HELPER_S
    with keep() as keeper:
        pid = replace(launcher, spawn=keeper.spawn).run(main, *arguments, options=options)
        born = system.birth(pid) or ""

        def ended() -> bool:
            if time.monotonic() > deadline:
                raise _not_started(launcher.data, f"{main} did not end within {_HELPER_S:g} s", ended=False)
            return not system.alive(pid, born)

        yield ended
        system.end(pid, born, timeout_s=_HELPER_S)


def _random_cluster_id() -> str:
    """A random UUID as Kafka writes it; one that begins with a dash would be read as an option."""
    while (text := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _not_started(data: DataDir, what: str, *, ended: bool) -> Misconfigured | Unavailable:
    tail = data.log_tail(_TAIL_LINES)
    hint = f"the end of {data.log}:\n{tail}" if tail else f"{data.log} is empty"
    if ended and "Address already in use" in tail:
        return PortTaken("the broker did not start: one of its ports is in use", hint=hint)
    kind = Misconfigured if ended else Unavailable
    return kind(f"the broker did not start: {what}", hint=hint)
