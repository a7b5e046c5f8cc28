"""Instants as bytes in two parts: the lowest 13 bits of the milliseconds, which tables hold, and the rest.

The rest changes every eight seconds, so it is worked out once and remembered.

Rules:
1. Six bytes are read, an instant of the years 1971 to 2039, and only in their shortest form: they can be written again
   as they were. For all others ``READ_LOW`` raises ``KeyError``, or ``READ_REST`` ``ValueError``.
2. What is remembered is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping

from stream_triggers.runtime.codec.wire import MORE, write_unsigned

INSTANT_BYTES = 6
LOW_BYTES = 2
LOW_BITS = 13
"""What the first two bytes hold, less the sign."""

LOW_MAX = (1 << LOW_BITS) - 1

REMEMBERED_MAX = 1000
"""Rests remembered at most, each of eight seconds: more than two hours of them."""

WRITE_LOW = [MORE[low << 1] for low in range(LOW_MAX + 1)]
"""The first two bytes of an instant that has more than two, by its lowest bits."""

READ_LOW: Mapping[bytes, int] = {written: low for low, written in enumerate(WRITE_LOW)}
"""The lowest bits, by the first two of an instant's bytes."""


class _WriteRest(dict[int, bytes]):
    def __missing__(self, rest: int) -> bytes:
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        written = self[rest] = write_unsigned(rest)
        return written


class _ReadRest(dict[bytes, int]):
    def __missing__(self, written: bytes) -> int:
        a, b, c, d = written
        if not (0 < d < 128 <= a and b > 127 and c > 127):
            raise ValueError("it does not take six bytes")
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        rest = self[written] = (a & 127 | (b & 127) << 7 | (c & 127) << 14 | d << 21) << LOW_BITS
        return rest


WRITE_REST = _WriteRest()
"""The other bytes of an instant, by what is above its lowest bits."""

READ_REST = _ReadRest()
"""What is above the lowest bits of an instant, by the other four of its six bytes."""
