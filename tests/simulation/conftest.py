"""``pytest tests/simulation --seed N`` runs one schedule; ``SEED=N`` in the environment says the same."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run this schedule of the simulation, and no other")
