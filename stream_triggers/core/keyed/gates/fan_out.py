"""The fan-out of a match over a list: one run for each element, all of them or none.

Rules:
1. The elements are those of the list that ``for_each`` refers to, at most ``HELD_MAX``. Anything else there, or more
   of them, is ``EvaluationFailed`` and makes no run at all.
2. Without ``for_each_key`` an element is named by its index, with it by the value at that path inside it, which must be
   text, a number or a boolean. ``1`` and ``"1"`` are two names.
3. The run id of an element extends that of the match by its name. So with a key, elements that change places, or lists
   that grow, keep the ids of their runs.
4. Two elements with one key are one run: the first stands.
5. An empty list makes no run; the match is refused as ``empty_list``.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import orjson

from stream_triggers.core.fields import found
from stream_triggers.core.filter import MISSING, Path, get_path, parse_path
from stream_triggers.core.flow.settings import HELD_MAX, Flow
from stream_triggers.core.invocation import RUN_ID_BYTES
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import EvaluationFailed


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the list of a fan-out; ``name`` tells it from the others of its match."""

    index: int
    name: str
    value: JsonValue

    def run_id(self, of_match: bytes) -> bytes:
        """The id of the run for this element, as raw bytes, from the run id of its match."""
        return blake2b(of_match + self.name.encode(), digest_size=RUN_ID_BYTES, person=b"trigger-each-v1").digest()


@dataclass(frozen=True, slots=True)
class FanOut:
    """How a list is taken apart; ``key`` leads to the value that names an element."""

    key: Path | None

    def elements(self, listed: JsonValue) -> tuple[Element, ...]:
        """Take apart the value that ``for_each`` refers to; raises ``EvaluationFailed``."""
        if not isinstance(listed, list):
            raise EvaluationFailed(f"for_each: expected a list, found {found(listed)}")
        if len(listed) > HELD_MAX:
            raise EvaluationFailed(f"for_each: expected at most {HELD_MAX} elements, found {len(listed)}")
        named: dict[str, Element] = {}
        for index, value in enumerate(listed):
            name = self._name(index, value)
            named.setdefault(name, Element(index, name, value))
        return tuple(named.values())

    def _name(self, index: int, value: JsonValue) -> str:
        if self.key is None:
            return f"index/{index}"
        key = get_path(value, self.key)
        if not isinstance(key, str | bool | int | float):
            where, what = f"for_each_key: element {index}", "nothing" if key is MISSING else found(key)
            raise EvaluationFailed(f"{where}: expected text, a number or a boolean, found {what}")
        return f"key/{orjson.dumps(key).decode()}"


def compile_fan_out(flow: Flow) -> FanOut | None:
    """The fan-out of a trigger; None when a match of it makes one run."""
    if flow.for_each is None:
        return None
    return FanOut(None if flow.for_each_key is None else parse_path(flow.for_each_key, "for_each_key"))
