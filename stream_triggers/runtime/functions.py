"""The user functions that triggers may call: only from modules that the operator has listed.

A definition is data that anybody with access to the topic can write. It names a function as ``module:function``; what
can be imported is decided here, by the worker's configuration, before any import happens.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from stream_triggers.errors import Misconfigured


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
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise Misconfigured(
                f"function {name} cannot be loaded: {error}", hint="check PYTHONPATH and the name"
            ) from error
        if not callable(found):
            raise Misconfigured(f"{name} is not a function", hint="name a function of the module: module:function")
        return found  # type: ignore[no-any-return]
