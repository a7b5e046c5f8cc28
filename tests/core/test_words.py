"""Numbers as people read them."""

from __future__ import annotations

import pytest

from stream_triggers.core.words import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 triggers"), (1, "1 trigger"), (2, "2 triggers"), (1234, "1,234 triggers")]
)
def test_one_of_something_is_no_plural(number: int, text: str) -> None:
    assert counted(number, "trigger") == text
