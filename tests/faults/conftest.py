"""Fixtures of the fault tests: one forker for the session, an application of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.forker import Forker
from tests.faults.scene import Scene, scene

_numbers = count(1)


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    with Forker() as running:
        yield running


@pytest.fixture
def make_scene(forker: Forker, tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Makes the application of a test on the broker it names; everything ends with the test."""
    with ExitStack() as stack:

        def make(bootstrap_servers: str, **options: Any) -> Scene:
            name = f"faults-{next(_numbers)}"
            return stack.enter_context(scene(bootstrap_servers, name, forker, tmp_path, **options))

        yield make
