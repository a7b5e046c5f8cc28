"""Each row of the README's tables of conditions and of fields: its example is played, and runs when it should."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml

from stream_triggers.core.condition import WORDS
from stream_triggers.core.trigger import FIELDS
from stream_triggers.testing import TriggerTester

README = (Path(__file__).parent.parent / "README.md").read_text()
ROWS = {
    (table, name.replace("`", "")): yaml.safe_load(example)
    for table, body in re.findall(
        r"^\| (leaf|node|in a leaf|field) \|.*\n\|---\|---\|---\|\n((?:\|.*\n)+)", README, re.MULTILINE
    )
    for name, example in re.findall(r"^\| (.+?) \|.* \| `(\{.*\})` \|$", body, re.MULTILINE)
}

WITHOUT_A_ROW = {"id", "description", "task", "when", "args", "args_from"}
"""Fields that other parts of the README tell of."""

Step = Callable[[TriggerTester], object]


def event(code: str, at: str | None = None, **payload: Any) -> Step:
    return lambda tester: tester.send(code, payload, at=at)


def raised(task: str, exception: type[BaseException] = OSError, **more: Any) -> Step:
    return lambda tester: tester.failure(task, exception, **more)


def returned(task: str, value: Any = None) -> Step:
    return lambda tester: tester.result(task, value)


def came_to(task: str, status: str) -> Step:
    return lambda tester: tester.status(task, status)


def ended(run: int, status: str = "success") -> Step:
    """The invocation of a run of the row has come to its end."""
    return lambda tester: tester.status("row", status, of=tester.runs[run])


def wait(duration: str) -> Step:
    return lambda tester: tester.advance(duration)


class Scene(NamedTuple):
    """What happens, and at which times of the first day, ``HH:MM:SS``, the trigger runs because of what.

    ``more`` are the fields of the trigger beside the example; ``arguments`` those of each run, if they matter.
    """

    steps: list[Step]
    runs: list[str]
    more: Mapping[str, Any] = MappingProxyType({})
    arguments: list[Any] | None = None


BY_ORDER = "${event.payload.order}"

LEAVES = {
    "event": Scene(
        [event("order.paid", total=100), event("order.paid", total=99), event("order.sent", total=100)],
        ["00:00:00 event-1"],
    ),
    "status": Scene(
        [came_to("billing.invoice", "failed"), came_to("billing.invoice", "running"), came_to("mail.send", "failed")],
        ["00:00:00 report"],
    ),
    "result": Scene(
        [returned("fraud.check", {"approved": False}), wait("1m"), returned("fraud.check", {"approved": True})],
        ["00:01:00 report"],
    ),
    "exception": Scene(
        [
            raised("billing.invoice", ValueError),
            raised("billing.invoice", TimeoutError, final=False),
            wait("1m"),
            raised("billing.invoice", TimeoutError),
        ],
        ["00:01:00 report"],
    ),
    "cron": Scene([wait("1d")], ["07:30:00 2026-01-01T07:30:00Z"]),
    "every": Scene(
        [wait("44m")],
        ["00:15:00 2026-01-01T00:15:00Z", "00:30:00 2026-01-01T00:30:00Z"],
    ),
    "at": Scene([wait("23h")], ["12:00:00 2026-01-01T12:00:00Z"]),
}

NODES = {
    "any": Scene(
        [event("order.gifted"), event("order.sent"), event("order.paid")],
        ["00:00:00 event-1", "00:00:00 event-3"],
    ),
    "all": Scene(
        [
            event("order.paid"),
            wait("2h1ms"),
            event("order.packed"),
            wait("1h"),
            event("order.paid"),
        ],
        ["03:00:00 event-2 event-3"],
    ),
    "where": Scene(
        [event("bid", price=9), event("ask", price=10), event("bid", price=11)],
        ["00:00:00 event-2 event-3"],
    ),
    "not": Scene(
        [event("order.paid"), wait("2h"), event("order.paid"), wait("30m"), event("order.canceled"), wait("2h")],
        ["01:00:00 event-1"],
    ),
    "last": Scene(
        [event("badge.shown"), event("door.opened"), wait("2m"), event("door.opened")],
        ["00:02:00 event-3"],
    ),
    "at_least": Scene(
        [event("smoke"), event("smoke"), wait("4m"), event("alarm")],
        ["00:04:00 event-2 event-3"],
    ),
    "sequence": Scene(
        [event("cart.left"), event("cart.filled"), event("checkout.begun"), wait("5m"), event("cart.left")],
        ["00:05:00 event-2 event-3 event-4"],
    ),
    "count": Scene(
        [raised("a"), wait("11m"), raised("a"), raised("b"), wait("10m"), raised("a"), raised("a"), raised("a")],
        ["00:21:00 report report report"],
    ),
    "times": Scene(
        [
            *[event("login.failed"), wait("11m"), event("login.failed"), event("login.failed"), event("login.done")],
            *[wait("1m"), event("login.failed"), event("login.done"), event("login.done")],
        ],
        ["00:12:00 event-2 event-3 event-5 event-6"],
    ),
    "one_or_more": Scene(
        [event("item.scanned"), wait("1m"), event("item.scanned"), event("cart.closed"), event("cart.closed")],
        ["00:01:00 event-1 event-2 event-3"],
    ),
    "aggregate": Scene(
        [event("order.paid", total=600), wait("1m"), event("order.paid", total=600), event("order.paid", total=600)],
        ["00:01:00 event-2"],
    ),
    "changed": Scene(
        [event("sensor", state=state) for state in ("red", "green", "green", "yellow", "green", "red", "red")],
        ["00:00:00 event-6"],
    ),
    "after": Scene(
        [event("order.paid"), wait("20m"), event("order.paid"), wait("10m"), event("order.canceled"), wait("1h")],
        ["00:15:00 event-1"],
    ),
    "missing": Scene(
        [event("order.paid"), wait("3h"), event("order.paid"), wait("1h"), event("order.shipped"), wait("3h")],
        ["02:00:00 event-1"],
    ),
    "schedule in all": Scene(
        [returned("extract.orders"), wait("4h"), returned("extract.orders"), wait("10h")],
        ["03:00:00 report 2026-01-01T03:00:00Z"],
    ),
}

IN_A_LEAF = {
    "as": Scene(
        [event("order.paid", order=7)],
        ["00:00:00 event-1"],
        {"args": {"order": "${paid.payload.order}", "all": "${all.paid.payload.order}"}, "cooldown": {"for": "1s"}},
        [{"order": 7, "all": [7]}],
    ),
    "key": Scene(
        [event("order.paid", order=7), event("parcel.sent", ref=8), event("parcel.sent", ref=7)],
        ["00:00:00 event-1 event-3"],
        {"key": BY_ORDER},
    ),
    "select": Scene(
        [event("item.added"), event("item.added"), event("cart.closed")],
        ["00:00:00 event-1 event-2 event-3"],
    ),
    "reuse": Scene(
        [event("price.set"), event("order.placed"), event("order.placed")],
        ["00:00:00 event-1 event-2", "00:00:00 event-1 event-3"],
    ),
}

BOTH = {"all": [{"event": "a"}, {"event": "b"}], "within": "1h"}
NO_B = {"missing": {"event": "b"}, "after": {"event": "a"}, "within": "1h"}
A_AND_B = {"all": [{"event": "a"}, {"event": "b"}]}
A, B = event("a"), event("b")


def apply(**more: Any) -> Step:
    """Put a new version of the trigger of the row in force."""
    return lambda tester: tester.apply({"id": "row", "task": "row", **more})


FIELD_SCENES = {
    "key": Scene(
        [event("a", order=7), event("b", order=8), event("b"), event("b", order=7)],
        ["00:00:00 event-1 event-4"],
        {"when": BOTH},
    ),
    "ttl": Scene([A, wait("23h"), B, A, wait("1d1ms"), B], ["23:00:00 event-1 event-2"], {"when": A_AND_B}),
    "grace": Scene([A, wait("2h")], ["01:00:30 event-1"], {"when": NO_B}),
    "reset": Scene([A, event("day.closed"), wait("1s"), B, A], ["00:00:01 event-3 event-4"], {"when": BOTH}),
    "on_timeout": Scene([A, wait("2h")], ["01:00:00 orders.warn event-1"], {"when": BOTH}),
    "state": Scene(
        [A, apply(when=BOTH, state="reset", description="another"), B, A],
        ["00:00:00 event-2 event-3"],
        {"when": BOTH},
    ),
    "epoch": Scene(
        [
            lambda tester: tester.send("a", id="same"),
            apply(when={"event": "a"}, epoch=2),
            lambda tester: tester.send("a", id="same"),
        ],
        ["00:00:00 same", "00:00:00 same"],
    ),
    "start": Scene(
        [A, wait("2h"), A, wait("1h"), apply(when={"event": "a"}, epoch=1, start={"lookback": "2h"}), A],
        ["00:00:00 event-1", "02:00:00 event-2", "03:00:00 event-2", "03:00:00 event-3"],
    ),
    "rate_limit": Scene([A, A, A, wait("1m"), A], ["00:00:00 event-1", "00:00:00 event-2", "00:01:00 event-4"]),
    "debounce": Scene([A, wait("9s"), A, wait("9s"), A, wait("1m")], ["00:00:28 event-1 event-2 event-3"]),
    "batch": Scene([A, A, A, A, wait("1m")], ["00:00:00 event-1 event-2 event-3", "00:00:30 event-4"]),
    "delay": Scene([A, wait("1h")], ["00:15:00 event-1"]),
    "cooldown": Scene([A, A, wait("1h"), A], ["00:00:00 event-1"]),
    "throttle": Scene([A, A, A, wait("2m")], ["00:00:00 event-1", "00:01:00 event-2", "00:02:00 event-3"]),
    "expires": Scene(
        [A, A, wait("1h"), A, event("a", at="2026-01-01T00:49Z"), event("a", at="2026-01-01T00:51Z")],
        ["00:00:00 event-1", "01:00:00 event-3"],
        {"throttle": {"max": 1, "per": "30m"}},
    ),
    "circuit_breaker": Scene(
        [A, A, A, wait("2m"), A, wait("1h"), A], ["00:00:00 event-1", "00:00:00 event-2", "01:02:00 event-5"]
    ),
    "failures of circuit_breaker": Scene(
        [A, A, ended(0, "failed"), A, ended(1, "failed"), A, wait("1h"), A],
        ["00:00:00 event-1", "00:00:00 event-2", "00:00:00 event-3", "01:00:00 event-5"],
    ),
    "overlap": Scene(
        [A, A, A, wait("5m"), ended(0), wait("11m"), A],
        ["00:00:00 event-1", "00:05:00 event-2", "00:16:00 event-4"],
    ),
    "for_each": Scene(
        [event("a", lines=["x", "y"])],
        ["00:00:00 event-1", "00:00:00 event-1"],
        {"args": {"line": "${each.value}"}},
        [{"line": "x"}, {"line": "y"}],
    ),
    "for_each_key": Scene(
        [event("a", lines=[{"sku": 1}, {"sku": 2}, {"sku": 1}])],
        ["00:00:00 event-1", "00:00:00 event-1"],
    ),
    "max_depth": Scene(
        [
            A,
            lambda tester: tester.result("row", of=tester.runs[0]),
        ],
        ["00:00:00 event-1"],
        {"when": {"any": [{"event": "a"}, {"result": "row"}]}},
    ),
    "root_budget": Scene(
        [
            A,
            lambda tester: tester.result("row", of=tester.runs[0]),
            lambda tester: tester.result("row", of=tester.runs[1]),
        ],
        ["00:00:00 event-1", "00:00:00 report"],
        {"when": {"any": [{"event": "a"}, {"result": "row"}]}},
    ),
}

SCENES = {
    (table, name): scene
    for table, scenes in {"leaf": LEAVES, "node": NODES, "in a leaf": IN_A_LEAF, "field": FIELD_SCENES}.items()
    for name, scene in scenes.items()
}


def test_every_row_is_played() -> None:
    assert ROWS.keys() == SCENES.keys()


def test_every_word_has_a_row() -> None:
    names = {name for _, name in ROWS}
    assert {*WORDS, *FIELDS} - names == WITHOUT_A_ROW


@pytest.mark.parametrize("row", SCENES, ids=" ".join)
def test_the_example_of_a_row_runs_when_it_should(row: tuple[str, str]) -> None:
    table, _ = row
    scene, example = SCENES[row], ROWS[row]
    trigger = {"id": "row", "task": "row", "when": {"event": "a"}}
    trigger |= {**example, **scene.more} if table == "field" else {"when": example, **scene.more}
    tester = TriggerTester(trigger)
    for step in scene.steps:
        step(tester)
    ran = []
    for run in tester.runs:
        causes = ["report" if len(each) == 32 else each for each in run.participants]
        ran.append(" ".join([run.time[11:].replace("Z", ":00")[:8], *([run.task] * (run.task != "row")), *causes]))
    assert ran == scene.runs, tester.story()
    if scene.arguments is not None:
        assert [run.arguments for run in tester.runs] == scene.arguments
