"""The decisions of the engine, as pure functions over immutable values.

Rules of this package:
1. Values in, values out: no clock, no I/O, no logging, no randomness. Time arrives inside messages.
2. Unions are closed: a match over one has no arm for the rest, so the type checker names the member it misses.
3. What cannot be evaluated raises ``EvaluationFailed``; it is never taken for "false".
4. User code is reached only through a resolver that the runtime passes in.
"""
