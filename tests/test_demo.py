"""The demo itself, as a user starts it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.kafka
def test_the_demo_loses_and_doubles_nothing_and_says_so_in_its_last_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "stream_triggers", "demo", "--events", "4000"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    last = ended.stdout.splitlines()[-1]
    found = re.fullmatch(r"exactly once: events=4000 expected=(\d+) invocations=(\d+) lost=0 duplicated=0", last)
    assert found, ended.stdout + ended.stderr
    # A fifth of the orders is large: 800 checks; nine of ten approved: 720 charges, each audited; one of ten declined.
    assert found.groups() == ("2320", "2320")
    assert "was killed with SIGKILL" in ended.stdout
    assert ended.returncode == 0
