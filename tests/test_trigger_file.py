"""Trigger files: YAML and JSON, lines in errors, bounds, writing, and the JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stream_triggers.core.trigger import canonical, parse_trigger, trigger_json, version
from stream_triggers.errors import InvalidTrigger
from stream_triggers.trigger_file import dump_triggers, load_triggers, read_triggers

ROOT = Path(__file__).parents[1]
VALID = yaml.safe_load((ROOT / "tests/data/valid-triggers.yaml").read_text())
INVALID = yaml.safe_load((ROOT / "tests/data/invalid-triggers.yaml").read_text())
PLAIN = {"id": "t", "task": "orders.ship", "when": {"event": "order.paid"}}

ORDERS = """\
# Everything about orders.
triggers:
  - id: ship-paid-order
    task: shipping.create
    key: ${event.payload.order_id}
    when:
      event: order.paid
      filter: {total: {gte: 100}}
    args:
      order: ${event.payload.order_id}

  - id: repair
    task: ops.repair
    when:
      any:
        - status: "*"
          is: [failed]
        - exception: orders.ship
"""


def refusal(text: str, source: str = "orders.yaml") -> str:
    with pytest.raises(InvalidTrigger) as refused:
        read_triggers(text, source)
    return str(refused.value)


def args_of(text: str, source: str = "orders.yaml") -> Any:
    (trigger,) = read_triggers(text, source)
    return trigger.args


# Reading


def test_a_yaml_file_gives_its_triggers_in_order(tmp_path):
    path = tmp_path / "orders.yaml"
    path.write_text(ORDERS)
    assert [trigger.id for trigger in load_triggers(path)] == ["ship-paid-order", "repair"]


def test_a_json_file_gives_the_same_triggers_as_yaml(tmp_path):
    path = tmp_path / "orders.json"
    path.write_text(json.dumps(yaml.safe_load(ORDERS)))
    assert load_triggers(path) == read_triggers(ORDERS, "orders.yaml")


def test_a_file_may_be_a_plain_list():
    listed = yaml.dump(yaml.safe_load(ORDERS)["triggers"])
    assert read_triggers(listed, "orders.yml") == read_triggers(ORDERS, "orders.yaml")


def test_a_file_may_name_its_schema():
    text = json.dumps({"$schema": "trigger-file.schema.json", "triggers": [PLAIN]})
    assert len(read_triggers(text, "orders.json")) == 1


def test_a_file_without_triggers_is_empty():
    assert read_triggers("triggers: []", "orders.yaml") == ()


SHARED = """
calendars:
  closed: [sat, sun, 2026-12-25]
  company: [2026-08-03]
triggers:
  - id: monthly
    task: report
    when:
      any:
        - {cron: 0 8 1 * *, exclude: closed, on_excluded: next}
        - {all: [{every: 1h, exclude: [company, 2026-01-01, closed]}, {event: a, filter: {exclude: closed, cron: x}}]}
    reset: {at: 2026-08-03T10:00Z, only: company}
"""


def test_the_days_of_a_calendar_stand_where_it_is_named():
    (trigger,) = read_triggers(SHARED, "orders.yaml")
    assert trigger_json(trigger) == {
        "id": "monthly",
        "task": "report",
        "when": {
            "any": [
                {"cron": "0 8 1 * *", "exclude": ["sat", "sun", "2026-12-25"], "on_excluded": "next"},
                {
                    "all": [
                        {"every": "1h", "exclude": ["sat", "sun", "2026-01-01", "2026-08-03", "2026-12-25"]},
                        {"event": "a", "filter": {"cron": "x", "exclude": "closed"}},
                    ]
                },
            ]
        },
        "reset": [{"at": "2026-08-03T10:00Z", "only": ["2026-08-03"]}],
    }


def test_with_a_calendar_the_versions_of_its_triggers_change():
    (before,), (after,) = (
        read_triggers(text, "orders.yaml")
        for text in (SHARED, SHARED.replace("2026-12-25]", "2026-12-25, 2026-12-26]"))
    )
    assert version(before) != version(after)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "exclude: closed, on",
            "exclude: clsed, on",
            'orders.yaml:10: triggers[0].when.any[0].exclude: there is no calendar "clsed"\n'
            "  hint: did you mean closed?",
        ),
        (
            "[company, 2026",
            "[holidays, 2026",
            'orders.yaml:11: triggers[0].when.any[1].all[0].exclude[0]: there is no calendar "holidays"\n'
            "  hint: name its days under calendars of the same file",
        ),
        (
            "2026-08-03]",
            "2026-08-32]",
            'orders.yaml:4: calendars.company[0]: expected a date from 1970 to 2199 such as "2026-12-24",'
            ' found "2026-08-32"',
        ),
        (
            "company: [2026",
            "Sun: [2026",
            "orders.yaml:2: calendars: expected a name that is no weekday and begins with a letter, of letters, digits,"
            ' underscores and hyphens, found "Sun"',
        ),
        (
            "only: company",
            "only: closed",
            'orders.yaml:12: triggers[0].reset[0].only[0]: expected a date from 1970 to 2199 such as "2026-12-24",'
            ' found "sat"',
        ),
    ],
)
def test_what_is_wrong_with_calendars_is_said(before, after, message):
    assert SHARED.count(before) == 1
    assert refusal(SHARED.replace(before, after)) == message


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "orders.json"
    path.write_bytes(b"\xef\xbb\xbf" + orjson.dumps([PLAIN]))
    assert len(load_triggers(path)) == 1


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        ("no", "no"),
        ("NO", "NO"),
        ("on", "on"),
        ("012", "012"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        (".inf", ".inf"),
        ("+5", "+5"),
        ("=", "="),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("|\n      two\n      lines", "two\nlines\n"),
        ("<<", "<<"),
    ],
)
def test_a_plain_scalar_is_what_json_reads_or_text(scalar, value):
    read = args_of(f"- id: t\n  task: a\n  when: {{event: b}}\n  args:\n    x: {scalar}\n")["x"]
    assert (type(read), read) == (type(value), value)


def test_an_alias_repeats_a_part():
    text = "- {id: t, task: a, when: {event: b}, args: {x: &part {y: [1]}, z: *part}}"
    assert args_of(text) == {"x": {"y": [1]}, "z": {"y": [1]}}


# Refusing


def test_an_error_names_the_file_the_line_the_path_and_what_to_do():
    assert refusal(ORDERS.replace("filter:", "filtre:")) == (
        "orders.yaml:8: triggers[0].when.filtre: unknown field, expected one of event, filter\n"
        "  hint: did you mean filter?"
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("gte: 100", "gte: [1]", "orders.yaml:8: triggers[0].when.filter.total.gte: expected a number or a string,"),
        ("order: ${", "order: ${x", "orders.yaml:10: triggers[0].args.order: expected a reference to one of"),
        ("- id: repair", "- id: re pair", "orders.yaml:12: triggers[1].id: expected 1 to 200 letters"),
        (
            "task: ops.repair",
            "# no task",
            "orders.yaml:12: triggers[1].task: expected the name of a task, found nothing",
        ),
        ("exception: orders.ship", "excepton: a", "orders.yaml:18: triggers[1].when.any[1]: expected a condition with"),
        ("[failed]", "[failed, 5]", "orders.yaml:17: triggers[1].when.is[1]".replace("when.", "when.any[0].")),
        (
            "- id: repair",
            "- id: ship-paid-order",
            'orders.yaml:12: triggers[1].id: expected an id of its own, found "ship',
        ),
    ],
)
def test_an_error_has_the_line_of_the_innermost_thing_that_is_there(before, after, message):
    assert refusal(ORDERS.replace(before, after)).startswith(message)


def test_a_line_is_found_in_a_plain_list():
    assert refusal("- {id: t, task: a, when: {event: b}}\n- {id: u}").startswith("orders.yaml:2: triggers[1].task:")


@pytest.mark.parametrize("indent", ["  ", "\t"])
def test_a_json_error_has_a_line_too(indent):
    text = """{
\t"triggers": [
\t\t{"id":"t","task":"a","when":{"event":"b"},"description":"\\u00e9 \\ud83d\\ude00 \\/ \\t \\""},
\t\t{
\t\t\t"id": "u",
\t\t\t"when": {"event": "b"},
\t\t\t"tsk": "a"
\t\t}
\t]
}"""
    message = refusal(text.replace("\t", indent), "orders.json")
    assert message.startswith("orders.json:7: triggers[1].tsk: unknown field")


def test_a_json_text_that_yaml_cannot_read_has_errors_without_a_line():
    text = json.dumps([PLAIN | {"kee": 1}]).replace('"kee"', f'"kee{" " * 2000}"')
    assert refusal(text, "orders.json").startswith("orders.json: triggers[0].kee")


def test_all_wrong_triggers_are_listed():
    text = "- {id: t}\n- {id: u, task: a, when: {event: b}}\n- {id: v, task: a, when: {event: b}, kee: 1}\n"
    assert refusal(text) == (
        "orders.yaml: triggers: 2 of them are wrong\n"
        "  orders.yaml:1: triggers[0].task: expected the name of a task, found nothing\n"
        "  orders.yaml:3: triggers[2].kee: unknown field, expected one of"
        " id, description, task, epoch, start, key, when, args, args_from, ttl, grace, reset, on_timeout, state,"
        " max_depth, root_budget, rate_limit, debounce, batch, delay, cooldown, throttle, circuit_breaker, overlap,"
        " for_each, for_each_key, expires\n"
        "    hint: did you mean key?"
    )


def test_no_more_than_20_wrong_triggers_are_listed():
    lines = refusal("\n".join(f"- {{id: t{number}}}" for number in range(30))).splitlines()
    assert (lines[0], len(lines)) == ("orders.yaml: triggers: at least 20 of them are wrong", 21)


def test_an_error_keeps_path_problem_and_source_apart():
    with pytest.raises(InvalidTrigger) as refused:
        read_triggers("- {id: t}", "orders.yaml")
    problem = refused.value
    assert (problem.source, problem.path) == ("orders.yaml:1", "triggers[0].task")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "orders.yaml: triggers: expected a list of triggers, found null"),
        ("text", 'orders.yaml:1: triggers: expected a list of triggers, found "text"'),
        ("\ntriggers: 5", "orders.yaml:2: triggers: expected a list of triggers, found 5"),
        ("{}", "orders.yaml:1: triggers: expected a list of triggers, found nothing"),
        (
            "trigers: []",
            "orders.yaml:1: trigers: unknown field, expected one of triggers, calendars, $schema\n"
            "  hint: did you mean triggers?",
        ),
        ("- a: 1\n  b: 2\n  a: 3", "orders.yaml:3: triggers[0].a: this field stands twice in one object"),
        (
            "- a: 1\n  <<: {b: 2}",
            "orders.yaml:2: triggers[0].<<: merging is not supported\n  hint: write the fields out",
        ),
        ("- 1: 2", "orders.yaml:1: triggers[0]: expected text as the name of a field, found 1\n  hint: quote it"),
        (
            "- [1]: 2",
            "orders.yaml:1: triggers[0]: expected text as the name of a field, found a list\n  hint: quote it",
        ),
        ("- !!set {a}", "orders.yaml:1: triggers[0]: expected no tag, found tag:yaml.org,2002:set"),
        ("- !mine 5", "orders.yaml:1: triggers[0]: expected no tag, found !mine"),
        (
            "- !!python/object/apply:os.getcwd []",
            "orders.yaml:1: triggers[0]: expected no tag, found tag:yaml.org,2002:python/object/apply:os.getcwd",
        ),
        (
            "- !!int x",
            "orders.yaml:1: triggers[0]: expected what tag:yaml.org,2002:int can be read from, found other text",
        ),
        (
            "- !!bool x",
            "orders.yaml:1: triggers[0]: expected what tag:yaml.org,2002:bool can be read from, found other text",
        ),
        (
            f"- {'9' * 5000}",
            "orders.yaml:1: triggers[0]: expected what tag:yaml.org,2002:int can be read from, found other text",
        ),
        (
            "a: [1",
            "orders.yaml:1: syntax: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'",
        ),
        ("--- 1\n--- 2", "orders.yaml:2: syntax: expected a single document in the stream, but found another document"),
        ("- *nowhere", "orders.yaml:1: syntax: found undefined alias 'nowhere'"),
        ("[" * 100_000, "orders.yaml:1: syntax: expected at most 66 levels of nesting, found more"),
        ("&a [*a]", "orders.yaml:1: file: expected at most 66 levels of nesting, found more"),
    ],
)
def test_a_yaml_text_that_is_no_list_of_triggers_is_refused(text, message):
    assert refusal(text) == message


def test_an_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    assert refusal("\n".join(lines)).endswith("expected at most 1000000 values in a file, found more")


def test_a_character_that_yaml_does_not_allow_is_refused():
    assert refusal("a: \0").startswith("orders.yaml: syntax: unacceptable character #x0000")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[\n{", "orders.json:2: syntax: expecting property name enclosed in double quotes"),
        ('[{"id": 1, "id": 2}]', "orders.json: id: this field stands twice in one object"),
        ("[" * 100_000, "orders.json: syntax: expected smaller values"),
        ("9" * 5000, "orders.json: syntax: expected smaller values"),
        ('[{"id": NaN}]', "orders.json:1: triggers[0].id: expected a finite number, found nan"),
        ("5", "orders.json:1: triggers: expected a list of triggers, found 5"),
    ],
)
def test_a_json_text_that_is_no_list_of_triggers_is_refused(text, message):
    assert refusal(text, "orders.json") == message


@pytest.mark.parametrize("source", ["orders.toml", "orders", "yaml"])
def test_a_file_is_yaml_or_json_by_its_suffix(source):
    assert refusal("[]", source) == f"{source}: file: expected a name that ends in .yaml, .yml or .json"


def test_a_file_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "orders.yaml"
    with pytest.raises(InvalidTrigger) as refused:
        load_triggers(path)
    assert str(refused.value) == f"{path}: file: it cannot be read: No such file or directory"


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "orders.yaml"
    path.write_bytes(b"- \xff")
    with pytest.raises(InvalidTrigger) as refused:
        load_triggers(path)
    assert str(refused.value) == f"{path}: file: expected text in UTF-8"


# Writing


def test_triggers_are_written_as_people_write_them():
    assert dump_triggers(read_triggers(ORDERS, "orders.yaml")) == (
        """\
triggers:
- id: ship-paid-order
  task: shipping.create
  key: ${event.payload.order_id}
  when:
    event: order.paid
    filter:
      total:
        gte: 100
  args:
    order: ${event.payload.order_id}
- id: repair
  task: ops.repair
  when:
    any:
    - status: '*'
      is:
      - failed
    - exception: orders.ship
"""
    )


@pytest.mark.parametrize("sample", VALID, ids=lambda sample: sample["canonical"])
def test_what_is_written_reads_back_equal(sample):
    trigger = parse_trigger(sample["trigger"])
    assert read_triggers(dump_triggers([trigger]), "x.yaml") == (trigger,)


SCALARS = st.sampled_from(
    ["no", "012", "1e3", "~", "null", "True", "<<", "1_0", "2026-01-01", "=", "", " a ", "a: b", "# c"]
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8).map(lambda text: text.replace("${", "$")) | SCALARS
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, JSON, max_size=3), TEXTS)
def test_any_arguments_are_written_and_read_back_equal(args, description):
    trigger = parse_trigger(PLAIN | {"args": args, "description": description})
    (read,) = read_triggers(dump_triggers([trigger]), "x.yaml")
    assert canonical(read) == canonical(trigger)


# The JSON Schema

SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas/trigger-file.schema.json").read_text()))


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA.schema)


@pytest.mark.parametrize("sample", VALID, ids=lambda sample: sample["canonical"])
def test_the_schema_accepts_what_is_valid(sample):
    SCHEMA.validate({"triggers": [sample["trigger"], json.loads(sample["canonical"])]})


@pytest.mark.parametrize("sample", INVALID, ids=lambda sample: sample["error"].partition("\n")[0])
def test_the_schema_refuses_what_it_can_see(sample):
    written = sample["trigger"] if "trigger" in sample else PLAIN | sample["change"]
    assert SCHEMA.is_valid([written]) == (sample.get("editor") == "accepts")


@pytest.mark.parametrize("value", [5, {}, {"triggers": [], "more": 1}, {"triggers": {}}])
def test_the_schema_refuses_what_is_no_list_of_triggers(value):
    assert not SCHEMA.is_valid(value)


def test_the_schema_knows_calendars():
    shared = yaml.load(SHARED, yaml.BaseLoader)
    assert SCHEMA.is_valid(shared)
    assert not SCHEMA.is_valid(shared | {"calendars": {"sun": ["2026-01-01"]}})
    assert not SCHEMA.is_valid(shared | {"calendars": {"closed": ["company"]}})
