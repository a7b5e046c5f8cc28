"""What the keyed stage keeps to, each switched off; the simulation must fail on every one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from stream_triggers.core.keyed.follow import RUN
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.keyed.state import Clocks
from stream_triggers.core.record import Fact
from stream_triggers.runtime.claims import Claims
from stream_triggers.runtime.keyed import evaluate_stage, facts, state_log
from stream_triggers.runtime.keyed.active import Active
from stream_triggers.runtime.keyed.facts import Defined, FactWriter
from stream_triggers.runtime.keyed.progress import ProgressTable, Routing
from stream_triggers.runtime.keyed.states import OF_STATE, FactsPartition, States
from stream_triggers.runtime.keyed.timers import Timers
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.route_stage import RouteStage
from stream_triggers.runtime.store import MemoryStore
from tests.mutants import mutant, replaced


@mutant(0, simulation_finds=True)
def timers_are_not_rebuilt_from_restored_states() -> Iterator[None]:
    with replaced(state_log, "change_timers", lambda *_: None):
        yield


@mutant(0, simulation_finds=True)
def the_watermark_ignores_partitions_that_lag() -> Iterator[None]:
    newest = property(lambda table: max(map(table._routed_ms, table._inputs), default=0))
    with replaced(ProgressTable, "watermark_ms", newest):
        yield


@mutant(0, simulation_finds=True)
def the_watermark_ignores_partitions_of_which_nothing_is_known() -> Iterator[None]:
    known = property(lambda table: min(filter(None, map(table._routed_ms, table._inputs)), default=0))
    with replaced(ProgressTable, "watermark_ms", known):
        yield


@mutant(0, simulation_finds=True)
def progress_is_now_whatever_the_backlog() -> Iterator[None]:
    def measure(
        routing: Routing, next_offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], now_ms: int
    ) -> dict[TopicPartition, int]:
        return dict.fromkeys(next_offsets, now_ms)

    with replaced(Routing, "measure", measure):
        yield


@mutant(0, simulation_finds=True)
def facts_are_written_before_their_activation() -> Iterator[None]:
    write = FactWriter.write

    def facts_first(writer: FactWriter, defined: Defined, facts: Sequence[Fact], into: list[Outgoing]) -> None:
        records: list[Outgoing] = []
        write(writer, defined, facts, records)
        into.extend(reversed(records))

    with replaced(FactWriter, "write", facts_first):
        yield


@mutant(0, simulation_finds=True)
def what_an_aborted_transaction_has_activated_stays_activated() -> Iterator[None]:
    with replaced(FactWriter, "drop_pending", FactWriter.settle):
        yield


@mutant(0, simulation_finds=True)
def states_are_not_written_to_the_changelog() -> Iterator[None]:
    records = States.records

    def without_states(states: States) -> list[Outgoing]:
        return [each for each in records(states) if (each["key"] or b"")[:1] != OF_STATE]

    with replaced(States, "records", without_states):
        yield


@mutant(0, simulation_finds=True)
def deletions_are_not_written_to_the_changelog() -> Iterator[None]:
    records = States.records

    def without_deletions(states: States) -> list[Outgoing]:
        return [each for each in records(states) if each["value"] is not None]

    with replaced(States, "records", without_deletions):
        yield


@mutant(0, simulation_finds=True)
def what_an_aborted_transaction_has_changed_stays() -> Iterator[None]:
    with replaced(States, "drop_pending", lambda states: None), replaced(States, "close", lambda states, number: None):
        yield


@mutant(0, simulation_finds=True)
def clocks_are_not_remembered() -> Iterator[None]:
    def advance(partition: FactsPartition, wall_ms: int, watermark_ms: int = 0) -> Clocks:
        wall, watermark = partition.clocks
        partition.clocks = Clocks(max(wall, wall_ms), max(watermark, watermark_ms))
        return partition.clocks

    with replaced(FactsPartition, "advance", advance):
        yield


@mutant(0, simulation_finds=True)
def states_outlive_their_trigger() -> Iterator[None]:
    after = Active.after

    def keeping(active: Active, activation: Any, at: int) -> Active:
        made = after(active, activation, at)
        return Active(made.trigger_id, made.version, made.offset, made.form, 0, True)

    with replaced(Active, "after", keeping):
        yield


@mutant(0, simulation_finds=True)
def news_of_runs_is_not_claimed() -> Iterator[None]:
    write = RouteStage._write_facts

    def unclaimed(stage: RouteStage, keyed: KeyedPlan, firing: Any, outputs: Outputs) -> None:
        claims = stage._claims
        try:
            if firing[2].leaf == RUN:
                stage._claims = Claims(MemoryStore(), 1)
            write(stage, keyed, firing, outputs)
        finally:
            stage._claims = claims

    with replaced(RouteStage, "_write_facts", unclaimed):
        yield


@mutant(0, simulation_finds=True)
def what_waits_for_the_end_of_a_pause_is_not_looked_at() -> Iterator[None]:
    after = Active.after

    def unswept_only_by_deletion(active: Active, activation: Any, at: int) -> Active:
        made = after(active, activation, at)
        return made if not made.form or made is active else replace(made, swept=active.swept, swept_to=active.swept_to)

    with replaced(Active, "after", unswept_only_by_deletion):
        yield


@mutant(0, simulation_finds=True)
def a_pause_is_not_written_to_the_changelog() -> Iterator[None]:
    encode = Active.encode
    with replaced(Active, "encode", lambda active: encode(replace(active, pause=None))):
        yield


@mutant(0, simulation_finds=True)
def an_activation_says_nothing_of_a_pause() -> Iterator[None]:
    make = facts.activation
    with replaced(facts, "activation", lambda defined, *rest: make(defined._replace(pause=None), *rest)):
        yield


@mutant(0, simulation_finds=True)
def what_is_held_takes_no_claim() -> Iterator[None]:
    write = RouteStage._write_facts

    def without_claim(stage: RouteStage, keyed: KeyedPlan, firing: Any, outputs: Outputs) -> None:
        with replaced(Claims, "take", lambda claims, claim, source: None):
            write(stage, keyed, firing, outputs)

    with replaced(RouteStage, "_write_facts", without_claim):
        yield


@mutant(0, simulation_finds=True)
def timers_of_the_open_transaction_are_not_looked_at() -> Iterator[None]:
    with replaced(Timers, "add", lambda timers, key, wake: None):
        yield


@mutant(0, simulation_finds=True)
def what_fails_in_the_keyed_stage_is_no_dead_letter() -> Iterator[None]:
    with replaced(evaluate_stage, "FAILED", {}):
        yield
