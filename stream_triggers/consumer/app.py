"""The tasks of an application: functions under the names that triggers invoke.

Rules:
1. A function gets the invocation's arguments by keyword, as parsed JSON of its own that it may change.
2. A parameter annotated ``Invocation``, or named ``invocation`` and not annotated, gets the invocation itself; the
   invocation's arguments must not name it then.
3. A name stands for one function; a second one under it is an error when it is registered, not when it is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from stream_triggers.core.invocation import Invocation
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.functions import imported

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Task:
    """One function under its name; ``invocation_parameter`` is where it wants the invocation, if it does."""

    name: str
    function: Callable[..., Any]
    attempts_max: int
    invocation_parameter: str | None


class TaskApp:
    """The tasks of one application, for ``TaskWorker`` to run."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Every task by its name."""
        return MappingProxyType(self._tasks)

    def task(self, name: str, *, attempts_max: int = 1) -> Callable[[F], F]:
        """Register the decorated function, plain or ``async``, as the task ``name``; the function stays as it is.

        A function that raises is called again at once until ``attempts_max`` calls were made; waiting between
        attempts is the function's own business. Raises ``Misconfigured`` when the name is taken.
        """
        if name in self._tasks:
            raise Misconfigured(f"two functions are registered as task {name!r}", hint="give one of them another name")
        if attempts_max < 1:
            raise Misconfigured(f"task {name!r} has attempts_max {attempts_max}", hint="use 1 or more")

        def register(function: F) -> F:
            self._tasks[name] = Task(name, function, attempts_max, _invocation_parameter(function))
            return function

        return register


def load_app(reference: str) -> TaskApp:
    """The ``TaskApp`` that ``reference`` names, as ``module:attribute``; imports the module.

    Raises ``Misconfigured`` when there is none, or when the module fails at its import.
    """
    module_name, separator, attribute = reference.partition(":")
    if not (module_name and separator and attribute):
        raise Misconfigured(f"{reference!r} does not name a task app", hint="write it as module:attribute")
    module = imported(module_name)
    app = getattr(module, attribute, None)
    if not isinstance(app, TaskApp):
        raise Misconfigured(
            f"{reference!r} is {type(app).__name__}, not a TaskApp", hint=f"define {attribute} = TaskApp() there"
        )
    return app


def _invocation_parameter(function: Callable[..., Any]) -> str | None:
    for parameter in inspect.signature(function).parameters.values():
        is_bare = parameter.name == "invocation" and parameter.annotation is inspect.Parameter.empty
        # Annotations are text where the function's module asks for that.
        if is_bare or parameter.annotation in (Invocation, "Invocation"):
            return parameter.name
    return None
