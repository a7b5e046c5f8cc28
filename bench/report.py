"""Results as a file, as a table, and in the README: `python -m bench.report` writes the README's from latest.json."""

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
PLOT = LATEST.with_suffix(".svg")
README = HERE / "README.md"

_BEGIN, _END = "<!-- results: python -m bench.report -->", "<!-- end of results -->"
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
        streams = scenarios["throughput"]["kafka_streams"]
        if isinstance(streams, Mapping):
            found["kafka_streams_events_per_s"] = streams["events_per_s"]
            found["kafka_streams_second_half_events_per_s"] = streams["second_half_events_per_s"]
    if "triggers" in scenarios:
        found["engine_events_per_s_10000_triggers"] = scenarios["triggers"]["10000"]["events_per_s"]
    if "latency" in scenarios:
        found |= {f"latency_ms_{rate}": measured for rate, measured in scenarios["latency"]["engine"].items()}
    return found


def write(results: Mapping[str, Any], path: Path) -> None:
    """Keep ``results``."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def tables(results: Mapping[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
    """A title and rows for every scenario in ``results``; the first row has the names of the columns."""
    scenarios = results["scenarios"]
    if "throughput" in scenarios:
        yield _throughput(scenarios["throughput"])
    for name, title in (
        ("triggers", "Many triggers on one event code"),
        ("unmatched", "Events that no trigger listens to"),
        ("partitions", "Partitions of the input"),
    ):
        if name in scenarios:
            yield title, [_COLUMNS, *(_row(label, each) for label, each in scenarios[name].items() if "rounds" in each)]
    if "workers" in scenarios:
        rows = [[label, f"{each['events_per_s']:,.0f}"] for label, each in scenarios["workers"].items()]
        yield "Worker processes on one machine", [["workers", "events/s, together"], *rows]
    if "latency" in scenarios:
        yield _latency(scenarios["latency"])


def markdown(results: Mapping[str, Any]) -> str:
    """The results as the README has them."""
    machine, versions = results["machine"], results["versions"]
    lines = [
        f"{results['date']}, `{results['command']}`: {machine['cpu']}, {machine['cores']} cores,"
        f" {machine['memory_gb']:.0f} GB; {', '.join(f'{name} {number}' for name, number in versions.items())}.",
    ]
    for title, (head, *rows) in tables(results):
        lines += ["", f"**{title}**", "", _line(head), _line(["---"] * len(head)), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def into_readme(results: Mapping[str, Any]) -> None:
    """Put the results and the plot where the README shows them."""
    text = README.read_text()
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    README.write_text(f"{before}{_BEGIN}\n{markdown(results)}{_END}{after}")
    PLOT.write_text(plot(results))


_COLUMNS = ["", "events/s", "second half", "CPU s per million", "second half", "RSS MB"]


def _row(label: str, measured: Mapping[str, Any]) -> list[str]:
    return [
        label.replace("_", " "),
        f"{measured['events_per_s']:,.0f}",
        f"{measured['second_half_events_per_s']:,.0f}",
        f"{measured['cpu_s_per_million']:.1f}",
        f"{measured['second_half_cpu_s_per_million']:.1f}",
        f"{measured['rss_mb']:.0f}",
    ]


def _throughput(measured: Mapping[str, Any]) -> tuple[str, list[list[str]]]:
    rows = [_COLUMNS]
    for name, each in measured.items():
        if isinstance(each, str):
            rows.append([name.replace("_", " "), each, "", "", "", ""])
        elif "rounds" in each:
            rows.append(_row(name, each))
        else:
            what = ("events_per_s", "second_half_events_per_s", "cpu_s_per_million", "second_half_cpu_s_per_million")
            rows.append([name.replace("_", " "), *(f"{each[one]:.2f}" for one in what), ""])
    return "One trigger, half of the events fire; medians, ratios within rounds", rows


def _latency(measured: Mapping[str, Any]) -> tuple[str, list[list[str]]]:
    rows = [["", "events/s", "p50 ms", "p90 ms", "p99 ms", "most", "events", "missing"]]
    for name, by_rate in measured.items():
        if isinstance(by_rate, str):
            rows.append([name.replace("_", " "), by_rate, *[""] * 6])
            continue
        for rate, each in by_rate.items():
            times = [f"{each[part]:.1f}" for part in ("p50", "p90", "p99", "max")]
            rows.append([name.replace("_", " "), rate, *times, str(each["samples"]), str(each["missing"])])
    return "Latency from event to readable invocation", rows


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
    into_readme(json.loads(LATEST.read_text()))
    sys.stdout.write(f"{README} and {PLOT} show {LATEST}\n")
