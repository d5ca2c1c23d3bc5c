"""Every check in turn, ending at the first that fails: ``python -m tests [PYTEST ARGUMENTS]``."""

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy", "--strict", "inspector"),
    ("pytest", *sys.argv[1:]),
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
