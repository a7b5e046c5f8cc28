"""The simulated world: a cluster, worker processes, authors and senders; and one schedule of what they do.

A schedule is a number of turns drawn from a seed, in each of which one thing happens; afterwards all trouble ends,
what was written is worked off, and everybody stops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from random import Random

from stream_triggers.config import Config
from stream_triggers.core import record
from stream_triggers.core.keyed.manual import reset_fact
from stream_triggers.core.trigger import canonical
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.keyed import evaluate_stage
from stream_triggers.runtime.keyed.facts import Defined, activation, partition_of, state_key
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import Crashed, MemoryCluster, MemoryLog
from stream_triggers.runtime.store import Changes
from stream_triggers.runtime.topics import Topics, specs
from tests.mutants import replaced
from tests.simulation.chance import SHORT_RETENTION_MS, START_MS, Profile, RandomFaults, Turn, draw_profile
from tests.simulation.checks import Checks
from tests.simulation.disk import Disk
from tests.simulation.material import (
    MESSAGE_BYTES_MAX,
    RESETS,
    REVISIONS,
    SETTLED_MS,
    STARTING_REVISIONS,
    STARTING_USABLE,
    USABLE,
    Revision,
    Sent,
    plan_of,
    remembered_definitions,
    some_message,
)
from tests.simulation.model import SWEPT_PER_TICK, TIMERS_PER_TICK
from tests.simulation.process import FaultPoint, Process, ProgrammerError
from tests.simulation.started import STARTING_IDS

HEARTBEAT_MS = 300
"""How often a client in the background tells the group that it lives: a third of the shortest session."""

DRAIN_TURNS_MAX = 3000
"""Some hundred times what a healthy end of a schedule takes: more means that somebody is stuck."""

RESTART_CHANCE = 0.3
"""Of an empty slot to get a process at each turn in which one goes on: what a supervisor does."""

RESET_CHANCE = 0.5
"""That somebody has a key forget everything when triggers are written: else few are reset that remember anything."""

_SHORT_MS = (0, 0, 0, 1, 10, 60, 250)
_LONG_MS = (500, 1100, 2000, 3100, 6100, 10_100)


class World:
    """Everything there is, under one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.profile: Profile = draw_profile(self.random)
        self.clock = ManualClock(START_MS)
        self.faults = RandomFaults(self.random, self.profile.fault_chance)
        self.cluster = MemoryCluster(self.clock, self.faults)
        self.config = Config(
            payload_bytes_max=MESSAGE_BYTES_MAX,
            claim_retention_ms=self.profile.claim_retention_ms,
            commit_interval_ms=self.profile.commit_interval_ms,
            batch_records_max=self.profile.batch_records_max,
        )
        self.topics = Topics(self.config.application)
        self.cluster.create_topics(
            specs(
                self.topics, {}, claim_retention_ms=self.config.claim_retention_ms, partitions=self.profile.partitions
            )
        )
        self.sent: dict[TopicPartition, list[tuple[Sent, int]]] = {
            TopicPartition(topic, number): []
            for topic in self.topics.inputs
            for number in range(self.profile.partitions)
        }
        """What was written to each input partition, each with where the definitions topic ended at that moment."""
        self.disks: dict[str, Disk] = {}
        self.processes: list[Process] = []
        self._stored: dict[str, Revision] = {}
        """What was written last under each trigger id."""
        self.seen: Counter[str] = Counter()
        """How processes have ended, and what their workers have counted."""
        self.is_healthy = False
        self.checks = Checks(self)
        self._started = 0

    def run(self) -> None:
        """The whole schedule, with all its checks; raises ``AssertionError`` when something is not as it must be."""
        with small_steps():
            self._run()

    def _run(self) -> None:
        self._define(USABLE, STARTING_USABLE, 8)
        for slot in range(self.profile.slots):
            self._start(str(slot))
        kinds, weights = list(self.profile.weights), list(self.profile.weights.values())
        for _ in range(self.profile.turns):
            self._take(self.random.choices(kinds, weights)[0])
            self.clock.advance(self.random.choice(_SHORT_MS))
            self.checks.after_turn()
        self._heal()
        self._drain()
        self._stop_all()
        self.checks.at_end()

    # What processes meet

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def interrupts(self) -> bool:
        """Something else happens first: authors and senders write, or other processes go on."""
        if self.is_healthy or self.random.random() >= self.profile.interrupt_chance:
            return False
        if self.random.random() < 0.2:
            self._take(self.random.choice(("write", "define")))
        return self.random.random() < 0.7

    def leaves_unanswered(self) -> bool:
        return not self.is_healthy and self.random.random() < self.profile.unanswered_chance

    def fails_at(self, point: FaultPoint) -> BaseException | None:
        if self.is_healthy or self.random.random() >= self.profile.crash_chance:
            return None
        return self.random.choice((Crashed(f"at {point}"), ProgrammerError(f"at {point}")))

    def watch(self, process: Process, changes: Changes) -> None:
        self.checks.before_apply(process, changes)

    # Turns

    def _take(self, turn: Turn) -> None:
        turns: Mapping[Turn, Callable[[], None]] = {
            "run": self._run_some,
            "write": self._write,
            "define": self._operate,
            "away": self._send_away,
            "kill": self._kill_one,
            "stop": self._stop_one,
            "start": lambda: self._start(str(self.random.randrange(self.profile.slots))),
            "late": self.cluster.deliver_late,
            "wait": lambda: self._pass_time(self.random.choice(_SHORT_MS)),
            "wait long": lambda: self._pass_time(self._long_ms()),
            "machine away": lambda: self.clock.advance(self._long_ms()),
        }
        turns[turn]()

    def _long_ms(self) -> int:
        """Longer or shorter than what is limited: sessions, transactions, pauses; where claims are forgotten, these."""
        if self.profile.claim_retention_ms == SHORT_RETENTION_MS and self.random.random() < 0.5:
            return self.random.choice((SHORT_RETENTION_MS // 3, SHORT_RETENTION_MS, 2 * SHORT_RETENTION_MS))
        return self.random.choice(_LONG_MS)

    def _run_some(self) -> None:
        for _ in range(self.random.choice((1, 1, 3, 8))):
            self._run_one()
            self.clock.advance(self.random.choice(_SHORT_MS))

    def _run_one(self) -> None:
        """Let one process go on; time passes until one can, and an empty slot gets one before long."""
        empty = self._empty_slots()
        if empty and self.random.random() < RESTART_CHANCE:
            self._start(self.random.choice(empty))
        if not self.processes:
            return
        at_ms = min(process.runs_again_ms for process in self.processes)
        self._pass_time(max(0, at_ms - self.now_ms()))
        self._go_on(self.random.choice([each for each in self.processes if each.can_run(self.now_ms())]))

    def _empty_slots(self) -> list[str]:
        taken = {process.slot for process in self.processes}
        return [slot for slot in map(str, range(self.profile.slots)) if slot not in taken]

    def _go_on(self, process: Process) -> None:
        process.go_on()
        if not process.is_running:
            self._bury(process)

    def _write(self) -> None:
        for _ in range(self.random.choice((1, 2, 4, 8))):
            sent = some_message(self.random, self.topics, self.now_ms())
            before = {tp: len(entries) for tp, entries in self._entries(sent.topic).items()}
            self.cluster.write(sent.topic, [Outgoing(key=sent.key, value=sent.value)])
            definitions = self.definitions_end()
            for tp, entries in self._entries(sent.topic).items():
                if len(entries) > before[tp]:
                    self.sent[tp].append((sent, definitions))

    def _define(
        self,
        revisions: Sequence[Revision] = REVISIONS,
        starting: Sequence[Revision] = STARTING_REVISIONS,
        at_most: int = 2,
    ) -> None:
        for _ in range(self.random.randint(1, at_most)):
            is_starting = self.random.random() < self.profile.starting_chance
            revision = self.random.choice(starting if is_starting else revisions)
            if revision.can_fail and self.profile.claim_retention_ms == SHORT_RETENTION_MS:
                continue  # of what fails nothing tells whether it was a repeat that had been forgotten
            if self._is_honest(revision):
                self._stored[revision.trigger_id] = revision
                record = Outgoing(key=revision.trigger_id.encode(), value=revision.value)
                self.cluster.write(self.topics.trigger_definitions, [record])

    def _is_honest(self, revision: Revision) -> bool:
        """Whether a client writes this: nothing that starts in the future, and no epoch lowered under its start."""
        start, stored = revision.start, self._stored.get(revision.trigger_id)
        is_future = start is not None and start.since_ms > self.now_ms()
        is_lower = stored is not None and stored.value is not None and revision.epoch < stored.epoch
        return not is_future and (revision.value is None or revision.trigger_id not in STARTING_IDS or not is_lower)

    def _operate(self) -> None:
        """Authors and operators do something."""
        self._define()
        if self.random.random() < RESET_CHANCE:
            self._reset()

    def _reset(self) -> None:
        """Somebody has a key forget everything, as a client writes it, if the trigger is stored and can be used."""
        trigger_id, key = self.random.choice(RESETS)
        records = self.cluster.records(self.topics.trigger_definitions)
        stored = [each for each in records if each.key() == trigger_id.encode()]
        plan = plan_of(stored[-1].value() or b"") if stored else None
        if plan is not None and plan.keyed is not None:
            topic, now_ms = self.topics.trigger_facts, self.now_ms()
            record_key = state_key(trigger_id, key)
            place = partition_of(record_key, self.profile.partitions)
            fact = reset_fact(trigger_id, plan.version, key, f"r{now_ms}", (topic, place), now_ms, "why not")
            form = canonical(plan.trigger)
            defined = Defined(trigger_id, plan.version, stored[-1].offset(), form, False, plan.pause, plan.start)
            written = Outgoing(key=record_key, value=encode(fact), partition=place)
            self.cluster.write(topic, [activation(defined, place, now_ms), written])

    def _start(self, slot: str) -> None:
        """Start a process, also where one runs: as a supervisor does that took the first for dead."""
        disk = self.disks.get(slot)
        if disk is None or self.random.random() < self.profile.disk_lost_chance:
            disk = self.disks[slot] = Disk()
        inner = MemoryLog(
            self.cluster,
            slot,
            group_id=self.config.application,
            static=self.profile.are_static,
            session_timeout_ms=self.profile.session_timeout_ms,
            transaction_timeout_ms=self.profile.transaction_timeout_ms,
        )
        self._started += 1
        process = Process(self._started, inner, disk, self.config, self, self.profile.read_max)
        for other in self.processes:
            if other.slot == slot:
                other.had_company = process.had_company = True
        self.processes.append(process)

    def _send_away(self) -> None:
        for process in self._some_running():
            process.away_until_ms = self.now_ms() + self._long_ms()

    def _stop_one(self) -> None:
        for process in self._some_running():
            process.ask_to_stop()

    def _kill_one(self) -> None:
        for process in self._some_running():
            self._kill(process)
            if self.random.random() < 0.3 and not process.disk.is_open:
                process.disk.lose_newest(self.random.randrange(4))

    def _kill(self, process: Process) -> None:
        process.kill()
        self._bury(process)

    def _bury(self, process: Process) -> None:
        self.processes.remove(process)
        self.checks.after_end(process)
        self.seen[process.end] += 1
        self.seen.update({name: number for name, label, number in process.worker.counters.values() if not label})

    def _some_running(self) -> list[Process]:
        """One process, if there is any; rather one that is in the middle of something."""
        weights = [5 if process.is_in_transaction else 1 for process in self.processes]
        return self.random.choices(self.processes, weights) if weights else []

    def _pass_time(self, ms: int) -> None:
        """Let time pass; whoever is not away stays in its group meanwhile."""
        while ms > 0:
            step = min(ms, HEARTBEAT_MS)
            self.clock.advance(step)
            ms -= step
            for process in self.processes:
                if process.away_until_ms <= self.now_ms():
                    process.heartbeat()

    # The end

    def _heal(self) -> None:
        self.is_healthy = True
        self.faults.chance = 0
        self.cluster.deliver_late()
        newest = {process.slot: process for process in self.processes}
        for process in list(self.processes):
            process.away_until_ms = 0
            if not self.profile.are_static and process is not newest[process.slot]:
                self._kill(process)  # nobody tells a dynamic member that its slot has another process

    def _drain(self) -> None:
        """Work off what was written; a slot whose last process ended by itself gets another, as by a supervisor."""
        for _ in range(DRAIN_TURNS_MAX):
            if self.checks.is_drained():
                for process in self.processes:
                    self.checks.when_drained(process)
                return
            if not self.processes:
                self._start("0")
            for process in list(self.processes):
                if process.can_run(self.now_ms()):
                    self._go_on(process)
            self._pass_time(50)
            self.checks.after_turn()
        raise AssertionError(f"not worked off: {self.checks.backlog()}; running: {self.processes}")

    def _stop_all(self) -> None:
        for process in self.processes:
            process.ask_to_stop()
        for _ in range(DRAIN_TURNS_MAX):
            if not self.processes:
                self.clock.advance(self.profile.transaction_timeout_ms)  # of what the dead have left open
                self.cluster.tick()
                return
            for process in list(self.processes):
                if process.can_run(self.now_ms()):
                    self._go_on(process)
            self._pass_time(50)
        raise AssertionError(f"do not stop: {self.processes}")

    def _entries(self, topic: str) -> dict[TopicPartition, list[object]]:
        return {partition.name: partition.entries for partition in self.cluster.topic(topic).partitions}  # type: ignore[misc]

    def definitions(self) -> list[tuple[str, bytes | None]]:
        """What was written to the definitions topic."""
        records = self.cluster.records(self.topics.trigger_definitions)
        return [((entry.key() or b"").decode(), entry.value()) for entry in records]

    def definitions_end(self) -> int:
        """Where the definitions topic ends."""
        return self.cluster.partition(TopicPartition(self.topics.trigger_definitions, 0)).end


@contextmanager
def small_steps() -> Iterator[None]:
    """Look at few states for one tick, so that there is more to do than that."""
    with (
        replaced(evaluate_stage, "TIMERS_PER_TICK", TIMERS_PER_TICK),
        replaced(evaluate_stage, "SWEPT_PER_TICK", SWEPT_PER_TICK),
        replaced(record, "SETTLED_MS", SETTLED_MS),
    ):
        yield


def simulate(seed: int) -> None:
    """Run the schedule of ``seed``."""
    with remembered_definitions():
        World(seed).run()


def digest(seed: int) -> str:
    """What the schedule of ``seed`` leaves in all topics, as a hash."""
    world = World(seed)
    with remembered_definitions():
        world.run()
    topics = world.topics
    names = (*topics.all, *topics.changelogs)
    entries = [
        (repr(each), each.timestamp()) for name in names for part in world.cluster.entries(name) for each in part
    ]
    return blake2b(repr(entries).encode(), digest_size=8).hexdigest()


def fails(seed: int) -> bool:
    """Whether the schedule of ``seed`` shows that something is wrong."""
    try:
        simulate(seed)
    except Exception:  # noqa: BLE001 - whatever a mutant breaks
        return True
    return False
