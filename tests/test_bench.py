"""The benchmark itself: that its numbers mean what they say."""

import json

import pytest

from bench import keyed, programs, report
from bench.load import Work
from bench.meter import Meter
from bench.plot import plot
from bench.scenarios import COMPARED, Bench, ratios, summary
from stream_triggers.runtime.codec import decode


def test_a_meter_reports_the_second_half_alone():
    meter = Meter()
    meter.start()
    for _ in range(4):
        meter.count(250)
    result = meter.result()
    assert result["messages"] == 1000
    middle_s, end_s = result["timeline"][2][0], result["timeline"][-1][0]
    assert result["second_half_events_per_s"] == pytest.approx(500 / (end_s - middle_s))


def test_a_ratio_is_made_within_rounds():
    ours = summary([dict.fromkeys(COMPARED, number) for number in (20, 2000, 70)])
    theirs = summary([dict.fromkeys(COMPARED, number) for number in (10, 1000, 70)])
    assert ratios(ours, theirs) == dict.fromkeys(COMPARED, 2)


RATES = {
    "events_per_s": 50_000.0,
    "second_half_events_per_s": 60_000.0,
    "cpu_s_per_million": 12.25,
    "second_half_cpu_s_per_million": 11.0,
    "rss_mb": 140.0,
    "rounds": [],
}
LATENCY = {"p50": 7.25, "p90": 9.0, "p99": 12.0, "max": 20.0, "samples": 10, "missing": 0}
SCENARIOS = {
    "throughput": {"kafka_streams": "not run: no mvn on the PATH", "floor": RATES, "engine": RATES},
    "triggers": {"100": RATES, "10000": RATES},
    "verify": {
        "engine": RATES,
        "verify": RATES | {"expected": 1000, "findings": 0, "unjudged": 0},
    },
    "latency": {"engine": {"200": LATENCY, "1000": LATENCY}, "kafka_streams": "not run: no mvn on the PATH"},
    "keyed": {
        "rates": {"and": RATES, "count": RATES, "timers": RATES},
        "latency": {"both_stages": {"200": LATENCY}, "10,000 timers pending": {"200": LATENCY}},
    },
}


def test_the_numbers_asked_for_most_are_on_top():
    assert report.collected(SCENARIOS) == {
        "floor_events_per_s": 50_000.0,
        "engine_events_per_s": 50_000.0,
        "engine_second_half_events_per_s": 60_000.0,
        "cpu_s_per_million": 12.25,
        "rss_mb": 140.0,
        "engine_events_per_s_10000_triggers": 50_000.0,
        "verify_events_per_s": 50_000.0,
        "latency_ms_200": LATENCY,
        "latency_ms_1000": LATENCY,
        "keyed_and_facts_per_s": 50_000.0,
        "keyed_count_facts_per_s": 50_000.0,
        "keyed_timers_facts_per_s": 50_000.0,
        "keyed_latency_ms_200": LATENCY,
    }


def test_what_was_not_run_is_shown_with_its_reason_and_no_number():
    results = report.environment("python -m bench") | {"scenarios": SCENARIOS}
    lines = report.markdown(results).splitlines()
    assert "| engine | 50,000 | 60,000 | 12.2 | 11.0 | 140 |" in lines
    assert "| 50,000 | 12.2 | 140 | 1,000 | 0 | 0 |" in lines
    assert "| Kafka Streams, tuned | not run: no mvn on the PATH |  |  |  |  |" in lines
    assert "Kafka Streams" not in plot(results).partition("</style>")[2]


def test_triggers_with_memory_are_shown_by_what_they_remember():
    results = report.environment("python -m bench") | {"scenarios": SCENARIOS}
    lines = report.markdown(results).splitlines()
    assert "| two events by key, 100,000 keys open | 50,000 | 60,000 | 12.2 | 11.0 | 140 |" in lines
    assert "| two events to their invocation | 200 | 7.2 | 9.0 | 12.0 | 20.0 | 10 | 0 |" in lines
    assert "| 10,000 timers pending | 200 | 7.2 | 9.0 | 12.0 | 20.0 | 10 | 0 |" in lines


@pytest.mark.parametrize(("count", "completed"), [(3, 0), (4, 1), (6, 3), (9, 3), (10, 4), (12, 6)])
def test_pairs_are_completed_when_the_second_of_a_key_has_come(count, completed):
    codes = [(record["key"], code_of(record)) for record in keyed.pairs(count, 3)]
    assert len(set(codes[:6])) == min(count, 6)
    assert keyed.pairs_completed(count, 3) == completed


@pytest.mark.parametrize(("count", "completed"), [(19, 0), (20, 0), (30, 3), (29, 2), (60, 6), (58, 4)])
def test_a_count_is_completed_with_every_tenth_of_a_key(count, completed):
    assert len({record["key"] for record in keyed.repeats(count, 3)}) == 3
    assert keyed.repeats_completed(count, 3) == completed


def code_of(record):
    return decode(record["value"]).code


def test_results_are_kept_as_json(tmp_path):
    path = tmp_path / "results" / "some.json"
    report.write({"events": 5}, path)
    assert json.loads(path.read_text()) == {"events": 5}


@pytest.mark.kafka
def test_the_engine_fires_for_half_of_the_events(bootstrap_servers):
    work = Work(bootstrap_servers, "bench-smoke")
    work.create_topics()
    work.apply_triggers(1)
    work.send_events(4000)
    measured = programs.engine(work, 4000)
    assert (measured["messages"], measured["fired"], measured["aborts"]) == (4000, 2000, 0)
    assert measured["events_per_s"] > 0


@pytest.mark.kafka
def test_the_keyed_stage_fires_for_every_pair(bootstrap_servers):
    work = Work(bootstrap_servers, "bench-keyed")
    work.create_topics()
    work.apply(keyed.AND)
    work.send(keyed.pairs(3000, 500))
    measured = programs.engine_keyed(work, 3000)
    assert (measured["messages"], measured["fired"], measured["aborts"]) == (3000, 1500, 0)


@pytest.mark.kafka
def test_two_works_of_a_bench_share_no_topics(bootstrap_servers):
    bench = Bench(bootstrap_servers, "bench-works", 100, 100, 1, 1.0, "not run", lambda _doing: None)
    first, second = bench.work("one", events=10), bench.work("two")
    assert set(first.topics.all).isdisjoint(second.topics.all)
