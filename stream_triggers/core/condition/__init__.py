"""The condition of a trigger: a tree whose leaves each accept one kind of message, or an instant.

``leaf`` has the leaves and what they ask of a message, ``tree`` the nodes that join them, ``notation`` and ``form`` the
JSON of both, ``placement`` where in a trigger a node can stand.
"""

from stream_triggers.core.condition.form import condition_json
from stream_triggers.core.condition.leaf import (
    EVERY_TASK,
    Attempts,
    EventLeaf,
    ExceptionLeaf,
    Leaf,
    ResultLeaf,
    ScheduleLeaf,
    StatusLeaf,
    compile_leaf,
    leaf_kind,
)
from stream_triggers.core.condition.leaf_notation import NAME_CHARS_MAX, leaf_json, parse_task
from stream_triggers.core.condition.notation import COUNT_MAX, DEPTH_MAX, FOREVER, LEAVES_MAX, WORDS, parse_condition
from stream_triggers.core.condition.placement import check_placement
from stream_triggers.core.condition.tree import (
    After,
    Aggregate,
    AllOf,
    AnyOf,
    AtLeast,
    Changed,
    Comparison,
    Condition,
    Count,
    Not,
    Pick,
    Select,
    Sequence,
    Times,
    leaves,
    members,
    nodes,
    picks,
)

__all__ = [
    "COUNT_MAX",
    "DEPTH_MAX",
    "EVERY_TASK",
    "FOREVER",
    "LEAVES_MAX",
    "NAME_CHARS_MAX",
    "WORDS",
    "After",
    "Aggregate",
    "AllOf",
    "AnyOf",
    "AtLeast",
    "Attempts",
    "Changed",
    "Comparison",
    "Condition",
    "Count",
    "EventLeaf",
    "ExceptionLeaf",
    "Leaf",
    "Not",
    "Pick",
    "ResultLeaf",
    "ScheduleLeaf",
    "Select",
    "Sequence",
    "StatusLeaf",
    "Times",
    "check_placement",
    "compile_leaf",
    "condition_json",
    "leaf_json",
    "leaf_kind",
    "leaves",
    "members",
    "nodes",
    "parse_condition",
    "parse_task",
    "picks",
]
