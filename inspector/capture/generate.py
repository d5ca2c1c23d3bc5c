"""Letting the model write on."""

from __future__ import annotations

import torch
from torch import Tensor

from inspector.families.base import MemoryModel


def continue_greedily(model: MemoryModel, ids: Tensor, tokens: int) -> Tensor:
    """``ids [1 pos]`` with up to ``tokens`` more, each the most probable one.

    Stops after the end of the text, and where the model's positions end.
    """
    room = min(tokens, model.positions - ids.shape[1])
    if room < 1:
        return ids
    with torch.inference_mode():
        written: Tensor = model.module.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=room,
            do_sample=False,
            use_cache=True,
        )
    return written
