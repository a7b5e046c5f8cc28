"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stream_triggers


@pytest.mark.parametrize("name", stream_triggers.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(stream_triggers, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        stream_triggers.Clint  # noqa: B018


def test_importing_the_package_loads_no_kafka_client() -> None:
    code = "import sys, stream_triggers; print('confluent_kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
