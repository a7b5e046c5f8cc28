"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stream_triggers
from stream_triggers.core import compose


@pytest.mark.parametrize("name", stream_triggers.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(stream_triggers, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        stream_triggers.Clint  # noqa: B018


def test_importing_the_package_loads_no_kafka_client() -> None:
    code = "import sys, stream_triggers; print('confluent_kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_what_is_exported_is_what_a_type_checker_sees() -> None:
    homes = [name for names in stream_triggers._HOMES.values() for name in names]
    assert sorted(homes) == sorted(stream_triggers.__all__)


def test_the_functions_that_join_conditions_are_all_exported() -> None:
    own = {name for name in compose.__all__ if getattr(compose, name).__module__ == compose.__name__}
    assert own <= set(stream_triggers.__all__)
