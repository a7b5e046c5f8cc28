"""The gates of flow control: what becomes of the matches of a trigger between its condition and its runs.

Rules:
1. Matches of one trigger and key pass the gates that the trigger sets, in the order that ``chain`` fixes. Each is
   released, held or refused with a reason; nothing else can become of it.
2. All of it is arithmetic on instants of the log: the memory of the gates is part of the state of the key, so a restart
   or another owner goes on where the last one stopped.
3. What a released match is made into, one run or one for each element of a list, is said by ``fan_out``.

What can be set is in ``core.flow``. ``gate`` says what a gate is, and ``limit``, ``gather``, ``pace``, ``breaker``,
``overlap`` and ``pause`` have them.
"""

from stream_triggers.core.keyed.gates.chain import GATE_TYPES, Chain, Flowed, compile_flow, held_in, running_in
from stream_triggers.core.keyed.gates.fan_out import Element, FanOut, compile_fan_out
from stream_triggers.core.keyed.gates.gate import Gate, Memory, Passage, Refused
from stream_triggers.core.keyed.gates.overlap import InvocationIds

__all__ = [
    "GATE_TYPES",
    "Chain",
    "Element",
    "FanOut",
    "Flowed",
    "Gate",
    "InvocationIds",
    "Memory",
    "Passage",
    "Refused",
    "compile_fan_out",
    "compile_flow",
    "held_in",
    "running_in",
]
