"""The JVM's archive of the broker's classes: halves the time and the CPU of a start.

Made once for each Java, after the first start has listed the classes it loaded. The JVM checks by itself that an
archive fits the Java and the jars and does without it if not, so nothing here can fail a start.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stream_triggers.broker.java import Java

log = logging.getLogger(__name__)

_TIMEOUT_S = 120


def archive_path(cache: Path, java: Java) -> Path:
    """Where the archive for this Java is, or would be."""
    return cache / f"classes-{java.fingerprint}.jsa"


def make(java: Java, arguments: Sequence[str], class_list: Path, archive: Path) -> None:
    """Make the archive from a list of classes; an empty file says that this Java cannot."""
    if archive.exists() or not class_list.exists():
        return
    log.info("preparing the class archive of Java %s, once", java.version)
    partial = archive.with_name(f"{archive.name}.{os.getpid()}")
    command = [
        str(java.executable),
        "-Xshare:dump",
        f"-XX:SharedClassListFile={class_list}",
        f"-XX:SharedArchiveFile={partial}",
        *arguments,
    ]
    try:
        subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True, env=java.environment())
        partial.replace(archive)
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("no class archive: %s", error)
        archive.touch()
    finally:
        partial.unlink(missing_ok=True)
