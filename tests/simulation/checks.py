"""What must hold: after every turn, before every change of a store, and at the end.

1. The store is a copy of a part of the log: every claim in it is in a committed changelog record of its partition, and
   below the position it notes for a changelog it lacks none.
2. Committed offsets never go back.
3. For one input partition a run id is committed once.
4. At the end: invocations, run records, decisions and dead letters are those of the oracle, each as often, in order.
5. What the changelog alone restores are the claims that the oracle expects.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stream_triggers.core.invocation import RUN_ID_BYTES, Decision, Invocation, TriggerRun
from stream_triggers.core.record import DeadLetter
from stream_triggers.runtime import changelog
from stream_triggers.runtime.claims import claim_prefix
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.memory_log import Entry, MemoryLog
from stream_triggers.runtime.store import Changes, MemoryStore
from stream_triggers.verify import verify
from tests.simulation.disk import Disk
from tests.simulation.material import FUNCTIONS
from tests.simulation.oracle import Definitions, Expected, Input, Letter, expect, in_force

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
        self._runs: Counter[tuple[str, str, int]] = Counter()
        self._run_tails = [
            Tail(world, TopicPartition(self._topics.trigger_runs, n)) for n in range(world.profile.partitions)
        ]

    # All along

    def before_apply(self, process: Process, changes: Changes) -> None:
        """Each claim is committed, and each position is that of a copy without gaps."""
        put: set[bytes] = set()
        for column, key, _ in changes.puts:
            if column == changelog.POSITIONS:
                continue
            put.add(key)
            tp = self._inputs[key[:-RUN_ID_BYTES]]
            committed = self._claims[self._topics.changelog_of(tp)].all()
            assert key[-RUN_ID_BYTES:] in committed, f"{process} stores a claim of {tp} that is not committed"
        for column, key, value in changes.puts:
            if column == changelog.POSITIONS:
                self._require_copy(process.disk, key, int.from_bytes(value, "big"), put, str(process))

    def after_turn(self) -> None:
        """Nothing has gone back, nothing has come twice."""
        for tp, offset in self._group.offsets.items():
            assert offset >= self._offsets.get(tp, 0), f"committed offset of {tp} went back to {offset}"
        self._offsets = dict(self._group.offsets)
        for tail in self._run_tails:
            for entry in tail.settled():
                record = decode(entry.value())
                if isinstance(record, TriggerRun):
                    cause = record.participants[-1]
                    run = (record.run_id, cause.topic, cause.partition)
                    self._runs[run] += 1
                    assert self._runs[run] == 1, f"run {record.run_id} of {cause} is committed twice"

    def after_end(self, process: Process) -> None:
        """A process says that it was fenced only where another had its slot."""
        assert process.end != "fenced" or process.had_company, f"{process} gave up its slot to nobody"

    def is_drained(self) -> bool:
        """Whether everything that was written is worked off."""
        return not any(self.backlog().values())

    def backlog(self) -> dict[TopicPartition, int]:
        """How much of each input is not worked off."""
        return {tp: len(sent) - self._group.offsets.get(tp, 0) for tp, sent in self._world.sent.items()}

    # At the end

    def at_end(self) -> None:
        """All that came out is what had to."""
        self.after_turn()
        for disk in self._world.disks.values():
            for key, value in disk.store.scan(changelog.POSITIONS, b"", b"\xff"):
                self._require_copy(disk, key, int.from_bytes(value, "big"), set(), "a disk")
        expected = self._expected()
        self._compare_outputs(expected)
        self._compare_order(expected)
        self._compare_claims(expected)
        self._verify()

    def _expected(self) -> dict[TopicPartition, Expected]:
        world = self._world
        written = world.cluster.records(self._topics.trigger_definitions)
        definitions = Definitions([((entry.key() or b"").decode(), entry.value()) for entry in written])
        noted: dict[TopicPartition, dict[int, int]] = defaultdict(dict)
        for record in self._decoded(self._topics.trigger_runs):
            if isinstance(record, Decision) and record.reason == "definitions_changed":
                noted[TopicPartition(record.topic, record.partition)][record.offset] = int(record.detail)
        expected = {}
        for tp, sent in world.sent.items():
            inputs = []
            for (offset, current), (each, at_least) in zip(in_force(noted[tp], range(len(sent))), sent, strict=True):
                assert current is not None, f"nothing says which definitions are in force at {tp}@{offset}"
                assert at_least <= current <= len(written), (
                    f"{tp}@{offset} came after definition {at_least - 1} and was judged with those before {current}"
                )
                inputs.append(Input(offset, each, current))
            expected[tp] = expect(tp, inputs, definitions)
        return expected

    def _compare_outputs(self, expected: dict[TopicPartition, Expected]) -> None:
        topics, each = self._topics, list(expected.values())
        invocations = Counter(entry.value() for entry in self._world.cluster.records(topics.invocations))
        _same("invocations", invocations, Counter(encode(one) for part in each for one in part.invocations), decode)
        runs = self._decoded(topics.trigger_runs)
        noted = Counter(encode(one) for one in runs if getattr(one, "reason", "") != "definitions_changed")
        records: list[Any] = [one for part in each for one in (*part.runs, *part.decisions)]
        wanted = Counter(map(encode, records))
        _same("run records and decisions", noted, wanted, decode)
        letters = Counter(_letter(one) for one in self._decoded(topics.dead_letters))
        _same("dead letters", letters, Counter(one for part in each for one in part.letters), lambda letter: letter)

    def _compare_order(self, expected: dict[TopicPartition, Expected]) -> None:
        """In each partition of the output, what came of one input partition is in the order of that."""
        owners: dict[str, list[TopicPartition]] = defaultdict(list)
        places = {}
        for tp, part in expected.items():
            for place, invocation in enumerate(part.invocations):
                owners[invocation.run_id].append(tp)
                places[invocation.run_id] = place
        reached: dict[tuple[int, TopicPartition], int] = {}
        for entry in self._world.cluster.records(self._topics.invocations):
            invocation = decode(entry.value(), (Invocation,))
            if len(owners[invocation.run_id]) > 1:
                continue
            lane, place = (entry.partition(), owners[invocation.run_id][0]), places[invocation.run_id]
            assert reached.get(lane, -1) < place, f"{invocation} is out of order"
            reached[lane] = place

    def _compare_claims(self, expected: dict[TopicPartition, Expected]) -> None:
        for tp, part in expected.items():
            committed = {run_id.hex() for run_id in self._claims[self._topics.changelog_of(tp)].all()}
            assert committed == part.claims, f"the changelog of {tp} has other claims than were made"

    def _verify(self) -> None:
        log = MemoryLog(self._world.cluster, "verify", group_id=self._world.config.application)
        report = verify(log, self._world.config, FUNCTIONS)
        assert report.findings == [], f"verify finds fault: {report.findings}"

    def _decoded(self, topic: str) -> list[Any]:
        return [decode(entry.value()) for entry in self._world.cluster.records(topic)]

    def _require_copy(self, disk: Disk, key: bytes, position: int, put: set[bytes], who: str) -> None:
        topic, _, number = key.decode().rpartition("/")
        committed = self._claims[TopicPartition(topic, int(number))]
        prefix = committed.prefix
        for offset, run_id in committed.upto(position):
            is_stored = prefix + run_id in put or _is_stored(disk.store, prefix + run_id)
            assert is_stored, f"{who} notes position {position} of {topic}/{number} without the claim at {offset}"


class Tail:
    """The committed entries of a partition, each given once, when nothing before it is open any more."""

    def __init__(self, world: World, partition: TopicPartition) -> None:
        self._partition = world.cluster.partition(partition)
        self._next = 0

    def settled(self) -> Iterator[Entry]:
        """Those that have become settled since the last time."""
        entries, stop = self._partition.entries, self._partition.last_stable
        while self._next < stop:
            entry = entries[self._next]
            self._next += 1
            if entry.outcome == "committed":
                yield entry


class CommittedClaims:
    """The claims that a changelog partition holds in committed records."""

    def __init__(self, world: World, partition: TopicPartition) -> None:
        self._partition = world.cluster.partition(partition)
        self._by_offset: dict[int, list[bytes]] = {}
        self._all: set[bytes] = set()
        self._open: set[int] = set()
        self._next = 0
        inputs = {world.topics.changelog_of(tp): tp for tp in world.sent}
        self.prefix = claim_prefix(inputs[partition])

    def all(self) -> set[bytes]:
        """Every run id."""
        self._read()
        return self._all

    def upto(self, position: int) -> list[tuple[int, bytes]]:
        """Run ids with their offsets, below ``position``."""
        self._read()
        return [(offset, run) for offset, runs in self._by_offset.items() if offset < position for run in runs]

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
                packed = changelog.parse(entry).run_ids
                runs = [packed[at : at + RUN_ID_BYTES] for at in range(0, len(packed), RUN_ID_BYTES)]
                self._by_offset[offset] = runs
                self._all.update(runs)


def _is_stored(store: MemoryStore, key: bytes) -> bool:
    return any(store.get_many(column, [key]) != [None] for column in store.columns() if column != changelog.POSITIONS)


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
