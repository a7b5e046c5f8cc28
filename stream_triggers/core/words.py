"""Numbers as people read them."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """``number`` of ``what``, a noun that takes an s: ``1 trigger``, ``1,234 triggers``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
