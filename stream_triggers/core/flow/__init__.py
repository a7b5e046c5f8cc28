"""What a trigger may say about flow control: ``settings`` as values, ``notation`` in the words of a trigger file.

What comes of it is in ``core.keyed.gates``.
"""

from stream_triggers.core.flow.notation import FLOW_FIELDS, flow_json, parse_flow
from stream_triggers.core.flow.settings import DEPTH_DEFAULT, FREE, Flow

__all__ = ["DEPTH_DEFAULT", "FLOW_FIELDS", "FREE", "Flow", "flow_json", "parse_flow"]
