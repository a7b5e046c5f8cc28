"""The broker's jars on this machine: ``<cache>/stream-triggers/kafka/<version>/``, filled once, checked always.

A missing jar is downloaded into a folder beside the cache, verified against the lock, and only then moved in, so an
interrupted download is continued and nothing unverified ever has a jar's name. With a full cache neither the resolver
nor the network is used.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from stream_triggers.broker import pins, system
from stream_triggers.errors import Misconfigured, Unavailable

log = logging.getLogger(__name__)

_CONNECTIONS = 4
_TRIES = 3
_PAUSE_S = 1.0


def cache_dir() -> Path:
    """Where the jars of the pinned version are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "stream-triggers" / "kafka" / pins.load().kafka


def ensure(*, progress: bool) -> list[Path]:
    """Return the verified jars in class path order, downloading those that are missing.

    Raises:
        Corrupt: a jar is not the pinned one.
        Unavailable: a jar cannot be downloaded now.
        Misconfigured: a jar is missing and the resolver is not installed.

    """
    lock, cache = pins.load(), cache_dir()
    with system.locked(cache.with_name(f"{cache.name}.lock")):
        missing = [jar for jar in lock.jars if not (cache / jar.file).exists()]
        for jar in lock.jars:
            if jar not in missing:
                pins.verify(cache / jar.file, jar, hint="delete the file; the next start fetches it again")
        if missing:
            cache.mkdir(parents=True, exist_ok=True)
            _download(missing, cache, progress=progress)
    return [cache / jar.file for jar in lock.jars]


def maven_context(repository: Path) -> Any:
    """The resolver of the ``jgo`` package, keeping what it fetches in ``repository``.

    A local Maven repository is looked at first, and the user's jgo settings may name mirrors.
    """
    try:
        maven, config, constants = (importlib.import_module(f"jgo.{name}") for name in ("maven", "config", "constants"))
    except ImportError as error:
        raise Misconfigured(
            "the jars of Apache Kafka are not on this machine and the package that fetches them is not installed",
            hint='pip install "stream-triggers[broker]"',
        ) from error
    context = maven.MavenContext(repo_cache=repository, local_repos=[constants.default_maven_repo()], timeout=30)
    context.remote_repos.update(config.GlobalSettings.load().repositories)
    return context


def _download(missing: Sequence[pins.Jar], cache: Path, *, progress: bool) -> None:
    staging = cache.with_name(f"{cache.name}.download")
    shutil.rmtree(staging, ignore_errors=True)
    context = maven_context(staging)

    with _progress(missing, shown=progress) as advance:
        context.resolver.progress_callback = lambda _name, _size: nullcontext(advance)
        pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="jars")
        try:
            for done in [pool.submit(_fetch, context, jar, staging, cache) for jar in missing]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)
    shutil.rmtree(staging, ignore_errors=True)
    for archive in cache.glob("classes-*.jsa"):  # the JVM ignores archives that are older than a jar
        archive.unlink()


def _fetch(context: Any, jar: pins.Jar, staging: Path, cache: Path) -> None:
    artifact = context.create_dependency(jar.coordinate).artifact
    for tries_left in reversed(range(_TRIES)):
        try:
            found: Path = artifact.resolve()
            break
        except (RuntimeError, OSError) as error:  # what jgo and requests raise
            artifact.cached_path.unlink(missing_ok=True)
            if not tries_left:
                raise Unavailable(
                    f"{jar.coordinate} could not be downloaded: {error}",
                    hint="check the network and start again; what has arrived is kept",
                ) from error
            time.sleep(_PAUSE_S)
    pins.verify(found, jar, hint="it is not used; a mirror or a proxy may have changed it")
    _move_in(found, staging, cache / jar.file)


def _move_in(found: Path, staging: Path, target: Path) -> None:
    """Give a verified jar its place in the cache, at once or not at all; a local repository keeps its own."""
    if not found.is_relative_to(staging):
        partial = staging / target.name
        staging.mkdir(exist_ok=True)
        shutil.copyfile(found, partial)
        found = partial
    found.replace(target)


@contextmanager
def _progress(missing: Sequence[pins.Jar], *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error if someone is watching, else one line in the log."""
    size = sum(jar.size for jar in missing)
    title = f"downloading Apache Kafka {pins.load().kafka}"
    if shown and sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=size)
            yield lambda count: bar.advance(task, count)
    else:
        log.info("%s: %d files, %.0f MB", title, len(missing), size / 1e6)
        yield lambda _count: None
