"""Log lines, counters, and the tables that describe them."""

from __future__ import annotations

import io
import json
import logging
from typing import get_args

import pytest

from stream_triggers import telemetry
from stream_triggers.telemetry import COUNTERS, LOG_EVENTS, Counters, LogEvent, Summary

logger = logging.getLogger("stream_triggers.test")


@pytest.fixture
def lines():
    """Sets the log up as a program does, and gives what was written."""
    root, package = logging.getLogger(), logging.getLogger("stream_triggers")
    before = (root.handlers[:], root.level, package.level)
    stream = io.StringIO()

    def written(form: str = "text", level: str = "info", slot: str = "") -> io.StringIO:
        telemetry.set_up(form, level, slot, stream)
        return stream

    yield written
    root.handlers[:], root.level = before[:2]
    package.setLevel(before[2])


def test_every_log_event_has_one_row():
    assert sorted(row.event for row in LOG_EVENTS) == sorted(get_args(LogEvent))


def test_a_text_line_is_instant_level_event_and_fields(lines):
    stream = lines()
    telemetry.log(logger, "slot given up", slot="0", status=3, reason='no "topic"')
    instant, line = stream.getvalue().split(" ", 1)
    assert line == 'error   slot given up slot=0 status=3 reason="no \\"topic\\""\n'
    assert len(instant) == len("2026-11-24T06:53:41.019Z")


def test_a_json_line_names_its_slot(lines):
    stream = lines("json", slot="eu-1")
    telemetry.log(logger, "triggers in force", count=2, definitions_offset=7)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "stream_triggers.test",
        "slot": "eu-1",
        "event": "triggers in force",
        "fields": {"count": 2, "definitions_offset": 7},
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_written_with_its_traceback(lines, form):
    stream = lines(form)
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("unexpected")
    assert "ValueError: broken" in stream.getvalue()


def test_lines_below_the_level_and_the_talk_of_other_packages_are_left_out(lines):
    stream = lines(level="warning")
    telemetry.log(logger, "worker stopped")
    logging.getLogger("elsewhere").info("talk")
    assert stream.getvalue() == ""
    logging.getLogger("elsewhere").warning("trouble")
    assert stream.getvalue().endswith("warning trouble\n")


def test_counters_are_told_with_their_labels():
    counters = Counters()
    counters.messages += 3
    counters.decisions["duplicate"] += 2
    assert [row for row in counters.values() if row[2]] == [("messages", "", 3), ("decisions", "duplicate", 2)]


def test_every_counter_has_a_row_and_a_meaning():
    assert [row.name for row in COUNTERS][:3] == ["messages", "unmatched", "matched"]
    assert all(row.meaning for row in COUNTERS)


def test_a_summary_tells_what_was_counted_since_the_last_one(lines):
    stream = lines()
    counters = Counters()
    summary = Summary(counters, now_s=10.0)
    counters.messages, counters.fired = 100, 5
    summary.log(logger, now_s=20.0)
    counters.messages = 120
    summary.log(logger, now_s=30.0)
    assert [line.split("summary ")[1] for line in stream.getvalue().splitlines()] == [
        "seconds=10.0 messages_per_s=10 messages=100 fired=5",
        "seconds=10.0 messages_per_s=2 messages=20",
    ]


def test_the_readme_tables_have_a_row_for_each_counter_and_event():
    table = telemetry.markdown()
    assert all(f"| `{row.name}` |" in table for row in COUNTERS)
    assert all(f"| {row.event} | {row.level} |" in table for row in LOG_EVENTS)
