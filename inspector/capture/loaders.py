"""``module:function``: a loader of the user's own, in the place of a checkpoint's path.

It is code and it runs, so it is off unless whoever started the program allowed it: a link to the
app may name any function.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from inspector.capture.wrap import wrap
from inspector.errors import CheckpointError, UnsafeCheckpoint
from inspector.families.base import MemoryModel

VARIABLE: Final = "INSPECTOR_ALLOW_LOADERS"
FLAG: Final = "--allow-loader"
_LOADER: Final = re.compile(r"[A-Za-z_]\w+(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_allowed: ContextVar[bool] = ContextVar("inspector_loaders_allowed", default=False)


def is_loader(path: str | Path) -> bool:
    """Whether ``path`` names a loader, ``my_models:load``, and nothing that lies there."""
    return _LOADER.fullmatch(str(path)) is not None and not Path(path).exists()


def allow_loaders() -> Token[bool]:
    """Allow them in this context, until ``forbid_loaders`` is given the token back."""
    return _allowed.set(True)


def forbid_loaders(token: Token[bool]) -> None:
    """As it was before."""
    _allowed.reset(token)


def loaders_allowed() -> bool:
    """By ``INSPECTOR_ALLOW_LOADERS=1``, or by ``--allow-loader`` on the command line."""
    return _allowed.get() or os.environ.get(VARIABLE) == "1" or FLAG in sys.argv[1:]


def open_loader(loader: str, device: torch.device, dtype: torch.dtype | None) -> MemoryModel:
    """Call ``loader``, ``module:function``, and wrap the model that it returns.

    The function takes nothing and returns the model and its tokenizer, or what ``inspector.wrap``
    made of them. Modules are found on Python's path and in the working directory.

    Raises:
        UnsafeCheckpoint: loaders aren't allowed here.
        CheckpointError: it isn't there, fails, or returns something else.
    """
    if not loaders_allowed():
        raise UnsafeCheckpoint(
            f"{loader} names a Python function, and running it was not allowed. If it is yours, "
            f"start the program with {VARIABLE}=1, or with {FLAG}: inspector {FLAG} trace "
            f"{loader} TEXT, or streamlit run app.py -- {FLAG}."
        )
    try:
        found = _function(loader)()
    except CheckpointError:
        raise
    except Exception as error:  # it's the user's code: it may raise anything
        raise CheckpointError(f"{loader} failed: {type(error).__name__}: {error}") from error
    if isinstance(found, MemoryModel):
        return found
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], nn.Module):
        raise CheckpointError(
            f"{loader} returned {type(found).__name__}; expected a pair of a torch.nn.Module and "
            "its tokenizer, or what inspector.wrap returns."
        )
    model, tokenizer = found
    return wrap(model.to(device=device, dtype=dtype), tokenizer, name=loader)


def _function(loader: str) -> Any:
    module, _, name = loader.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)  # last, so that it hides nothing
    try:
        function = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"{loader}: {error}. It is looked for on Python's path (PYTHONPATH) and in {here}."
        ) from None
    finally:
        if added:
            sys.path.remove(here)
    if not callable(function):
        raise CheckpointError(f"{loader}: the module {module} has no function {name}.")
    return function
