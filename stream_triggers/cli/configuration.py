"""``config``: the effective configuration, and where each value came from."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_triggers import config
from stream_triggers.cli import terminal
from stream_triggers.cli.settings import Settings, configured


@configured("cluster", "topics", "worker", "log")
def show(
    settings: Settings,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print name, value and source of each as JSON.")] = False,
) -> None:
    """Show every setting, its value, and where that came from. Secrets are hidden.

    A setting is given, the later winning: in stream-triggers.toml, as an environment variable such as
    STREAM_TRIGGERS_COMMIT_INTERVAL_MS, as an option. Settings of the Kafka clients go into the table kafka of the
    file, into variables such as STREAM_TRIGGERS_KAFKA__SASL_PASSWORD, or into --kafka.

    For example:
      stream-triggers config
      stream-triggers config --config production.toml --json
    """
    rows = config.effective(settings.config, settings.sources)
    if as_json:
        terminal.json_document({name: {"value": value, "source": source} for name, value, source in rows})
    else:
        terminal.table(["setting", "value", "source"], rows)
