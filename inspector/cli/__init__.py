"""The command line: ``inspector`` and ``python -m inspector``."""

import inspector.cli.scanning  # noqa: F401  adds its command
from inspector.cli.commands import app, main

__all__ = ["app", "main"]
