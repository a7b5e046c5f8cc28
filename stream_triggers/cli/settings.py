"""The settings of a command: an option for each, made from the table in ``config``, and loading them.

Rules:
1. A command names the groups of settings it needs and gets them loaded; it has no options for the others.
2. Where nobody names a broker and one runs on this machine (``stream-triggers broker start``), that one is meant.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar, get_type_hints

import typer

from stream_triggers import broker, config
from stream_triggers.config import DEFAULT, FILE_NAME, SETTINGS, Config, Group, Setting, Sources
from stream_triggers.errors import StreamTriggersError, Unavailable
from stream_triggers.runtime.kafka import refuse_protected
from stream_triggers.runtime.topics import CREATE_COMMAND, Topics

P = ParamSpec("P")
R = TypeVar("R")

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
"""The option of commands that print one result."""

LOCAL_BROKER = "local broker"
"""The source of ``bootstrap_servers`` when it is this machine's own broker."""

_PANEL = "Settings"


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of a command, and how it came about."""

    config: Config
    sources: Sources
    file: Path | None
    overrides: Mapping[str, object]

    def arguments(self, *without: str) -> list[str]:
        """The options that make another process of this program load the same configuration.

        Those that were given but ``without``, and the local broker's address. The file and the environment are there
        for it as well, so no secret gets into the list of processes that was not there before.
        """
        given = dict(self.overrides)
        if self.sources["bootstrap_servers"] == LOCAL_BROKER:
            given["bootstrap_servers"] = self.config.bootstrap_servers
        found = [] if self.file is None else ["--config", str(self.file)]
        for setting in SETTINGS:
            if given.get(setting.name) is not None and setting.name not in without:
                found += _as_options(setting, given[setting.name])
        return found


def configured(
    *groups: Group, also: tuple[str, ...] = ()
) -> Callable[[Callable[Concatenate[Settings, P], R]], Callable[..., R]]:
    """Make a command of a function whose first parameter is ``Settings``: with the options of ``groups`` instead.

    ``also`` are single settings that it needs.
    """
    chosen = [setting for setting in SETTINGS if setting.group in groups or setting.name in also]

    def decorate(function: Callable[Concatenate[Settings, P], R]) -> Callable[..., R]:
        @wraps(function)
        def command(*args: Any, config_file: Path | None, **values: Any) -> R:
            settings = load(config_file, {setting.name: values.pop(setting.name) for setting in chosen})
            try:
                return function(settings, *args, **values)
            except Unavailable as error:
                raise unanswered(error, settings.config) from error
            except StreamTriggersError as error:
                complete(error, settings.config)
                raise

        own = get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        parameters = [each.replace(annotation=own[each.name]) for each in parameters]
        parameters += [_config_parameter(), *map(_parameter, chosen)]
        signature = inspect.Signature(parameters)
        command.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature reports
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def unanswered(error: Unavailable, config: Config) -> Unavailable:
    """``error`` with a hint that says where Kafka was expected, if it has none."""
    hint = f"is Kafka running at {config.bootstrap_servers}? one for this machine: stream-triggers broker start"
    return Unavailable(error.message, hint=error.hint or hint)


def complete(error: StreamTriggersError, config: Config) -> None:
    """Give the command that makes topics, where the hint ends with it, the options that are set here."""
    if error.hint.endswith(CREATE_COMMAND):
        error.hint = error.hint.removesuffix(CREATE_COMMAND) + Topics.of(config).create_command


def load(file: Path | None, overrides: Mapping[str, object]) -> Settings:
    """The configuration, with values of options as typer gives them."""
    given = {name: value for name, value in overrides.items() if value not in (None, [])}
    if "kafka" in given:
        given["kafka"] = _pairs(overrides["kafka"])
    loaded, sources = config.load(file, overrides=given)
    refuse_protected(loaded.kafka)
    if sources["bootstrap_servers"] == DEFAULT and (local := broker.status().broker) is not None:
        loaded = replace(loaded, bootstrap_servers=local.bootstrap_servers)
        sources = {**sources, "bootstrap_servers": LOCAL_BROKER}
    return Settings(loaded, sources, file, given)


def _pairs(texts: Any) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise typer.BadParameter(f"expected key=value, got {key!r}", param_hint="--kafka")
    return {key: value for key, _, value in pairs}


def _as_options(setting: Setting, value: Any) -> list[str]:
    match setting.form:
        case "list":
            return [part for entry in value for part in (setting.option, entry)]
        case "table":
            return [part for key, entry in value.items() for part in (setting.option, f"{key}={entry}")]
        case _:
            return [setting.option, str(value)]


def _config_parameter() -> inspect.Parameter:
    option = typer.Option(
        "--config",
        metavar="FILE",
        help=f"File with settings. Default: {FILE_NAME} in the working directory.",
        rich_help_panel=_PANEL,
    )
    return _keyword("config_file", Path, option)


def _parameter(setting: Setting) -> inspect.Parameter:
    default = config.shown(setting.name, setting.default)
    option = typer.Option(
        setting.option,
        metavar=_metavar(setting),
        help=f"{setting.meaning} Default: {default}." if default else setting.meaning,
        rich_help_panel=_PANEL,
    )
    types: dict[str, Any] = {"integer": int, "path": Path, "list": list[str], "table": list[str]}
    if setting.form == "choice":
        return _keyword(setting.name, Literal[setting.choices], option)
    return _keyword(setting.name, types.get(setting.form, str), option)


def _metavar(setting: Setting) -> str:
    match setting.form:
        case "choice":
            return "|".join(setting.choices)
        case "table":
            return "KEY=VALUE"
        case "list":
            return "NAME"
        case _:
            return (setting.unit or setting.form).upper()


def _keyword(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )
