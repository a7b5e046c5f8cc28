"""A release that does not exist: the next one, which has a second format for claims in a changelog.

It reads both formats. While releases run side by side it writes the first, which all of them read; once it is alone it
may write the second: one byte more, behind the version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from stream_triggers.runtime import changelog
from stream_triggers.runtime.changelog import ClaimsRecord
from stream_triggers.runtime.log import Outgoing, Record

FORMAT = 2

Release = Literal["this", "next", "next alone"]
"""Which release a life runs, and for the next one whether it writes its own format."""

_parse_first, _records_first = changelog.parse, changelog.records


class _AsFirst:
    """A record of the second format as one of the first."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def value(self) -> bytes:
        value = self._record.value() or b""
        return bytes([changelog.FORMAT]) + value[2:]

    def __getattr__(self, name: str) -> object:
        return getattr(self._record, name)


def become(release: Release) -> None:
    """Make this process one of ``release``."""
    if release != "this":
        changelog.parse = _parse_both
    if release == "next alone":
        changelog.records = _records_second


def _parse_both(record: Record) -> ClaimsRecord:
    is_second = (record.value() or b"")[:1] == bytes([FORMAT])
    return _parse_first(_AsFirst(record) if is_second else record)  # type: ignore[arg-type]


def _records_second(
    next_input_offset: int, segment: int, run_ids: Sequence[bytes], partition: int
) -> Iterator[Outgoing]:
    for each in _records_first(next_input_offset, segment, run_ids, partition):
        value = each["value"]
        assert value is not None
        yield {**each, "value": bytes([FORMAT, 0]) + value[1:]}
