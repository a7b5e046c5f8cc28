"""Strands: threads of which exactly one runs at a time, so that a schedule of them can be repeated.

A strand runs from ``resume`` to its next ``pause``, while the one that resumed it waits. What it raises is raised by
``resume``. Nothing depends on the operating system's choice of thread, hence nothing on chance.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Strand:
    """One body of code that can be left in the middle and taken up again."""

    def __init__(self, body: Callable[[], None]) -> None:
        self._body = body
        self._carrier: _Carrier | None = None
        self._error: BaseException | None = None
        self.ended = False

    def resume(self) -> None:
        """Let it run to its next ``pause`` or its end."""
        assert not self.ended, "this strand has ended"
        if self._carrier is None:
            self._carrier = _idle.pop() if _idle else _Carrier()
            self._carrier.strand = self
        carrier = self._carrier
        carrier.go.release()
        carrier.back.acquire()
        if self.ended:
            _idle.append(carrier)
        if self._error is not None:
            raise self._error

    def pause(self) -> None:
        """Called by the body: let the one that resumed it go on, until it is resumed again."""
        assert self._carrier is not None, "only a running strand can pause"
        self._carrier.back.release()
        self._carrier.go.acquire()

    def run(self) -> None:
        """Run the body, keeping what it raises for ``resume``."""
        try:
            self._body()
        except BaseException as error:  # noqa: BLE001 - raised again by ``resume``, on the thread that waits for it
            self._error = error
        self.ended = True


class _Carrier:
    """A thread that carries one strand after the other: making one costs more than a whole turn."""

    def __init__(self) -> None:
        self.go, self.back = threading.Lock(), threading.Lock()
        self.go.acquire()
        self.back.acquire()
        self.strand: Strand
        threading.Thread(target=self._carry, name="strand", daemon=True).start()

    def _carry(self) -> None:
        while True:
            self.go.acquire()
            self.strand.run()
            self.back.release()


_idle: list[_Carrier] = []
