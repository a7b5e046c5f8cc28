"""Where a trigger starts: the instant since which it takes messages."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.start import Lookback, Since, parse_start, since_ms, start_json

NOW_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("now", None),
        ("earliest", Since(0)),
        ("1970-01-01T00:00Z", Since(0)),
        ("2025-11-24T16:00:00.001Z", Since(NOW_MS + 1)),
        ("2025-11-24T17:00+01:00", Since(NOW_MS)),
        ({"lookback": "1h"}, Lookback(HOUR_MS)),
    ],
)
def test_a_start_is_read(written, rule):
    assert parse_start(written, "start") == rule


@pytest.mark.parametrize(
    ("rule", "instant_ms"),
    [
        (None, None),
        (Since(0), 0),
        (Since(NOW_MS - 1), NOW_MS - 1),
        (Since(NOW_MS + HOUR_MS), NOW_MS + HOUR_MS),
        (Lookback(1), NOW_MS - 1),
        (Lookback(HOUR_MS), NOW_MS - HOUR_MS),
    ],
)
def test_a_trigger_takes_messages_since(rule, instant_ms):
    assert since_ms(rule, NOW_MS) == instant_ms


@pytest.mark.parametrize(("now_ms", "instant_ms"), [(HOUR_MS + 1, 1), (HOUR_MS, 0), (HOUR_MS - 1, 0), (0, 0)])
def test_nobody_looks_back_beyond_the_first_instant(now_ms, instant_ms):
    assert since_ms(Lookback(HOUR_MS), now_ms) == instant_ms


@given(
    st.integers(0, 7_258_118_399_999).map(Since) | st.integers(1, 3650 * 24 * HOUR_MS).map(Lookback),
    st.integers(0, 7_258_118_399_999),
)
def test_any_start_is_written_and_read_back_equal(rule, now_ms):
    again = parse_start(orjson.loads(orjson.dumps(start_json(rule))), "start")
    assert again == rule
    assert since_ms(again, now_ms) == since_ms(rule, now_ms) >= 0
