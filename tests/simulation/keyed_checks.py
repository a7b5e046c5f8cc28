"""What must hold of the keyed stage: of its store all along, of its log and its outputs at the end.

1. Every state, definition and pair of clocks that a store gets is in a committed changelog record; a store that notes a
   position of a changelog has of every key what was written last before it, or something newer.
2. Timers in a store are those of its states.
3. A fact stands behind an activation of its version, which has the pause of its definition. Facts are those of the
   oracle, each as often, and resets, which nobody sent.
4. Of what was sent before the watermark of a tick every fact stands before the tick; where a trigger is behind, before
   its own watermark.
5. Clocks of ticks rise from one effect to the next, and outputs are those of the model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from stream_triggers.core.invocation import RunIds, TriggerRun
from stream_triggers.core.keyed.follow import RUN
from stream_triggers.core.keyed.manual import reset_in
from stream_triggers.core.keyed.state import decode_wake
from stream_triggers.core.message import Participant
from stream_triggers.core.record import Activation, Definition, Fact, Tick
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.keyed.state_log import restored
from stream_triggers.runtime.keyed.timers import timer_key
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.memory_log import Entry
from stream_triggers.runtime.store import Changes, MemoryStore
from tests.simulation.material import EPOCHS, PAUSED_IDS
from tests.simulation.model import Model
from tests.simulation.tail import Tail

if TYPE_CHECKING:
    from tests.simulation.oracle import Expected
    from tests.simulation.world import World

COLUMNS = {"states": b"s", "active": b"a", "clocks": b"c"}
"""The columns of the store, and what keys of the changelog begin with that are of each."""


class KeyedChecks:
    """The invariants of the keyed stage of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        topics = world.topics
        self.partitions = [TopicPartition(topics.trigger_facts, at) for at in range(world.profile.partitions)]
        self._logs = {topics.changelog_of(tp): StateChangelog(world, topics.changelog_of(tp)) for tp in self.partitions}
        self._tails = [Tail(world, tp) for tp in self.partitions]
        self._sources: dict[tuple[str, TopicPartition], set[int]] = defaultdict(set)
        """The positions of the messages that have made facts, or fired directly, under a claim."""
        self._retention_ms = world.config.claim_retention_ms
        self._names = {tp.partition: topics.changelog_of(tp) for tp in self.partitions}

    def before_apply(self, who: str, changes: Changes) -> None:
        """What is put is committed."""
        for column, key, value in changes.puts:
            if column in COLUMNS:
                log = self._logs[self._names[int.from_bytes(key[:4], "big")]]
                name = COLUMNS[column] + key[4:]
                assert value in log.values(name), f"{who} stores {name!r} as it was never committed"

    def after_turn(self) -> None:
        """Take in the facts that have come."""
        for tail in self._tails:
            for entry in tail.settled():
                fact = _value(entry)
                if isinstance(fact, Fact) and reset_in(fact) is None:
                    is_news = fact.leaves == (RUN,)
                    run_ids = RunIds(
                        fact.trigger_id, 0 if is_news else EPOCHS[fact.trigger_version], RUN if is_news else ""
                    )
                    run_id = run_ids.of_one(fact.participant.kind, fact.participant.id)
                    self._see(run_id.hex(), fact.participant)

    def see_run(self, run: TriggerRun) -> None:
        """A trigger has fired that meets the keyed stage only where it is paused, or one that always does."""
        if run.trigger_id in PAUSED_IDS:
            self._see(run.run_id, run.participants[-1])

    def again(
        self, claimed_ms: Callable[[str, TopicPartition], list[int]]
    ) -> Iterator[tuple[TopicPartition, int, str]]:
        """Where a message was taken again, because its claim was forgotten: position and run id."""
        for (run_id, source), offsets in self._sources.items():
            times = claimed_ms(run_id, source)
            assert len(times) == len(offsets), f"run {run_id} of {source} at {offsets} was claimed at {times}"
            assert all(later >= time + self._retention_ms for time, later in pairwise(times)), f"{run_id} taken twice"
            for offset in sorted(offsets)[1:]:
                yield source, offset, run_id

    def _see(self, run_id: str, one: Participant) -> None:
        self._sources[run_id, TopicPartition(one.topic, one.partition)].add(one.offset)

    def is_changelog(self, partition: TopicPartition) -> bool:
        """Whether it is one of the keyed stage."""
        return partition in self._logs

    def require_copy(self, store: MemoryStore, changes: Changes, name: TopicPartition, position: int, who: str) -> None:
        """With ``changes``, the store has all of a changelog before ``position``."""
        kept = _with(store, changes)
        for key, (last, later) in self._logs[name].before(position).items():
            column = next(column for column, first in COLUMNS.items() if key[:1] == first)
            stored = kept[column].get(name.partition.to_bytes(4, "big") + key[1:])
            assert stored in (last, *later), f"{who} notes position {position} of {name} without {key!r}"
        self._require_timers(kept, who)

    def backlog(self) -> dict[TopicPartition, int]:
        """How many facts are not worked off."""
        offsets = self._world.cluster.group(self._world.config.application).offsets
        return {
            tp: sum(
                1
                for each in self._world.cluster.partition(tp).entries[offsets.get(tp, 0) :]
                if each.outcome in ("committed", "open")
            )
            for tp in self.partitions
        }

    def models(self) -> list[Model]:
        """What the facts that have been read must lead to."""
        models, offsets = [], self._world.cluster.offsets(self._world.config.application)
        for tp in self.partitions:
            model = Model(tp.partition, len(self.partitions))
            model.take(each for each in self._committed(tp) if each.offset() < offsets.get(tp, 0))
            models.append(model)
        return models

    def at_end(self, expected: Iterable[Expected], models: Iterable[Model]) -> None:
        """Of the log; outputs are compared with the others."""
        found = Counter(
            encode(value)
            for tp in self.partitions
            for value in map(_value, self._committed(tp))
            if isinstance(value, Fact) and reset_in(value) is None
        )
        wanted = Counter(encode(fact) for part in expected for fact in part.facts)
        assert found == wanted, f"facts are lost: {wanted - found}, or made up: {found - wanted}"
        for tp in self.partitions:
            self._check_log(tp)
        for model in models:
            self._check_states(model)

    def _check_log(self, tp: TopicPartition) -> None:
        active: set[tuple[str, str]] = set()
        watermarks = Watermarks()
        defined = self._world.cluster.records(self._world.topics.trigger_definitions)
        for entry in self._committed(tp):
            match _value(entry):
                case Activation() as each:
                    active.add((each.trigger_id, each.trigger_version))
                    watermarks.activate(each)
                    if each.definition:
                        stored = decode(defined[each.definition_offset].value(), (Definition,))
                        assert stored.pause == each.pause, f"{each} is in force without {stored.pause}"
                        assert stored.start == each.start, f"{each} is in force without {stored.start}"
                case Tick() as tick:
                    watermarks.take(tick)
                case Fact() as fact:
                    assert (fact.trigger_id, fact.trigger_version) in active, f"{fact} before its activation at {entry}"
                    if reset_in(fact) is None:
                        self._check_sent(fact, watermarks.of(fact.trigger_id))

    def _check_sent(self, fact: Fact, watermark_ms: int) -> None:
        one = fact.participant
        sent = self._world.cluster.partition(TopicPartition(one.topic, one.partition)).entries[one.offset]
        sent_ms = sent.timestamp()[1]
        assert sent_ms >= watermark_ms, f"{fact}, sent at {sent_ms}, behind a watermark of {watermark_ms}"

    def _check_states(self, model: Model) -> None:
        """The changelog has the states of the model."""
        name = self._names[model.number]
        store, entries = MemoryStore(), self._world.cluster.records(name.topic)
        store.apply(restored(store, [each for each in entries if each.partition() == model.number]))
        names = {f"{trigger_id}\0{key}".encode() for trigger_id, key in model.states}
        stored = {key[4:] for key in _with(store, Changes())["states"]}
        assert stored == names, f"states of {name} are not those of the model, {names}: {stored}"

    def _require_timers(self, kept: Mapping[str, Mapping[bytes, bytes]], who: str) -> None:
        wanted = {
            timer_key(key[:4], clock, due_ms, key[4:])
            for key, value in kept["states"].items()
            for clock, due_ms in enumerate(decode_wake(value))
            if due_ms is not None
        }
        assert set(kept["timers"]) == wanted, f"{who} has other timers than its states have"

    def _committed(self, tp: TopicPartition) -> list[Entry]:
        return [each for each in self._world.cluster.partition(tp).entries if each.outcome == "committed"]


class Watermarks:
    """The watermark of each trigger in a facts partition: its own where it is behind."""

    def __init__(self) -> None:
        self._newest: dict[str, Activation] = {}
        self._own_ms: dict[str, int] = {}
        self._all_ms = 0

    def of(self, trigger_id: str) -> int:
        """Before which nothing may come any more of what is still of use."""
        is_deleted = not self._newest[trigger_id].definition
        return 0 if is_deleted else self._own_ms.get(trigger_id, self._all_ms)

    def activate(self, activation: Activation) -> None:
        """A trigger is behind that starts, or starts again."""
        trigger_id, start = activation.trigger_id, activation.start
        before = self._newest.get(trigger_id)
        if before is not None and activation.definition_offset <= before.definition_offset:
            return
        self._newest[trigger_id] = activation
        if start is None:
            self._own_ms.pop(trigger_id, None)
        elif before is None or before.start is None or before.start.epoch != start.epoch:
            self._own_ms[trigger_id] = 0

    def take(self, tick: Tick) -> None:
        """Clocks move, neither ever back."""
        self._all_ms = max(self._all_ms, tick.watermark_ms)
        for each in tick.behind:
            start = self._newest[each.trigger_id].start
            if each.trigger_id not in self._own_ms or start is None or start.epoch != each.epoch:
                continue
            if each.watermark_ms is None:
                del self._own_ms[each.trigger_id]
            else:
                self._own_ms[each.trigger_id] = max(self._own_ms[each.trigger_id], each.watermark_ms)


class StateChangelog:
    """What a changelog of states has in committed records, by key."""

    def __init__(self, world: World, partition: TopicPartition) -> None:
        self._partition = world.cluster.partition(partition)
        self._by_key: dict[bytes, list[tuple[int, bytes | None]]] = defaultdict(list)
        self._open: set[int] = set()
        self._next = 0

    def values(self, key: bytes) -> list[bytes | None]:
        """Everything that was ever committed under a key."""
        self._read()
        return [value for _, value in self._by_key[key]]

    def before(self, position: int) -> Mapping[bytes, tuple[bytes | None, list[bytes | None]]]:
        """For each key what was written last before ``position``, and everything since."""
        self._read()
        found = {}
        for key, written in self._by_key.items():
            earlier = [value for offset, value in written if offset < position]
            if earlier:
                found[key] = (earlier[-1], [value for offset, value in written if offset >= position])
        return found

    def _read(self) -> None:
        entries = self._partition.entries
        self._open.update(range(self._next, len(entries)))
        self._next = len(entries)
        for offset in sorted(self._open):
            entry = entries[offset]
            if entry.outcome == "open":
                continue
            self._open.discard(offset)
            if entry.outcome == "committed":
                self._by_key[entry.key() or b""].append((offset, entry.value()))
                self._by_key[entry.key() or b""].sort(key=lambda one: one[0])


def _with(store: MemoryStore, changes: Changes) -> dict[str, dict[bytes, bytes]]:
    kept = {column: dict(store.scan(column, b"", b"\xff" * 5)) for column in ("states", "timers", "active", "clocks")}
    for column, key, value in changes.puts:
        if column in kept:
            kept[column][key] = value
    for column, key in changes.deletes:
        if column in kept:
            kept[column].pop(key, None)
    return kept


def _value(entry: Entry) -> Fact | Tick | Activation:
    value = decode(entry.value(), (Fact, Tick, Activation))
    assert isinstance(value, Fact | Tick | Activation)
    return value
