"""What stands in for something that cannot be used: not yet, or not any more."""

from __future__ import annotations

from typing import Any

from stream_triggers.errors import StreamTriggersError


class Unusable:
    """Stands in for what a client works with while it has none: whatever is asked of it raises the same error."""

    def __init__(self, problem: str, hint: str) -> None:
        self._problem = problem
        self._hint = hint

    def __getattr__(self, name: str) -> Any:
        raise StreamTriggersError(self._problem, hint=self._hint)
