"""Writes an encoder for records that are made over and over with the same first fields.

Rules:
1. What it writes is what the general codec would write for the whole record, byte for byte.
2. It does not look whether its arguments are valid: they come from messages and triggers that were looked at. What
   cannot be written at all is an ``InvalidMessage``.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stream_triggers.core.invocation import RUN_ID_BYTES
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.codec.encoder import NAMES, NULL, ONE, Part, join, write, write_instant, write_sized
from stream_triggers.runtime.codec.shape import Instant, Many, Record, Shape
from stream_triggers.runtime.codec.source import Source
from stream_triggers.runtime.codec.wire import SIZE, write_long

TEXTS_MAX = 4096
"""Texts remembered at most: more than an installation has names of topics and leaves."""


class Texts(dict[str, bytes]):
    """The bytes of texts that come again and again; forgets all of them when they get too many."""

    def __missing__(self, text: str) -> bytes:
        if len(self) >= TEXTS_MAX:
            self.clear()
        content = text.encode()
        encoded = self[text] = write_long(len(content)) + content
        return encoded


class _Slot(NamedTuple):
    """A field that varies, and the parameter that gives it."""

    field: str
    parameter: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Template:
    """What is known of the fields of a record, beside their shapes.

    The first fields are the ``constants``. Those in ``run_ids`` are the parameter ``run_id``, raw bytes, as hexadecimal
    text. ``ready`` is given as bytes. ``many`` is the array that has one item mostly: its fields are parameters under
    the names in ``names``. The texts of ``few`` fields come again and again, so their bytes are remembered.
    """

    constants: Sequence[str]
    run_ids: Sequence[str]
    many: str
    names: Mapping[str, str]
    ready: Sequence[str] = ()
    few: Sequence[str] = ()

    def compile(self, name: str, shape: Record, header: bytes) -> Any:
        """A function from the constants to two encoders: for one item of the array, and for a sequence of items."""
        constants, varying = shape.fields[: len(self.constants)], shape.fields[len(self.constants) :]
        assert [field for field, _ in constants] == list(self.constants)
        out = Source()
        with out.block(f"def {name}({', '.join(self.constants)})"):
            fixed = [part for field, of in constants for part in write(out, of, field, f"{field}_")]
            out.line(f"prefix = {join([header, *fixed])}")
            self._encoder(out, "one", shape.name, list(self._slots(varying, one=True)))
            self._encoder(out, "several", shape.name, list(self._slots(varying, one=False)))
            out.line("return one, several")
        names = {"FEW": Texts(), "hexlify": hexlify, "InvalidMessage": InvalidMessage}
        return out.compile(name, {**NAMES, **names})

    def _slots(self, fields: Sequence[tuple[str, Shape]], *, one: bool) -> Iterator[_Slot | bytes]:
        for field, shape in fields:
            if field in self.run_ids:
                yield _Slot(field, "run_id", shape)
            elif field == self.many and one:
                assert isinstance(shape, Many)
                items = shape.of.fields if isinstance(shape.of, Record) else ((field, shape.of),)
                yield ONE
                yield from (_Slot(name, self.names.get(name, name), of) for name, of in items)
                yield NULL
            else:
                yield _Slot(field, field, shape)

    def _encoder(self, out: Source, name: str, record: str, slots: Sequence[_Slot | bytes]) -> None:
        parameters = dict.fromkeys(slot.parameter for slot in slots if isinstance(slot, _Slot))
        with out.block(f"def {name}({', '.join(parameters)})"):
            with out.block("try"):
                out.line("run_id = hexlify(run_id)")
                parts: list[Part] = ["prefix"]
                for slot in slots:
                    parts += [slot] if isinstance(slot, bytes) else self._write(out, slot)
                out.line(f"return {join(parts)}")
            with out.block("except (AttributeError, TypeError, ValueError) as error"):
                out.line(f"raise InvalidMessage(f'{record} cannot be written: {{error}}') from error")

    def _write(self, out: Source, slot: _Slot) -> Sequence[Part]:
        if slot.field in self.run_ids:
            return [SIZE[2 * RUN_ID_BYTES], slot.parameter]
        if slot.field in self.ready:
            return write_sized(slot.parameter)
        if slot.field in self.few:
            return [f"FEW[{slot.parameter}]"]
        if isinstance(slot.shape, Instant):
            return [self._instant(out, slot.parameter)]
        return write(out, slot.shape, slot.parameter, f"{slot.parameter}_")

    @staticmethod
    def _instant(out: Source, parameter: str) -> Part:
        """The record's own instant comes first; the item's is the same one mostly."""
        if parameter == "time_ms":
            out.line(f"instant = {write_instant(parameter)}")
            return "instant"
        return f"(instant if {parameter} == time_ms else {write_instant(parameter)})"
