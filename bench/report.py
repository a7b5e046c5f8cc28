"""Results as files, as tables, and in both READMEs: `python -m bench.report` writes those from the files."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.plot import plot

HERE = Path(__file__).parent
LATEST = HERE / "results" / "latest.json"
STAGES = LATEST.with_name("stages.json")
PLOT = LATEST.with_suffix(".svg")
README = HERE / "README.md"
PROJECT_README = HERE.parent / "README.md"

SHOWN_IN_PROJECT = ("throughput", "latency")
"""The scenarios that the project's README shows; this folder's has all."""

_PACKAGES = ("stream-triggers", "confluent-kafka", "rocksdict", "orjson")


def environment(command: str) -> dict[str, Any]:
    """What the numbers depend on: the machine, the versions, when, and how they were made."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": command,
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gb": _memory_gb(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), "java": _java()}
        | {name: version(name) for name in _PACKAGES},
    }


def collected(scenarios: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers that are asked for most, from whichever scenarios were run."""
    found: dict[str, Any] = {}
    if "throughput" in scenarios:
        floor, engine = scenarios["throughput"]["floor"], scenarios["throughput"]["engine"]
        found["floor_events_per_s"] = floor["events_per_s"]
        found["engine_events_per_s"] = engine["events_per_s"]
        found["engine_second_half_events_per_s"] = engine["second_half_events_per_s"]
        found["cpu_s_per_million"] = engine["cpu_s_per_million"]
        found["rss_mb"] = engine["rss_mb"]
        for name in ("kafka_streams", "kafka_streams_plain"):
            streams = scenarios["throughput"].get(name)
            if isinstance(streams, Mapping):
                found[f"{name}_events_per_s"] = streams["events_per_s"]
                found[f"{name}_second_half_events_per_s"] = streams["second_half_events_per_s"]
    if "triggers" in scenarios:
        found["engine_events_per_s_10000_triggers"] = scenarios["triggers"]["10000"]["events_per_s"]
    if "verify" in scenarios:
        found["verify_events_per_s"] = scenarios["verify"]["verify"]["events_per_s"]
    if "latency" in scenarios:
        found |= {f"latency_ms_{rate}": measured for rate, measured in scenarios["latency"]["engine"].items()}
    if "keyed" in scenarios:
        rates, latency = scenarios["keyed"]["rates"], scenarios["keyed"]["latency"]
        found |= {f"keyed_{name}_facts_per_s": measured["events_per_s"] for name, measured in rates.items()}
        found |= {f"keyed_latency_ms_{rate}": measured for rate, measured in latency["both_stages"].items()}
    return found


def write(results: Mapping[str, Any], path: Path) -> None:
    """Keep ``results``."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def tables(results: Mapping[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
    """A title and rows for every scenario in ``results``; the first row has the names of the columns."""
    scenarios = results["scenarios"]
    for name, title in _RATES.items():
        if name in scenarios:
            yield title, [_COLUMNS, *(_row(label, each) for label, each in scenarios[name].items())]
    if "workers" in scenarios:
        rows = [[label, f"{each['events_per_s']:,.0f}"] for label, each in scenarios["workers"].items()]
        yield "Worker processes on one machine", [["workers", "events/s, together"], *rows]
    if "verify" in scenarios:
        yield "Verification of what one worker has done", [_VERIFY_COLUMNS, *_verify(scenarios["verify"])]
    if "latency" in scenarios:
        yield "Latency from event to readable invocation", [_LATENCY_COLUMNS, *_latency(scenarios["latency"])]
    if "keyed" in scenarios:
        rates, latency = scenarios["keyed"]["rates"], scenarios["keyed"]["latency"]
        columns = [column.replace("events/s", "facts/s") for column in _COLUMNS]
        yield "Triggers with memory", [columns, *(_row(name, each) for name, each in rates.items())]
        yield "Latency through both stages", [_LATENCY_COLUMNS, *_latency(latency)]


def markdown(results: Mapping[str, Any], folder: str = "") -> str:
    """The results as a README in ``folder``'s parent has them, the picture first."""
    machine, versions = results["machine"], results["versions"]
    lines = [
        f"![Rates and latency of stream_triggers and Kafka Streams]({folder}results/{PLOT.name})",
        "",
        f"{results['date']}, `{results['command']}`: {machine['cpu']}, {machine['cores']} cores,"
        f" {machine['memory_gb']:.0f} GB; {', '.join(f'{name} {number}' for name, number in versions.items())}.",
    ]
    for title, (head, *rows) in tables(results):
        lines += ["", f"**{title}**", "", _line(head), _line(["---"] * len(head)), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def stages_markdown(stages: Mapping[str, Any]) -> str:
    """Where a worker's time goes, as the README has it."""
    lines = [
        f"{stages['date']}, `{stages['command']}`, microseconds per event:",
        "",
        _line(["stage", "computed", "passed", "calls"]),
        _line(["---", "--:", "--:", "--:"]),
    ]
    for depth, name, does, computed_us, passed_us, calls in stages["stages"]:
        label = f"{'&emsp;' * depth}`{name}` {does}"
        lines.append(_line([label, f"{computed_us:.2f}", f"{passed_us:.2f}", str(calls)]))
    return "\n".join(lines) + "\n"


def between(text: str, name: str, put: str) -> str:
    """``text`` with ``put`` between its marks of this name."""
    begin, end = f"<!-- {name}: python -m bench.report -->", f"<!-- end of {name} -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{put}{end}{after}"


def into_readmes() -> None:
    """Put what was measured last, and the plot of it, where the READMEs show them."""
    results = json.loads(LATEST.read_text())
    text = between(README.read_text(), "results", markdown(results))
    if STAGES.exists():
        text = between(text, "stages", stages_markdown(json.loads(STAGES.read_text())))
    README.write_text(text)
    shown = results | {"scenarios": {name: results["scenarios"][name] for name in SHOWN_IN_PROJECT}}
    PROJECT_README.write_text(between(PROJECT_README.read_text(), "results", markdown(shown, "bench/")))
    PLOT.write_text(plot(results))


_RATES = {
    "throughput": "One trigger, half of the events fire",
    "triggers": "Many triggers on one event code, half of the events fire one of them",
    "unmatched": "Events that no trigger listens to",
    "partitions": "Partitions of the input",
    "start": "A trigger that starts in the past, half of the events fire",
}
"""The scenarios that measure rates, and the titles of their tables."""

_LABELS = {
    "floor": "client's floor",
    "kafka_streams": "Kafka Streams, tuned",
    "kafka_streams_plain": "Kafka Streams, default settings",
    "kafka_streams_100": "Kafka Streams, commits every 100 ms",
    "kafka_streams_10": "Kafka Streams, commits every 10 ms",
    "engine_to_floor": "engine : floor",
    "engine_to_kafka_streams": "engine : Kafka Streams, tuned",
    "engine_to_kafka_streams_plain": "engine : Kafka Streams, default settings",
    "many_to_few": "10,000 : 100",
    "catching_up": "catching up with what was there",
    "live": "taking the same as it comes",
    "catching_up_to_live": "catching up : as it comes",
    "and": "two events by key, 100,000 keys open",
    "count": "ten events by key in a window",
    "timers": "one timer for each key",
    "both_stages": "two events to their invocation",
}

_MEASURES = ("events_per_s", "second_half_events_per_s", "cpu_s_per_million", "second_half_cpu_s_per_million", "rss_mb")
_FORMATS = (",.0f", ",.0f", ".1f", ".1f", ".0f")
_COLUMNS = ["", "events/s", "in the second half", "CPU s per million", "in the second half", "RSS MB"]
_VERIFY_COLUMNS = ["messages/s", "CPU s per million", "RSS MB", "invocations expected", "findings", "not judged"]
_VERIFY_MEASURES = (("events_per_s", ",.0f"), ("cpu_s_per_million", ".1f"), ("rss_mb", ".0f"))
_LATENCY_COLUMNS = ["", "events/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "events", "missing"]


def _row(name: str, measured: Mapping[str, Any] | str) -> list[str]:
    """A program's numbers, or ratios of two programs' numbers, or why there are none."""
    label = _LABELS.get(name, name)
    if isinstance(measured, str):
        return [label, measured, "", "", "", ""]
    formats = _FORMATS if "rss_mb" in measured else [".2f"] * len(_FORMATS)
    cells = [
        format(measured[measure], form) if measure in measured else ""
        for measure, form in zip(_MEASURES, formats, strict=True)
    ]
    return [label, *cells]


def _verify(measured: Mapping[str, Any]) -> Iterator[list[str]]:
    judged = measured["verify"]
    rate, cost, memory = (format(judged[each], form) for each, form in _VERIFY_MEASURES)
    yield [rate, cost, memory, *(f"{judged[each]:,}" for each in ("expected", "findings", "unjudged"))]


def _latency(measured: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, by_rate in measured.items():
        label = _LABELS.get(name, name)
        if isinstance(by_rate, str):
            yield [label, by_rate, *[""] * 6]
            continue
        for rate, each in by_rate.items():
            times = [f"{each[part]:.1f}" for part in ("p50", "p90", "p99", "max")]
            yield [label, rate, *times, str(each["samples"]), str(each["missing"])]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    models = (
        [line for line in information.read_text().splitlines() if "model name" in line] if information.exists() else []
    )
    return models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _java() -> str:
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return said.splitlines()[0]


if __name__ == "__main__":
    into_readmes()
    sys.stdout.write(f"{README}, {PROJECT_README} and {PLOT} show {LATEST}\n")
