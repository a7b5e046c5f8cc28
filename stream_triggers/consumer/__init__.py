"""Running invocations: tasks by name, a worker that runs them, and a plain iterator.

``app`` holds the functions, ``execution`` calls one and tells how that went, ``intake`` is the member of the group with
its commits, ``worker`` is the loop over both, ``iterator`` is the loop for programs that bring their own, and
``connection`` makes either on Kafka.

The promise: what is reported about an invocation is reported exactly once, in the transaction that passes it. The
function itself runs at least once: nothing can take back what it did before a crash. ``Invocation.id`` is the same
every time, so effects that must not repeat are kept with it.
"""

from stream_triggers.consumer.app import Task, TaskApp, load_app
from stream_triggers.consumer.connection import invocations, task_worker
from stream_triggers.consumer.iterator import iterate
from stream_triggers.consumer.worker import TaskWorker, Unknown
from stream_triggers.core.invocation import Invocation

__all__ = [
    "Invocation",
    "Task",
    "TaskApp",
    "TaskWorker",
    "Unknown",
    "invocations",
    "iterate",
    "load_app",
    "task_worker",
]
