"""What lanes keep to and what triggers that are behind do, each switched off; the simulation must fail on every one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from stream_triggers.core.record import Behind, Start
from stream_triggers.runtime import changelog, lanes
from stream_triggers.runtime.keyed.active import Active
from stream_triggers.runtime.keyed.progress import Lane, ProgressTable, lane_record, name_of
from stream_triggers.runtime.keyed.states import FactsPartition
from stream_triggers.runtime.lanes import Lanes
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.route_stage import RouteStage
from stream_triggers.runtime.worker import Worker
from tests.mutants import mutant, replaced


@mutant(0, simulation_finds=True)
def what_a_lane_makes_is_written_after_its_position_is_committed() -> Iterator[None]:
    write, waiting = Worker._write_moved, dict[int, Outputs]()

    def write_late(worker: Worker, outputs: Outputs, moved: Sequence[TopicPartition]) -> None:
        made = waiting.pop(id(worker), Outputs())
        waiting[id(worker)] = _with_progress(outputs, [])
        made.progress = outputs.progress
        write(worker, made, moved)

    with replaced(Worker, "_write_moved", write_late):
        yield


@mutant(0, simulation_finds=True)
def the_position_of_a_lane_is_committed_after_what_it_makes() -> Iterator[None]:
    write, waiting = Worker._write_moved, dict[int, list[Outgoing]]()

    def write_late(worker: Worker, outputs: Outputs, moved: Sequence[TopicPartition]) -> None:
        earlier, waiting[id(worker)] = waiting.get(id(worker), []), outputs.progress
        write(worker, _with_progress(outputs, earlier), moved)

    with replaced(Worker, "_write_moved", write_late):
        yield


@mutant(0, simulation_finds=True)
def a_lane_joins_one_message_too_early() -> Iterator[None]:
    move = Lanes._move

    def ahead(self: Lanes, partition: TopicPartition, live: int, last_ms: int, outputs: Outputs) -> bool:
        positions = self._positions
        self._positions = {each: at + 1 for each, at in positions.items()}
        try:
            return move(self, partition, live, last_ms, outputs)
        finally:
            self._positions = positions

    with replaced(Lanes, "_move", ahead):
        yield


@mutant(0, simulation_finds=True)
def a_lane_is_said_to_have_joined_one_message_too_late() -> Iterator[None]:
    def later(lane: Lane) -> Outgoing:
        return lane_record(lane._replace(next_offset=lane.next_offset + lane.joined))

    with replaced(lanes, "lane_record", later):
        yield


@mutant(0, simulation_finds=True)
def a_lane_goes_on_after_it_has_joined() -> Iterator[None]:
    put = Lanes._put
    with replaced(Lanes, "_put", lambda self, lane: put(self, lane._replace(joined=False))):
        yield


@mutant(0, simulation_finds=True)
def a_trigger_that_has_a_lane_takes_what_is_new_too() -> Iterator[None]:
    with replaced(RouteStage, "leave_out", lambda stage, triggers: None):
        yield


@mutant(0, simulation_finds=True)
def a_lane_that_has_joined_is_opened_again() -> Iterator[None]:
    known = ProgressTable.lane

    def unjoined(table: ProgressTable, partition: TopicPartition, trigger_id: str, epoch: int) -> Lane | None:
        lane = known(table, partition, trigger_id, epoch)
        return None if lane is None or lane.joined else lane

    with replaced(ProgressTable, "lane", unjoined):
        yield


@mutant(0, simulation_finds=True)
def a_new_owner_does_not_wait_until_it_knows_how_far_lanes_have_come() -> Iterator[None]:
    with replaced(ProgressTable, "has_read_to", lambda table, end: True):
        yield


@mutant(0, simulation_finds=True)
def the_position_of_a_lane_stays_after_an_abort() -> Iterator[None]:
    def forget(table: ProgressTable, partition: TopicPartition) -> None:
        table._measured.pop(name_of(partition), None)

    with replaced(ProgressTable, "forget", forget):
        yield


@mutant(0, simulation_finds=True)
def the_record_of_claims_has_a_key_that_does_not_depend_on_them() -> Iterator[None]:
    with replaced(changelog, "_hash", lambda packed: b""):
        yield


@mutant(0, simulation_finds=True)
def a_trigger_that_is_behind_has_the_watermark_of_all_others() -> Iterator[None]:
    with replaced(FactsPartition, "clocks_of", lambda partition, active: partition.clocks):
        yield


@mutant(0, simulation_finds=True)
def a_trigger_is_said_to_have_caught_up_before_it_has() -> Iterator[None]:
    with replaced(ProgressTable, "watermark_of", lambda table, trigger_id, start: None):
        yield


@mutant(0, simulation_finds=True)
def a_trigger_is_said_to_have_come_as_far_as_all_others() -> Iterator[None]:
    known = ProgressTable.watermark_of

    def as_all(table: ProgressTable, trigger_id: str, start: Start) -> int | None:
        return None if known(table, trigger_id, start) is None else table.watermark_ms

    with replaced(ProgressTable, "watermark_of", as_all):
        yield


@mutant(0, simulation_finds=True)
def what_is_kept_of_a_trigger_that_has_caught_up_is_not_looked_at() -> Iterator[None]:
    moved = Active.moved

    def unswept(active: Active, behind: Behind) -> Active:
        return replace(moved(active, behind), swept=active.swept, swept_to=active.swept_to)

    with replaced(Active, "moved", unswept):
        yield


def _with_progress(outputs: Outputs, progress: list[Outgoing]) -> Outputs:
    return Outputs(outputs.invocations, outputs.runs, outputs.dead_letters, outputs.facts, progress)
