"""What must hold: after every turn, before every change of a store, and at the end.

1. The store is a copy of a part of the log: every claim in it is in a committed changelog record of its partition, and
   below the position it notes for a changelog it lacks none.
2. Committed offsets never go back.
3. For one input partition a run id is committed once, and again only when its claim is older than the retention.
4. At the end: invocations, run records, decisions and dead letters are those of the oracle, each as often, in order.
5. The changelog holds the claims that the oracle expects, and its compaction would leave them there; the store of a
   partition's owner holds them, too.
6. Triggers that start in the past take each message once: in their lanes before they join, with all others after.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from stream_triggers.core.invocation import NOTES, RUN_ID_BYTES, Decision, Invocation, TriggerRun
from stream_triggers.core.message import Participant
from stream_triggers.core.record import DeadLetter
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime import changelog
from stream_triggers.runtime.claims import claim_prefix
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.memory_log import MemoryLog
from stream_triggers.runtime.memory_log.group import Credentials
from stream_triggers.runtime.store import Changes, MemoryStore
from stream_triggers.verify import verify
from tests.simulation.disk import Disk
from tests.simulation.keyed_checks import KeyedChecks
from tests.simulation.lanes import Lanes
from tests.simulation.material import EPOCHS, FUNCTIONS, KEYED_IDS
from tests.simulation.model import Model
from tests.simulation.oracle import Definitions, Expected, Input, Letter, expect, in_force
from tests.simulation.tail import Tail

CLAIMS = "claims-"
"""What the names of the store's columns of claims begin with."""

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World


class Checks:
    """The invariants of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._topics = world.topics
        self._group = world.cluster.group(world.config.application)
        self._offsets: dict[TopicPartition, int] = {}
        self._inputs = {claim_prefix(tp): tp for tp in world.sent}
        self._claims = {
            self._topics.changelog_of(tp): CommittedClaims(world, self._topics.changelog_of(tp)) for tp in world.sent
        }
        self.keyed = KeyedChecks(world)
        self.lanes = Lanes(world)
        self._keyed_runs: set[tuple[str, tuple[Participant, ...]]] = set()
        self._retention_ms = world.config.claim_retention_ms
        self._runs: Counter[tuple[str, TopicPartition]] = Counter()
        self._again: dict[TopicPartition, set[tuple[int, str]]] = defaultdict(set)
        """Runs of what was forgotten: offset and run id."""
        self._run_tails = [
            Tail(world, TopicPartition(self._topics.trigger_runs, n)) for n in range(world.profile.partitions)
        ]

    # All along

    def before_apply(self, process: Process, changes: Changes) -> None:
        """Each claim is committed, and each position is that of a copy without gaps."""
        self.keyed.before_apply(str(process), changes)
        put: set[bytes] = set()
        for column, key, _ in changes.puts:
            if not column.startswith(CLAIMS):
                continue
            put.add(key)
            tp = self._inputs[key[:-RUN_ID_BYTES]]
            committed = self._claims[self._topics.changelog_of(tp)].all()
            assert key[-RUN_ID_BYTES:] in committed, f"{process} stores a claim of {tp} that is not committed"
        for column, key, value in changes.puts:
            if column == changelog.POSITIONS:
                self._require_copy(process.disk, key, int.from_bytes(value, "big"), put, str(process), changes)

    def after_turn(self) -> None:
        """Nothing has gone back, nothing has come twice."""
        for tp, offset in self._group.offsets.items():
            assert offset >= self._offsets.get(tp, 0), f"committed offset of {tp} went back to {offset}"
        self._offsets = dict(self._group.offsets)
        self.keyed.after_turn()
        self.lanes.after_turn()
        for tail in self._run_tails:
            for entry in tail.settled():
                record = decode(entry.value())
                if isinstance(record, TriggerRun):
                    self._see_run(record, entry.timestamp()[1])

    def _see_run(self, run: TriggerRun, time_ms: int) -> None:
        if run.trigger_id in KEYED_IDS:
            assert (run.run_id, run.participants) not in self._keyed_runs, f"{run} is committed twice"
            self._keyed_runs.add((run.run_id, run.participants))
            self.keyed.see_run(run)
            return
        cause = run.participants[-1]
        tp = TopicPartition(cause.topic, cause.partition)
        before = self._runs[run.run_id, tp]
        self._runs[run.run_id, tp] += 1
        if before:
            claimed_ms = self._claims[self._topics.changelog_of(tp)].times_ms(bytes.fromhex(run.run_id))[before - 1]
            assert time_ms >= claimed_ms + self._retention_ms, f"run {run.run_id} of {cause} is committed twice"
            self._again[tp].add((cause.offset, run.run_id))

    def _claimed_ms(self, run_id: str, tp: TopicPartition) -> list[int]:
        """When a run id was claimed in a partition."""
        return self._claims[self._topics.changelog_of(tp)].times_ms(bytes.fromhex(run_id))

    def after_end(self, process: Process) -> None:
        """A process says that it was fenced only where another had its slot."""
        assert process.end != "fenced" or process.had_company, f"{process} gave up its slot to nobody"

    def is_drained(self) -> bool:
        """Whether everything that was written is worked off."""
        return not any(self.backlog().values())

    def backlog(self) -> dict[TopicPartition, int]:
        """How much of each input is not worked off."""
        inputs = {tp: len(sent) - self._group.offsets.get(tp, 0) for tp, sent in self._world.sent.items()}
        return inputs | self.keyed.backlog() | {TopicPartition(self._topics.progress, 0): self.lanes.open()}

    def when_drained(self, process: Process) -> None:
        """The store of an owner holds what its changelogs hold."""
        if process.worker._read or not self._is_member(process):
            return  # it has yet to hear that its last commit has arrived, or that it is out
        for tp in process.worker._next_offsets:
            name = self._topics.changelog_of(tp)
            key = f"{name.topic}/{name.partition}".encode()
            self._require_copy(process.disk, key, self._world.cluster.partition(name).end, set(), f"{process}, ready,")

    def _is_member(self, process: Process) -> bool:
        membership = process.worker._membership
        if membership is None or membership.generation != self._group.generation:
            return False
        assert isinstance(membership.token, Credentials)
        return self._group.standing(membership.token) == "member"

    # At the end

    def at_end(self) -> None:
        """All that came out is what had to."""
        self.after_turn()
        for disk in self._world.disks.values():
            for key, value in disk.store.scan(changelog.POSITIONS, b"", b"\xff"):
                self._require_copy(disk, key, int.from_bytes(value, "big"), set(), "a disk")
        expected = self._expected()
        models = self.keyed.models()
        self.keyed.at_end(expected.values(), models)
        self._compare_outputs(expected, models)
        self._compare_order(expected)
        self._compare_claims(expected)
        self._verify()

    def _expected(self) -> dict[TopicPartition, Expected]:
        world = self._world
        definitions = Definitions(world.definitions())
        decisions = [each for each in self._decoded(self._topics.trigger_runs) if isinstance(each, Decision)]
        noted: dict[TopicPartition, dict[int, int]] = defaultdict(dict)
        for record in decisions:
            if record.reason == "definitions_changed":
                noted[TopicPartition(record.topic, record.partition)][record.offset] = int(record.detail)
        for source, offset, run_id in self.keyed.again(self._claimed_ms):
            self._again[source].add((offset, run_id))
        inputs: dict[TopicPartition, list[Input]] = {tp: [] for tp in world.sent}
        for (tp, trigger_id, _), read in self.lanes.read(decisions, definitions).items():
            inputs[tp] += self._inputs_of(tp, range(min(read.noted), read.end), read.noted, definitions, trigger_id)
        return {
            tp: expect(
                tp, (*in_lanes, *self._inputs_of(tp, range(len(world.sent[tp])), noted[tp], definitions)), definitions
            )
            for tp, in_lanes in inputs.items()
        }

    def _inputs_of(
        self,
        tp: TopicPartition,
        offsets: range,
        noted: Mapping[int, int],
        definitions: Definitions,
        trigger_id: str | None = None,
    ) -> Iterator[Input]:
        """Messages of a partition with the definitions noted, for the one trigger or for all that take part there."""
        entries = self._world.cluster.partition(tp).entries
        end = self._world.definitions_end()
        for offset, current in in_force(noted, offsets):
            sent, at_least = self._world.sent[tp][offset]
            assert current is not None, f"nothing says which definitions are in force at {tp}@{offset}"
            assert at_least <= current <= end, (
                f"{tp}@{offset} came after definition {at_least - 1} and was judged with those before {current}"
            )
            again = frozenset(run_id for at, run_id in self._again[tp] if at == offset)
            takers = frozenset({trigger_id}) if trigger_id else self._takers(tp, offset, current, definitions)
            yield Input(offset, sent, current, takers, bool(trigger_id), again, entries[offset].timestamp()[1])

    def _takers(self, tp: TopicPartition, offset: int, current: int, definitions: Definitions) -> frozenset[str]:
        """The triggers that take what is read of a partition at a position: those that have joined."""
        return frozenset(
            trigger_id
            for trigger_id, plan in definitions.plans(current).items()
            if plan.start is None or self.lanes.has_joined(tp, trigger_id, plan.start.epoch, offset)
        )

    def _compare_outputs(self, expected: dict[TopicPartition, Expected], models: Sequence[Model]) -> None:
        topics = self._topics
        each: list[Expected | Model] = [*expected.values(), *models]
        invocations = Counter(entry.value() for entry in self._world.cluster.records(topics.invocations))
        _same("invocations", invocations, Counter(encode(one) for part in each for one in part.invocations), decode)
        runs = self._decoded(topics.trigger_runs)
        noted = Counter(encode(one) for one in runs if getattr(one, "reason", "") not in NOTES)
        records: list[Any] = [one for part in each for one in (*part.runs, *part.decisions)]
        wanted = Counter(map(encode, records))
        _same("run records and decisions", noted, wanted, decode)
        letters = Counter(_letter(one) for one in self._decoded(topics.dead_letters))
        _same(
            "dead letters",
            letters,
            Counter(one for part in each for one in part.letters),
            lambda letter: letter,
        )

    def _compare_order(self, expected: dict[TopicPartition, Expected]) -> None:
        """In each partition of the output, what came of one input partition is in the order of that.

        For all triggers together from where they have joined on, and for each alone, from its start on.
        """
        owners: dict[str, list[tuple[TopicPartition, bool]]] = defaultdict(list)
        places = {}
        for tp, part in expected.items():
            for place, (invocation, in_lane) in enumerate(zip(part.invocations, part.in_lanes, strict=True)):
                owners[invocation.run_id].append((tp, in_lane))
                places[invocation.run_id] = place
        reached: dict[tuple[int, TopicPartition, tuple[object, ...]], int] = {}
        for entry in self._world.cluster.records(self._topics.invocations):
            invocation = decode(entry.value(), (Invocation,))
            if invocation.trigger_id in KEYED_IDS or len(owners[invocation.run_id]) > 1:
                continue
            [(tp, in_lane)], place = owners[invocation.run_id], places[invocation.run_id]
            of_one = (invocation.trigger_id, EPOCHS[invocation.trigger_version])
            for order in (of_one,) if in_lane else (of_one, ()):
                sequence = (entry.partition(), tp, order)
                assert reached.get(sequence, -1) < place, f"{invocation} is out of order"
                reached[sequence] = place

    def _compare_claims(self, expected: dict[TopicPartition, Expected]) -> None:
        for tp, part in expected.items():
            committed = {run_id.hex() for run_id in self._claims[self._topics.changelog_of(tp)].all()}
            assert committed == part.claims, f"the changelog of {tp} has other claims than were made"

    def _verify(self) -> None:
        log = MemoryLog(self._world.cluster, "verify", group_id=self._world.config.application)
        try:
            report = verify(log, self._world.config, FUNCTIONS, open_store=lambda _path: MemoryStore())
        except Misconfigured:  # it refuses to judge a group that has never committed anything
            assert not any(self._world.sent.values()), "messages were sent, and verify finds nothing to judge"
            return
        assert report.findings == [], f"verify finds fault: {report.findings}"

    def _decoded(self, topic: str) -> list[Any]:
        return [decode(entry.value()) for entry in self._world.cluster.records(topic)]

    def _require_copy(
        self, disk: Disk, key: bytes, position: int, put: set[bytes], who: str, changes: Changes | None = None
    ) -> None:
        topic, _, number = key.decode().rpartition("/")
        name = TopicPartition(topic, int(number))
        if self.keyed.is_changelog(name):
            self.keyed.require_copy(disk.store, changes or Changes(), name, position, who)
            return
        committed = self._claims[TopicPartition(topic, int(number))]
        prefix = committed.prefix
        young_ms = self._world.now_ms() - self._retention_ms
        for offset, run_id in committed.needed(position, young_ms):
            is_stored = prefix + run_id in put or _is_stored(disk.store, prefix + run_id)
            assert is_stored, f"{who} notes position {position} of {topic}/{number} without the claim at {offset}"


class CommittedClaims:
    """The claims that a changelog partition holds in committed records."""

    def __init__(self, world: World, partition: TopicPartition) -> None:
        self._partition = world.cluster.partition(partition)
        self._by_offset: dict[int, tuple[int, list[bytes]]] = {}
        self._times_ms: dict[bytes, list[int]] = defaultdict(list)
        self._keys: set[bytes | None] = set()
        self._open: set[int] = set()
        self._next = 0
        inputs = {world.topics.changelog_of(tp): tp for tp in world.sent}
        self.prefix = claim_prefix(inputs[partition])

    def all(self) -> Set[bytes]:
        """Every run id."""
        self._read()
        return self._times_ms.keys()

    def times_ms(self, run_id: bytes) -> Sequence[int]:
        """When each claim of a run id was committed, in order."""
        self._read()
        return self._times_ms[run_id]

    def needed(self, position: int, young_ms: int) -> Iterator[tuple[int, bytes]]:
        """Run ids with their offsets, below ``position`` and claimed after ``young_ms``."""
        self._read()
        for offset, (time_ms, runs) in self._by_offset.items():
            if offset < position and time_ms > young_ms:
                yield from ((offset, run_id) for run_id in runs)

    def _read(self) -> None:
        entries = self._partition.entries
        if not self._open and self._next == len(entries):
            return
        self._open.update(range(self._next, len(entries)))
        self._next = len(entries)
        for offset in sorted(self._open):
            entry = entries[offset]
            if entry.outcome == "open":
                continue
            self._open.discard(offset)
            if entry.outcome == "committed":
                assert entry.key() not in self._keys, f"{entry} takes the place of another"
                self._keys.add(entry.key())
                packed = changelog.parse(entry).run_ids
                runs = [packed[at : at + RUN_ID_BYTES] for at in range(0, len(packed), RUN_ID_BYTES)]
                self._by_offset[offset] = (entry.timestamp()[1], runs)
                for run_id in runs:
                    self._times_ms[run_id].append(entry.timestamp()[1])


def _is_stored(store: MemoryStore, key: bytes) -> bool:
    return any(store.get_many(column, [key]) != [None] for column in store.columns() if column.startswith(CLAIMS))


def _letter(letter: object) -> Letter:
    assert isinstance(letter, DeadLetter)
    return Letter(
        letter.topic, letter.partition, letter.offset, letter.key, letter.value, letter.stage, letter.trigger_id
    )


def _same(what: str, found: Counter[Any], wanted: Counter[Any], shown: Callable[[Any], object]) -> None:
    if found != wanted:
        missing, extra = wanted - found, found - wanted
        lines = [f"  missing {n} x {shown(each)}" for each, n in missing.items()]
        lines += [f"  too many {n} x {shown(each)}" for each, n in extra.items()]
        raise AssertionError("\n".join([f"{what} are not those of the oracle:", *lines]))
