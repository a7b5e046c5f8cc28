"""The results as a picture: rate and latency of the engine beside Kafka Streams, as SVG without any library.

One hue stands for one program in both panels. Bars of rates start at zero; the scale of latency is logarithmic, since
its points lie a hundred times apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, NamedTuple

WIDTH, HEIGHT = 760, 292
TOP, BOTTOM = 66, 262
TICKS_MS = (1, 3, 10, 30, 100, 300, 1000)

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 } .title { font-weight: 600; font-size: 14px }
.number { font-size: 11px; fill: #555 } .grid { stroke: #ddd }
.floor { fill: #b8b8b8 } .engine { fill: #1f77b4 } .streams { fill: #e08214 }
.streams-other { fill: #f5c28a }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .number { fill: #aaa } .grid { stroke: #444 } }
"""


class Program(NamedTuple):
    """One that is shown: its name in the results, its name for readers, its class in the picture."""

    name: str
    label: str
    style: str


RATES = (
    Program("floor", "client's floor", "floor"),
    Program("engine", "stream_triggers", "engine"),
    Program("kafka_streams", "Kafka Streams, tuned", "streams"),
    Program("kafka_streams_plain", "Kafka Streams, default settings", "streams-other"),
)
LATENCIES = (
    Program("engine", "stream_triggers", "engine"),
    Program("kafka_streams_100", "Kafka Streams, 100 ms commits", "streams"),
    Program("kafka_streams_10", "Kafka Streams, 10 ms commits", "streams-other"),
)


def plot(results: Mapping[str, Any]) -> str:
    """The SVG of whichever scenarios are in ``results``."""
    scenarios = results["scenarios"]
    parts = [
        *_rates(scenarios.get("throughput", {}), 20, 340),
        *_latencies(scenarios.get("latency", {}), 400, WIDTH - 20),
    ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Events per second and latency of stream_triggers and Kafka Streams">\n'
        f"<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _rates(measured: Mapping[str, Any], left: int, right: int) -> Iterator[str]:
    shown = [(each, measured[each.name]) for each in RATES if isinstance(measured.get(each.name), Mapping)]
    if not shown:
        return
    yield _text(left, 24, "Events per second, exactly once", "title")
    yield _text(left, 42, "one process, second half of a run", "number")
    most = max(result["second_half_events_per_s"] for _, result in shown)
    step = (BOTTOM - TOP) / len(shown)
    for at, (program, result) in enumerate(shown):
        rate, y = result["second_half_events_per_s"], TOP + (at + 0.4) * step
        cost = f"{result['second_half_cpu_s_per_million']:.1f} CPU s per million"
        yield _text(left, y - 6, f"{program.label}: {rate:,.0f}/s, {cost}", "number")
        yield _bar(program, left, y, rate / most * (right - left), 14)


def _latencies(measured: Mapping[str, Any], left: int, right: int) -> Iterator[str]:
    shown = [(each, measured[each.name]) for each in LATENCIES if isinstance(measured.get(each.name), Mapping)]
    if not shown:
        return
    yield _text(left, 24, "Latency, event to readable invocation", "title")
    yield _text(left, 42, "milliseconds: p50 (dot) to p99 (end of the line)", "number")
    for tick in TICKS_MS:
        x = _across(tick, left, right)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>'
        yield _text(x, BOTTOM + 17, str(tick), "number", "middle")
    rows = [(rate, *each) for rate in shown[0][1] for each in shown]
    step = (BOTTOM - TOP) / len(rows)
    for at, (rate, program, by_rate) in enumerate(rows):
        p50, p99 = (by_rate[rate][part] for part in ("p50", "p99"))
        y, low, high = TOP + (at + 0.65) * step, _across(p50, left, right), _across(p99, left, right)
        yield _text(left, y - 8, f"{program.label}, {int(rate):,}/s: {p50:.1f} to {p99:.1f}", "number")
        yield _bar(program, low, y - 1, high - low, 3)
        yield f'<circle class="{program.style}" cx="{low:.1f}" cy="{y + 0.5:.1f}" r="5"/>'


def _across(value_ms: float, left: int, right: int) -> float:
    low, high = math.log(TICKS_MS[0]), math.log(TICKS_MS[-1])
    within = min(max(math.log(max(value_ms, 0.1)), low), high)
    return left + (within - low) / (high - low) * (right - left)


def _bar(program: Program, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{program.style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="1"/>'


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'
