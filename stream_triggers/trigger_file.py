"""Trigger files: several triggers in one YAML or JSON text.

Rules:
1. A file is a list of triggers, or an object whose ``triggers`` is that list, and whose ``calendars`` are days that
   its schedules name. It is read whole or refused whole, and a refusal names every trigger that is wrong, with its
   line, up to ``PROBLEMS_MAX`` of them.
2. A plain YAML scalar is what JSON reads it as: ``null``, ``true``, ``12``, ``1.5e3``; ``True``, ``TRUE``, ``~`` and
   nothing count too. All else is text: ``no``, ``012``, ``12:30`` and ``2026-01-01`` are what they look like.
3. A field that stands twice in an object is an error, in YAML and in JSON.
4. Anchors and aliases may repeat a part; tags other than those of JSON's types, and merging with ``<<``, are refused.
   Nesting and the number of values are bounded, so no small file grows large.
5. Ids are unique in a file. What ``dump_triggers`` writes reads back as equal triggers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stream_triggers.core.fields import JSON_DEPTH_MAX, at, expected, found, only, required
from stream_triggers.core.message import JsonValue
from stream_triggers.core.schedule import Calendars, read_calendars, with_calendars
from stream_triggers.core.trigger import Trigger, parse_trigger, trigger_json
from stream_triggers.errors import InvalidTrigger

PROBLEMS_MAX = 20
"""Most problems that one refusal names."""

VALUES_MAX = 1_000_000
"""Most values of a YAML file, each alias counted as what it repeats: some ten thousand triggers."""

JSON_LINES_CHARS_MAX = 1_000_000
"""A larger JSON file is refused without lines: finding them would take longer than anybody waits."""

_DEPTH_MAX = JSON_DEPTH_MAX + 2  # a trigger is inside a list inside an object
_TOO_DEEP = f"expected at most {_DEPTH_MAX} levels of nesting, found more"
_TAG = "tag:yaml.org,2002:"
_ROOT = "triggers"
_CALENDARS = "calendars"
_TWICE = "this field stands twice in one object"


class Examined(NamedTuple):
    """What is in a file: the good triggers, each with its path, and all problems, up to ``PROBLEMS_MAX`` of them."""

    triggers: tuple[tuple[str, Trigger], ...]
    problems: tuple[InvalidTrigger, ...]
    located: Callable[[InvalidTrigger], InvalidTrigger]
    """Adds the name and the line of the file to a remark that names a path in it."""


def load_triggers(path: str | Path) -> tuple[Trigger, ...]:
    """Read the triggers of a file, YAML or JSON by its suffix; raises ``InvalidTrigger`` that lists all problems."""
    return read_triggers(_text_of(path), str(path))


def read_triggers(text: str, source: str) -> tuple[Trigger, ...]:
    """Read triggers from ``text``; ``source`` is its name in errors, and its suffix says whether it is YAML or JSON."""
    examined = _examine(text, source)
    if examined.problems:
        raise _refusal(examined.problems, source)
    return tuple([trigger for _, trigger in examined.triggers])


def examine_triggers(path: str | Path) -> Examined:
    """Read a file as far as it goes; raises ``InvalidTrigger`` only where it cannot be read at all."""
    return _examine(_text_of(path), str(path))


def _text_of(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidTrigger("file", f"it cannot be read: {error.strerror}", source=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidTrigger("file", "expected text in UTF-8", source=str(path)) from error


def _examine(text: str, source: str) -> Examined:
    document = _read(text, source)
    try:
        items, calendars = _items(document.value), _calendars(document.value)
    except InvalidTrigger as problem:
        raise document.located(problem) from None
    triggers: dict[str, tuple[str, Trigger]] = {}
    problems: list[InvalidTrigger] = []
    for index, item in enumerate(items):
        path = f"{_ROOT}[{index}]"
        try:
            trigger = parse_trigger(with_calendars(item, path, calendars), path)
            if trigger.id in triggers:
                raise InvalidTrigger(at(path, "id"), f'expected an id of its own, found "{trigger.id}" again')
            triggers[trigger.id] = (path, trigger)
        except InvalidTrigger as problem:
            problems.append(document.located(problem))
            if len(problems) == PROBLEMS_MAX:
                break
    return Examined(tuple(triggers.values()), tuple(problems), document.located)


def dump_triggers(triggers: Iterable[Trigger]) -> str:
    """Write ``triggers`` as the text of a YAML file."""
    value = {_ROOT: [trigger_json(trigger) for trigger in triggers]}
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Document:
    """A file as a JSON value, and the way back from a path in it to its line."""

    def __init__(self, value: JsonValue, source: str, compose: Callable[[], yaml.Node | None]) -> None:
        self.value = value
        self._source = source
        self._compose = compose

    @cached_property
    def _root(self) -> yaml.Node | None:
        return self._compose()

    def located(self, problem: InvalidTrigger) -> InvalidTrigger:
        """``problem``, which names a path in this file, with the file's name and line."""
        source = self._source
        if self._root is not None:
            source += f":{_line(self._root, _start(self._root), problem.path)}"
        return InvalidTrigger(problem.path, problem.problem, hint=problem.hint, source=source)


def _items(value: JsonValue) -> list[JsonValue]:
    """The list of triggers in a file."""
    what = "a list of triggers"
    if isinstance(value, dict):
        only(value, (_ROOT, _CALENDARS, "$schema"), "")  # editors look for $schema
        value = required(value, _ROOT, what, "")
    if not isinstance(value, list):
        raise expected(what, value, _ROOT)
    return value


def _calendars(value: JsonValue) -> Calendars:
    """The calendars of a file."""
    given = value.get(_CALENDARS) if isinstance(value, dict) else None
    return {} if given is None else read_calendars(given, _CALENDARS)


def _refusal(problems: Sequence[InvalidTrigger], source: str) -> InvalidTrigger:
    """One error that says what all ``problems`` say."""
    if len(problems) == 1:
        return problems[0]
    count = f"at least {PROBLEMS_MAX}" if len(problems) == PROBLEMS_MAX else str(len(problems))
    lines = [line for problem in problems for line in str(problem).splitlines()]
    return InvalidTrigger(_ROOT, "\n  ".join([f"{count} of them are wrong", *lines]), source=source)


def _read(text: str, source: str) -> _Document:
    match Path(source).suffix:
        case ".yaml" | ".yml":
            return _read_yaml(text, source)
        case ".json":
            return _Document(_read_json(text, source), source, lambda: _composed_json(text))
        case _:
            raise InvalidTrigger("file", "expected a name that ends in .yaml, .yml or .json", source=source)


def _read_json(text: str, source: str) -> JsonValue:
    def unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        fields: dict[str, JsonValue] = {}
        for name, item in pairs:
            if name in fields:
                raise InvalidTrigger(name, _TWICE, source=source)
            fields[name] = item
        return fields

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise InvalidTrigger("syntax", error.msg.lower(), source=f"{source}:{error.lineno}") from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, nesting as deep
        raise InvalidTrigger("syntax", "expected smaller values", source=source) from error


def _composed_json(text: str) -> yaml.Node | None:
    """The nodes of a JSON text, for its lines; None where it is too large for that, or YAML does not read it.

    JSON is YAML but for tabs between values; inside texts it has none.
    """
    if len(text) > JSON_LINES_CHARS_MAX:
        return None
    try:
        return _Loader(text.replace("\t", " ")).get_single_node()
    except yaml.YAMLError:
        return None


class _Loader(yaml.SafeLoader):
    """Composes nodes, scalars resolved by rule 2 and nesting bounded."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - declared so by the parent
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _DEPTH_MAX:
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, parent.start_mark if parent else None)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Writes scalars so that ``_Loader`` resolves them to what they were."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # Between single quotes the library would fold these line breaks of Unicode into spaces.
        style = '"' if any(char in data for char in "\x85\u2028\u2029") else None
        return self.represent_scalar(_TAG + "str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


_NUMBER = r"-?(?:0|[1-9][0-9]*)"
for _tag, _pattern, _first in (
    ("merge", "<<", ["<"]),
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", _NUMBER, list("-0123456789")),
    ("float", _NUMBER + r"(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", list("-0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(rf"{_pattern}\Z"), _first)


def _read_yaml(text: str, source: str) -> _Document:
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = ", ".join(filter(None, (error.context, error.problem)))
        raise InvalidTrigger("syntax", problem, source=source + line) from error
    except yaml.YAMLError as error:
        raise InvalidTrigger("syntax", str(error), source=source) from error
    if root is None:
        return _Document(None, source, lambda: None)
    return _Document(_YamlValues(source).of(root, _start(root), 1), source, lambda: root)


_SCALARS: dict[str, Callable[[str], JsonValue]] = {
    _TAG + "str": str,
    _TAG + "merge": str,  # as a name it is refused
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    _TAG + "int": int,
    _TAG + "float": float,
}


class _YamlValues:
    """Turns nodes into JSON values, counting them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._left = VALUES_MAX

    def of(self, node: yaml.Node, path: str, depth: int) -> JsonValue:
        self._left -= 1
        if self._left < 0:
            raise self._wrong(node, path, f"expected at most {VALUES_MAX} values in a file, found more")
        if depth > _DEPTH_MAX:  # an alias inside what it repeats has no end
            raise self._wrong(node, "", _TOO_DEEP)
        match node:
            case yaml.ScalarNode():
                return self._scalar(node, path)
            case yaml.SequenceNode() if node.tag == _TAG + "seq":
                return [self.of(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.value)]
            case yaml.MappingNode() if node.tag == _TAG + "map":
                return self._object(node, path, depth)
            case _:
                raise self._wrong(node, path, f"expected no tag, found {node.tag}")

    def _object(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, JsonValue]:
        fields: dict[str, JsonValue] = {}
        for name_node, item in node.value:
            name = self.of(name_node, path, depth + 1)
            if not isinstance(name, str):
                raise self._wrong(
                    name_node, path, f"expected text as the name of a field, found {found(name)}", "quote it"
                )
            if name_node.tag == _TAG + "merge":
                raise self._wrong(name_node, at(path, name), "merging is not supported", "write the fields out")
            if name in fields:
                raise self._wrong(name_node, at(path, name), _TWICE)
            fields[name] = self.of(item, at(path, name), depth + 1)
        return fields

    def _scalar(self, node: yaml.ScalarNode, path: str) -> JsonValue:
        convert = _SCALARS.get(node.tag)
        if convert is None:
            raise self._wrong(node, path, f"expected no tag, found {node.tag}")
        try:
            return convert(node.value)
        except (KeyError, ValueError) as error:  # a tag that does not fit, or an integer of thousands of digits
            raise self._wrong(node, path, f"expected what {node.tag} can be read from, found other text") from error

    def _wrong(self, node: yaml.Node, path: str, problem: str, hint: str = "") -> InvalidTrigger:
        source = f"{self._source}:{node.start_mark.line + 1}"
        return InvalidTrigger(path or "file", problem, hint=hint, source=source)


def _start(root: yaml.Node) -> str:
    """The path of a file's outermost node: a list is what else stands under ``triggers``."""
    return _ROOT if isinstance(root, yaml.SequenceNode) else ""


def _line(node: yaml.Node, path: str, wanted: str) -> int:
    """The line, counted from 1, of what is at the path ``wanted`` or of the innermost thing around it."""
    line: int = node.start_mark.line + 1
    for part_path, part, start in _parts(node, path):
        if wanted == part_path:
            return start
        if wanted.startswith((f"{part_path}.", f"{part_path}[")):
            return max(start, _line(part, part_path, wanted))
    return line


def _parts(node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node, int]]:
    """What is directly inside ``node``: its path, its node, and the line where it (or its name) stands."""
    match node:
        case yaml.MappingNode():
            for name, item in node.value:
                yield at(path, name.value), item, name.start_mark.line + 1
        case yaml.SequenceNode():
            for index, item in enumerate(node.value):
                yield f"{path}[{index}]", item, item.start_mark.line + 1
