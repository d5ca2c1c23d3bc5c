"""Every check in turn, ending at the first that fails: ``python -m tests [PYTEST ARGUMENTS]``."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKERS = min(4, os.cpu_count() or 1)  # a file's tests stay together: they share what is costly
CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy", "--strict", "inspector"),
    ("pytest", "-n", str(WORKERS), "--dist", "loadfile", *sys.argv[1:]),
)


def main() -> int:
    for check in CHECKS:
        print(f"$ python -m {shlex.join(check)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *check], cwd=ROOT, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
