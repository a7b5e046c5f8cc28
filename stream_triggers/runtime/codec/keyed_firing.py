"""Writes the encoder of a firing of the keyed stage: an invocation and its run record, of any number of participants.

Rules:
1. What it writes is what the general codec would write for the whole records, byte for byte.
2. It does not look whether its arguments are valid; what cannot be written at all is an ``InvalidMessage``.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Mapping
from typing import Any

from stream_triggers.core.invocation import RUN_ID_BYTES
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.codec.encoder import NAMES, Part, join, write, write_sized
from stream_triggers.runtime.codec.shape import Record, Shape
from stream_triggers.runtime.codec.source import Source
from stream_triggers.runtime.codec.template import RUN_IDS
from stream_triggers.runtime.codec.wire import SIZE

GIVEN = (
    *("run_id", "task", "trigger_id", "trigger_version", "epoch", "time_ms", "key", "arguments"),
    *("causes", "participants", "traceparent", "root", "depth", "expires_ms"),
)
"""What is given: ``run_id`` raw, ``arguments`` as JSON in bytes, everything else as the records have it."""


def compile_keyed_firing(name: str, records: Mapping[Record, bytes]) -> Any:
    """A function that makes the bytes of ``records``, shapes with their headers, and the run id as text."""
    out = Source()
    with out.block(f"def {name}({', '.join(GIVEN)})"):
        with out.block("try"):
            out.line("run_hex = hexlify(run_id)")
            prepared: dict[str, list[Part]] = {}
            joins = []
            for shape, header in records.items():
                parts: list[Part] = [header]
                for field, of in shape.fields:
                    parts += _field(out, field, of, prepared)
                joins.append(join(parts))
            out.line(f"return {', '.join(joins)}, run_hex")
        with out.block("except (AttributeError, TypeError, ValueError) as error"):
            out.line("raise InvalidMessage(f'a firing cannot be written: {error}') from error")
    return out.compile(name, {**NAMES, "hexlify": hexlify, "InvalidMessage": InvalidMessage})


def _field(out: Source, field: str, of: Shape, prepared: dict[str, list[Part]]) -> list[Part]:
    """The parts of one field, prepared by lines in ``out`` when it is first asked for."""
    if field in RUN_IDS:
        return [SIZE[2 * RUN_ID_BYTES], "run_hex"]
    if field == "arguments":
        return write_sized(field)
    if field not in prepared:
        parts = write(out, of, field, f"{field}_")
        out.line("; ".join(f"{field}_{at} = {part!s}" for at, part in enumerate(parts)))
        prepared[field] = [f"{field}_{at}" for at in range(len(parts))]
    return prepared[field]
