"""The command line: ``inspector`` and ``python -m inspector``."""

from inspector.cli.commands import app, main

__all__ = ["app", "main"]
