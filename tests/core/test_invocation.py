"""Run ids: what they depend on, and what they do not."""

from __future__ import annotations

from itertools import permutations

import pytest

from stream_triggers.core.invocation import RunIds

IDS = RunIds("ship", 0)
RUN_ID = "4f5445ecbec39a48561aefe9adc9cc43"
THREE = [("event", "a"), ("result", "b"), ("status", "c")]


def test_the_order_of_participants_does_not_matter() -> None:
    assert len({IDS.of(order) for order in permutations(THREE)}) == 1


def test_one_participant_is_the_same_either_way() -> None:
    assert IDS.of([("event", "a")]) == IDS.of_one("event", "a")


def test_a_run_id_never_changes() -> None:
    assert IDS.of_one("event", "order-7-paid").hex() == RUN_ID


@pytest.mark.parametrize(
    "other",
    [
        RunIds("ship", 1).of_one("event", "a"),
        RunIds("shi", 0).of_one("event", "a"),
        RunIds("ship", 0).of_one("result", "a"),
        RunIds("ship", 0).of_one("event", "b"),
        RunIds("ship", 0).of([("event", "a"), ("event", "b")]),
    ],
    ids=["epoch", "trigger", "kind", "message", "another participant"],
)
def test_a_run_id_depends_on(other: bytes) -> None:
    assert other != IDS.of_one("event", "a")
