"""Fixtures of the fault tests: one forker for the session, an application of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stream_triggers import broker
from stream_triggers.broker import Broker
from tests.faults.forker import Forker
from tests.faults.scene import Scene, scene

_SCENES = pytest.StashKey[list[Scene]]()
_numbers = count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A test that fails shows what its workers had to say."""
    report = yield
    if report.when == "call" and report.failed:
        for each in item.stash.get(_SCENES, []):
            report.sections += [(f"slot {slot}", life.log_tail()) for slot, life in each.crew.lives.items()]
    return report


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    with Forker() as running:
        yield running


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A broker that the test may kill."""
    with broker.temporary() as running:
        yield running


@pytest.fixture
def make_scene(forker: Forker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Scene]]:
    """Makes the application of a test on the broker it names; everything ends with the test."""
    scenes = request.node.stash[_SCENES] = []
    with ExitStack() as stack:

        def make(bootstrap_servers: str, **options: Any) -> Scene:
            name = f"faults-{next(_numbers)}"
            made = stack.enter_context(scene(bootstrap_servers, name, forker, tmp_path, **options))
            scenes.append(made)
            return made

        yield make
