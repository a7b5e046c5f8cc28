"""Doubts about well-formed triggers: what can never happen, or surely does not mean what it says.

Rules:
1. A doubt is certain: it follows from the trigger, and for a schedule from the present instant. What may be meant is
   not doubted.
2. Doubts refuse nothing. A trigger with doubts can be stored and run.
3. A path names a place in the canonical form of the trigger, as in errors.

``filters`` says which filters no value passes, ``possible`` which conditions can hold, ``rules`` asks and words it.
"""

from stream_triggers.core.lint.filters import contradiction
from stream_triggers.core.lint.rules import STATUSES, Doubt, doubts, repeated

__all__ = ["STATUSES", "Doubt", "contradiction", "doubts", "repeated"]
