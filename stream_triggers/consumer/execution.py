"""Running one invocation: the function's attempts, and the reports about them.

Rules:
1. Every attempt makes two statuses and one outcome: running, then success, retry or failed. They are written when the
   function has ended, each with the instant it is about.
2. Whatever a function raises is its failure, ``SystemExit`` included: it would end the worker at each start again. A
   ``KeyboardInterrupt`` that may be the user's Ctrl-C is not the function's: it goes through, and nothing is reported.
3. A value that cannot be reported (no JSON, such as NaN, or too large) is a failure and final: another attempt would
   do the work twice and end the same.
4. Reports carry on the causal chain of their invocation. Statuses say which trigger and key it is of.
5. An invocation that has expired when it is its turn is not started: it comes to ``expired`` and has no outcome.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Iterator

from stream_triggers.consumer.app import Task
from stream_triggers.consumer.intake import Output
from stream_triggers.core.fields import NULL, require_finite
from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import Failure, Success, TaskResult
from stream_triggers.core.report import EXPIRED, failure_of, result_of, status_of
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.functions import ctrl_c_raises
from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.topics import Topics


class TaskRunner:
    """Runs invocations one at a time; ``async`` functions on an event loop that it keeps until ``close``."""

    def __init__(self, topics: Topics, clock: Clock, message_bytes_max: int) -> None:
        self._topics = topics
        self._clock = clock
        self._message_bytes_max = message_bytes_max
        self._runner = asyncio.Runner()

    def run(self, task: Task, invocation: Invocation) -> Iterator[Output]:
        """Call the task's function until it succeeds or its attempts are used up, and tell what happened."""
        previous = None
        for attempt in range(1, task.attempts_max + 1):
            yield self._status(invocation, attempt, "running", previous)
            outcome = self._attempt(task, invocation, final=attempt == task.attempts_max)
            ended_ms = self._clock.now_ms()
            result = result_of(invocation, outcome, ended_ms, attempt=attempt)
            try:
                value = self._reportable(result)
            except InvalidMessage as error:
                outcome = failure_of(error, final=True)
                value = encode(result_of(invocation, outcome, ended_ms, attempt=attempt))
            previous = _status_after(outcome)
            yield self._status(invocation, attempt, previous, "running")
            yield self._topics.task_results, Outgoing(value=value, key=invocation.id.encode())
            if previous != "retry":
                return

    def pass_over(self, invocation: Invocation) -> Output:
        """What to tell of an invocation that is not started because it has expired."""
        return self._status(invocation, 1, EXPIRED, None)

    def close(self) -> None:
        """End the event loop, with what functions left running on it."""
        self._runner.close()

    def _attempt(self, task: Task, invocation: Invocation, *, final: bool) -> Success | Failure:
        arguments = copy.deepcopy(invocation.arguments)
        given = {} if task.invocation_parameter is None else {task.invocation_parameter: invocation}
        try:
            value = task.function(**arguments, **given)
            return Success(self._runner.run(value) if inspect.iscoroutine(value) else value)
        # A function that cancels itself, or exits, has failed: nobody else cancels on this loop, and it is no program.
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and ctrl_c_raises():
                raise
            return failure_of(error, final=final)

    def _reportable(self, result: TaskResult) -> bytes:
        value = encode(result)
        if NULL in value and isinstance(result.outcome, Success):
            require_finite(result.outcome.value, "result")
        if len(value) > self._message_bytes_max:
            raise InvalidMessage(
                f"the result of {result.task} has {len(value)} bytes, the limit is {self._message_bytes_max}",
                hint="return a reference to the data, or raise payload_bytes_max",
            )
        return value

    def _status(self, invocation: Invocation, attempt: int, status: str, previous: str | None) -> Output:
        report = status_of(invocation, status, self._clock.now_ms(), attempt=attempt, previous=previous)
        return self._topics.task_status, Outgoing(value=encode(report), key=invocation.id.encode())


def _status_after(outcome: Success | Failure) -> str:
    if isinstance(outcome, Success):
        return "success"
    return "failed" if outcome.final else "retry"
