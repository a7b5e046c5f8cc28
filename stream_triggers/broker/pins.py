"""The lock file: which jars make up the broker, and the size and SHA-256 of each.

``python -m stream_triggers.broker.lock VERSION`` writes it anew.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import msgspec

from stream_triggers.errors import Corrupt

LOCK_FILE = Path(__file__).with_name("kafka.lock.json")


class Jar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pinned file; ``coordinate`` is ``group:artifact:version``."""

    coordinate: str
    file: str
    size: int
    sha256: str


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version of Apache Kafka and every jar it needs at run time, in class path order."""

    kafka: str
    jars: tuple[Jar, ...]

    @property
    def bytes_total(self) -> int:
        return sum(jar.size for jar in self.jars)


@cache
def load() -> Lock:
    """Read the lock file of this release."""
    return msgspec.json.decode(LOCK_FILE.read_bytes(), type=Lock)


def sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, jar: Jar, *, hint: str) -> None:
    """Raise ``Corrupt`` unless the file is exactly the pinned one."""
    size = path.stat().st_size
    if size != jar.size:
        raise Corrupt(f"{path} is not {jar.coordinate}: expected {jar.size} bytes, found {size}", hint=hint)
    found = sha256(path)
    if found != jar.sha256:
        raise Corrupt(f"{path} is not {jar.coordinate}: expected sha256 {jar.sha256}, found {found}", hint=hint)
