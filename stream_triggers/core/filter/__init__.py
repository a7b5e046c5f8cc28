"""Filters: what a JSON value must look like, as data that is parsed once and compiled to closures.

Rules:
1. An object is a conjunction of its fields, ``{}`` accepts everything. A field is a test of the value at a path, or one
   of ``any``, ``all``, ``not`` and ``call``; a function that is called gets the whole value.
2. What stands at a path is an object of operators, or a literal that the value there must equal. An object is compared
   by ``eq`` only, so that a misspelled operator is never taken for a literal.
3. Equality is by JSON type at every depth: true is not 1, and 1 is 1.0.
4. At a path that leads nowhere every test is false but ``ne`` and ``exists: false``. ``not`` turns any answer round.
5. ``lt``, ``lte``, ``gt`` and ``gte`` compare two numbers or two strings, ``prefix`` and ``suffix`` take a string; any
   other value gives them no answer. Nor has a function one that raises, or returns anything but a bool. To have no
   answer is an error, never false.
6. An error stands unless the answer does not depend on it: one true branch makes ``any`` true, and one false branch
   ``all`` false, whatever the others. So the order of branches means nothing.
7. Spellings that mean the same by these rules, as far as ``notation`` knows, are read as equal values.

``path`` is where a filter looks, ``tree`` a filter as a value, ``notation`` its JSON, ``closures`` its compiled form.
"""

from stream_triggers.core.filter.closures import Functions, Predicate, compile_filter
from stream_triggers.core.filter.notation import DEPTH_MAX, FUNCTION_NAME, TESTS_MAX, filter_json, parse_filter
from stream_triggers.core.filter.path import MISSING, Path, format_path, get_path, parse_path
from stream_triggers.core.filter.tree import EVERYTHING, Filter, equalities, index_key, json_equal

__all__ = [
    "DEPTH_MAX",
    "EVERYTHING",
    "FUNCTION_NAME",
    "MISSING",
    "TESTS_MAX",
    "Filter",
    "Functions",
    "Path",
    "Predicate",
    "compile_filter",
    "equalities",
    "filter_json",
    "format_path",
    "get_path",
    "index_key",
    "json_equal",
    "parse_filter",
    "parse_path",
]
