"""How a trigger follows the runs it has made: by the statuses of their invocations, which it takes in as facts.

Rules:
1. A status says whose run it is of: it repeats the trigger and the key of its invocation. So nothing has to be
   remembered of an invocation to find the state that waits for it. A status that does not say is news for nobody.
2. Only statuses are news: a result that came with one would count twice. Which of them matter is said by what the
   trigger sets; who sets nothing of the kind follows nothing.
3. A fact that is news has ``RUN`` in place of a leaf. It takes no part in a run.
"""

from __future__ import annotations

from typing import get_args

from stream_triggers.core.flow import Flow
from stream_triggers.core.message import Participant, Position, TaskStatus
from stream_triggers.core.record import Fact
from stream_triggers.core.report import News, news_of

RUN = "run"
"""What a trigger takes news of its runs for; the id of no leaf, for those are hexadecimal."""


def wanted_news(flow: Flow) -> frozenset[News]:
    """The news that make a difference to flow control."""
    if flow.overlap.policy != "allow":
        return frozenset(get_args(News))
    if flow.circuit_breaker is not None and flow.circuit_breaker.failures is not None:
        return frozenset({"failed"})
    return frozenset()


def run_fact(trigger_id: str, version: str, status: TaskStatus, position: Position) -> Fact:
    """The fact that a run of a version of a trigger, which follows it, has come to ``status``."""
    return Fact(
        trigger_id=trigger_id,
        trigger_version=version,
        key=status.trigger_key or "",
        participant=Participant(
            RUN, "status", status.id, position.topic, position.partition, position.offset, status.time_ms
        ),
        fields={"invocation_id": status.invocation_id, "status": status.status},
        leaves=(RUN,),
    )


def news_in(fact: Fact) -> tuple[str, News] | None:
    """The invocation that a fact is news of, and the news; None where it is a match."""
    if fact.leaves != (RUN,):
        return None
    return fact.fields.get("invocation_id", ""), news_of(fact.fields.get("status", ""))
