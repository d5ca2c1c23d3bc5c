"""The texts of all tokens of a vocabulary, made once for a model."""

from __future__ import annotations

import weakref

from torch import nn

from inspector.families.base import MemoryModel

_TEXTS: weakref.WeakKeyDictionary[nn.Module, tuple[str, ...]] = weakref.WeakKeyDictionary()


def token_texts(model: MemoryModel) -> tuple[str, ...]:
    """What each token writes, ``[d_vocab]``: see ``MemoryModel.token_text``."""
    if model.module not in _TEXTS:
        count = model.backbone.head.out_features
        _TEXTS[model.module] = tuple(model.token_text(token) for token in range(count))
    return _TEXTS[model.module]
