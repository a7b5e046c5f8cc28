"""Avro's binary layout: numbers written and read, and a walk over bytes that proves them well formed.

Rules:
1. A walk reads every byte once and never past the end; it makes no values, so a length of 2^60 costs nothing.
2. It refuses what a lenient reader lets through: negative lengths, text that is not UTF-8, numbers that do not fit,
   a boolean that is neither 0 nor 1, a union's branch that does not exist, a block of an array with a wrong size.
3. It accepts what a reader must: arrays in several blocks, blocks with their size, numbers longer than need be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from stream_triggers.errors import InvalidMessage

Walk: TypeAlias = Callable[[bytes, int], int]
"""Goes over one value that begins at a position, and returns the position behind it."""

SMALL = 1 << 14
"""Numbers below this take at most two bytes: the tables below hold them all."""

UNSIGNED = [bytes((n,)) if n < 0x80 else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(SMALL)]
"""The bytes of each small number, without zigzag."""

SIZE = UNSIGNED[::2]
"""The bytes of each small number that is not negative, with zigzag: lengths and counts."""

MORE = [bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(SMALL)]
"""The lowest 14 bits of a number that goes on behind them."""


def write_long(number: int) -> bytes:
    """The bytes of an Avro long; an instant of our days takes 42 bits, which the tables cover."""
    unsigned = number << 1 ^ number >> 63
    if unsigned < 1 << 14:
        return UNSIGNED[unsigned]
    if unsigned < 1 << 28:
        return MORE[unsigned & 0x3FFF] + UNSIGNED[unsigned >> 14]
    if unsigned < 1 << 42:
        return MORE[unsigned & 0x3FFF] + MORE[unsigned >> 14 & 0x3FFF] + UNSIGNED[unsigned >> 28]
    if unsigned >> 64:
        raise ValueError(f"{number} does not fit 64 bits")
    return MORE[unsigned & 0x3FFF] + MORE[unsigned >> 14 & 0x3FFF] + write_unsigned(unsigned >> 28)


def write_unsigned(number: int) -> bytes:
    """The bytes of ``number`` without zigzag, lowest seven bits first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def write_int(number: int) -> bytes:
    """The bytes of an Avro int."""
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{number} does not fit 32 bits")
    return write_long(number)


def write_text(text: str) -> bytes:
    """The bytes of an Avro string: its size, and its UTF-8."""
    content = text.encode()
    return write_long(len(content)) + content


def read_unsigned(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position`` before zigzag is undone, and where it ends.

    Raises ``IndexError`` when the bytes end first, ``ValueError`` when it does not fit 64 bits.
    """
    number = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                break
            return number, position
    raise ValueError("it does not fit 64 bits")


def read_unsigned_int(data: bytes, position: int) -> tuple[int, int]:
    """As ``read_unsigned``, for an Avro int of 32 bits."""
    number, position = read_unsigned(data, position)
    if number >> 32:
        raise ValueError("it does not fit 32 bits")
    return number, position


def read_long(data: bytes, position: int, path: str) -> tuple[int, int]:
    """The number at ``position``, and where it ends; ``path`` names it in the error."""
    try:
        number, position = read_unsigned(data, position)
    except IndexError:
        raise InvalidMessage(f"{path} is cut off") from None
    except ValueError as error:
        raise InvalidMessage(f"{path} is no number: {error}") from None
    return number >> 1 ^ -(number & 1), position


def walker(schema: Any, path: str) -> Walk:
    """The walk over values of ``schema``, a type of a parsed schema; ``path`` names them in errors."""
    if isinstance(schema, list):
        return _union([walker(branch, path) for branch in schema], path)
    if isinstance(schema, str):
        return _PRIMITIVES[schema](path)
    match schema["type"]:
        case "record":
            return _record([walker(field["type"], f"{path}.{field['name']}") for field in schema["fields"]])
        case "array":
            return _array(walker(schema["items"], f"{path}[]"), path)
        case primitive:
            return _PRIMITIVES[primitive](path)


def _null(_path: str) -> Walk:
    return lambda _data, position: position


def _boolean(path: str) -> Walk:
    def walk(data: bytes, position: int) -> int:
        if data[position : position + 1] not in (b"\x00", b"\x01"):
            raise InvalidMessage(f"{path} is neither true nor false")
        return position + 1

    return walk


def _long(path: str) -> Walk:
    return lambda data, position: read_long(data, position, path)[1]


def _int(path: str) -> Walk:
    def walk(data: bytes, position: int) -> int:
        number, end = read_long(data, position, path)
        if not -(1 << 31) <= number < 1 << 31:
            raise InvalidMessage(f"{path} is {number}, which does not fit 32 bits")
        return end

    return walk


def sized(data: bytes, position: int, path: str) -> tuple[int, int]:
    """Where the content of the bytes or text at ``position`` begins, and where it ends."""
    length, begin = read_long(data, position, path)
    if length < 0:
        raise InvalidMessage(f"{path} has a negative length, {length}")
    if begin + length > len(data):
        raise InvalidMessage(f"{path} is cut off: {length} bytes are announced, {len(data) - begin} are left")
    return begin, begin + length


def _bytes(path: str) -> Walk:
    return lambda data, position: sized(data, position, path)[1]


def read_text(data: bytes, position: int, path: str) -> tuple[str, int]:
    """The text at ``position``, and where it ends."""
    begin, end = sized(data, position, path)
    try:
        return data[begin:end].decode(), end
    except UnicodeDecodeError:
        raise InvalidMessage(f"{path} is not UTF-8") from None


def _string(path: str) -> Walk:
    return lambda data, position: read_text(data, position, path)[1]


def read_branch(data: bytes, position: int, branches: int, path: str) -> tuple[int, int]:
    """Which of a union's ``branches`` the value at ``position`` is, and where that value begins."""
    branch, position = read_long(data, position, path)
    if not 0 <= branch < branches:
        raise InvalidMessage(f"{path} is branch {branch} of a union of {branches}")
    return branch, position


def _record(fields: list[Walk]) -> Walk:
    def walk(data: bytes, position: int) -> int:
        for field in fields:
            position = field(data, position)
        return position

    return walk


def _union(branches: list[Walk], path: str) -> Walk:
    def walk(data: bytes, position: int) -> int:
        branch, position = read_branch(data, position, len(branches), path)
        return branches[branch](data, position)

    return walk


def _array(item: Walk, path: str) -> Walk:
    def block(data: bytes, position: int, count: int) -> int:
        if count > len(data) - position:  # every item takes a byte at least
            raise InvalidMessage(
                f"{path} is cut off: {count} items are announced, {len(data) - position} bytes are left"
            )
        for _ in range(count):
            position = item(data, position)
        return position

    def walk(data: bytes, position: int) -> int:
        while True:
            count, position = read_long(data, position, path)
            if count == 0:
                return position
            if count > 0:
                position = block(data, position, count)
                continue
            size, position = read_long(data, position, path)
            begin, position = position, block(data, position, -count)
            if position - begin != size:
                raise InvalidMessage(f"{path} has a block of {position - begin} bytes that says {size}")

    return walk


_PRIMITIVES: Mapping[str, Callable[[str], Walk]] = {
    "null": _null,
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "bytes": _bytes,
    "string": _string,
}
