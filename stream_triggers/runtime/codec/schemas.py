"""The schema files: where they are, what they say, and the fingerprints that name them on the wire.

Rules:
1. ``schemas/*.avsc`` is the contract: one record a file. ``schemas/history/<record>/<n>.avsc`` keeps every released
   version, the present one included, and what was written with any of them can be read.
2. A fingerprint is CRC-64-AVRO over the parsing canonical form as Avro's specification and its Java library make it: a
   logical type leaves no trace in it.
3. Logical types are for other languages: here an instant is the plain number of milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from stream_triggers.errors import Misconfigured

MARKER = b"\xc3\x01"
"""The first two bytes of every message: Avro's mark of the single-object encoding, version 1."""

HEADER_BYTES = 10
"""The marker and the fingerprint."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of one record; ``definition`` is the file, ``parsed`` is fastavro's form without logical types."""

    name: str
    definition: Mapping[str, Any]
    parsed: Any
    header: bytes


@dataclass(frozen=True, slots=True)
class Schemas:
    """The present version of each record by its name, and every version, the present ones included, by its header."""

    present: Mapping[str, Schema]
    released: Mapping[bytes, Schema]


def directory(package: Path) -> Path:
    """The directory of the schema files: inside the installed ``package``, or beside it in a checkout."""
    for candidate in (package / "schemas", package.parent / "schemas"):
        if candidate.is_dir():
            return candidate
    raise Misconfigured(f"no schema files in {package} or beside it", hint="install the package again: it carries them")


def load(files: Path) -> Schemas:
    """Read every schema file of the directory ``files``."""
    present = {schema.name: schema for schema in map(_read, sorted(files.glob("*.avsc")))}
    history = [_read(path) for path in sorted(files.glob("history/*/*.avsc"))]
    return Schemas(present, {schema.header: schema for schema in (*history, *present.values())})


def _read(path: Path) -> Schema:
    definition = json.loads(path.read_bytes())
    parsed = parse_schema(_without_logical_types(definition))
    name = bytes.fromhex(fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO"))
    return Schema(definition["name"], definition, parsed, MARKER + name)


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _without_logical_types(value) for name, value in schema.items() if name != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical_types(value) for value in schema]
    return schema


SCHEMAS = load(directory(Path(__file__).parents[2]))
"""The schemas of this installation."""
