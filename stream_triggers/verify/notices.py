"""The judgement of one message that could not be handled: what must report it, and what does.

Rules:
1. A message that a trigger could not handle must have one decision and one dead letter for that trigger, and for each
   epoch that it came to; one that could not be read must have one dead letter. What is missing is *unreported*.
2. What is there twice is *duplicated*, what nothing asks for *unexpected*, a dead letter that keeps other bytes than
   those of the message *wrong*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from stream_triggers.core.message import Position
from stream_triggers.verify.ledger import NOTICES, Item, Mark, NoticeRow, message_of, notice_row
from stream_triggers.verify.report import Fault, Finding
from stream_triggers.verify.runs import Court

NAMES = {Mark.DECIDED: "decision", Mark.LETTER: "dead letter"}


def judge_notices(court: Court) -> Iterator[int]:
    """Judge all messages that something was or had to be said about; yields how many rows each had."""
    for _, items in groupby(court.ledger.read(NOTICES), key=message_of):
        yield _Message(court).judge(items)


@dataclass(slots=True)
class _Due:
    """A report that there must be, so many times, and how often its parts have been found."""

    row: NoticeRow
    times: int = 0
    decisions: int = 0
    letters: int = 0


class _Message:
    """What is known of one message."""

    def __init__(self, court: Court) -> None:
        self._court = court
        self._due: dict[tuple[str, str], _Due] = {}

    def judge(self, items: Iterable[Item]) -> int:
        """Take in all rows, and report; returns how many there were."""
        count = 0
        for item in items:
            row = notice_row(item)
            count += 1
            if row.mark == Mark.DUE:
                self._due.setdefault((row.stage, row.trigger_id), _Due(row)).times += 1
            elif self._court.scope.is_judged(row.place, row.offset):
                self._take_found(row)
        for due in self._due.values():
            if due.row.stage != "decode" and due.decisions < due.times:
                self._find("unreported", due.row, f"{_what(Mark.DECIDED, due.row)} is missing")
            if due.letters < due.times:
                self._find("unreported", due.row, f"{_what(Mark.LETTER, due.row)} is missing")
        return count

    def _take_found(self, row: NoticeRow) -> None:
        what = _what(Mark(row.mark), row)
        due = self._due.get((row.stage, row.trigger_id))
        history, at = self._court.history, (row.place, row.offset, row.trigger_id)
        if due is None:
            if not history.is_gone(*at) and not history.is_held(*at):
                self._find("unexpected", row, f"{what}, and nothing asks for it")
            return
        if row.mark == Mark.DECIDED:
            due.decisions += 1
            again = due.decisions > due.times
        else:
            due.letters += 1
            again = due.letters > due.times
        if again and not history.is_gone(*at):
            self._find("duplicated", row, f"{what} once more")
        elif row.mark == Mark.LETTER and row.digest != due.row.digest:
            self._find("wrong", row, f"{what} has other bytes than the message")

    def _find(self, fault: Fault, row: NoticeRow, detail: str) -> None:
        court = self._court
        found = None
        if row.found is not None:
            topic = court.topics.dead_letters if row.mark == Mark.LETTER else court.topics.trigger_runs
            found = Position(topic, *row.found)
        cause = Position(*court.scope.inputs[row.place], row.offset)
        court.report.add(Finding(fault, "", row.trigger_id, cause, found, detail))


def _what(mark: Mark, row: NoticeRow) -> str:
    return f"{NAMES[mark]} of stage {row.stage}"
