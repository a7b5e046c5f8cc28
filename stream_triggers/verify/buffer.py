"""Rows on their way to the store: written many at a time, so that a row costs little."""

from __future__ import annotations

from stream_triggers.runtime.store import Changes, Store

ROWS_MAX = 8192
"""Rows that are held before they are written: a few megabytes."""


class Buffer:
    """Holds up to ``ROWS_MAX`` rows; what is to be read back needs ``flush`` first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[tuple[str, bytes, bytes]] = []

    def put(self, column: str, key: bytes, value: bytes) -> None:
        """Write a row, now or with those that follow."""
        self._rows.append((column, key, value))
        if len(self._rows) >= ROWS_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._rows:
            self._store.apply(Changes(puts=self._rows))
            self._rows = []
