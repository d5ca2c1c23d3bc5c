"""Running a model while watching it: hooks, edits, traces, the self-check at load."""
