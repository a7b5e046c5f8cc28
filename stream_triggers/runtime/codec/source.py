"""Python source under construction: what the generators of decoders, encoders and templates share.

A generated function does what a careful hand would write for one record: no loop over fields, no look at a type, one
comparison where a number or a length is short. Tracebacks show its lines, and ``inspect.getsource`` prints it.

Rules:
1. Generated code handles what is usual and hands everything else to the general codec: the rare and the wrong (an
   older version, a length in a longer form, broken text, a value of the wrong type) have one meaning, the general one.
2. Nothing about a schema is written here or in the generators; a record that changes, changes the code made for it.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stream_triggers.runtime.codec.shape import STRUCTS
from stream_triggers.runtime.codec.wire import SIZE


class Source:
    """Lines of Python; ``otherwise`` is the statement that hands over to the general codec, if there is one."""

    def __init__(self, otherwise: str = "") -> None:
        self.otherwise = otherwise
        self._lines: list[str] = []
        self._indent = ""

    def line(self, text: str) -> None:
        """Add one line to the block that is open."""
        self._lines.append(self._indent + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Open a block under the line ``head``."""
        self.line(f"{head}:")
        outer, self._indent = self._indent, f"{self._indent}    "
        yield
        self._indent = outer

    def need(self, condition: str) -> None:
        """Hand over to the general codec unless ``condition`` holds; nothing where there is no way to hand over."""
        if self.otherwise:
            self.line(f"if not ({condition}): {self.otherwise}")

    def name(self, expression: str, name: str) -> str:
        """A name for ``expression``: itself if it is one already, else ``name``."""
        if expression.isidentifier():
            return expression
        self.line(f"{name} = {expression}")
        return name

    def include(self, other: Source) -> None:
        """Add the lines of ``other`` to the block that is open."""
        for line in other._lines:
            self.line(line)

    def compile(self, name: str, names: Mapping[str, Any]) -> Any:
        """What the lines define as ``name``; they can use ``names``, the structs, and the table of sizes."""
        text = "\n".join(self._lines) + "\n"
        filename = f"<{name}, generated from its schema>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        structs = {struct.__name__: struct for struct in STRUCTS.values()}
        scope = {**structs, "SIZE": SIZE, **names}
        exec(compile(text, filename, "exec"), scope)
        return scope[name]
