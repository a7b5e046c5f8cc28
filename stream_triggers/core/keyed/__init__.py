"""Conditions with memory and time: a pure step from state, fact or clocks to a new state, runs and refusals.

Rules:
1. One state for each trigger and key has all that is remembered: the occurrences that are still of use, what nodes
   remember of values, and the memories of flow control. What a condition finds is a function of it and of the clocks.
2. Time comes from the log: the wall clock of the partition serves schedules and flow control, the watermark windows,
   absence and waits.
3. Everything that does not become a run is told: see ``evaluate`` for which refusal is due when.

On the route side ``facts`` makes facts of a message that leaves have accepted, with what ``needs`` says is needed. On
the other, ``plan`` has the steps over a ``state``: ``evaluate`` takes and lets go, ``watch`` looks at values, ``kept``
and ``pool`` hold the occurrences, ``search`` and ``steps`` find matches in them as ``build`` has arranged it of the
condition, ``clause`` compares, ``lone`` looks at schedules, ``expiry`` ends what has outlived its window, ``release``
lets matches through ``flow``, ``fire`` makes the runs with the references of ``cast``. ``pending`` shows what waits.
"""
