"""Letting the model write on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from inspector.capture.lookup_edits import Edit
from inspector.capture.session import session, standing_edits
from inspector.families.base import MemoryModel


def continue_greedily(
    model: MemoryModel, ids: Tensor, tokens: int, edits: Sequence[Edit] = ()
) -> Tensor:
    """``ids [1 pos]`` with up to ``tokens`` more, each the most probable one.

    Stops after the end of the text, and where the model's positions end. With ``edits`` every token
    is predicted in a pass over the whole text so far, so that they find it at its positions.
    """
    room = min(tokens, model.positions - ids.shape[1])
    if room < 1:
        return ids
    edited = session(edits) if edits else nullcontext()
    with edited, torch.inference_mode():
        written: Tensor = model.module.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=room,
            do_sample=False,
            use_cache=not (edits or standing_edits(model)),
        )
    return written
