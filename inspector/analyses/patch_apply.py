"""A new checkpoint that holds what patches say; the one that they were made for stays as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from inspector.analyses.patch_conflicts import stack_patches
from inspector.analyses.patches import Patch, check_base
from inspector.capture.load import load
from inspector.errors import CheckpointError, PatchError
from inspector.families.native_edit import check_out, table_rows, write_edited

RECORD = "patches.json"


def apply_patches(
    checkpoint: Path, patches: Sequence[Patch], out: Path, *, later_wins: bool = False
) -> Patch:
    """Write a native checkpoint ``out``: ``checkpoint`` with the values of ``patches``.

    What was applied is told in its ``patches.json``. Gives all of them stacked into one.

    Args:
        checkpoint: a native checkpoint; it's only read.
        patches: in their order.
        out: a directory that isn't there yet, or is empty.
        later_wins: where two patches disagree on a slot, take the later one's value.

    Raises:
        PatchError: a patch was made for another checkpoint, or two conflict.
        CheckpointError: ``out`` is in use or within the checkpoint, or this is no native one.
        CacheError: it cannot be written.
    """
    check_out(checkpoint, out)
    model = load(checkpoint, "cpu")
    if model.provenance.family != "native":
        raise CheckpointError(
            f"{checkpoint} is a {model.provenance.family} checkpoint; patches are written into "
            "native ones. `inspector convert` makes one of it, for which a patch can be made."
        )
    for each in patches:
        check_base(model, each)
    patch = stack_patches(patches, later_wins=later_wins)

    def check(folder: Path) -> None:
        made = load(folder, "cpu")
        for part in patch.tables:
            rows = made.tables[part.table].rows(part.slots)
            if not torch.equal(rows, part.values.to(rows.dtype)):
                raise PatchError(f"{out} would not hold the values of {patch.what!r}.")

    record = {"base": model.fingerprint, "patches": [each.to_json() for each in patches]}
    write_edited(
        model.path,
        out,
        [table_rows(part.table, part.slots, part.values) for part in patch.tables],
        {RECORD: json.dumps(record, indent=1, ensure_ascii=False) + "\n"},
        check,
    )
    return patch
