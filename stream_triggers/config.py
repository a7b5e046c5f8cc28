"""One frozen ``Config``: every setting of the package, loaded, checked and explained in one place.

Rules:
1. A ``Config`` that exists is valid: types and bounds are checked when it is made, however it is made.
2. Later sources win: defaults, the file, the environment, options. ``load`` tells which one each value came from.
3. An unknown key is an error that names the nearest known one; nothing is ignored.
4. The fields of ``Config`` are the only table of settings: ``SETTINGS``, the options of the command line, the
   output of ``stream-triggers config`` and the table in the README all come from them.
5. Settings are read from the environment and from a file here, and nowhere else.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_type_hints

from stream_triggers.errors import Misconfigured

FILE_NAME = "stream-triggers.toml"
"""Read from the working directory when no other file is named."""

ENVIRONMENT_PREFIX = "STREAM_TRIGGERS_"
"""A setting's environment variable is this and its name in capitals."""

KAFKA_VARIABLE_PREFIX = f"{ENVIRONMENT_PREFIX}KAFKA__"
"""What follows is the name of a Kafka client setting in capitals, with ``_`` for ``.``."""

DEFAULT = "default"
"""The source of a value that nobody set."""

Group: TypeAlias = Literal["cluster", "topics", "worker", "log"]
"""Who needs a setting: everything that connects, the creation of topics, workers, whatever runs for long."""

Form: TypeAlias = Literal["text", "choice", "integer", "path", "list", "table"]
"""The form of a setting's value: ``choice`` is one of a few texts, ``list`` and ``table`` hold texts."""

Sources: TypeAlias = Mapping[str, str]
"""Where each value came from, by setting; ``kafka.<name>`` for the entries of ``kafka``."""

T = TypeVar("T")

_FORMS: Mapping[Any, Form] = {
    str: "text",
    int: "integer",
    Path: "path",
    tuple[str, ...]: "list",
    Mapping[str, str]: "table",
}
_NO_ENTRIES: Mapping[str, str] = MappingProxyType({})
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"
_SECRET = re.compile(r"password|secret|token|key\.pem|jaas|oauthbearer\.config")
_STATE_DIR = Path("~/.local/state/stream-triggers")
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings; ``minimum`` and ``maximum`` are allowed values themselves."""

    name: str
    form: Form
    default: object
    unit: str
    meaning: str
    group: Group
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def option(self) -> str:
        """Its option on the command line; for a list it is in the singular, given once for each entry."""
        name = self.name.removesuffix("s") if self.form == "list" else self.name
        return "--" + name.replace("_", "-")

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.minimum is not None:
            upper = "or more" if self.maximum is None else f"to {self.maximum}"
            return f"an integer, {self.minimum} {upper}"
        words = {
            "text": f"text like {self.pattern}" if self.pattern else "text",
            "choice": " or ".join(self.choices),
            "integer": "an integer",
            "path": "a path",
            "list": "a list of texts",
            "table": "a table of texts",
        }
        return words[self.form]


def _setting(
    default: T,
    meaning: str,
    *,
    group: Group,
    unit: str = "",
    minimum: int | None = None,
    maximum: int | None = None,
    pattern: str | None = None,
) -> T:
    row = {"meaning": meaning, "group": group, "unit": unit, "minimum": minimum, "maximum": maximum, "pattern": pattern}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata=row, repr=False)  # it may hold secrets
    return field(default=default, metadata=row)


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, as ``SETTINGS`` describes it."""

    bootstrap_servers: str = _setting(
        "127.0.0.1:9092",
        "Kafka brokers to connect to first, host:port, separated by commas.",
        group="cluster",
        pattern=r"[^,:\s]+:\d+(,[^,:\s]+:\d+)*",
    )
    application: str = _setting(
        "triggers",
        "Name of this engine: its consumer group, and the start of its transactional ids and changelog topics.",
        group="cluster",
        pattern=_NAME,
    )
    topic_prefix: str = _setting(
        "", "Put before the name of every topic.", group="cluster", pattern=r"[A-Za-z0-9._-]{0,100}"
    )
    kafka: Mapping[str, str] = _setting(
        _NO_ENTRIES,
        "Settings for the Kafka clients, such as security.protocol; those that exactly-once depends on are refused.",
        group="cluster",
    )
    payload_bytes_max: int = _setting(
        _MIB,
        "Largest message, and largest arguments of a run: clients refuse a larger one, workers dead-letter it.",
        group="cluster",
        unit="bytes",
        minimum=1024,
        maximum=3 * _MIB,
    )
    claim_retention_ms: int = _setting(
        24 * 3_600_000,
        "How long a run id stays taken: a repeated message fires nothing within this time.",
        group="topics",
        unit="ms",
        minimum=60_000,
    )
    slot: str = _setting(
        "0",
        "Stable name of a worker: a restart under the same name takes over without a rebalance.",
        group="worker",
        pattern=_NAME,
    )
    state_dir: Path = _setting(  # noqa: RUF009 - the call makes the field
        _STATE_DIR,
        "Directory of the local state, for all applications and slots of the machine; rebuilt from Kafka if lost.",
        group="worker",
    )
    commit_interval_ms: int = _setting(
        100, "Longest time between two commits while input is waiting.", group="worker", unit="ms", minimum=1
    )
    batch_records_max: int = _setting(
        1000, "Most records taken from Kafka at once.", group="worker", unit="records", minimum=1, maximum=100_000
    )
    overlay_bytes_max: int = _setting(
        64 * _MIB,
        "Uncommitted changes in memory at which a commit is made before its time.",
        group="worker",
        unit="bytes",
        minimum=_MIB,
    )
    transaction_timeout_ms: int = _setting(
        10_000,
        "Time after which the broker aborts the open transaction of a worker that is gone.",
        group="worker",
        unit="ms",
        minimum=1000,
        maximum=900_000,
    )
    session_timeout_ms: int = _setting(
        10_000,
        "Silence after which a worker's partitions go to others; a restart within it moves nothing.",
        group="worker",
        unit="ms",
        minimum=1000,
        maximum=1_800_000,
    )
    shutdown_budget_ms: int = _setting(
        30_000,
        "Time a supervised worker has to commit and stop before it is killed.",
        group="worker",
        unit="ms",
        minimum=100,
    )
    allow_modules: tuple[str, ...] = _setting(
        (), "Python modules whose functions triggers may call, as module:function.", group="worker"
    )
    log_format: Literal["text", "json"] = _setting("text", "Form of log lines.", group="log")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Least important log lines to write.", group="log"
    )

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            object.__setattr__(self, setting.name, _checked(setting, getattr(self, setting.name), setting.name))
        if self.commit_interval_ms >= self.transaction_timeout_ms:
            raise Misconfigured(
                f"commit_interval_ms: expected less than transaction_timeout_ms ({self.transaction_timeout_ms}),"
                f" got {self.commit_interval_ms}",
                hint="a transaction must commit before the broker gives it up",
            )


def _table() -> tuple[Setting, ...]:
    types = get_type_hints(Config)
    return tuple(
        Setting(
            name=each.name,
            form=_FORMS.get(types[each.name], "choice"),
            choices=() if types[each.name] in _FORMS else get_args(types[each.name]),
            default=_NO_ENTRIES if each.default is MISSING else each.default,
            **each.metadata,
        )
        for each in fields(Config)
    )


SETTINGS: tuple[Setting, ...] = _table()
"""The table of settings, in the order in which they are shown."""

_BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> tuple[Config, Sources]:
    """Read the file, the environment and ``overrides`` (values of options, None where an option was not given).

    Without ``file`` it is ``stream-triggers.toml`` of the working directory, if there is one. Raises ``Misconfigured``.
    """
    values: dict[str, Any] = {}
    sources = {setting.name: DEFAULT for setting in SETTINGS}
    kafka: dict[str, str] = {}
    for rows_of_source in (
        _from_file(file),
        _from_environment(os.environ if environ is None else environ),
        _from_options(overrides or {}),
    ):
        for name, value, source in rows_of_source:
            checked = _checked(_BY_NAME[name], value, f"{name} ({source})")
            sources[name] = source
            if isinstance(checked, Mapping):
                kafka.update(checked)
                sources.update({f"{name}.{key}": source for key in checked})
            else:
                values[name] = checked
    return Config(**values, kafka=kafka), sources


def shown(name: str, value: object) -> str:
    """``value`` as it may be printed: hidden where ``name`` (a setting, or ``kafka.<name>``) holds a secret."""
    if _SECRET.search(name):
        return "********"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={shown(key, entry)}" for key, entry in value.items())
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def effective(config: Config, sources: Sources) -> list[tuple[str, str, str]]:
    """The whole configuration as ``(name, shown value, source)``, with one row for each entry of ``kafka``."""
    found = [
        (setting.name, shown(setting.name, getattr(config, setting.name)), sources[setting.name])
        for setting in SETTINGS
        if setting.form != "table"
    ]
    return found + [(f"kafka.{key}", shown(key, value), sources[f"kafka.{key}"]) for key, value in config.kafka.items()]


def markdown() -> str:
    """The table of settings, as the README has it."""
    lines = ["| setting | type | default | unit | meaning |", "|---|---|---|---|---|"]
    for each in SETTINGS:
        form = " or ".join(each.choices) or {"list": "list of texts", "table": "table of texts"}.get(
            each.form, each.form
        )
        default = shown(each.name, each.default)
        lines.append(f"| `{each.name}` | {form} | {f'`{default}`' if default else ''} | {each.unit} | {each.meaning} |")
    return "\n".join(lines) + "\n"


_Rows: TypeAlias = Iterator[tuple[str, object, str]]
"""Values of one source, not checked yet: name of the setting, value, source."""


def _from_file(file: Path | None) -> _Rows:
    path = Path(FILE_NAME) if file is None else file
    if file is None and not path.exists():
        return
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Misconfigured(f"{path}: expected TOML in UTF-8: {error}") from error
    for name, value in content.items():
        if name not in _BY_NAME:
            raise _unknown(f"{path}: unknown setting {name}", name, _BY_NAME)
        yield name, _flat(value) if isinstance(value, dict) else value, f"file {path}"


def _flat(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A TOML table with its dotted names joined again, and scalars written as Kafka clients take them."""
    found: dict[str, object] = {}
    for key, value in table.items():
        match value:
            case dict():
                found.update(_flat(value, f"{prefix}{key}."))
            case bool():
                found[prefix + key] = str(value).lower()
            case int() | float():
                found[prefix + key] = str(value)
            case _:
                found[prefix + key] = value
    return found


def _from_environment(environ: Mapping[str, str]) -> _Rows:
    known = {setting.variable: setting for setting in SETTINGS if setting.form != "table"}
    for variable, text in environ.items():
        if variable.startswith(KAFKA_VARIABLE_PREFIX):
            key = variable.removeprefix(KAFKA_VARIABLE_PREFIX).lower().replace("_", ".")
            yield "kafka", {key: text}, f"environment {variable}"
        elif variable in known:
            yield known[variable].name, _from_text(known[variable], text), f"environment {variable}"
        elif variable.startswith(ENVIRONMENT_PREFIX):
            raise _unknown(f"unknown environment variable {variable}", variable, known)


def _from_text(setting: Setting, text: str) -> object:
    """``text`` as the setting's form; left as it is where it does not fit, for the check to say so."""
    match setting.form:
        case "list":
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case "integer" if re.fullmatch(r"-?[0-9]+", text):
            return int(text)
        case _:
            return text


def _from_options(overrides: Mapping[str, object]) -> _Rows:
    for name, value in overrides.items():
        if value is not None:
            yield name, value, f"option {_BY_NAME[name].option}"


def _unknown(problem: str, name: str, known: Collection[str]) -> Misconfigured:
    nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return Misconfigured(problem, hint=f"the nearest known one is {nearest}; `stream-triggers config` shows all")


def _checked(setting: Setting, value: object, where: str) -> object:
    """``value`` as ``Config`` keeps it; raises ``Misconfigured`` where it is not what the setting expects."""
    match setting.form, value:
        case "integer", int() if type(value) is int and _within(setting, value):
            return value
        case "text", str() if setting.pattern is None or re.fullmatch(setting.pattern, value):
            return value
        case "choice", str() if value in setting.choices:
            return value
        case "path", str() | Path():
            return Path(os.path.expanduser(value))
        case "list", list() | tuple() if all(isinstance(entry, str) for entry in value):
            return tuple(value)
        case "table", Mapping() if all(isinstance(part, str) for entry in value.items() for part in entry):
            return MappingProxyType(dict(value))
    got = shown(setting.name, value) if isinstance(value, Mapping) else repr(value)
    raise Misconfigured(f"{where}: expected {setting.expected}, got {got}")


def _within(setting: Setting, value: int) -> bool:
    low, high = setting.minimum, setting.maximum
    return (low is None or low <= value) and (high is None or value <= high)
