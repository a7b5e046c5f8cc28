"""Ends a temporary broker when its owner is gone, however the owner went.

The keeper is a small process of its own, the parent of the temporary broker. Its owner asks it over a pipe to start
processes; when the pipe closes, or the owner is no longer its parent (a forked child may hold the pipe open), it
kills what it has started and deletes the folder. Its children's ids cannot pass to others before it has waited for
them, so it never kills a stranger.

This file is also the keeper's program: it is run by path, without site packages, and imports nothing else.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_LOOK_S = 0.5


class Keeper:
    """The owner's side: a folder, and a way to start processes that end with it."""

    def __init__(self, folder: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
        self.folder = folder
        self._requests = requests
        self._answers = answers

    def spawn(self, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
        """Start a process as the keeper's child and return its id."""
        request = {"arguments": list(arguments), "environment": dict(environment), "output": str(output)}
        self._requests.write(json.dumps(request).encode() + b"\n")
        self._requests.flush()
        return int(self._answers.readline())


@contextmanager
def keep() -> Iterator[Keeper]:
    """Make a folder that is deleted at the end, along with every process started through the keeper."""
    folder = Path(tempfile.mkdtemp(prefix="stream-triggers-broker-"))
    command = [sys.executable, "-I", "-S", __file__, str(folder)]
    pipes = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with pipes:
        assert pipes.stdin is not None
        assert pipes.stdout is not None
        try:
            yield Keeper(folder, pipes.stdin, pipes.stdout)
        finally:
            with suppress(BrokenPipeError):
                pipes.stdin.write(b"null\n")
                pipes.stdin.flush()


def main(folder: Path) -> None:
    """Serve the owner until it is gone, then end everything."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # only the owner's end ends the keeper; children start with the default
    owner = os.getppid()
    requests = open(0, "rb", buffering=0)  # noqa: SIM115  # unbuffered: unread bytes must stay visible to select
    children: list[subprocess.Popen[bytes]] = []
    try:
        while os.getppid() == owner:
            waiting, _, _ = select.select([requests], [], [], _LOOK_S)
            children = [child for child in children if child.poll() is None]
            if waiting and not _serve(requests, children):
                break
    finally:
        for child in children:
            child.kill()
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _serve(requests: IO[bytes], children: list[subprocess.Popen[bytes]]) -> bool:
    """Start what the owner asks for; False at the end."""
    line = requests.readline()
    if not line.endswith(b"\n") or line == b"null\n":
        return False
    request = json.loads(line)
    with open(request["output"], "ab") as output:
        child = subprocess.Popen(
            request["arguments"],
            env=request["environment"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    children.append(child)
    os.write(1, f"{child.pid}\n".encode())
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
