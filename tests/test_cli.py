"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from stream_triggers.cli import app, cluster, terminal, watch
from stream_triggers.cli.settings import LOCAL_BROKER, Settings
from stream_triggers.config import SETTINGS, Config, load
from stream_triggers.core.invocation import Invocation
from stream_triggers.errors import Misconfigured, Unavailable
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.memory_log import MemoryCluster, MemoryLog
from stream_triggers.runtime.topics import Topics

WAIT_S = 60
NOW_MS = 1_764_000_000_000
COMMANDS = [
    *("apply", "check", "config", "delete", "demo", "describe", "emit", "history", "list", "next", "pause"),
    *("pending", "reset", "resume", "run", "verify", "watch", "work"),
    *("broker/start", "broker/status", "broker/stop", "broker/wipe", "topics/check", "topics/create"),
]

TRIGGERS = """
triggers:
  - id: ship-paid-order
    task: shipping.create
    key: ${event.payload.order_id}
    when: {event: order.paid, filter: {total: {gte: 100}}}
    args: {order: "${event.payload.order_id}"}
  - id: note-failure
    task: alert.raise
    when: {exception: "*", types: [TimeoutError]}
"""


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    """No configuration file, and no broker of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("STREAM_TRIGGERS_")]:
        monkeypatch.delenv(name)


def call(*arguments: str, stdin: str | None = None):
    wide = {"COLUMNS": "400"}
    return CliRunner(env=wide).invoke(app, list(arguments), input=stdin, prog_name="stream-triggers")


def ok(*arguments: str, stdin: str | None = None) -> str:
    result = call(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


# Help and usage


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command):
    words = command.split("/")
    help_text = ok(*words, "--help")
    assert "For example:" in help_text
    assert f"stream-triggers {' '.join(words)}" in help_text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_what_stands_in_brackets(command):
    words = command.split("/")
    group = typer.main.get_command(app)
    for word in words:
        group = group.commands[word]
    texts = [group.callback.__doc__, *(option.help or "" for option in group.params)]
    help_text = ok(*words, "--help")
    assert [part for text in texts for part in re.findall(r"\[\w+\]", text) if part not in help_text] == []


def test_the_commands_are_those_that_have_help():
    names = [f"{group.name}/{each.name}" for group in app.registered_groups for each in commands_of(group)]
    assert sorted([each.name for each in app.registered_commands] + names) == sorted(COMMANDS)


def commands_of(group):
    return [
        each if each.name else type(each)(name=each.callback.__name__)
        for each in group.typer_instance.registered_commands
    ]


def test_the_options_of_settings_come_from_their_table():
    help_text = ok("run", "--help")
    for setting in SETTINGS:
        assert setting.option in help_text
        assert setting.meaning in help_text


@pytest.mark.parametrize(
    "arguments",
    [
        ["liist"],
        ["list", "--no-such-option"],
        ["apply"],
        ["emit", "order.paid", "{"],
        ["config", "--commit-interval-ms", "soon"],
        ["config", "--log-format", "xml"],
        ["config", "--kafka", "client.rack"],
        ["run", "--slots", "2", "--slot", "a"],
        ["run", "--slots", "0"],
        ["topics", "create", "--partitions", "99999999"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_ends_with_status_2(arguments):
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_an_error_is_two_lines_on_standard_error_and_status_1():
    result = call("config", "--commit-interval-ms", "20000")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "error: commit_interval_ms: expected less than transaction_timeout_ms (10000), got 20000\n"
        "hint: a transaction must commit before the broker gives it up\n"
    )


@pytest.mark.parametrize(("command", "status"), [(["list"], 1), (["run"], 3), (["work", "shop:app"], 3)])
def test_only_commands_that_may_be_started_again_tell_errors_apart_by_status(command, status):
    assert call(*command, "--kafka", "group.id=x").exit_code == status


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ("1" + "0" * 40, "payload"),
        ('{"order": [7, 18446744073709551616]}', "payload.order[1]"),
        ("-9223372036854775809", "payload"),
    ],
    ids=["40 digits", "in an order", "negative"],
)
def test_an_integer_that_would_be_rounded_is_not_emitted(payload, place):
    result = call("emit", "order.paid", "-", stdin=payload)
    assert result.exit_code == 1
    assert result.stderr == f"error: {place} is an integer beyond 64 bits\nhint: send it as a text\n"


def test_a_state_directory_that_cannot_be_made_is_an_error():
    Path("file").touch()
    with pytest.raises(Misconfigured, match=r"state directory file/triggers/0 cannot be made: Not a directory"):
        cluster.state_dir(Config(state_dir=Path("file")))


def test_a_kafka_setting_that_exactly_once_depends_on_is_refused():
    result = call("config", "--kafka", "isolation.level=read_uncommitted")
    assert result.exit_code == 1
    assert "isolation.level cannot be changed" in result.stderr


# config


def test_config_shows_values_with_their_sources():
    Path("stream-triggers.toml").write_text("application = 'shop'")
    shown = json.loads(ok("config", "--slot", "eu-1", "--kafka", "sasl.password=hunter2", "--json"))
    assert shown["application"] == {"value": "shop", "source": "file stream-triggers.toml"}
    assert shown["slot"] == {"value": "eu-1", "source": "option --slot"}
    assert shown["kafka.sasl.password"] == {"value": "********", "source": "option --kafka"}
    assert shown["commit_interval_ms"] == {"value": "100", "source": "default"}


def test_config_reads_the_environment(monkeypatch):
    monkeypatch.setenv("STREAM_TRIGGERS_ALLOW_MODULES", "shop.rules,shop.keys")
    shown = json.loads(ok("config", "--json"))
    assert shown["allow_modules"] == {
        "value": "shop.rules, shop.keys",
        "source": "environment STREAM_TRIGGERS_ALLOW_MODULES",
    }


def test_a_table_that_goes_to_a_file_is_neither_cut_nor_coloured():
    lines = ok("config", "--state-dir", "/" + "x" * 500).splitlines()
    assert f"state_dir               /{'x' * 500}  option --state-dir" in lines


# Settings for other processes


def test_a_worker_process_gets_the_options_that_were_given():
    overrides = {"state_dir": Path("/s"), "allow_modules": ["a", "b"], "kafka": {"client.rack": "r"}, "slot": "x"}
    config, sources = load(environ={}, overrides=overrides)
    settings = Settings(config, sources, Path("f.toml"), overrides)
    assert " ".join(settings.arguments("slot")) == (
        "--config f.toml --kafka client.rack=r --state-dir /s --allow-module a --allow-module b"
    )


def test_a_worker_process_gets_the_address_of_the_local_broker_but_no_secret_of_the_environment():
    config, sources = load(environ={"STREAM_TRIGGERS_KAFKA__SASL_PASSWORD": "hunter2"})
    settings = Settings(config, {**sources, "bootstrap_servers": LOCAL_BROKER}, None, {})
    assert settings.arguments() == ["--bootstrap-servers", "127.0.0.1:9092"]


# The broker of this machine


def test_without_a_broker_its_commands_say_so(tmp_path):
    result = call("broker", "status", "--json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (1, "stopped")
    assert ok("broker", "stop") == "was not running\n"


@pytest.mark.kafka
def test_a_broker_that_was_started_is_what_commands_use():
    try:
        started = json.loads(ok("broker", "start", "--json"))
        assert json.loads(ok("broker", "status", "--json"))["pid"] == started["pid"]
        shown = json.loads(ok("config", "--json"))["bootstrap_servers"]
        assert shown == {"value": started["bootstrap_servers"], "source": "local broker"}
        named = json.loads(ok("config", "--bootstrap-servers", "k:1", "--json"))["bootstrap_servers"]
        assert named == {"value": "k:1", "source": "option --bootstrap-servers"}
        refused = call("broker", "wipe")
        assert (refused.exit_code, refused.stderr.splitlines()[1]) == (1, "hint: stop it first, or wipe with --force")
    finally:
        ok("broker", "wipe", "--force")


# Topics, without a broker


def test_problems_with_topics_are_named_with_the_commands_that_repair_them():
    with pytest.raises(Misconfigured) as raised:
        cluster.require_topics(MemoryLog(MemoryCluster(ManualClock(NOW_MS))), Config())
    assert raised.value.message == (
        "topic events does not exist; topic task-status does not exist; topic task-results does not exist; 10 more"
    )
    assert raised.value.hint == "stream-triggers topics create"


def test_the_commands_name_the_options_that_are_set():
    config = Config(bootstrap_servers="k1:9092", application="shop", topic_prefix="eu.")
    with pytest.raises(Misconfigured) as raised:
        cluster.require_topics(MemoryLog(MemoryCluster(ManualClock(NOW_MS))), config)
    options = "--bootstrap-servers k1:9092 --application shop --topic-prefix eu."
    assert raised.value.hint == f"stream-triggers topics create {options}"


# A broker that is not there, or not yet


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_what_listens_is_enough_to_go_on(listening):
    cluster.require_broker(listening)
    cluster.require_broker(f"127.0.0.1:1,PLAINTEXT://{listening}")


@pytest.mark.parametrize("servers", ["127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2", "nowhere.invalid:9092", f"{'x' * 70}:1"])
def test_where_nothing_listens_there_is_no_broker(servers):
    with pytest.raises(Unavailable, match=f"^nothing listens at {re.escape(servers)}$"):
        cluster.require_broker(servers, patience_s=0.2)


def test_an_address_without_a_port_that_is_a_number_is_refused():
    with pytest.raises(Misconfigured, match="bootstrap_servers: 'kafka:http' is no address"):
        cluster.require_broker("kafka:http")


@pytest.mark.parametrize("command", [["emit", "order.paid"], ["list"], ["topics", "check"], ["watch"], ["run"]])
def test_a_command_without_a_broker_fails_soon_and_says_how_to_start_one(command, monkeypatch):
    monkeypatch.setattr(cluster.require_broker, "__defaults__", (0.2,))
    began_s = time.monotonic()
    result = call(*command, "--bootstrap-servers", "127.0.0.1:1")
    assert time.monotonic() - began_s < cluster.LISTENING_S
    assert (result.exit_code, result.stderr) == (
        1,
        "error: nothing listens at 127.0.0.1:1\n"
        "hint: is Kafka running at 127.0.0.1:1? one for this machine: stream-triggers broker start\n",
    )


# watch, over the log in memory


def invocation(number: int, trigger_id: str = "ship") -> Invocation:
    return Invocation(
        task="shipping.create",
        trigger_id=trigger_id,
        trigger_version="0123456789abcdef",
        id=f"inv-{number}",
        run_id=f"run-{number}",
        time_ms=NOW_MS,
        key=None,
        arguments={"order": number},
        causes=(f"event/e{number}",),
    )


@pytest.fixture
def memory():
    made = MemoryCluster(ManualClock(NOW_MS))
    log = MemoryLog(made)
    log.create_topics(cluster.wanted_topics(log, Config()))
    return made


def write(memory: MemoryCluster, *values: bytes) -> None:
    memory.write("invocations", [Outgoing(value=value, key=b"k") for value in values])


def run_ids(batch) -> list[str]:
    return [seen.invocation.run_id for seen in batch]


def test_watching_once_ends_with_the_last_invocation_there_is(memory):
    write(memory, encode(invocation(1)), encode(invocation(2)))
    batches = watch.read(MemoryLog(memory), "invocations", from_start=True, once=True)
    assert [run_ids(batch) for batch in batches if batch] == [["run-1", "run-2"]]


def test_watching_a_topic_that_does_not_exist_names_it(memory):
    with pytest.raises(Misconfigured, match=r"^topic elsewhere\.invocations does not exist") as raised:
        next(watch.read(MemoryLog(memory), "elsewhere.invocations", from_start=True, once=False))
    assert raised.value.hint == "make the topics: stream-triggers topics create"


def test_watching_begins_with_the_next_invocation(memory):
    write(memory, encode(invocation(1)))
    batches = watch.read(MemoryLog(memory), "invocations", from_start=False, once=False)
    assert next(batches) == []
    write(memory, encode(invocation(2)))
    assert run_ids(next(batches)) == ["run-2"]


def test_watching_passes_over_what_is_no_invocation(memory, capsys):
    write(memory, b"rubbish", encode(invocation(2)))
    [batch] = [each for each in watch.read(MemoryLog(memory), "invocations", from_start=True, once=True) if each]
    assert run_ids(batch) == ["run-2"]
    assert "skipped invocations/" in capsys.readouterr().err


def seen(number: int, trigger_id: str = "ship") -> watch.Seen:
    return watch.Seen(invocation(number, trigger_id), 0, number)


def test_the_view_counts_by_trigger_and_rates_the_last_ten_seconds():
    tally = watch.Tally(now_s=100.0)
    tally.add([seen(1), seen(2), seen(3, "alert")], now_s=101.0)
    tally.add([seen(4)], now_s=115.0)
    assert tally.rows(now_s=120.0) == [
        ("ship", "shipping.create", 3, 0.1),
        ("alert", "shipping.create", 1, 0.0),
    ]


def test_the_view_keeps_the_last_ten_invocations():
    tally = watch.Tally(now_s=0.0)
    tally.add([seen(number) for number in range(12)], now_s=1.0)
    assert [each.offset for each in tally.last] == list(range(2, 12))


# On a real Kafka


@pytest.fixture
def options(kafka_config) -> list[str]:
    return [
        *("--bootstrap-servers", kafka_config.bootstrap_servers),
        *("--application", kafka_config.application),
        *("--topic-prefix", kafka_config.topic_prefix),
    ]


@pytest.fixture
def running(options, tmp_path):
    """Starts the program, in the background; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stream_triggers", *arguments, *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def stopped(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=WAIT_S)
    return process.returncode, output


def started_slots(supervisor: subprocess.Popen[str], count: int) -> set[str]:
    """The prefixes of the lines in which ``count`` workers say that they have started."""
    assert supervisor.stdout is not None
    slots: set[str] = set()
    for line in supervisor.stdout:
        if " worker started " in line:
            slots.add(line.partition(" | ")[0])
        if len(slots) == count:
            break
    return slots


def changes(text: str) -> list[tuple[str, str]]:
    return [(change["what"], change["id"]) for change in json.loads(text)]


@pytest.mark.kafka
def test_triggers_are_applied_listed_described_and_deleted(options):
    Path("t.yaml").write_text(TRIGGERS)
    created = [("created", "ship-paid-order"), ("created", "note-failure")]
    assert changes(ok("apply", "t.yaml", "--dry-run", "--json", *options)) == created
    assert json.loads(ok("list", "--json", *options)) == []
    assert changes(ok("apply", "t.yaml", "--author", "ann", "--json", *options)) == created
    Path("t.yaml").write_text(TRIGGERS.replace("gte: 100", "gte: 50"))
    updated = [("updated", "ship-paid-order"), ("unchanged", "note-failure")]
    assert changes(ok("apply", "t.yaml", "--dry-run", "--json", *options)) == updated
    assert changes(ok("apply", "t.yaml", "--json", *options)) == updated

    rows = [re.split(r"  +", line) for line in ok("list", *options).splitlines()]
    assert [(row[:3], row[-1]) for row in rows[1:]] == [
        (["note-failure", "exception * TimeoutError", "alert.raise"], "ann"),
        (["ship-paid-order", "event order.paid", "shipping.create"], rows[2][4]),
    ]
    Path("described.yaml").write_text(ok("describe", "ship-paid-order", *options))
    assert changes(ok("apply", "described.yaml", "--json", *options)) == [("unchanged", "ship-paid-order")]

    assert ok("delete", "note-failure", *options) == "deleted note-failure\n"
    for command in ("delete", "describe"):
        result = call(command, "note-failure", *options)
        assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: there is no trigger note-failure")


@pytest.mark.kafka
def test_where_triggers_start_is_listed_described_and_not_changed_under_one_epoch(options):
    ship = {"id": "ship", "task": "t", "when": {"event": "a"}, "start": {"lookback": "2h"}}
    note = {"id": "note", "task": "t", "when": {"event": "a"}, "start": "earliest"}
    plain = {"id": "plain", "task": "t", "when": {"event": "a"}}
    Path("t.json").write_text(json.dumps([ship, note, plain]))
    ok("apply", "t.json", "--author", "ann", *options)
    listed = json.loads(ok("list", "--json", *options))
    assert [each["start"] for each in listed[:2]] == [{"since_ms": 0, "epoch": 0}, None]
    assert listed[2]["start"] == {"since_ms": listed[2]["time_ms"] - 7_200_000, "epoch": 0}
    rows = [re.split(r"  +", line) for line in ok("list", *options).splitlines()]
    since = terminal.instant(listed[2]["start"]["since_ms"])
    assert [row[5:] for row in rows] == [["author", "start", "paused"], ["ann", "earliest"], ["ann"], ["ann", since]]
    assert ok("describe", "note", *options).splitlines()[1].startswith("# start: earliest, epoch 0; ")
    assert ok("describe", "ship", *options).splitlines()[1].startswith(f"# start: {since}, epoch 0; ")
    assert "# start" not in ok("describe", "plain", *options)
    Path("described.yaml").write_text(ok("describe", "ship", *options))
    assert changes(ok("apply", "described.yaml", "--json", *options)) == [("unchanged", "ship")]

    Path("t.json").write_text(json.dumps([note, {**plain, "start": "earliest"}]))
    for dry_run in (["--dry-run"], []):
        result = call("apply", "t.json", *dry_run, *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines() == [
            'error: plain.start: expected "now", as it is stored under this epoch, found "earliest"',
            "hint: raise its epoch to have it start again",
        ]


@pytest.mark.kafka
def test_triggers_are_paused_listed_as_paused_and_resumed(options):
    Path("t.yaml").write_text(TRIGGERS)
    ok("apply", "t.yaml", *options)
    paused = ok("pause", "note-failure", "--mode", "drop", "--why", "too\nmany", "--author", "ann", *options)
    assert paused == "paused note-failure mode=drop\n"
    ok("apply", "t.yaml", *options)
    [row] = [line for line in ok("list", *options).splitlines() if line.startswith("note-failure")]
    assert re.split(r"  +", row)[-1].startswith("drop since 20")
    assert row.endswith(" by ann: too many")
    assert ok("describe", "note-failure", *options).splitlines()[1].startswith("# paused: drop since 20")
    stored = json.loads(ok("describe", "note-failure", "--json", *options))["pause"]
    assert (stored["mode"], stored["until_ms"], stored["why"], stored["author"]) == ("drop", None, "too\nmany", "ann")
    Path("described.yaml").write_text(ok("describe", "note-failure", *options))
    assert changes(ok("apply", "described.yaml", "--json", *options)) == [("unchanged", "note-failure")]
    until = ok("pause", "note-failure", "--until", "2100-01-01T00:00Z", *options)
    assert until == "paused note-failure mode=hold until=2100-01-01T00:00:00.000Z\n"
    until = json.loads(ok("pause", "note-failure", "--until", "2100-01-01T00:00Z", "--json", *options))
    assert (until["what"], until["mode"], until["until_ms"]) == ("unchanged", "hold", 4102444800000)
    assert json.loads(ok("resume", "note-failure", "--catchup", "none", "--json", *options))["what"] == "resumed"
    assert "since" not in ok("list", *options)
    result = call("resume", "note-failure", *options)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: trigger note-failure is not paused")
    for command in ("pause", "resume", "describe", "delete", "pending"):
        result = call(command, "note-failur", *options)
        assert result.exit_code == 1
        assert result.stderr == "error: there is no trigger note-failur\nhint: did you mean note-failure?\n"


@pytest.mark.parametrize(
    ("until", "says"),
    [
        ("soon", "expected an instant or a duration such as 2h, got 'soon'"),
        ("2020-01-01T00:00Z", "expected a time to come"),
        ("2020-01-01T99:00Z", "expected an instant or a duration such as 2h, got '2020-01-01T99:00Z'"),
    ],
)
def test_a_pause_that_ends_at_no_time_to_come_is_refused(until, says):
    result = call("pause", "ship", "--until", until)
    assert result.exit_code == 2
    assert says in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


@pytest.mark.kafka
def test_a_key_of_a_trigger_is_reset_when_that_is_confirmed(options):
    both = {"id": "both", "task": "ship", "key": "${event.key}", "when": {"all": [{"event": "a"}, {"event": "b"}]}}
    Path("t.json").write_text(json.dumps([both]))
    ok("apply", "t.json", *options)
    result = call("reset", "both", "o1", *options, stdin="n\n")
    assert (result.exit_code, result.stdout) == (1, "Have both forget everything of key o1? [y/N]: n\n")
    result = call("reset", "both", "o1", *options, stdin="y\n")
    assert (result.exit_code, result.stdout.splitlines()[-1].partition(" id=")[0]) == (0, "reset both of key o1")
    assert json.loads(ok("reset", "both", "o1", "--why", "a test", "--yes", "--json", *options)).keys() == {
        *("trigger", "key", "id")
    }
    result = call("reset", "both", "--yes", *options)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: trigger both remembers by key: say which")


@pytest.mark.kafka
def test_nobody_is_asked_whether_a_trigger_that_does_not_exist_is_to_forget(options):
    result = call("reset", "elsewhere", *options, stdin="y\n")
    assert (result.exit_code, result.stdout, result.stderr.splitlines()[0]) == (
        *(1, ""),
        "error: there is no trigger elsewhere",
    )


@pytest.mark.kafka
def test_a_stored_record_that_is_no_definition_is_listed_without_a_time(kafka_config, options):
    topic = Topics.of(kafka_config).trigger_definitions
    with cluster.connected(replace(cluster.onlooker(kafka_config), transactional_id="garbage")) as log:
        producer = log.producer()
        producer.open()
        producer.begin()
        producer.produce(topic, [Outgoing(value=b"garbage", key=b"odd", partition=0)])
        producer.commit()
        producer.close()
    (row,) = ok("list", *options).splitlines()[1:]
    assert re.split(r"  +", row) == ["odd", "(this release cannot read it)", "unknown"]
    assert json.loads(ok("list", "--json", *options))[0]["time_ms"] is None


@pytest.mark.kafka
@pytest.mark.parametrize("command", [["list"], ["apply", "t.yaml"], ["watch", "--once"], ["emit", "order.paid"]])
def test_without_topics_a_command_names_the_one_it_misses(bootstrap_servers, command):
    Path("t.yaml").write_text(TRIGGERS)
    result = call(*command, "--bootstrap-servers", bootstrap_servers, "--topic-prefix", "none-")
    assert result.exit_code == 1
    assert re.search(r"none-(trigger-definitions|invocations|events)", result.stderr.splitlines()[0])
    repair = f"stream-triggers topics create --bootstrap-servers {bootstrap_servers} --topic-prefix none-"
    assert result.stderr.splitlines()[1].startswith("hint: make the topics")
    assert result.stderr.splitlines()[1].endswith(f": {repair}")


@pytest.mark.kafka
def test_when_one_trigger_is_wrong_none_is_stored(options):
    Path("good.yaml").write_text(TRIGGERS)
    Path("bad.yaml").write_text("triggers: [{id: pay, task: pay.send, when: {event: order.placed}, epoch: -1}]")
    result = call("apply", "good.yaml", "bad.yaml", *options)
    assert result.exit_code == 1
    assert "epoch: expected an integer from 0" in result.stderr
    assert json.loads(ok("list", "--json", *options)) == []


@pytest.mark.kafka
def test_topics_are_checked_created_and_then_left_alone(bootstrap_servers):
    options = ["--bootstrap-servers", bootstrap_servers, "--topic-prefix", "made-by-cli."]
    missing = call("topics", "check", "--json", *options)
    assert missing.exit_code == 1
    repair = " ".join(["stream-triggers topics create", *options])
    assert {row["repair"] for row in json.loads(missing.stdout)} == {repair}
    created = json.loads(ok("topics", "create", "--partitions", "2", "--json", *options))
    assert {"topic": "made-by-cli.events", "partitions": 2} in created
    assert json.loads(ok("topics", "create", "--json", *options)) == []
    assert ok("topics", "check", *options) == "all topics are as they need to be\n"


@pytest.mark.kafka
def test_a_worker_refuses_to_start_without_its_topics_and_says_how_to_make_them(bootstrap_servers):
    result = call("run", "--bootstrap-servers", bootstrap_servers, "--topic-prefix", "missing.", "--state-dir", "s")
    assert result.exit_code == 3
    assert "error: topic missing.events does not exist" in result.stderr
    repair = f"stream-triggers topics create --bootstrap-servers {bootstrap_servers} --topic-prefix missing."
    assert f"hint: {repair}" in result.stderr


@pytest.mark.kafka
def test_an_event_that_was_emitted_twice_is_invoked_once_by_supervised_workers(options, running, tmp_path):
    Path("t.yaml").write_text(TRIGGERS)
    ok("apply", "t.yaml", *options)
    workers = running("run", "--slots", "2", "--state-dir", str(tmp_path / "state"))
    assert started_slots(workers, 2) == {"0", "1"}
    payload = json.dumps({"order_id": "7", "total": 120})
    assert ok("emit", "order.paid", payload, "--id", "payment-1", "--count", "2", *options) == "payment-1\n" * 2
    ok("emit", "order.paid", "-", "--id", "payment-2", *options, stdin=payload.replace("7", "8"))

    lines = ok("watch", "--from-start", "--limit", "2", "--json", *options).splitlines()
    assert sorted(json.loads(line)["arguments"]["order"] for line in lines) == ["7", "8"]
    status, output = stopped(workers)
    assert status == 0, output
    assert len(ok("watch", "--once", "--json", *options).splitlines()) == 2
    assert json.loads(ok("verify", "--json", *options))["findings"] == []


@pytest.mark.kafka
def test_a_task_worker_runs_what_was_invoked(options, running, tmp_path):
    Path("t.yaml").write_text(TRIGGERS)
    Path("shop.py").write_text(
        "from stream_triggers.consumer import TaskApp\n"
        "app = TaskApp()\n"
        "@app.task('shipping.create')\n"
        "def ship(order): print('shipped', order, flush=True)\n"
    )
    ok("apply", "t.yaml", *options)
    running("run", "--state-dir", str(tmp_path / "state"))
    tasks = running("work", "shop:app")
    ok("emit", "order.paid", json.dumps({"order_id": "7", "total": 120}), *options)
    assert tasks.stdout is not None
    assert "shipped 7\n" in iter(tasks.stdout.readline, "")
    status, output = stopped(tasks)
    assert status == 0, output
