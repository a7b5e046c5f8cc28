"""The clocks."""

from __future__ import annotations

import pytest

from stream_triggers.runtime.clock import ManualClock, SystemClock


def test_a_manual_clock_moves_when_it_is_told_and_by_that_much() -> None:
    clock = ManualClock(1_000)
    assert (clock.now_ms(), clock.monotonic_s()) == (1_000, 0.0)
    clock.advance(1_500)
    assert (clock.now_ms(), clock.monotonic_s()) == (2_500, 1.5)


def test_whoever_sleeps_by_a_manual_clock_moves_it() -> None:
    clock = ManualClock(1_000)
    clock.sleep(0.25)
    assert clock.now_ms() == 1_250


def test_a_manual_clock_does_not_go_back() -> None:
    with pytest.raises(AssertionError):
        ManualClock().advance(-1)


def test_the_system_clock_tells_milliseconds_since_the_epoch() -> None:
    year_2025_ms, year_2100_ms = 1_735_689_600_000, 4_102_444_800_000
    assert year_2025_ms < SystemClock().now_ms() < year_2100_ms


def test_the_system_clock_measures_without_going_back() -> None:
    clock = SystemClock()
    assert clock.monotonic_s() <= clock.monotonic_s()
