"""Measures the engine on this machine: `python -m bench --help`."""
