"""What is measured, each scenario a function from a ``Bench`` to its results.

Rules:
1. Programs that are compared take turns on the same topics, round by round; a ratio is made within a round, and
   reported is the median over the rounds. A machine that is slow for a minute is then slow for both.
2. What could not be run is reported with the reason, and has no number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench import programs
from bench.keyed import (
    AND,
    COUNT,
    COUNTED,
    DUE,
    KEYS,
    PENDING,
    WAIT_MS,
    pairs,
    pairs_completed,
    repeats,
    repeats_completed,
    singles,
)
from bench.latency import Latency
from bench.load import CODES, PARTITIONS, Work
from bench.meter import Measurement
from bench.programs import COMMIT_MS, Failed, KafkaStreams
from stream_triggers.runtime.log import Outgoing

SHORT_COMMIT_MS = 10
RATES = (200, 1000)
TRIGGER_COUNTS = (100, 10_000)
PARTITION_COUNTS = (1, 12)
WORKER_COUNTS = (1, 2)

COMPARED = ("events_per_s", "second_half_events_per_s", "cpu_s_per_million", "second_half_cpu_s_per_million")
"""The measures of two programs of which ratios are made."""


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark: on which broker, how much of everything."""

    bootstrap_servers: str
    name: str
    events: int
    events_aside: int
    """How many in the scenarios that are not about the comparison with others."""
    rounds: int
    latency_s: float
    streams: KafkaStreams | str
    """Built, or why it is not run."""
    tell: Callable[[str], None]
    """Hears what is being done."""

    def work(self, name: str, *, triggers: int = 1, events: int = 0, firing: bool = True, partitions: int = 0) -> Work:
        """Topics of their own, with triggers and events in them."""
        work = Work(self.bootstrap_servers, f"{self.name}.{name}")
        self.tell(f"{name}: {triggers} triggers, {events:,} events")
        work.create_topics(partitions or PARTITIONS)
        if triggers:
            work.apply_triggers(triggers)
        if events:
            work.send_events(events, firing=firing)
        return work

    def alternate(
        self, works: Mapping[str, Work], run: Callable[[str, Work], Measurement], partitions: int = PARTITIONS
    ) -> dict[str, Any]:
        """Each of ``works`` in every round, in turns; ``run`` is told whose turn it is."""
        measured: dict[str, list[Measurement]] = {name: [] for name in works}
        for number in range(1, self.rounds + 1):
            for name, work in works.items():
                self.tell(f"{name}, round {number} of {self.rounds}")
                result = run(name, work.round(number, partitions))
                result.pop("timeline")
                measured[name].append(result)
        return {name: summary(rounds) for name, rounds in measured.items()}


def summary(rounds: list[Measurement]) -> dict[str, Any]:
    """The medians over the rounds, and the rounds."""
    names = [name for name, value in rounds[0].items() if isinstance(value, int | float)]
    return {name: median(each[name] for each in rounds) for name in names} | {"rounds": rounds}


def ratios(of: Mapping[str, Any], to: Mapping[str, Any]) -> dict[str, float]:
    """How many times ``to``'s rates and costs are in ``of``'s: medians over the rounds."""
    pairs = list(zip(of["rounds"], to["rounds"], strict=True))
    return {what: median(one[what] / other[what] for one, other in pairs) for what in COMPARED}


def throughput(bench: Bench) -> dict[str, Any]:
    """One trigger, half of the events fire: the floor, the engine, Kafka Streams."""
    streams = bench.streams
    run: dict[str, Callable[[Work], Measurement]] = {
        "floor": lambda work: programs.floor(work, bench.events),
        "engine": lambda work: programs.engine(work, bench.events),
    }
    if isinstance(streams, KafkaStreams):
        plain = replace(streams, style="plain")
        run["kafka_streams"] = lambda work: streams.count(work, bench.events)
        run["kafka_streams_plain"] = lambda work: plain.count(work, bench.events)
    work = bench.work("throughput", events=bench.events)
    measured = bench.alternate(dict.fromkeys(run, work), lambda name, each: run[name](each))
    for other in (name for name in run if name != "engine"):
        measured[f"engine_to_{other}"] = ratios(measured["engine"], measured[other])
    return {"kafka_streams": streams} | measured if isinstance(streams, str) else measured


def triggers(bench: Bench) -> dict[str, Any]:
    """Many triggers on one event code, each with a filter; one of them fires, for half of the events."""
    counts = {str(n): n for n in TRIGGER_COUNTS}
    works = {name: bench.work(f"triggers-{name}", triggers=n, events=bench.events_aside) for name, n in counts.items()}
    measured = bench.alternate(works, lambda _, work: programs.engine(work, bench.events_aside))
    few, many = (measured[name] for name in counts)
    return measured | {"many_to_few": ratios(many, few)}


def unmatched(bench: Bench) -> dict[str, Any]:
    """Events of a code that no trigger listens to; the floor reads them and commits positions."""
    work = bench.work("unmatched", events=bench.events_aside, firing=False)
    run: dict[str, Callable[[Work], Measurement]] = {
        "floor": lambda each: programs.floor(each, bench.events_aside, forward=False),
        "engine": lambda each: programs.engine(each, bench.events_aside),
    }
    measured = bench.alternate(dict.fromkeys(run, work), lambda name, each: run[name](each))
    return measured | {"engine_to_floor": ratios(measured["engine"], measured["floor"])}


def start(bench: Bench) -> dict[str, Any]:
    """A trigger that starts in the past, alone with what it catches up with; and the same events as they come.

    One round: topics know how far a trigger has come, so one that has never started needs new ones.
    """
    work = bench.work("start", triggers=0, events=bench.events_aside)
    measured = {
        "catching_up": programs.engine_catching_up(work.round(1), bench.events_aside),
        "live": programs.engine(work.round(2), bench.events_aside),
    }
    for each in measured.values():
        each.pop("timeline")
    of, to = ({"rounds": [measured[name]]} for name in ("catching_up", "live"))
    return measured | {"catching_up_to_live": ratios(of, to)}


def partitions(bench: Bench) -> dict[str, Any]:
    """The same with few and with many partitions: a transaction costs a request for each that it touches."""
    measured: dict[str, Any] = {}
    for n in PARTITION_COUNTS:
        work = bench.work(f"partitions-{n}", events=bench.events_aside, partitions=n)
        measured |= bench.alternate({str(n): work}, lambda _, each: programs.engine(each, bench.events_aside), n)
    return measured


def workers(bench: Bench) -> dict[str, Any]:
    """Workers that share the input, all of them there before it comes, measured while all of them have some."""
    measured: dict[str, Any] = {}
    for n in WORKER_COUNTS:
        work = bench.work(f"workers-{n}")
        with programs.engines(work, bench.events, n) as running:
            work.wait_for_workers(n)
            work.send_events_at_once(bench.events)
            bench.tell(f"{n} workers")
            results = [programs.ended(each) for each in running]
        start = max(_reached(each, 1) for each in results)
        end = min(_reached(each, each["messages"]) for each in results)
        done = sum(_done(each, end) - _done(each, start) for each in results)
        measured[str(n)] = {"events_per_s": done / (end - start), "seconds": end - start, "messages": done}
    return measured


def verify(bench: Bench) -> dict[str, Any]:
    """The judge on what one worker has done with the events: how fast it is, and what it finds."""
    work = bench.work("verify", events=bench.events).round(1)
    bench.tell("verify")
    engine = programs.engine(work, bench.events)
    engine.pop("timeline")
    return {"engine": engine, "verify": programs.judge(work)}


def latency(bench: Bench) -> dict[str, Any]:
    """From an event's produce to its invocation being readable, by rate."""
    streams = bench.streams
    work = bench.work("latency-engine")
    measured: dict[str, Any] = {"engine": _latency(bench, programs.engine_serving(work), work, work.topics.invocations)}
    if isinstance(streams, str):
        return measured | {"kafka_streams": streams}
    for commit_ms in (COMMIT_MS, SHORT_COMMIT_MS):
        work = bench.work(f"latency-streams-{commit_ms}")
        running = streams.serving(work, commit_ms)
        measured[f"kafka_streams_{commit_ms}"] = _latency(bench, running, work, work.streams_invocations)
    return measured


def keyed(bench: Bench) -> dict[str, Any]:
    """Triggers with memory: facts per second, and how late the invocations are that both stages make.

    One round: the topic of facts belongs to the work, so a worker that has never seen them needs new topics.
    """
    facts, rate = bench.events_aside, RATES[0]
    open_keys, counted_keys = min(KEYS, facts // 2), max(1, facts // (2 * COUNTED))
    rates = {
        "and": _evaluated(
            _remembering(bench, "and", pairs(facts, open_keys), AND), facts, pairs_completed(facts, open_keys)
        ),
        "count": _evaluated(
            _remembering(bench, "count", repeats(facts, counted_keys), COUNT),
            facts,
            repeats_completed(facts, counted_keys),
        ),
    }
    timers = _remembering(bench, "timers", singles(facts), PENDING, DUE)
    rates["timers"] = _evaluated(timers, facts, 0)
    both = _remembering(bench, "latency", (), AND)
    return {
        "rates": rates,
        "latency": {
            "both_stages": {str(rate): _probed(bench, both, rate // len(CODES), codes=CODES)},
            f"{facts:,} timers pending": {str(rate): _probed(bench, timers, rate, due_ms=WAIT_MS)},
        },
    }


def _remembering(bench: Bench, name: str, records: Iterable[Outgoing], *triggers: Mapping[str, Any]) -> Work:
    """Topics of their own, with triggers that remember, and events in them."""
    work = Work(bench.bootstrap_servers, f"{bench.name}.keyed-{name}")
    bench.tell(f"keyed, {name}: sending events")
    work.create_topics()
    work.apply(*triggers)
    work.send(records)
    bench.tell(f"keyed, {name}")
    return work


def _evaluated(work: Work, facts: int, fired: int) -> dict[str, Any]:
    """What evaluating ``facts`` takes, after which so many have fired; raises ``Failed`` when others have."""
    measured = programs.engine_keyed(work, facts)
    measured.pop("timeline")
    if measured["fired"] != fired and not measured["aborts"]:  # what is aborted fires again
        raise Failed(f"{work.name}: {measured['fired']} fired, expected {fired}")
    return summary([measured])


def _probed(bench: Bench, work: Work, rate: int, **probing: Any) -> Measurement:
    """How late invocations come, so many a second; ``probing`` says what makes one, see ``Latency``."""
    events, invocations = work.topics.events, work.topics.invocations
    with programs.engine_serving(work), Latency(work.bootstrap_servers, events, invocations, **probing) as probe:
        probe.warm_up()
        bench.tell(f"{work.name}, {rate} invocations/s")
        return probe.measure(rate, bench.latency_s)


def _latency(bench: Bench, running: AbstractContextManager[None], work: Work, target: str) -> dict[str, Measurement]:
    measured = {}
    with running, Latency(bench.bootstrap_servers, work.topics.events, target) as probe:
        probe.warm_up()
        for rate in RATES:
            bench.tell(f"{work.name}, {rate} events/s")
            measured[str(rate)] = probe.measure(rate, bench.latency_s)
    return measured


def _done(result: Measurement, at_s: float) -> int:
    """How many messages a worker had processed at one instant."""
    return max((messages for marked_s, messages in result["timeline"] if marked_s <= at_s), default=0)


def _reached(result: Measurement, count: int) -> float:
    """When a worker had processed so many messages."""
    return float(next(marked_s for marked_s, messages in result["timeline"] if messages >= count))


SCENARIOS: Mapping[str, Callable[[Bench], dict[str, Any]]] = {
    each.__name__: each
    for each in (throughput, triggers, unmatched, partitions, workers, start, latency, keyed, verify)
}
"""All of them by name, in the order in which they run."""
