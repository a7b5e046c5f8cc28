"""When a schedule is due, as far as its text says: a cron expression and a time zone, checked as they are read.

Rules:
1. A cron expression has five fields or is a name such as ``@daily``; one that names no instant at all is refused.
2. What means another instant on another machine is refused: hashed and random fields.
3. A zone is a name of the IANA database.
"""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from stream_triggers.core.fields import expected
from stream_triggers.core.message import JsonValue

_HASHED = re.compile(r"(?<![a-z@])[hr](?![a-z])")


def parse_cron(value: JsonValue, path: str) -> str:
    """Check a cron expression and write its fields with single spaces between them."""
    expression = " ".join(value.split()) if isinstance(value, str) else ""
    if not (expression.startswith("@") or len(expression.split()) == 5) or _HASHED.search(expression.lower()):
        raise expected('a cron expression of five fields, such as "30 2 * * mon-fri"', value, path)
    try:
        croniter(expression, 0).get_next(float)
    except CroniterBadDateError:
        raise expected("a cron expression that comes due", value, path) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise expected("a cron expression", value, path, hint=str(error)) from error
    return expression


def parse_zone(value: JsonValue, path: str) -> str:
    """Check the name of a time zone."""
    if isinstance(value, str):
        try:
            return ZoneInfo(value).key
        except (KeyError, ValueError, OSError):  # unknown, not a name, or the name of a directory
            pass
    raise expected('the name of a time zone, such as "Europe/Berlin"', value, path)
