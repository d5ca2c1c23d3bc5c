"""Opens what exists: one file per family of checkpoints, one registry, one interface."""
