"""``check``: errors, warnings and canonical forms of trigger files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_triggers.cli import app

GOOD = """
triggers:
  - id: ship
    task: shipping.create
    description: ""
    when: {any: [{event: order.paid}]}
"""
DOUBTFUL = """
- id: ship
  task: shipping.create
  when:
    any:
      - {event: order.paid}
      - event: order.sold
        filter: {all: [{n: 1}, {n: 2}]}
"""
BAD = """
- {id: one, task: a.b, when: {evnt: c}}
- {id: two, task: a.b, when: {event: c}}
- {id: three, task: a.b, when: {all: [{not: {event: c}}, {not: {event: d}}]}}
"""
ONE_TRIGGER = "1 trigger, 0 errors, 0 warnings\n"


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*arguments: str):
    return CliRunner(env={"COLUMNS": "400"}).invoke(app, ["check", *arguments], prog_name="stream-triggers")


def wrote(text: str, name: str = "t.yaml") -> str:
    Path(name).write_text(text)
    return name


def test_a_good_file_is_counted():
    result = call(wrote(GOOD))
    assert (result.exit_code, result.stdout, result.stderr) == (0, ONE_TRIGGER, "")


WRONG_STARTS = """
- id: one
  task: a.b
  when: {event: c}
  start: yesterday
- id: two
  task: a.b
  when: {event: c}
  start:
    lookback: x
- id: three
  task: a.b
  start: earliest
  when: {any: [{event: c}, {cron: "@daily", start: 2026-01-01T00:00Z}]}
- {id: four, task: a.b, when: {event: c}, start: 2199-01-01T00:00Z}
- {id: five, task: a.b, when: {event: c}, start: {lookback: 120m}}
"""


def test_a_wrong_start_is_explained():
    result = call(wrote(WRONG_STARTS), "--canonical")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: t.yaml:5: triggers[0].start: expected now, earliest, an instant such as"
        ' "2026-03-01T08:00Z" or {"lookback": "2h"}, found "yesterday"',
        'error: t.yaml:10: triggers[1].start.lookback: expected a duration such as "90s", "2h" or "1d12h",'
        ' at most "3650d", found "x"',
        "error: t.yaml:13: triggers[2].start: a trigger with a schedule, here triggers[2].when.any[1],"
        " cannot start in the past: an instant is no message",
        "hint: leave this start out; a schedule has a start and a catchup of its own",
        "warning: t.yaml:15: triggers[3].start: it is yet to come: until then a new trigger is refused",
        "hint: apply it then, or leave it out",
        "2 triggers, 3 errors, 1 warning",
    ]
    assert result.stdout.splitlines() == [
        '{"id":"four","start":"2199-01-01T00:00Z","task":"a.b","when":{"event":"c"}}',
        '{"id":"five","start":{"lookback":"2h"},"task":"a.b","when":{"event":"c"}}',
    ]


def test_every_error_is_explained_with_line_path_and_hint():
    result = call(wrote(BAD))
    assert (result.exit_code, result.stdout) == (1, "1 trigger, 2 errors, 0 warnings\n")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: t.yaml:2: triggers[0].when: expected a condition with one of ")
    assert lines[1:] == [
        "hint: did you mean event?",
        "error: t.yaml:4: triggers[2].when: expected something that happens, found only what does not",
        "hint: put it into an all, beside what does happen",
    ]


def test_a_warning_is_told_with_its_line_and_leaves_the_status_alone():
    result = call(wrote(DOUBTFUL))
    assert (result.exit_code, result.stdout) == (0, "1 trigger, 0 errors, 1 warning\n")
    assert result.stderr == (
        'warning: t.yaml:8: triggers[0].when.any[1].filter: it accepts nothing: no value passes {"n":1} and {"n":2}\n'
    )


def test_a_warning_has_a_hint():
    result = call(wrote("[{id: a, task: b.c, when: {status: d, is: sucess}}]"))
    assert result.stderr.splitlines()[1] == "hint: did you mean success?"


def test_a_file_that_cannot_be_read_does_not_hide_the_others():
    result = call("none.yaml", wrote("{", "broken.json"), wrote(GOOD))
    assert (result.exit_code, result.stdout) == (1, "1 trigger, 2 errors, 0 warnings\n")
    assert [line.partition(": ")[2] for line in result.stderr.splitlines() if line.startswith("error")] == [
        "none.yaml: file: it cannot be read: No such file or directory",
        "broken.json:1: syntax: expecting property name enclosed in double quotes",
    ]


def test_two_files_with_one_id_are_an_error():
    result = call(wrote(GOOD), wrote(GOOD, "u.yaml"))
    assert (result.exit_code, result.stdout) == (1, "2 triggers, 1 error, 0 warnings\n")
    assert result.stderr == 'error: u.yaml:3: triggers[0].id: expected an id of its own, found "ship" again\n'


def test_the_canonical_form_is_all_there_is_on_standard_output():
    result = call(wrote(GOOD), "--canonical")
    assert result.stdout == '{"id":"ship","task":"shipping.create","when":{"event":"order.paid"}}\n'
    assert result.stderr == ONE_TRIGGER


def test_json_has_triggers_errors_and_warnings():
    Path("two.yaml").write_text(BAD)
    result = call(wrote(DOUBTFUL), "two.yaml", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    shown = json.loads(result.stdout)
    assert [(each["file"], each["id"], len(each["version"])) for each in shown["triggers"]] == [
        ("t.yaml", "ship", 16),
        ("two.yaml", "two", 16),
    ]
    assert shown["warnings"] == [
        {
            "source": "t.yaml:8",
            "path": "triggers[0].when.any[1].filter",
            "problem": 'it accepts nothing: no value passes {"n":1} and {"n":2}',
            "hint": "",
        }
    ]
    assert [(each["source"], each["path"]) for each in shown["errors"]] == [
        ("two.yaml:2", "triggers[0].when"),
        ("two.yaml:4", "triggers[2].when"),
    ]


def test_json_has_canonical_forms_where_they_are_asked_for():
    [shown] = json.loads(call(wrote(GOOD), "--json", "--canonical").stdout)["triggers"]
    assert shown["canonical"] == {"id": "ship", "task": "shipping.create", "when": {"event": "order.paid"}}


CALLING = """
- id: ship
  task: shipping.create
  when: {event: order.paid, filter: {call: "shop_filters:%s"}}
"""


@pytest.fixture
def shop_filters(tmp_path, monkeypatch):
    (tmp_path / "shop_filters.py").write_text("def is_large(payload):\n    return True\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_function_that_workers_can_call_is_no_error(shop_filters):
    result = call(wrote(CALLING % "is_large"), "--allow-module", "shop_filters")
    assert (result.exit_code, result.stdout, result.stderr) == (0, ONE_TRIGGER, "")


@pytest.mark.parametrize(
    ("name", "module", "error"),
    [
        (
            "is_lrge",
            "shop_filters",
            "error: t.yaml:2: triggers[0]: function shop_filters:is_lrge cannot be loaded: module 'shop_filters' has no"
            " attribute 'is_lrge'. Did you mean: 'is_large'?\nhint: check PYTHONPATH and the name\n",
        ),
        (
            "is_large",
            "others",
            "error: t.yaml:2: triggers[0]: function shop_filters:is_large is in module shop_filters, which this worker"
            " does not allow\nhint: add it if you trust it: --allow-module shop_filters\n",
        ),
    ],
)
def test_a_function_that_workers_could_not_call_is_an_error(shop_filters, name, module, error):
    result = call(wrote(CALLING % name), "--allow-module", module)
    assert (result.exit_code, result.stdout) == (1, "1 trigger, 1 error, 0 warnings\n")
    assert result.stderr.replace(". Did you mean: 'is_large'?", "") == error.replace(". Did you mean: 'is_large'?", "")


def test_without_allowed_modules_nothing_is_imported_and_nothing_said():
    assert call(wrote(CALLING % "anything")).exit_code == 0


def test_modules_can_be_allowed_in_the_settings_file(shop_filters):
    Path("stream-triggers.toml").write_text('allow_modules = ["shop_filters"]\n')
    assert call(wrote(CALLING % "is_lrge")).exit_code == 1


def test_a_trigger_that_is_too_large_to_store_is_an_error():
    result = call(wrote(GOOD), "--payload-bytes-max", "1024")
    assert result.exit_code == 0
    result = call(wrote(GOOD.replace('""', f'"{"x" * 2000}"')), "--payload-bytes-max", "1024")
    assert (result.exit_code, result.stdout) == (1, "1 trigger, 1 error, 0 warnings\n")
    assert result.stderr.splitlines()[0].startswith("error: t.yaml:3: triggers[0]: trigger ship has 20")
