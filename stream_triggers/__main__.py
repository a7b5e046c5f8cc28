"""``python -m stream_triggers``: the command line."""

from __future__ import annotations

from stream_triggers.cli import main

if __name__ == "__main__":
    main()
