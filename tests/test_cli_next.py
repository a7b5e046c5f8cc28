"""``next``: when schedules will be due, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_triggers.cli import app

TRIGGERS = """
- {id: nightly, task: report.make, when: {cron: 30 2 * * *, zone: Europe/Berlin, jitter: 10m}}
- {id: paid, task: ship, when: {event: order.paid}}
- {id: poll, task: poll, when: {any: [{event: poll}, {every: 15m}, {at: 2026-03-29T00:20Z}]}}
"""


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*arguments: str):
    return CliRunner(env={"COLUMNS": "400"}).invoke(app, ["next", *arguments], prog_name="stream-triggers")


def ok(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_row_d9_an_expression_shows_its_next_instants_and_marks_the_adjusted_ones():
    shown = ok("30 2 * * *", "--zone", "Europe/Berlin", "--from", "2026-03-28T00:00", "-n", "3")
    assert shown.splitlines() == [
        "cron 30 2 * * * Europe/Berlin",
        "local             UTC",
        "2026-03-28T02:30  2026-03-28T01:30Z",
        "2026-03-29T03:00  2026-03-29T01:00Z  * 2026-03-29T02:30 does not exist: the clock is put forward (gap: shift)",
        "2026-03-30T02:30  2026-03-30T00:30Z",
    ]


def test_row_d9_both_instants_of_a_local_time_are_marked():
    shown = ok("30 2 * * *", "--zone", "Europe/Berlin", "--fold", "both", "--from", "2026-10-24T12:00Z", "-n", "2")
    assert shown.splitlines()[2:] == [
        "2026-10-25T02:30  2026-10-25T00:30Z  * the first of two: the clock is put back (fold: both)",
        "2026-10-25T02:30  2026-10-25T01:30Z  * the second of two: the clock is put back (fold: both)",
    ]


def test_row_d9_where_nothing_comes_any_more_that_is_said():
    Path("triggers.yaml").write_text("- {id: once, task: report, when: {at: 2026-03-29T00:20Z}}")
    shown = ok("triggers.yaml", "--from", "2026-03-29T00:20Z")
    assert shown.splitlines() == [
        "once: when: at 2026-03-29T00:20Z",
        "no instant comes after 2026-03-29T00:20Z",
    ]
    assert json.loads(ok("triggers.yaml", "--from", "2026-03-29T00:20Z", "--json")) == []


def test_row_d9_a_file_shows_all_its_schedules_with_when_they_take_effect():
    Path("triggers.yaml").write_text(TRIGGERS)
    shown = ok("triggers.yaml", "--from", "2026-03-29T00:00Z", "-n", "1")
    assert shown.splitlines() == [
        "nightly: when: cron 30 2 * * * Europe/Berlin",
        "local             UTC                effective",
        "2026-03-29T03:00  2026-03-29T01:00Z  2026-03-29T01:03:39.791Z  "
        "* 2026-03-29T02:30 does not exist: the clock is put forward (gap: shift)",
        "",
        "poll: when.any[1]: every 15m",
        "local             UTC",
        "2026-03-29T00:15  2026-03-29T00:15Z",
        "",
        "poll: when.any[2]: at 2026-03-29T00:20Z",
        "local             UTC",
        "2026-03-29T00:20  2026-03-29T00:20Z",
    ]


def test_row_d9_json_has_every_instant():
    shown = json.loads(ok("30 2 * * *", "--zone", "Europe/Berlin", "--from", "2026-03-28T12:00Z", "-n", "1", "--json"))
    assert shown == [
        {
            "schedule": "cron 30 2 * * * Europe/Berlin",
            "local": "2026-03-29T03:00",
            "utc": "2026-03-29T01:00Z",
            "effective": "2026-03-29T01:00Z",
            "nominal_ms": 1774746000000,
            "skipped": [],
            "adjusted": [{"by": "gap", "from": "2026-03-29T02:30"}],
        }
    ]


def test_by_default_ten_instants_from_now_on_are_shown():
    assert len(ok("* * * * *").splitlines()) == 12


def test_a_file_without_schedules_says_so():
    Path("triggers.yaml").write_text("[{id: paid, task: ship, when: {event: order.paid}}]")
    result = call("triggers.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "triggers.yaml has no schedules\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["61 * * * *"], 'expected 0 to 59 in the minute field, found "61"'),
        (["@daily", "--zone", "Mars"], "Invalid value for --zone"),
        (["@daily", "--gap", "forward"], "Invalid value for '--gap'"),
        (["@daily", "--from", "2026-03-28T00:00"], "Invalid value for --from"),
        (["@daily", "-n", "0"], "Invalid value for '-n'"),
        (["triggers.yaml", "--zone", "UTC"], "Invalid value for --zone: a trigger file says this itself"),
    ],
)
def test_a_wrong_call_ends_with_status_2_and_says_what_is_wrong(arguments, said):
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


CALENDARS = """
calendars:
  closed: [sat, sun, 2026-12-25]
triggers:
  - {id: report, task: report, when: {cron: 0 9 * * *, zone: Europe/Berlin, exclude: closed}}
  - {id: monthly, task: report, when: {cron: 0 9 26 * *, exclude: closed, on_excluded: next}}
"""


def test_row_d6_instants_on_dates_that_do_not_count_are_marked():
    Path("triggers.yaml").write_text(CALENDARS)
    shown = ok("triggers.yaml", "--from", "2026-12-24T00:00Z", "-n", "2")
    assert shown.splitlines() == [
        "report: when: cron 0 9 * * * Europe/Berlin",
        "local             UTC",
        "2026-12-24T09:00  2026-12-24T08:00Z",
        "2026-12-25T09:00  2026-12-25T08:00Z  * skipped, a date that does not count (on_excluded: skip)",
        "2026-12-26T09:00  2026-12-26T08:00Z  * skipped, a date that does not count (on_excluded: skip)",
        "2026-12-27T09:00  2026-12-27T08:00Z  * skipped, a date that does not count (on_excluded: skip)",
        "2026-12-28T09:00  2026-12-28T08:00Z",
        "",
        "monthly: when: cron 0 9 26 * *",
        "local             UTC",
        "2026-12-28T09:00  2026-12-28T09:00Z  * moved from 2026-12-26T09:00, a date that does not count"
        " (on_excluded: next)",
        "2027-01-26T09:00  2027-01-26T09:00Z",
    ]


def test_row_d6_json_has_them_too():
    Path("triggers.yaml").write_text(CALENDARS)
    shown = json.loads(ok("triggers.yaml", "--from", "2026-12-24T08:00Z", "-n", "1", "--json"))
    assert shown[0]["skipped"] == ["2026-12-25T09:00", "2026-12-26T09:00", "2026-12-27T09:00"]


def test_row_d6_of_very_many_that_are_left_out_the_first_are_shown():
    Path("triggers.yaml").write_text(CALENDARS.replace("0 9 * * *", "'* * * * *'"))
    shown = ok("triggers.yaml", "--from", "2026-12-24T22:59Z", "-n", "1").splitlines()
    assert len([line for line in shown if "skipped" in line]) == 100
    assert shown[101].endswith("* skipped, a date that does not count (on_excluded: skip), as those after it may be")
    assert shown[102] == "2026-12-28T00:00  2026-12-27T23:00Z"
