"""Configuration: where values come from, what is refused, and what is shown."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from stream_triggers import config
from stream_triggers.config import SETTINGS, Config, load
from stream_triggers.errors import Misconfigured


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "stream-triggers.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def problem(**sources: object) -> str:
    with pytest.raises(Misconfigured) as raised:
        load(**{"environ": {}, **sources})
    return raised.value.message


def test_without_any_source_every_value_is_the_default():
    loaded, sources = load(environ={})
    assert loaded == Config()
    assert set(sources.values()) == {"default"}


@pytest.mark.parametrize(
    ("file", "environ", "overrides", "value", "source"),
    [
        ("", {}, {}, "triggers", "default"),
        ("application = 'f'", {}, {}, "f", "file stream-triggers.toml"),
        (
            "application = 'f'",
            {"STREAM_TRIGGERS_APPLICATION": "e"},
            {},
            "e",
            "environment STREAM_TRIGGERS_APPLICATION",
        ),
        ("application = 'f'", {"STREAM_TRIGGERS_APPLICATION": "e"}, {"application": "o"}, "o", "option --application"),
        ("application = 'f'", {}, {"application": None}, "f", "file stream-triggers.toml"),
    ],
    ids=["default", "file", "environment", "option", "option not given"],
)
def test_the_later_source_wins_and_is_named(file, environ, overrides, value, source):
    write(file)
    loaded, sources = load(environ=environ, overrides=overrides)
    assert (loaded.application, sources["application"]) == (value, source)


def test_a_named_file_is_read_instead_of_the_one_in_the_working_directory():
    write("application = 'here'")
    loaded, sources = load(write("application = 'named'", "other.toml"), environ={})
    assert (loaded.application, sources["application"]) == ("named", "file other.toml")


def test_every_form_of_value_is_read_from_the_file():
    write(
        """
        state_dir = "/var/lib/triggers"
        commit_interval_ms = 50
        allow_modules = ["shop.rules", "shop.keys"]
        log_format = "json"
        [kafka]
        security.protocol = "SASL_SSL"
        "sasl.username" = "shop"
        "socket.keepalive.enable" = true
        "socket.timeout.ms" = 1000
        """
    )
    loaded, _ = load(environ={})
    assert loaded == Config(
        state_dir=Path("/var/lib/triggers"),
        commit_interval_ms=50,
        allow_modules=("shop.rules", "shop.keys"),
        log_format="json",
        kafka={
            "security.protocol": "SASL_SSL",
            "sasl.username": "shop",
            "socket.keepalive.enable": "true",
            "socket.timeout.ms": "1000",
        },
    )


def test_every_form_of_value_is_read_from_the_environment():
    loaded, _ = load(
        environ={
            "STREAM_TRIGGERS_STATE_DIR": "/var/lib/triggers",
            "STREAM_TRIGGERS_COMMIT_INTERVAL_MS": "50",
            "STREAM_TRIGGERS_ALLOW_MODULES": "shop.rules, shop.keys",
            "STREAM_TRIGGERS_LOG_FORMAT": "json",
            "STREAM_TRIGGERS_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "PATH": "/bin",
        }
    )
    assert loaded == Config(
        state_dir=Path("/var/lib/triggers"),
        commit_interval_ms=50,
        allow_modules=("shop.rules", "shop.keys"),
        log_format="json",
        kafka={"security.protocol": "SASL_SSL"},
    )


def test_kafka_settings_of_several_sources_come_together():
    write("[kafka]\nsecurity.protocol = 'SSL'\nsasl.username = 'from the file'")
    loaded, sources = load(
        environ={"STREAM_TRIGGERS_KAFKA__SASL_USERNAME": "from the environment"},
        overrides={"kafka": {"client.rack": "r1"}},
    )
    assert loaded.kafka == {"security.protocol": "SSL", "sasl.username": "from the environment", "client.rack": "r1"}
    assert sources["kafka.security.protocol"] == "file stream-triggers.toml"
    assert sources["kafka.sasl.username"] == "environment STREAM_TRIGGERS_KAFKA__SASL_USERNAME"
    assert sources["kafka.client.rack"] == "option --kafka"


def test_a_home_directory_is_filled_in(monkeypatch):
    monkeypatch.setenv("HOME", "/home/shop")
    assert Config(state_dir=Path("~/state")).state_dir == Path("/home/shop/state")


def test_an_unknown_setting_in_the_file_names_the_nearest_known_one():
    write("comit_interval = 5")
    with pytest.raises(Misconfigured) as raised:
        load(environ={})
    assert raised.value.message == "stream-triggers.toml: unknown setting comit_interval"
    assert "commit_interval_ms" in raised.value.hint


def test_an_unknown_environment_variable_names_the_nearest_known_one():
    with pytest.raises(Misconfigured) as raised:
        load(environ={"STREAM_TRIGGERS_BOOTSTRAP": "k:9092"})
    assert raised.value.message == "unknown environment variable STREAM_TRIGGERS_BOOTSTRAP"
    assert "STREAM_TRIGGERS_BOOTSTRAP_SERVERS" in raised.value.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("commit_interval_ms = '50'", "expected an integer, 1 or more, got '50'"),
        ("commit_interval_ms = true", "expected an integer, 1 or more, got True"),
        ("commit_interval_ms = 0", "expected an integer, 1 or more, got 0"),
        ("batch_records_max = 100001", "expected an integer, 1 to 100000, got 100001"),
        ("application = 5", "expected text like [A-Za-z0-9_-][A-Za-z0-9._-]{0,99}, got 5"),
        ("application = 'a b'", "expected text like [A-Za-z0-9_-][A-Za-z0-9._-]{0,99}, got 'a b'"),
        ("slot = '../0'", "expected text like [A-Za-z0-9_-][A-Za-z0-9._-]{0,99}, got '../0'"),
        ("log_format = 'xml'", "expected text or json, got 'xml'"),
        ("allow_modules = 'shop'", "expected a list of texts, got 'shop'"),
        ("allow_modules = [1]", "expected a list of texts, got [1]"),
        ("kafka = 'x'", "expected a table of texts, got 'x'"),
    ],
)
def test_a_wrong_value_names_key_source_what_is_expected_and_what_was_found(line, message):
    write(line)
    name = line.partition(" ")[0]
    assert problem() == f"{name} (file stream-triggers.toml): {message}"


def test_a_wrong_value_in_the_environment_names_its_variable():
    assert problem(environ={"STREAM_TRIGGERS_OVERLAY_BYTES_MAX": "64 MiB"}) == (
        "overlay_bytes_max (environment STREAM_TRIGGERS_OVERLAY_BYTES_MAX): "
        "expected an integer, 1048576 or more, got '64 MiB'"
    )


def test_a_wrong_kafka_setting_does_not_show_a_secret():
    write("[kafka]\nsasl.password = 'hunter2'\nclient.rack = ['r1']")
    assert "hunter2" not in problem()


def test_a_commit_interval_as_long_as_the_transaction_timeout_is_refused():
    assert problem(overrides={"commit_interval_ms": 2000, "transaction_timeout_ms": 2000}) == (
        "commit_interval_ms: expected less than transaction_timeout_ms (2000), got 2000"
    )


def test_a_config_made_in_code_is_checked_too():
    with pytest.raises(Misconfigured, match="slot: expected text like"):
        Config(slot="")


def test_a_file_that_is_not_there_is_an_error_when_it_was_named():
    assert problem(file=Path("missing.toml")) == "missing.toml: cannot be read: No such file or directory"


def test_a_file_that_is_not_toml_is_an_error_with_the_place():
    write("application = ")
    assert problem() == "stream-triggers.toml: expected TOML in UTF-8: Invalid value (at end of document)"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("kafka.sasl.password", "hunter2", "********"),
        ("kafka.ssl.key.password", "hunter2", "********"),
        ("kafka.ssl.key.pem", "-----BEGIN", "********"),
        ("kafka.sasl.oauthbearer.client.secret", "hunter2", "********"),
        ("kafka.sasl.username", "shop", "shop"),
        ("kafka", {"sasl.password": "hunter2", "client.rack": "r1"}, "sasl.password=********, client.rack=r1"),
        ("allow_modules", ("a", "b"), "a, b"),
        ("slot", "0", "0"),
    ],
)
def test_what_is_shown_hides_secrets(name, value, text):
    assert config.shown(name, value) == text


def test_a_printed_config_hides_secrets():
    assert "hunter2" not in repr(Config(kafka={"sasl.password": "hunter2"}))


def test_the_effective_configuration_has_one_row_for_each_setting_and_kafka_entry():
    loaded, sources = load(environ={"STREAM_TRIGGERS_KAFKA__SASL_PASSWORD": "hunter2", "STREAM_TRIGGERS_SLOT": "a"})
    rows = config.effective(loaded, sources)
    assert ("slot", "a", "environment STREAM_TRIGGERS_SLOT") in rows
    assert ("kafka.sasl.password", "********", "environment STREAM_TRIGGERS_KAFKA__SASL_PASSWORD") in rows
    assert len(rows) == len(SETTINGS)


def test_the_readme_table_has_a_row_for_each_setting():
    lines = config.markdown().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == [field.name for field in fields(Config)]
    assert (
        "| `commit_interval_ms` | integer | `100` | ms | Longest time between two commits while input is waiting. |"
        in lines
    )
