"""The command line: ``inspector`` and ``python -m inspector``."""

import inspector.cli.converting
import inspector.cli.decoding
import inspector.cli.facts
import inspector.cli.mapping
import inspector.cli.patching
import inspector.cli.scanning
import inspector.cli.sweeping  # noqa: F401  adds its command
from inspector.cli.commands import app, main

__all__ = ["app", "main"]
