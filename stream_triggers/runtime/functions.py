"""The user functions that triggers may call: only from modules that the operator has listed.

A definition is data that anybody with access to the topic can write. It names a function as ``module:function``; what
can be imported is decided here, by the worker's configuration, before any import happens.

A module is the user's code too, and runs when it is imported. Whatever it raises then, ``SystemExit`` included, is a
failure of that module and not the end of the program that needs it; but for ``KeyboardInterrupt``, which is Ctrl-C.
"""

from __future__ import annotations

import importlib
import signal
import traceback
from collections.abc import Callable, Iterable
from functools import wraps
from types import ModuleType
from typing import Any

from stream_triggers.core.fields import excerpt
from stream_triggers.errors import Misconfigured

PROBLEM_CHARS_MAX = 1000
"""Longest text of an exception that an error repeats."""


class AllowedFunctions:
    """Resolves ``module:function`` for the modules in ``modules``, exactly as they are named there."""

    def __init__(self, modules: Iterable[str] = ()) -> None:
        self._modules = frozenset(modules)

    def __call__(self, name: str) -> Callable[..., Any]:
        """The function called ``name``; ``Misconfigured`` when it may not, or cannot, be used."""
        module, _, attribute = name.partition(":")
        if module not in self._modules:
            raise Misconfigured(
                f"function {name} is in module {module}, which this worker does not allow",
                hint=f"add it if you trust it: --allow-module {module}",
            )
        try:
            found = getattr(imported(module), attribute)
        except KeyboardInterrupt:
            raise
        except Misconfigured as error:
            raise Misconfigured(f"function {name} cannot be loaded: {error.message}", hint=error.hint) from error
        except BaseException as error:
            problem = str(error) if isinstance(error, AttributeError) else raised_text(error)
            raise Misconfigured(
                f"function {name} cannot be loaded: {problem}", hint="check PYTHONPATH and the name"
            ) from error
        if not callable(found):
            raise Misconfigured(f"{name} is not a function", hint="name a function of the module: module:function")
        return _called(found)


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, whose ``KeyboardInterrupt`` is its failure where it cannot be a Ctrl-C: a worker handles that."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except KeyboardInterrupt as error:
            if ctrl_c_raises():
                raise
            raise RuntimeError("KeyboardInterrupt") from error

    return call


def ctrl_c_raises() -> bool:
    """Whether a ``KeyboardInterrupt`` can be the user's Ctrl-C; under a handler only functions raise one."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def imported(name: str) -> ModuleType:
    """The module called ``name``; ``Misconfigured``, with the place, when it does not exist or fails at its import."""
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            hint = "start in the folder it is in, or install it, or name the folder in PYTHONPATH"
            raise Misconfigured(f"there is no module {missing!r}", hint=hint) from error
        raise Misconfigured(
            f"module {name} cannot be imported: {raised_text(error)}{_place(error)}",
            hint=f"see that `python -c 'import {name}'` works",
        ) from error


def raised_text(error: BaseException) -> str:
    """The last line that a traceback of ``error`` has; made by the interpreter, as an exception's own text may fail."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}"  # with its place; the interpreter puts it into other lines
    return excerpt("".join(traceback.format_exception_only(error)).strip(), PROBLEM_CHARS_MAX)


def _place(error: BaseException) -> str:
    """Where ``error`` was raised, unless it tells itself."""
    if isinstance(error, SyntaxError):
        return ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"
