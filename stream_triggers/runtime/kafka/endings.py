"""How the client library ended a transaction, read from what it logs: it says so nowhere else.

When a connection breaks, the library sends again by itself what had no answer, and succeeds without a word; an error is
reported only if several requests were on their way. The first one may still arrive. A commit or an abort would then end
whatever transaction is open at that moment, and positions would become those of another transaction. The library logs
each connection that breaks (``debug=broker``) and each answer to a commit or an abort (``debug=eos``), some thirty
lines for a transaction; passing them by costs less than can be measured.

Rules:
1. A transaction was ended for certain when the brokers have answered, and no connection broke since it began. When the
   log says nothing, it was not.
2. Of the rest of the log only what the settings ask for is passed on. What is fatal is not: the next call raises it,
   and whoever catches that tells it, or nobody where another attempt succeeds.
"""

from __future__ import annotations

import logging
import re
from typing import Any

_NEEDED = "eos,broker"
_FAILURE = "FAIL"
_OF_USE = "in state UP"
_ON_PURPOSE = "(_DESTROY_BROKER)"
"""What a failure is called in the log, and when it is of a connection that was up, and not closed by the library."""

_ENDED = re.compile(r"EndTxn returned NO_ERROR in state|not sending EndTxn")
"""The second is said of a transaction that no broker knows of."""

_RAISED = ("FATAL", "TXNERR")
"""What the end of a producer is called in the log, such as that another one has taken its place."""

_LEVELS = (logging.CRITICAL,) * 3 + (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)
"""The level that the library's log levels, 0 to 7, have for ``logging``."""


class Endings:
    """Stands in as the logger of one producer; ``chosen`` are its settings, changed to log what is needed here."""

    def __init__(self, chosen: dict[str, Any]) -> None:
        self._logger: logging.Logger = chosen["logger"]
        debug = chosen.get("debug")
        self._raised = () if debug else _RAISED
        self._least = logging.DEBUG if debug else _LEVELS[int(chosen["log_level"])]
        self._is_ended = False
        self._is_broken = False
        chosen.update({"logger": self, "log_level": "7", "debug": f"{debug},{_NEEDED}" if debug else _NEEDED})

    def begin(self) -> None:
        """A transaction begins: what was heard before is not of it."""
        self._is_ended = self._is_broken = False

    @property
    def certain(self) -> bool:
        """Whether the transaction was ended, once; to be asked after the library's log was served."""
        return self._is_ended and not self._is_broken

    def log(self, level: int, form: str, *values: object) -> None:
        """One line of the library's log: the topic, the client, the text; called from the library's poll."""
        text = str(values[-1])
        if values[0] == _FAILURE and _OF_USE in text and _ON_PURPOSE not in text:
            self._is_broken = True
        elif _ENDED.search(text):
            self._is_ended = True
        if level >= self._least and values[0] not in self._raised:
            self._logger.log(level, form, *values)
