"""The demo of ``stream-triggers demo``: triggers, tasks and the show around them."""

from stream_triggers.demo.show import run

__all__ = ["run"]
