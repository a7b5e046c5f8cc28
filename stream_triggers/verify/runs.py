"""The judgement of one run id: what asked for it, what recorded it, what fired it.

Its rows come in the order of the ledger: input partition after input partition, in each by offset, and then the
invocations. So by the time that the invocations come it is known which ones there must be.

    per input partition     the first message that asks must fire; a later one is a repeat and must not, unless its run
                            record is younger than the last one by the claim retention: then it may
    outside of the range    a run record there accounts for one invocation more, of any content

Rules:
1. Claims belong to an input partition, so each that asked for a run id must have fired it, each with its own content.
2. What is expected is matched with the invocations by content, and first where a run record says that it fired.
3. An invocation that is left is *wrong* if one that had to come is missing, else it is *duplicated* if anything asked
   for the run id, else *unexpected*. A run record that is left, without an invocation left for it, is the same.
4. A message that the keyed stage has because of a pause takes its claim, and a run record of it accounts for one
   invocation more: what that is to be is judged by ``keyed``.
5. A message without a run record and with a decision that it is a repeat, and nothing known of what it repeats, cannot
   be judged when not all was read; when all was, it is *lost*.
6. However many rows a run id has, what is held of it is bounded: the first few of what is left over, and counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby, islice

from stream_triggers.core.message import Position
from stream_triggers.runtime.topics import Topics
from stream_triggers.verify.definitions import CLOCKS_DIFFER_MAX_MS
from stream_triggers.verify.history import History
from stream_triggers.verify.ledger import INVOCATIONS_PLACE, RUNS, Item, Ledger, Mark, RunRow, is_plain, run_of, run_row
from stream_triggers.verify.report import FINDINGS_KEPT_MAX, Fault, Finding, Report
from stream_triggers.verify.scope import Scope

PLAIN_ROWS = 3
"""A run that is as it must be has one row each: recorded, asked for, fired."""


@dataclass(frozen=True, slots=True)
class Court:
    """What every judgement needs."""

    scope: Scope
    history: History
    ledger: Ledger
    report: Report
    topics: Topics
    claim_retention_ms: int


def judge_runs(court: Court) -> Iterator[int]:
    """Judge all run ids; yields how many rows each had."""
    report = court.report
    for run, rows in groupby(court.ledger.read(RUNS), key=run_of):
        head = tuple(islice(rows, PLAIN_ROWS + 1))
        if len(head) == PLAIN_ROWS and is_plain(*head):
            report.expected += 1
            report.invocations += 1
            yield PLAIN_ROWS
        else:
            yield _Run(court, run).judge(chain(head, rows))  # noqa: B031 - what is left of the group, and only once


@dataclass(slots=True)
class _Due:
    """An invocation that must be there, because of a message."""

    row: RunRow
    is_recorded: bool
    found: RunRow | None = None


@dataclass(slots=True)
class _Leftovers:
    """Rows that nothing accounts for: how many, and the first of them."""

    count: int = 0
    rows: list[RunRow] = field(default_factory=list)

    def add(self, row: RunRow) -> None:
        self.count += 1
        if len(self.rows) < FINDINGS_KEPT_MAX:
            self.rows.append(row)


class _Run:
    """What is known of one run id."""

    def __init__(self, court: Court, run: bytes) -> None:
        self._court = court
        self._run = run
        self._run_id = run.hex()
        self._due: list[_Due] = []
        self._missing: dict[bytes, list[_Due]] | None = None  # by digest, from the first invocation on
        self._is_asked = False
        self._outside = 0
        self._records = _Leftovers()
        self._invocations = _Leftovers()
        # Of the input partition that the rows have come to
        self._is_claimed = False
        self._fired_ms: int | None = None  # time of the last run record
        # Of the position
        self._at = (-1, -1)
        self._record: RunRow | None = None
        self._repeat: RunRow | None = None  # the decision that it is one
        self._asking: RunRow | None = None

    def judge(self, items: Iterable[Item]) -> int:
        """Take in all rows, and report; returns how many there were."""
        count = 0
        for item in items:
            row = run_row(item)
            count += 1
            self._run_id = row.run_id or self._run_id
            if (row.place, row.offset) != self._at:
                self._leave_position()
                if row.place != self._at[0]:
                    self._is_claimed, self._fired_ms = False, None
                self._at = row.place, row.offset
            self._take(row)
        self._leave_position()
        self._report()
        return count

    def _take(self, row: RunRow) -> None:
        match row.mark:
            case Mark.RECORDED if self._record is None:
                self._record = row
            case Mark.RECORDED if self._is_unclear(row):
                self._outside += 1
            case Mark.RECORDED:
                self._records.add(row)
            case Mark.SUPPRESSED if self._repeat is None:
                self._repeat = row
            case Mark.SUPPRESSED if not self._is_unclear(row):
                self._find("duplicated", row.trigger_id, self._cause(row), row, "the decision that it is a repeat")
            case Mark.ASKED | Mark.FAILS | Mark.HELD:
                self._asking = row
            case Mark.FIRED:
                self._take_invocation(row)

    # One input partition, position by position

    def _leave_position(self) -> None:
        """Judge the position whose rows have all come."""
        record, repeat, asking = self._record, self._repeat, self._asking
        self._record = self._repeat = self._asking = None
        if asking is None:
            self._judge_unasked(record, repeat)
            return
        if asking.mark == Mark.ASKED:
            self._judge_asked(asking, record, repeat)
        elif asking.mark == Mark.HELD:
            self._judge_held(asking, record, repeat)
        else:
            self._judge_failing(asking, record, repeat)

    def _judge_unasked(self, record: RunRow | None, repeat: RunRow | None) -> None:
        """No trigger in force has matched the message: it is outside of what is judged, or rows are too many."""
        row = record or repeat
        if row is None:
            return
        court, at = self._court, (row.place, row.offset)
        if court.scope.is_judged(*at) and not court.history.is_gone(*at, row.trigger_id):
            if record is not None:
                self._records.add(record)
            self._refuse_decision(repeat)
        elif record is not None:
            self._outside += 1
            self._is_claimed, self._fired_ms = True, record.time_ms

    def _judge_asked(self, asking: RunRow, record: RunRow | None, repeat: RunRow | None) -> None:
        report = self._court.report
        self._is_asked = True
        is_first, self._is_claimed = not self._is_claimed, True
        if is_first and record is None and repeat is not None and not self._court.scope.is_whole:
            report.unjudged += 1
        elif is_first:
            self._expect(asking, record)
        elif record is None:
            report.repeated += 1
            if repeat is None:
                self._find("unreported", asking.trigger_id, self._cause(asking), None, "a repeat without a decision")
        elif self._fired_ms is None or record.time_ms - self._fired_ms >= self._court.claim_retention_ms:
            report.refired += self._fired_ms is not None
            self._expect(asking, record)
        else:
            self._records.add(record)
        if record is not None:
            self._refuse_decision(repeat)

    def _judge_failing(self, asking: RunRow, record: RunRow | None, repeat: RunRow | None) -> None:
        """Arguments that cannot be made: of a repeat they need not be, else a decision and a dead letter say so."""
        report = self._court.report
        if record is not None:
            self._records.add(record)
        if repeat is not None and self._is_claimed:
            report.repeated += 1
        elif repeat is not None and not self._court.scope.is_whole:
            self._is_claimed = True
            report.unjudged += 1
        else:
            report.failed += 1
            self._court.ledger.expect_notice(self._run, *self._at, "arguments", asking.trigger_id, asking.digest)
            self._refuse_decision(repeat)

    def _judge_held(self, asking: RunRow, record: RunRow | None, repeat: RunRow | None) -> None:
        """The keyed stage has it; the claim is as old as the message, whenever it fires."""
        self._outside += record is not None
        self._court.report.repeated += repeat is not None
        self._is_claimed, self._fired_ms = True, asking.time_ms - CLOCKS_DIFFER_MAX_MS

    def _expect(self, asking: RunRow, record: RunRow | None) -> None:
        self._due.append(_Due(asking, record is not None))
        self._fired_ms = None if record is None else record.time_ms

    def _refuse_decision(self, repeat: RunRow | None) -> None:
        if repeat is not None:
            self._find("unexpected", repeat.trigger_id, self._cause(repeat), repeat, "the decision that it is a repeat")

    # The invocations

    def _take_invocation(self, row: RunRow) -> None:
        if self._missing is None:
            self._missing = defaultdict(list)
            for due in sorted(self._due, key=lambda due: due.is_recorded):
                self._missing[due.row.digest].append(due)
        same = self._missing.get(row.digest)
        if same:
            same.pop().found = row
        elif self._is_asked or self._records.count or self._court.scope.is_in_time(row.time_ms):
            self._invocations.add(row)

    def _report(self) -> None:
        report = self._court.report
        missing = [due for due in self._due if due.found is None]
        left = max(0, self._invocations.count - self._outside)
        report.expected += len(self._due)
        report.invocations += len(self._due) - len(missing) + left
        for due in self._due:
            if due.found is not None and not due.is_recorded:
                self._find("unrecorded", due.row.trigger_id, self._cause(due.row), due.found, "it has no run record")
        wrong = min(left, len(missing))
        for due, row in zip(missing[:wrong], self._invocations.rows, strict=False):
            self._find("wrong", due.row.trigger_id, self._cause(due.row), row, "its content differs")
        for due in missing[wrong:]:
            detail = "it has a run record, and no invocation" if due.is_recorded else "it has no invocation"
            self._find("lost", due.row.trigger_id, self._cause(due.row), None, detail)
        self._report_leftovers(wrong, left)

    def _report_leftovers(self, wrong: int, left: int) -> None:
        """Invocations and run records that are too many; one of each is one firing too many."""
        fault: Fault = "duplicated" if self._is_asked else "unexpected"
        records, rows = self._records.rows, self._invocations.rows[wrong:left]
        for at, row in enumerate(rows):
            cause = self._cause(records[at]) if at < len(records) else None
            if cause is None and self._due:
                cause = self._cause(self._due[0].row)
            detail = "fired once more" if self._is_asked else "no message asks for it"
            self._find(fault, row.trigger_id, cause, row, detail)
        for row in records[len(rows) :]:
            self._find(fault, row.trigger_id, self._cause(row), row, "a run record, and no invocation")
        unnamed = max(left - wrong, self._records.count) - max(len(rows), len(records))
        self._court.report.add_unnamed(fault, unnamed)

    def _find(self, fault: Fault, trigger_id: str, cause: Position | None, found: RunRow | None, detail: str) -> None:
        place = None if found is None else self._place_of(found)
        self._court.report.add(Finding(fault, self._run_id, trigger_id, cause, place, detail))

    def _is_unclear(self, row: RunRow) -> bool:
        """Whether it cannot be told how often its trigger has come to its position."""
        return self._court.history.is_unclear(row.place, row.offset, row.trigger_id)

    def _cause(self, row: RunRow) -> Position:
        return Position(*self._court.scope.inputs[row.place], row.offset)

    def _place_of(self, row: RunRow) -> Position | None:
        """Where the record that a row was made of stands."""
        if row.found is None:
            return None
        topics = self._court.topics
        return Position(topics.invocations if row.place >= INVOCATIONS_PLACE else topics.trigger_runs, *row.found)
