"""The task worker: reads invocations, runs their functions, reports how that went.

Rules:
1. A function runs at least once: after a crash between its end and the commit it runs again. ``Invocation.id`` is the
   same both times; a function whose effects must happen once keeps that id with them.
2. Reports are exactly-once: statuses, result and the position behind the invocation are one transaction.
3. An invocation that has expired when it is its turn is not run; its status ``expired`` is reported instead.
4. An invocation of an unknown task stops the worker in front of it, unless ``unknown`` is ``skip``.

Limits. What is done is committed when nothing waits to be read, after ``commit_interval_ms``, or when it is much; and
before a function that took longer than that last time, or has not run yet, so that the reports of quick functions do
not wait for slow ones. A function with all its attempts must end within Kafka's ``max.poll.interval.ms``: past that the
partition goes to another member, which runs the function again, and what this one has to report is dropped. The
functions of one worker run one after the other, in the order of their partition; workers of different slots run beside
each other, as many as the invocations topic has partitions. A stop lets the running function end.
"""

from __future__ import annotations

import logging
import threading
from typing import Literal, TypeAlias

from stream_triggers.config import Config
from stream_triggers.consumer.app import Task, TaskApp
from stream_triggers.consumer.execution import TaskRunner
from stream_triggers.consumer.intake import Intake, Taken
from stream_triggers.errors import UnknownTask
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.log import Log
from stream_triggers.runtime.rounds import work_until
from stream_triggers.runtime.topics import Topics
from stream_triggers.telemetry import log

logger = logging.getLogger(__name__)

Unknown: TypeAlias = Literal["stop", "skip"]
"""What happens at an invocation of a task the app does not have: ``skip`` is for topics that several apps share."""

IDLE_WAIT_S = 0.2
"""How long an idle worker waits for an invocation before it looks at the request to stop."""


class TaskWorker:
    """Runs the invocations of ``app``'s tasks, as the member of the group of task workers that ``log`` makes."""

    def __init__(self, app: TaskApp, log: Log, clock: Clock, config: Config, *, unknown: Unknown = "stop") -> None:
        topics = Topics.of(config)
        self._tasks = app.tasks
        self._unknown = unknown
        self._clock = clock
        self._commit_interval_s = config.commit_interval_ms / 1000
        self._intake = Intake(log, topics, clock, config)
        self._runner = TaskRunner(topics, clock, config.payload_bytes_max)
        self._took_s: dict[str, float] = {}
        self._skipped: set[str] = set()

    def start(self) -> None:
        """Take over the slot's transactional id and join the group."""
        self._intake.open()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then commit and leave; waits while Kafka is away.

        Raises ``UnknownTask`` with the position in front of the invocation, and ``Fenced`` when another process has
        taken the slot.
        """
        try:
            work_until(stop, self.start, lambda: self.run_once(IDLE_WAIT_S))
            self._intake.commit()
        finally:
            self.close()

    def run_once(self, wait_s: float) -> bool:
        """Deal with the next invocation, waiting at most ``wait_s`` for it; False when there was none."""
        taken = self._intake.read(wait_s)
        if taken is None:
            return False
        task = self._tasks.get(taken.invocation.task)
        if task is None:
            self._pass_by(taken)
        elif taken.invocation.is_expired(self._clock.now_ms()):
            self._intake.done(taken.record, [self._runner.pass_over(taken.invocation)])
        else:
            self._work(task, taken)
        return True

    def close(self) -> None:
        """Leave the group; functions whose reports are not committed will run again."""
        self._intake.close()
        self._runner.close()

    def _work(self, task: Task, taken: Taken) -> None:
        is_slow = self._took_s.get(task.name, self._commit_interval_s) >= self._commit_interval_s
        if is_slow and not self._intake.commit():
            return  # this invocation is read again, after those before it
        began_s = self._clock.monotonic_s()
        reports = list(self._runner.run(task, taken.invocation))
        self._took_s[task.name] = self._clock.monotonic_s() - began_s
        self._intake.done(taken.record, reports)

    def _pass_by(self, taken: Taken) -> None:
        name = taken.invocation.task
        if self._unknown == "stop":
            self._intake.commit()
            raise UnknownTask(
                f"no function is registered as task {name!r}; known are {', '.join(sorted(self._tasks)) or 'none'}",
                hint="register it, or let unknown tasks be skipped if other apps run them",
            )
        if name not in self._skipped:
            self._skipped.add(name)
            log(logger, "task skipped", task=name)
        self._intake.done(taken.record)
