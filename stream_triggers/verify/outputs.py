"""What workers have written, as rows of the ledger.

A record that nobody should have written (no value of its topic, about a position that no input has, or about
definitions that there are not) is a finding at once, and nothing more is made of it. Workers may be ahead of what is
judged; but what they have read was written before they wrote about it. So ends that are taken after that of an output
topic are behind every position that a worker has written there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TypeVar

import msgspec

from stream_triggers.core.invocation import NOTES, Decision, Invocation, TriggerRun
from stream_triggers.core.message import Participant, Position
from stream_triggers.core.record import DeadLetter
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.log import Record, TopicPartition
from stream_triggers.runtime.topics import MESSAGE_BYTES_MAX, Topics
from stream_triggers.verify.decoding import digest, read
from stream_triggers.verify.facts import Facts
from stream_triggers.verify.history import History
from stream_triggers.verify.keyed import Keyed
from stream_triggers.verify.ledger import DIGEST_BYTES, INVOCATIONS_PLACE, Found, Ledger, Mark
from stream_triggers.verify.report import Finding, Report
from stream_triggers.verify.scope import Scope

STAGES = {"filter_failed": "filter", "arguments_failed": "arguments"}
"""The stage of the dead letter that goes with a decision."""

BY_MESSAGES = frozenset({"duplicate", *STAGES})
"""Decisions of triggers that fire directly; the others are those of the keyed stage."""

T = TypeVar("T", bound=msgspec.Struct)


class Outputs:
    """Takes in the records of the output topics."""

    def __init__(
        self,
        scope: Scope,
        history: History,
        ledger: Ledger,
        report: Report,
        keyed: Keyed,
        facts: Facts,
        topics: Topics,
    ) -> None:
        self._scope = scope
        self._history = history
        self._definitions = history.definitions
        self._ledger = ledger
        self._report = report
        self._keyed = keyed
        self._facts = facts
        self._topics = topics
        self._input_ends: Mapping[TopicPartition, int] = {}
        self._definitions_end = 0

    def allow(self, input_ends: Mapping[TopicPartition, int], definitions_end: int) -> None:
        """Take records from here on to be right if they are about something before these ends."""
        self._input_ends, self._definitions_end = input_ends, definitions_end

    def take_invocations(self, records: Sequence[Record]) -> None:
        """Records of ``invocations``."""
        for record in records:
            invocation = self._read(record, (Invocation,))
            if invocation is None:
                continue
            if self._is_for_keyed(invocation):
                self._keyed.take(invocation, record)
            if invocation.trigger_id in self._definitions.keyed:
                continue
            found = Found(record.partition(), record.offset())
            self._ledger.find(
                invocation.run_id,
                INVOCATIONS_PLACE + found.partition,
                found.offset,
                Mark.FIRED,
                found,
                digest=digest(invocation),
                time_ms=record.timestamp()[1],
                trigger_id=invocation.trigger_id,
            )

    def take_runs(self, records: Sequence[Record]) -> None:
        """Records of ``trigger-runs``."""
        for record in records:
            value = self._read(record, (TriggerRun, Decision))
            if isinstance(value, TriggerRun):
                self._take_run(value, record)
            elif isinstance(value, Decision) and value.reason in NOTES:
                self._take_note(value, record)
            elif isinstance(value, Decision):
                self._take_decision(value, record)

    def take_notes(self, records: Sequence[Record]) -> None:
        """Of records of ``trigger-runs``, nothing but the notes about definitions."""
        for record in records:
            value = self._read(record, (TriggerRun, Decision))
            if isinstance(value, Decision) and value.reason in NOTES:
                self._take_note(value, record)

    def take_dead_letters(self, records: Sequence[Record]) -> None:
        """Records of ``dead-letters``."""
        for record in records:
            letter = self._read(record, (DeadLetter,))
            if letter is None:
                continue
            if letter.topic == self._topics.trigger_facts:
                self._keyed.take(letter, record)
                continue
            if letter.topic == self._topics.invocations:
                self._take_rejected(letter, record)
                continue
            if letter.trigger_id in self._definitions.keyed:
                continue
            place = self._place(letter)
            if place is None:
                self._find_odd(record, "dead letter of a position that is no input's")
                continue
            found = Found(record.partition(), record.offset())
            kept = digest_of_bytes(letter.key, letter.value)
            trigger_id = letter.trigger_id or ""
            self._ledger.find_notice(place, letter.offset, Mark.LETTER, found, letter.stage, trigger_id, kept)

    def _take_rejected(self, letter: DeadLetter, record: Record) -> None:
        """A task worker has read what is no invocation, which is a finding for itself."""
        try:
            decode(letter.value, (Invocation,))
        except InvalidMessage:
            return
        self._find_odd(record, "dead letter of an invocation, which can be read")

    def _take_run(self, run: TriggerRun, record: Record) -> None:
        if self._is_for_keyed(run):
            self._keyed.take(run, record)
        if run.trigger_id in self._definitions.keyed:
            return
        cause = run.participants[-1] if run.participants else None
        place = None if cause is None else self._place(cause)
        if cause is None or place is None:
            self._find_odd(record, "run record of a position that is no input's", run.run_id, run.trigger_id)
            return
        self._definitions.require_allowed(run.trigger_id, run.trigger_version)
        self._ledger.find(
            run.run_id,
            place,
            cause.offset,
            Mark.RECORDED,
            Found(record.partition(), record.offset()),
            time_ms=record.timestamp()[1],
            trigger_id=run.trigger_id,
        )

    def _take_decision(self, decision: Decision, record: Record) -> None:
        place = self._place(decision)
        trigger_id = decision.trigger_id or ""
        if self._is_for_keyed(decision):
            self._keyed.take(decision, record)
            if decision.reason == "duplicate" and place is not None:
                self._facts.suppress(decision, place)
            if trigger_id in self._definitions.keyed or decision.reason not in BY_MESSAGES:
                return
        if place is None:
            self._find_odd(record, "decision about a position that is no input's", trigger_id=trigger_id)
            return
        self._definitions.require_allowed(trigger_id, decision.trigger_version or "")
        found = Found(record.partition(), record.offset())
        match decision.reason:
            case "duplicate":
                run_id = decision.run_id or ""
                self._ledger.find(run_id, place, decision.offset, Mark.SUPPRESSED, found, trigger_id=trigger_id)
            case "too_deep":
                pass  # whatever it says, a message that had to fire is missed for itself
            case reason:
                self._ledger.find_notice(place, decision.offset, Mark.DECIDED, found, STAGES[reason], trigger_id)

    def _take_note(self, note: Decision, record: Record) -> None:
        place, state, trigger_id = self._place(note), _state_of(note), note.trigger_id or ""
        if place is None:
            self._find_odd(record, "note about a position that is no input's", trigger_id=trigger_id)
        elif state is None or state > self._definitions_end:
            self._find_odd(record, "note about definitions that there are not")
        elif note.reason == "definitions_changed":
            self._history.note(place, note.offset, state)
        else:
            self._history.lanes.note(place, trigger_id, note.offset, state)

    def _is_for_keyed(self, value: Invocation | TriggerRun | Decision) -> bool:
        """Whether the keyed stage has made it, or may have."""
        definitions, trigger_id = self._definitions, value.trigger_id or ""
        return trigger_id in definitions.keyed or (trigger_id, value.trigger_version or "") in definitions.paused

    def _read(self, record: Record, kinds: tuple[type[T], ...]) -> T | None:
        try:
            return read(record, kinds)
        except InvalidMessage as error:
            self._find_odd(record, error.message)
            return None

    def _find_odd(self, record: Record, detail: str, run_id: str = "", trigger_id: str = "") -> None:
        if self._scope.is_in_time(record.timestamp()[1]):
            found = Position(record.topic(), record.partition(), record.offset())
            self._report.add(Finding("unexpected", run_id, trigger_id, None, found, detail))

    def _place(self, about: Participant | Decision | DeadLetter) -> int | None:
        """The place of a message that a record is about, None where there can be no such message."""
        partition = TopicPartition(about.topic, about.partition)
        if 0 <= about.offset < self._input_ends.get(partition, 0):
            return self._scope.places[partition]
        return None


def _state_of(note: Decision) -> int | None:
    """The end of the definitions that a note says to be in force."""
    return int(note.detail) if re.fullmatch("[0-9]{1,19}", note.detail) else None


def digest_of_bytes(key: bytes | None, value: bytes | None) -> bytes:
    """A hash of what a dead letter keeps of a message: no more than a topic takes."""
    kept = (None if part is None else part[:MESSAGE_BYTES_MAX] for part in (key, value))
    parts = (b"-" if part is None else b"+%d " % len(part) + part for part in kept)
    return blake2b(b"".join(parts), digest_size=DIGEST_BYTES).digest()
