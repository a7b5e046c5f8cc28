"""The broker that a measurement uses: one of its own, gone afterwards, or one that is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stream_triggers.broker import temporary


@contextmanager
def broker(bootstrap_servers: str | None) -> Iterator[str]:
    """Where to connect to."""
    if bootstrap_servers is not None:
        yield bootstrap_servers
        return
    with temporary(long_running=True) as started:
        yield started.bootstrap_servers
