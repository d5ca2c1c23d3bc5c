"""``python -m inspector``: the command line."""

from inspector.cli import main

if __name__ == "__main__":
    main()
