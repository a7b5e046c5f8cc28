"""The keyed stage: conditions with memory and time, on one ordered log for each partition.

::

    route ──facts, activations──▶ trigger-facts ──▶ evaluate ──▶ invocations, run records, decisions
                                       ▲                │
                                       └─ticks──────────┘ the owner of a partition writes them when something is due

The rules
=========

1. *A partition is a pure function of its records.* Definitions, messages and time are records of it; ``replay`` reads
   them again and makes the same, byte for byte.
2. *A state is written where its facts are read*: in the transaction with the position behind them. The changelog has
   it; the store is a copy; timers are derived from it.
3. *Time moves by ticks.* The owner writes one when something is due, at most one at a time. One too many, or one that
   comes late, changes nothing: clocks never go back, and what is not due is not looked at.
4. *Nothing is concluded from a silence nobody has listened to*: the watermark is the least progress of all inputs, and
   progress is committed with the facts it vouches for.
5. *Whoever may write, nobody has to be trusted*: activations and ticks of former owners are harmless, whenever they
   come.
"""
