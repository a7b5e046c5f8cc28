"""The data directory of one broker: what is where, what the state file says, and what may be deleted.

Only the names below are ever written or deleted, so a directory that holds other files too loses none of them.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream_triggers.broker import system
from stream_triggers.errors import Misconfigured


class State(msgspec.Struct, frozen=True):
    """The last broker that was started here; ``stopped`` once it was ended on purpose."""

    pid: int
    birth: str
    port: int
    version: str
    properties: dict[str, str]
    stopped: bool = False

    def alive(self) -> bool:
        return not self.stopped and system.alive(self.pid, self.birth)


_ANOTHER = "choose another data directory"


def default_dir() -> Path:
    """Where the broker's data is kept unless told otherwise."""
    root = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(root) / "stream-triggers" / "broker"


@dataclass(frozen=True, slots=True)
class DataDir:
    """The files of one broker."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "broker.lock"

    @property
    def state(self) -> Path:
        return self.root / "broker.json"

    @property
    def log(self) -> Path:
        return self.root / "broker.log"

    @property
    def previous_log(self) -> Path:
        return self.root / "broker.log.1"

    @property
    def settings(self) -> Path:
        return self.root / "server.properties"

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def unformatted(self) -> Path:
        return self.root / "kafka.unformatted"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def read(self) -> State | None:
        """The state file, or None if there is none that can be read."""
        try:
            return msgspec.json.decode(self.state.read_bytes(), type=State)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None
        except OSError as error:
            raise Misconfigured(f"{self.state} cannot be read: {error.strerror}", hint=_ANOTHER) from error

    def write(self, state: State) -> None:
        """Replace the state file in one step."""
        partial = self.state.with_suffix(".partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
        partial.replace(self.state)

    def formatted(self) -> bool:
        """Whether Kafka's own directory is ready for use.

        Raises:
            Misconfigured: there is a directory of that name that Kafka did not make.

        """
        if (self.kafka / "meta.properties").is_file():
            return True
        if self.kafka.exists():
            raise Misconfigured(f"{self.kafka} is not a broker's data", hint=_ANOTHER)
        return False

    def cluster_id(self) -> str:
        found = re.search(r"^cluster\.id=(.+)$", (self.kafka / "meta.properties").read_text(), re.MULTILINE)
        return found[1].strip() if found else ""

    def log_tail(self, lines: int) -> str:
        """The last lines of the broker's log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def delete(self) -> None:
        """Delete everything a broker has written here, and the directory if nothing else is in it."""
        if self.root.exists() and self.formatted():
            shutil.rmtree(self.kafka)
        for folder in (self.unformatted, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.state, self.log, self.previous_log, self.settings, self.lock):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or not there
            self.root.rmdir()
