r"""Paths: where in a JSON value a filter, a template or the route index looks.

Written, a path is names joined by dots: ``customer.tier``, ``lines.0.sku``. ``$`` is the whole value; ``$.any`` is the
field that is named like a word of filters; ``\.`` is a dot inside a name and ``\\`` a backslash.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from stream_triggers.core.fields import json_problem
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import InvalidTrigger

Path: TypeAlias = tuple[str, ...]
"""The names of fields, and the decimal positions in lists, that lead from a value to one inside it."""

RESERVED: tuple[str, ...] = ("any", "all", "not", "call")
"""The words among the fields of a filter that are not paths."""


class _Missing:
    """The type of ``MISSING``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""What is at a path that leads nowhere."""


def get_path(value: JsonValue, path: Path) -> JsonValue:
    """The value at ``path`` inside ``value``, or ``MISSING``."""
    for name in path:
        if isinstance(value, dict):
            value = value.get(name, MISSING)
        elif isinstance(value, list) and -1 < (position := position_in_list(name)) < len(value):
            value = value[position]
        else:
            return MISSING
    return value


def position_in_list(name: str) -> int:
    """The position in a list that ``name`` stands for, -1 for none; one position has one name, so not ``01``."""
    if name.isdecimal() and name.isascii() and len(name) < 10 and (name[0] != "0" or len(name) == 1):
        return int(name)
    return -1


_PATH_TOKEN = re.compile(r"\\[.\\]|.", re.DOTALL)


def parse_path(text: str, path: str) -> Path:
    """Read a path; raises ``InvalidTrigger`` that names ``path``, where the text was found."""
    problem = json_problem(text, path)
    if problem is not None:
        raise InvalidTrigger(*problem)
    names = [""]
    for token in _PATH_TOKEN.findall(text):
        if token == ".":
            names.append("")
        else:
            names[-1] += token[-1]
    if names[0] == "$":
        del names[0]
    if "" in names:
        raise InvalidTrigger(path, "expected names joined by single dots, found an empty name")
    return tuple(names)


def format_path(path: Path) -> str:
    """The shortest text that ``parse_path`` reads as ``path`` and that is not a reserved word."""
    text = ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in path)
    if not path:
        return "$"
    return f"$.{text}" if path[0] == "$" or text in RESERVED else text
