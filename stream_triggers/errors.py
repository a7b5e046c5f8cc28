"""Every exception of the package, in one tree, sorted by who must act.

A message is one lowercase factual sentence; ``hint`` says what to do about it. Programmer errors are
assertions: they crash the worker, which is safe because a restart replays from the last commit.
"""

from __future__ import annotations


class StreamTriggersError(Exception):
    """Anything this package raises on purpose."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class Rejected(StreamTriggersError):
    """The input is wrong; processing goes on without it."""


class InvalidTrigger(Rejected):
    """Its author must act: a trigger is not well formed.

    ``path`` leads to the wrong place (``triggers[2].when.filter``); the message says what was
    expected there and what was found.
    """

    def __init__(self, path: str, problem: str, *, hint: str = "", source: str = "") -> None:
        where = f"{source}: {path}" if source else path
        super().__init__(f"{where}: {problem}", hint=hint)
        self.path = path
        self.problem = problem
        self.source = source


class InvalidMessage(Rejected):
    """Its sender must act: bytes that are not a message of the schema they claim to be."""


class EvaluationFailed(Rejected):
    """The author of a trigger must act: its filter or template failed on a message.

    This is never the same as "false": the message gets a decision and a dead letter for this trigger.
    """


class Misconfigured(StreamTriggersError):
    """The operator must act before start: a setting, a topic or the environment is not as needed."""


class UnknownTask(Misconfigured):
    """The operator of a task worker must act: an invocation names a task the worker does not have."""


class Unavailable(StreamTriggersError):
    """Nobody must act: the other side is away; retried with growing pauses up to a bound."""


class StateInUse(Unavailable):
    """Nobody must act while a predecessor still ends, else the operator: another process holds the local state."""


class Fenced(StreamTriggersError):
    """The operator must act if a member is fenced: two processes run under one slot, and the older stops.

    A fenced producer alone may be the victim of its own timed-out transaction; it is replaced after a pause.
    """


class Unsettled(StreamTriggersError):
    """Nobody must act: the outcome of a commit is unknown; recycle the producer and read the truth back."""


class Aborted(StreamTriggersError):
    """Nobody must act: the transaction was refused; it is to be aborted, and its input read again."""


class Corrupt(StreamTriggersError):
    """The operator must act: local state is unreadable, or written by a newer release."""


class DeliveryFailed(StreamTriggersError):
    """The producer's caller must act: Kafka did not accept messages; ``failures`` says which and why."""

    def __init__(self, message: str, failures: tuple[tuple[str, str], ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.failures = failures
