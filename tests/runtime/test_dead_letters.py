"""What a dead letter keeps of a record."""

from __future__ import annotations

import pytest

from stream_triggers.core.record import Header
from stream_triggers.runtime.dead_letters import kept_headers

KIB = 1024


def test_headers_are_kept_as_they_were() -> None:
    headers = [("traceparent", b"00-1"), ("empty", b""), ("none", None), ("traceparent", b"00-2")]
    assert kept_headers(headers) == tuple(Header(name, value) for name, value in headers)


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ([("a", bytes(64 * KIB - 3))], 1),
        ([("a", bytes(64 * KIB - 2))], 0),
        ([("a" * 60 * KIB, None), ("b", bytes(5 * KIB)), ("c", b"")], 1),
        ([("\u00e4" * 32 * KIB, None)], 0),
        ([("", None)] * 100_000, 32 * KIB),
    ],
    ids=[
        "as much as there may be",
        "one byte more",
        "none behind one that is too long",
        "bytes, not characters",
        "empty",
    ],
)
def test_no_more_than_64_kib_of_headers_are_kept(headers: list[tuple[str, bytes | None]], kept: int) -> None:
    assert len(kept_headers(headers)) == kept
